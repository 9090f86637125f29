"""Timeline of acquisitions: which satellite imaged which glacier when."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from evaluation.front_pictures.rows import by_glacier, one_row_per_case
from evaluation.front_pictures.style import (
    FONT_SIZE,
    GREY,
    INK,
    add_caption,
    date_axis,
    literal,
    new_figure,
    satellite_styles,
    tidy,
)
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

    from evaluation.front_pictures.rows import ImageRow

LANE, GAP = 0.19, 0.17
"""Height of the lane of a satellite, and between glaciers, in inches."""

CAPTION = "Acquisitions; a marker is an image, those of one day and satellite stand one upon the other."
BY_SEASON = " Filled: summer, open: winter."
"""Added where there are images of winter."""


def timeline(rows: Sequence[ImageRow], *, caption: str = CAPTION) -> Any:
    """Draw the images of each glacier along the time, in a lane per satellite.

    Parameters
    ----------
    rows
        Of any number of models; an image is drawn once.
    caption
        Text below.

    Returns
    -------
    matplotlib.figure.Figure
        Markers and colours stand for satellites, filled ones for summer. Numbers at the right are images.

    Raises
    ------
    InputError
        If there are no rows.
    """
    images = one_row_per_case(rows)
    if not images:
        message = "timeline: no images to draw"
        raise InputError(message)
    glaciers = by_glacier(images)
    styles = satellite_styles(row.satellite for row in images)
    lanes = {name: sorted({row.satellite for row in of_one}) for name, of_one in glaciers.items()}
    inches = sum(len(own) * LANE for own in lanes.values()) + GAP * len(lanes)
    height = inches + 0.95 + 0.2 * bool(caption)
    figure = new_figure(7.2, height)
    axes = figure.add_subplot()
    top, ticks = 0.0, []
    for glacier, of_one in glaciers.items():
        for index, satellite in enumerate(lanes[glacier]):
            own = [row for row in of_one if row.satellite == satellite]
            _draw_lane(axes, own, top + (index + 0.5) * LANE, *styles[satellite])
        bottom = top + LANE * len(lanes[glacier])
        ticks.append(((top + bottom) / 2, glacier, len(of_one)))
        top = bottom + GAP
        axes.axhline(top - GAP / 2, color="0.85", linewidth=0.7)
    tidy(axes, grid="x")
    axes.set_ylim(top - GAP / 2, -GAP / 2)
    axes.set_yticks([y for y, _, _ in ticks], [literal(name) for _, name, _ in ticks])
    axes.tick_params(axis="y", length=0)
    for y, _, number in ticks:
        axes.annotate(
            f"{number}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=FONT_SIZE, color=GREY
        )
    axes.annotate("images", (1.01, 1.0), xycoords="axes fraction", va="bottom", fontsize=FONT_SIZE - 1.5, color=GREY)
    date_axis(axes.xaxis, [row.date for row in images])
    _legend(figure, images, styles)
    mixed = any(row.season == "winter" for row in images)
    add_caption(figure, caption + BY_SEASON * bool(caption and mixed))
    return figure


def _draw_lane(axes: Any, rows: Sequence[ImageRow], y: float, colour: str, marker: str) -> None:
    """Draw the images of one glacier and satellite; those of one day are moved up a little, one by one."""
    seen: Counter[datetime.date] = Counter()
    points: dict[bool, list[tuple[datetime.date, float]]] = defaultdict(list)
    for row in rows:
        points[row.season == "winter"].append((row.date, y - 0.06 * seen[row.date]))
        seen[row.date] += 1
    for winter, own in points.items():
        axes.plot(
            *zip(*own, strict=True),
            linestyle="none",
            marker=marker,
            markersize=4.6,
            markeredgewidth=0.9,
            markeredgecolor=colour,
            markerfacecolor="white" if winter else colour,
            alpha=0.9,
            clip_on=False,
        )


def _legend(figure: Any, images: Sequence[ImageRow], styles: dict[str, tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    counts = Counter(row.satellite for row in images)
    handles: list[Any] = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=marker,
            color=colour,
            markersize=5,
            label=literal(f"{satellite} ({counts[satellite]})"),
        )
        for satellite, (colour, marker) in styles.items()
    ]
    if any(row.season == "winter" for row in images):
        look: Any = {"linestyle": "none", "marker": "o", "color": GREY, "markersize": 5}
        handles += [Line2D([], [], label="summer", **look), Line2D([], [], label="winter", fillstyle="none", **look)]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=min(len(handles), 9),
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=INK,
        handletextpad=0.2,
        columnspacing=1.2,
    )
