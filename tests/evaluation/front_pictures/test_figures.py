"""The figures: what they show, on which axes, in which colours, and what they say about it."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from evaluation.front_pictures.box_plots import error_box_plots, error_groups
from evaluation.front_pictures.fronts_over_time import DateColours, date_ticks, fronts_caption, fronts_over_time
from evaluation.front_pictures.lines import dated_front
from evaluation.front_pictures.style import SATELLITES, literal, model_colours, satellite_styles, save_figure
from evaluation.front_pictures.timeline import timeline
from evaluation.front_pictures.zone_areas import ZoneAreas, areas_over_time, usual_extent, zone_areas
from nnunet_ext.errors import InputError
from tests.evaluation.front_pictures.builders import front_at, image_row, texts

EARLY, LATE = datetime.date(2008, 1, 1), datetime.date(2012, 1, 1)


def points(axes, marker):
    return [tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == marker]


# Box plots


def test_a_group_pools_over_pixels_and_counts_images_without_front():
    rows = [
        image_row("COL_a", 10.0, n_distances=30, sum_distances=300.0),
        image_row("COL_b", 50.0, n_distances=10, sum_distances=500.0),
        image_row("COL_c", no_front=True),
        image_row("JAC_a", no_front=True),
    ]
    first, second = error_groups(rows, "glacier")
    assert (first.name, first.means, first.pooled, first.no_front) == ("COL", (10.0, 50.0), 20.0, 1)
    assert (second.name, second.means, second.no_front) == ("JAC", (), 1)
    assert math.isnan(second.pooled)
    assert error_groups(rows, "resolution")[0].name == "7 m"


def test_the_axis_is_logarithmic_and_shared_by_a_panel_per_grouping():
    figure = error_box_plots([image_row("COL_a", 10.0), image_row("JAC_a", 1000.0)])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Season", "Glacier", "Satellite"]
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert points(figure.axes[1], "o") == [(10.0,), (1000.0,)]
    assert "n: images with both fronts" in " ".join(" ".join(texts(figure)).split())


def test_a_distance_of_zero_has_a_place_on_the_axis():
    figure = error_box_plots([image_row("COL_a", 0.0), image_row("COL_b", 60.0), image_row("COL_c", 700.0)])
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "symlog"
    assert low < 0 < 700 < high
    assert {"0", "100"} <= {label.get_text() for label in figure.axes[-1].get_xticklabels()}
    assert "linear below 50 m" in " ".join(" ".join(texts(figure)).split())
    assert points(axes, "o") == [(0.0, 60.0, 700.0)]


def test_only_zeros_can_be_drawn():
    low, high = error_box_plots([image_row("COL_a", 0.0)]).axes[0].get_xlim()
    assert low < 0 < high


def test_a_box_is_drawn_from_three_images_on():
    two = [image_row("COL_a", 10.0), image_row("COL_b", 20.0)]
    assert not error_box_plots(two, ["glacier"]).axes[0].patches
    (box,) = error_box_plots([*two, image_row("COL_c", 40.0)], ["glacier"]).axes[0].patches
    assert (box.get_x(), box.get_x() + box.get_width()) == (15.0, 30.0)


def test_the_diamond_is_the_pooled_error():
    rows = [
        image_row("COL_a", 10.0, n_distances=30, sum_distances=300.0),
        image_row("COL_b", 50.0, n_distances=10, sum_distances=500.0),
    ]
    assert points(error_box_plots(rows, ["glacier"]).axes[0], "D") == [(20.0,)]


def test_images_without_front_are_told_beside_their_group():
    rows = [image_row("COL_a", 10.0), image_row("COL_b", no_front=True), image_row("JAC_a", no_front=True)]
    shown = texts(error_box_plots(rows, ["glacier"]))
    assert "n = 1 +1" in shown
    assert "n = 0 +1" in shown


def test_without_any_front_there_is_no_box_plot():
    with pytest.raises(InputError, match="no image has both"):
        error_box_plots([image_row(no_front=True)])


@pytest.mark.parametrize("mean", [0.3, 2.4, 7.0, 99.9, 12345.0])
def test_the_axis_of_a_single_image_has_two_numbers(mean):
    figure = error_box_plots([image_row("COL_a", mean)], ["glacier"])
    figure.canvas.draw()
    low, high = figure.axes[0].get_xlim()
    ticks = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert len(ticks) >= 2
    assert low < mean < high


# Fronts over time


def fronts(*columns_and_dates, resolution=10.0, shape=(30, 40)):
    return [dated_front(front_at(column, shape), resolution, date, "TSX") for column, date in columns_and_dates]


def test_fronts_are_drawn_in_kilometres_in_the_order_of_their_dates():
    figure = fronts_over_time({"label": fronts((5, LATE), (20, EARLY))}, "COL")
    drawn = [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]
    starts = [one.get_segments()[0][0].tolist() for one in drawn]
    assert starts == [pytest.approx([0.205, 0.055]), pytest.approx([0.055, 0.055])]
    colour_of = DateColours([EARLY, LATE])
    assert [tuple(one.get_colors()[0]) for one in drawn] == [colour_of(EARLY), colour_of(LATE)]
    assert figure.axes[0].get_xlim() == pytest.approx((0, 0.4))
    assert figure.axes[0].get_ylim() == pytest.approx((0.3, 0))
    assert figure.axes[0].get_aspect() == 1


def test_images_of_two_pixel_sizes_lie_on_each_other():
    both = fronts((20, EARLY), resolution=10.0) + fronts((40, LATE), resolution=5.0, shape=(60, 80))
    figure = fronts_over_time({"label": both}, "COL")
    coarse, fine = (
        one.get_segments()[0][0, 0] for one in figure.axes[0].collections if isinstance(one, LineCollection)
    )
    # Column 20 of 10 m and columns 40 and 41 of 5 m are one place.
    assert coarse == pytest.approx(0.205)
    assert fine == pytest.approx(0.2025)
    assert not figure.axes[0].patches


def test_other_extents_are_outlined_and_told():
    both = {"label": fronts((20, EARLY)) + fronts((20, LATE), shape=(30, 60))}
    assert sorted(box.get_width() for box in fronts_over_time(both, "COL").axes[0].patches) == [0.4, 0.6]
    assert "Grey outlines" in fronts_caption(both)


def test_all_sources_share_one_scale_of_dates():
    figure = fronts_over_time({"label": fronts((20, EARLY), (9, LATE)), "m": fronts((18, LATE))}, "COL")
    (drawn,) = (one for one in figure.axes[1].collections if isinstance(one, LineCollection))
    assert tuple(drawn.get_colors()[0]) == DateColours([EARLY, LATE])(LATE)


def test_a_single_date_is_written_instead_of_a_scale():
    figure = fronts_over_time({"label": fronts((20, EARLY), (22, EARLY))}, "COL")
    assert len(figure.axes) == 1
    assert "2008-01-01" in texts(figure)


def test_an_image_without_front_is_counted():
    nothing = dated_front(np.zeros((30, 40)), 10.0, LATE, "TSX")
    assert "1 front, 1 without" in texts(fronts_over_time({"label": [*fronts((20, EARLY)), nothing]}, "COL"))


def test_the_background_lies_at_the_upper_left_corner():
    grey = np.zeros((15, 20), np.uint8)
    (image,) = fronts_over_time({"l": fronts((2, EARLY))}, "COL", background=(grey, 20.0)).axes[0].images
    assert image.get_extent() == pytest.approx([0, 0.4, 0.3, 0])


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("1995-05-02", "2020-03-01", ["2000-01-01", "2005-01-01", "2010-01-01", "2015-01-01", "2020-01-01"]),
        ("2010-12-20", "2011-02-10", ["2011-01-01", "2011-02-01"]),
        ("2011-02-03", "2011-02-10", ["2011-02-03", "2011-02-10"]),
    ],
)
def test_ticks_of_dates_are_round(first, last, expected):
    ticks = date_ticks(datetime.date.fromisoformat(first), datetime.date.fromisoformat(last))
    assert [str(tick) for tick in ticks] == expected


# Zone areas


def zones_of(case, date, glacier, width=9000.0):
    areas = {"na": 0.0, "rock": 2.0, "glacier": glacier, "ocean": 10 - glacier}
    return ZoneAreas(case, date, 20.0, (width, 7000.0), areas)


def test_areas_are_pixels_times_pixel_area():
    zones = np.repeat([0, 1, 2, 3], [100, 200, 300, 400]).reshape(20, 50)
    # 100 pixels of 20 m are 100 × 400 m² = 0.04 km².
    assert zone_areas(zones, 20.0) == pytest.approx({"na": 0.04, "rock": 0.08, "glacier": 0.12, "ocean": 0.16})
    assert zone_areas(np.full((10, 10), 3), 7.0) == pytest.approx({"na": 0, "rock": 0, "glacier": 0, "ocean": 0.0049})


def test_an_index_of_no_zone_is_refused():
    with pytest.raises(InputError, match="zone 4 found"):
        zone_areas(np.full((2, 2), 4), 7.0)


def test_a_panel_per_zone_that_occurs_in_order_of_time():
    figure = areas_over_time({"label": [zones_of("b", LATE, 4.0), zones_of("a", EARLY, 6.0)]}, "COL")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Glacier", "Ocean with mélange", "Rock"]
    assert [list(axes.lines[0].get_ydata()) for axes in figure.axes] == [[6.0, 4.0], [4.0, 6.0], [2.0, 2.0]]
    assert list(figure.axes[0].lines[0].get_xdata()) == [EARLY, LATE]


def test_images_of_another_extent_are_not_joined_to_the_others():
    middle = datetime.date(2010, 1, 1)
    images = [zones_of("a", EARLY, 6.0), zones_of("b", middle, 2.0, width=5000.0), zones_of("c", LATE, 4.0)]
    assert usual_extent(images) == (9000.0, 7000.0)
    figure = areas_over_time({"label": images}, "COL")
    joined, apart = figure.axes[0].lines
    assert list(joined.get_ydata()) == [6.0, 4.0]
    assert list(apart.get_ydata()) == [2.0]
    assert (apart.get_linestyle(), apart.get_markerfacecolor()) == ("None", "white")
    assert "cannot be compared" in " ".join(" ".join(texts(figure)).split())


def test_a_model_has_the_colour_that_it_has_beside_models_without_zones():
    images = [zones_of("a", EARLY, 6.0)]
    expected = model_colours(["front alone", "late"])["late"]
    (line,) = areas_over_time({"late": images}, "COL", models=["front alone", "late"]).axes[0].lines
    assert line.get_color() == expected
    (line,) = areas_over_time({"late": images}, "COL").axes[0].lines
    assert line.get_color() != expected


def test_rounding_to_pixels_does_not_fill_the_axis():
    figure = areas_over_time({"label": [zones_of("a", EARLY, 6.0), zones_of("b", LATE, 6.001)]}, "COL")
    low, high = figure.axes[0].get_ylim()
    assert high - low == pytest.approx(0.03 * 63)


# Timeline


def test_an_image_is_drawn_once_whatever_models_have_it():
    rows = [image_row("COL_a", model=model) for model in ("m", "n")] + [image_row("JAC_b", date=EARLY, season="summer")]
    figure = timeline(rows)
    assert {"COL", "JAC", "TDX (2)"} <= set(texts(figure))
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == SATELLITES["TDX"][1]]
    assert [len(line.get_xdata()) for line in drawn] == [1, 1]
    assert [line.get_markerfacecolor() for line in drawn] == ["white", SATELLITES["TDX"][0]]


def test_images_of_one_day_do_not_hide_each_other():
    figure = timeline([image_row("COL_a"), image_row("COL_b"), image_row("COL_c", date=LATE)])
    (line,) = (line for line in figure.axes[0].lines if line.get_marker() == SATELLITES["TDX"][1])
    first, second, third = line.get_ydata()
    assert first != second
    assert first == third


def test_a_single_day_has_room_around_it():
    low, high = timeline([image_row("COL_a")]).axes[0].get_xlim()
    assert high - low > 100


def test_satellites_keep_their_colour_and_others_get_one():
    styles = satellite_styles(["TSX", "NISAR", "S1"])
    assert styles["TSX"] == SATELLITES["TSX"]
    assert len({styles[name][1] for name in styles}) == 3


# Text and files


def test_dollar_signs_are_no_formula(tmp_path):
    broken = r"$\frac{$ $x^$"
    assert literal("a$b$") == r"a\$b\$"
    row = image_row("COL_a", glacier=broken, satellite=broken, model=broken, season=broken)
    for number, figure in enumerate((
        error_box_plots([row, image_row("COL_b", 12.0)], title=broken, caption=broken),
        timeline([row]),
        fronts_over_time({broken: fronts((2, EARLY))}, broken, caption=broken),
        areas_over_time({broken: [zones_of("a", EARLY, 6.0)]}, broken),
    )):  # fmt: skip
        save_figure(figure, tmp_path / f"{number}.svg")
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_figure_is_saved_in_the_format_of_its_ending_and_always_alike(tmp_path, ending, begins):
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for path in files:
        save_figure(timeline([image_row("COL_a")]), path)
    assert files[0].read_bytes().startswith(begins)
    assert files[0].read_bytes() == files[1].read_bytes()
