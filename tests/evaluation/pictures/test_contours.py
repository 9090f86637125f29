"""Pictures of slices: outlines, greys, what is not annotated, captions; and which slice is looked at, and how."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.labels import LabelSet, ScoredClass
from evaluation.pictures.caption import MOST_LINES, SMALLEST_WIDTH, LegendEntry, drawable, with_caption, with_sides
from evaluation.pictures.contours import (
    LARGEST_SIDE,
    LINE_WIDTH,
    PLAIN_GREY,
    class_outlines,
    fitting_zoom,
    ignored_voxels,
    line_colors,
    overlay_picture,
)
from evaluation.pictures.slices import (
    SliceCounts,
    count_slices,
    differing_voxels,
    radiological_view,
    read_slice,
    worst_slice,
    worst_slices,
)
from nnunet_ext.errors import InputError
from nnunet_ext.imageio import Geometry, open_volume
from tests.evaluation.label_folders import write_label

ONE = LabelSet((ScoredClass("root", (1,)),), None, None, "test")
TWO = LabelSet((ScoredClass("root", (1,)), ScoredClass("stone", (2,))), 9, None, "test")
BLUE, YELLOW = (line_colors(1)[0].reference, line_colors(1)[0].prediction)


def square(value=1, size=20, start=5, stop=15):
    labels = np.zeros((size, size), np.uint8)
    labels[start:stop, start:stop] = value
    return labels


def close_to(picture, color, tolerance=60):
    return np.abs(picture.astype(int) - color).max(axis=-1) < tolerance


@pytest.mark.parametrize("scale", [(10.0, 10.0), (30.0, 10.0), (10.0, 25.0)])
def test_outlines_lie_half_a_line_inside_the_class(scale):
    labels = np.zeros((8, 9), np.uint8)
    labels[2:6, 3:7] = 1
    (outline,) = class_outlines(labels, (1,), scale)
    half = LINE_WIDTH / 2
    assert outline.min(axis=0) == pytest.approx([3 * scale[1] + half, 2 * scale[0] + half], abs=0.25)
    assert outline.max(axis=0) == pytest.approx([7 * scale[1] - half, 6 * scale[0] - half], abs=0.25)


def test_outlines_close_at_the_border_and_go_around_holes():
    labels = np.ones((6, 6), np.uint8)
    labels[2:4, 2:4] = 0
    outlines = class_outlines(labels, (1,), (10, 10))
    assert len(outlines) == 2
    assert all((line[0] == line[-1]).all() for line in outlines)
    assert class_outlines(labels, (7,), (10, 10)) == []


def test_a_region_is_outlined_as_one():
    labels = np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]])
    (whole,) = class_outlines(labels, (1, 2), (10, 10))
    (part,) = class_outlines(labels, (2,), (10, 10))
    assert np.ptp(whole[:, 0]) > 1.5 * np.ptp(part[:, 0])


def test_pixels_of_the_picture_are_square():
    labels = np.zeros((10, 20), np.uint8)
    assert overlay_picture(labels, labels, ONE, spacing=(3.0, 1.0), zoom=4).shape == (120, 80, 3)
    assert overlay_picture(labels, labels, ONE, spacing=(0.01, 0.02), zoom=1).shape == (10, 40, 3)


def test_small_slices_are_enlarged_by_whole_numbers_and_huge_ones_reduced():
    assert fitting_zoom((40, 50), (1.0, 1.0)) == 13
    assert fitting_zoom((40, 50), (4.0, 1.0)) == 4
    assert fitting_zoom((900, 700), (0.3, 0.3)) == 1
    assert fitting_zoom((100, 5600), (1.0, 1.0)) == LARGEST_SIDE / 5600
    wide = np.zeros((20, 5600), np.uint8)
    assert overlay_picture(wide, wide, ONE).shape == (5, LARGEST_SIDE, 3)


def test_the_label_is_solid_and_the_prediction_dashed():
    label = overlay_picture(square(), np.zeros_like(square()), ONE, zoom=20)
    prediction = overlay_picture(np.zeros_like(square()), square(), ONE, zoom=20)
    upper_edge = (slice(98, 104), slice(110, 290))
    assert close_to(label, BLUE)[upper_edge].any(axis=0).all()
    drawn = close_to(prediction, YELLOW)[upper_edge].any(axis=0)
    assert 0.3 < drawn.mean() < 0.8
    assert not close_to(label, YELLOW).any()
    assert not close_to(prediction, BLUE).any()
    # Nothing but lines: the middle is as it was.
    assert (label[120:280, 120:280] == PLAIN_GREY).all()


def test_classes_side_by_side_do_not_hide_each_other():
    labels = square()
    labels[5:15, 10:15] = 2
    root, stone = (color.reference for color in line_colors(2))
    picture = overlay_picture(labels, np.zeros_like(labels), TWO, zoom=10)
    # Between the two, x = 100, away from the corners.
    border = picture[70:130, 95:105]
    assert close_to(border, root)[:, :5].any(axis=1).all()
    assert close_to(border, stone)[:, 5:].any(axis=1).all()


def test_many_classes_have_many_colors():
    colors = [color.reference for color in line_colors(30)]
    assert len(set(colors)) == 30
    assert all(max(color) > 180 for color in colors)


def test_what_no_class_is_annotated_for_is_dimmed_and_hatched():
    labels = np.zeros((20, 20), np.uint8)
    labels[:, 10:] = 9
    image = np.tile(np.arange(20) % 2 * 200, (20, 1))
    picture = overlay_picture(labels, np.zeros_like(labels), TWO, image=image, zoom=10)
    clear, ignored = picture[:, :90], picture[:, 110:]
    assert ignored.max() < 0.8 * clear.max()
    assert ignored.mean() < 0.8 * clear.mean()


def test_what_one_task_lacks_is_hatched_only():
    classes = (ScoredClass("a", (1,), task="t", not_annotated=frozenset({5})), ScoredClass("b", (2,), task="u"))
    label_set = LabelSet(classes, 9, None, "test")
    labels = np.array([[0, 5, 9]])
    assert ignored_voxels(labels, label_set).tolist() == [[0, 1, 2]]
    tile = np.full((6, 6), 5)
    picture = overlay_picture(tile, tile * 0, label_set, zoom=10)
    values, pixels = np.unique(picture[..., 0], return_counts=True)
    assert values.tolist()[0] == PLAIN_GREY
    assert pixels[0] / pixels.sum() == pytest.approx(8 / 9, abs=0.02)


def test_a_few_extreme_pixels_do_not_take_the_contrast():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 100, (40, 40))
    image[3, 3], image[4, 4], image[5, 5] = 1e9, np.inf, np.nan
    blank = np.zeros((40, 40), np.uint8)
    picture = overlay_picture(blank, blank, ONE, image=image, zoom=1)
    assert picture[10:].std() > 60
    assert picture[3, 3].min() > 250
    assert picture[5, 5].max() < 5


@pytest.mark.parametrize("value", [7, np.nan])
def test_an_image_without_contrast_is_plain_grey(value):
    blank = np.zeros((5, 5), np.uint8)
    picture = overlay_picture(blank, blank, ONE, image=np.full((5, 5), value), zoom=1)
    assert (picture == PLAIN_GREY).all()


def test_an_image_that_is_almost_empty_shows_what_there_is():
    image = np.zeros((50, 50))
    image[20, 20] = 3
    blank = np.zeros((50, 50), np.uint8)
    assert overlay_picture(blank, blank, ONE, image=image, zoom=1)[20, 20].min() > 200


def test_what_does_not_fit_is_refused():
    labels = np.zeros((5, 6), np.uint8)
    with pytest.raises(InputError, match=r"prediction .* \(5, 5\) and \(5, 6\)"):
        overlay_picture(labels, labels[:, :5], ONE)
    with pytest.raises(InputError, match=r"image .* \(4, 6\) and \(5, 6\)"):
        overlay_picture(labels, labels, ONE, image=labels[:4])
    with pytest.raises(InputError, match="rows and columns"):
        overlay_picture(labels[None], labels[None], ONE)
    with pytest.raises(InputError, match="spacing"):
        overlay_picture(labels, labels, ONE, spacing=(0.0, 1.0))
    with pytest.raises(InputError, match="zoom"):
        overlay_picture(labels, labels, ONE, zoom=0)


def test_differences_count_by_class_and_not_where_ignored():
    reference = np.array([[[0, 1, 2, 9, 9, 3, 3]]])
    prediction = np.array([[[0, 2, 2, 1, 9, 0, 1]]])
    assert differing_voxels(reference, prediction, TWO).tolist() == [[[False, True, False, False, False, False, True]]]
    # For root alone, stone against background is no difference.
    assert not differing_voxels(np.array([2]), np.array([0.0]), ONE).any()


VOXELS = st.lists(st.sampled_from([0, 1, 2, 3, 9, -4]), min_size=24, max_size=24)


@given(VOXELS, VOXELS, st.sampled_from([0, 1, 2]))
@settings(max_examples=50, deadline=None)
def test_differences_are_those_of_the_masks(reference, prediction, axis):
    reference, prediction = (np.reshape(voxels, (2, 3, 4)) for voxels in (reference, prediction))
    masks = [(reference == value) != (prediction == value) for value in (1, 2)]
    expected = (masks[0] | masks[1]) & (reference != 9)
    assert (differing_voxels(reference, prediction, TWO) == expected).all()
    others = tuple({0, 1, 2} - {axis})
    counts = count_slices(reference, prediction, TWO, axis)
    assert counts.differing.tolist() == expected.sum(axis=others).tolist()
    assert counts.labelled.tolist() == np.isin(reference, (1, 2)).sum(axis=others).tolist()


def test_the_worst_slice_along_each_axis():
    reference = np.zeros((6, 7, 8), np.uint8)
    prediction = reference.copy()
    prediction[4, 1:4, 6] = 1
    prediction[2, 2, 5:7] = 1
    assert [worst_slice(reference, prediction, ONE, axis=axis) for axis in range(3)] == [4, 2, 6]


def test_worst_slices_lie_apart_and_differ():
    counts = SliceCounts(np.array([0, 9, 8, 7, 6, 0, 1, 0]), np.zeros(8, int))
    assert worst_slices(counts, 1) == [1]
    assert worst_slices(counts, 5) == [1, 4]
    long = SliceCounts(np.arange(100), np.zeros(100, int))
    assert worst_slices(long, 2) == [99, 87]


def test_without_difference_the_slice_with_most_labels_or_the_middle():
    none = np.zeros(5, int)
    assert worst_slices(SliceCounts(none, np.array([0, 1, 5, 6, 2])), 3) == [3]
    assert worst_slices(SliceCounts(none, none), 3) == [2]


def test_a_slice_is_read_along_any_axis(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluation.pictures.slices.READ_VOXELS", 40)
    array = np.random.default_rng(0).integers(0, 100, (5, 4, 6), np.uint8)
    path = write_label(tmp_path / "a.nii.gz", array)
    for axis in range(3):
        with open_volume(path) as volume:
            assert (read_slice(volume, axis, 3) == array.take(3, axis=axis)).all()
    with open_volume(path) as volume, pytest.raises(InputError, match="slice y=4 asked for, expected 0 to 3"):
        read_slice(volume, 1, 4)


SIGNED_PERMUTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("order", "signs"), SIGNED_PERMUTATIONS)
def test_slices_are_turned_as_radiologists_look_at_them(order, signs):
    """Array axis i points along space axis order[i]; every picture has to come out the same way."""
    direction = np.zeros((3, 3))
    for axis in range(3):
        direction[order[axis], axis] = signs[axis]
    geometry = Geometry(direction=tuple(tuple(row) for row in direction.tolist()))
    indices = np.indices((4, 4, 4))
    position = np.stack([signs[order.index(space)] * indices[order.index(space)] for space in range(3)])
    for axis in range(3):
        view = radiological_view(geometry, axis)
        z, y, x = (view.turn(coordinate.take(0, axis=axis)) for coordinate in position)
        down, right, sides = {
            0: (y, x, "RLAP"),  # perpendicular to z: axial
            1: (-z, x, "RLSI"),  # coronal
            2: (-z, y, "APSI"),  # sagittal
        }[order[axis]]
        assert (np.diff(down, axis=0) == 1).all()
        assert (np.diff(right, axis=1) == 1).all()
        assert "".join(view.sides) == sides
        rows_and_columns = [other for other in range(3) if other != axis]
        turned = view.turn_pair(tuple(order[other] for other in rows_and_columns))
        assert turned == ({0: 1, 1: 0, 2: 0}[order[axis]], {0: 2, 1: 2, 2: 1}[order[axis]])


def test_tilted_axes_count_as_the_nearest():
    turn = np.deg2rad(20)
    direction = ((1.0, 0.0, 0.0), (0.0, np.cos(turn), -np.sin(turn)), (0.0, np.sin(turn), np.cos(turn)))
    assert radiological_view(Geometry(direction=direction), 0).sides == ("R", "L", "A", "P")


def test_a_caption_surrounds_the_picture():
    picture = np.full((50, 600, 3), 77, np.uint8)
    whole = with_caption(picture, ["case $x_1$ <b>"], [LegendEntry("root", BLUE), LegendEntry("a", YELLOW, "dashed")])
    assert whole.shape[1] == 600
    above = next(row for row in range(whole.shape[0]) if (whole[row] == 77).all())
    assert (whole[above : above + 50] == 77).all()
    title, legend = whole[:above], whole[above + 50 :]
    assert close_to(title, (235, 235, 235)).any()
    assert close_to(legend, BLUE).any()
    assert close_to(legend, YELLOW).any()


def test_every_letter_of_a_name_is_drawn_as_it_is():
    picture = np.zeros((10, 500, 3), np.uint8)

    def ink(title):
        return (with_caption(picture, [title], [])[..., 0] > 100).any(axis=0).nonzero()[0].max()

    # As mathematics, the dollars and the backslash would vanish.
    assert ink("$x$ \\alpha") > ink("x alpha")
    assert ink("_a") > ink("a")


def test_long_names_are_broken_and_then_cut():
    picture = np.zeros((10, 10, 3), np.uint8)
    one = with_caption(picture, ["short"], [])
    two = with_caption(picture, ["word " * 18], [])
    most = with_caption(picture, ["x" * 5000], [])
    assert one.shape[1] == two.shape[1] == most.shape[1] == SMALLEST_WIDTH
    line = two.shape[0] - one.shape[0]
    assert most.shape[0] == one.shape[0] + (MOST_LINES - 1) * line
    # Nothing is drawn into the margin.
    assert (most[:, -6:] == most[0, 0]).all()


def test_long_legends_take_several_rows():
    picture = np.zeros((10, 10, 3), np.uint8)
    few = with_caption(picture, [], [LegendEntry("x", BLUE)] * 3)
    many = with_caption(picture, [], [LegendEntry("a long name of a class", BLUE)] * 9)
    assert many.shape[0] > few.shape[0] + 40
    assert (with_caption(picture, [], [LegendEntry("y" * 999, BLUE)])[:, -6:] == few[0, 0]).all()


def test_control_characters_and_broken_names_can_be_drawn():
    assert drawable("a\nb\x00\udcff\u202e") == "a\ufffdb\ufffd\ufffd\ufffd"
    with_caption(np.zeros((5, 5, 3), np.uint8), ["\udcff\n", ""], [LegendEntry("\x1b[31m", BLUE)])


def test_sides_are_written_at_the_edges():
    blank = np.zeros((100, 100, 3), np.uint8)
    assert with_sides(blank, ()) is blank
    marked = with_sides(blank, ("R", "L", "A", "P")).any(axis=-1)
    edges = (marked[40:60, :25], marked[40:60, 75:], marked[:25, 40:60], marked[75:, 40:60])
    assert all(edge.any() for edge in edges)
    assert sum(edge.sum() for edge in edges) == marked.sum()
