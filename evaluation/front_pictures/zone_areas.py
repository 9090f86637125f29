"""Areas of the zones of a glacier over time, in square kilometres."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.front_pictures.lines import same_extent
from evaluation.front_pictures.style import (
    FONT_SIZE,
    INK,
    LABEL_COLOUR,
    add_caption,
    add_title,
    date_axis,
    literal,
    model_colours,
    new_figure,
    tidy,
)
from nnunet_ext.caffe.grey_levels import ZONES
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

LABEL = "label"
SHOWN = {"glacier": "Glacier", "ocean": "Ocean with mélange", "rock": "Rock", "na": "No information"}
"""Zones in the order of the panels, and what they are called there."""

CAPTION = "Area of each zone within the image: number of pixels times pixel area. Axes need not begin at 0."
OTHER_EXTENT = (
    " Open markers, not joined: images that cover another extent than most, whose areas cannot be compared with the "
    "others."
)
SQUARE_METRES = 1e6
LEAST_SPAN = 0.03
"""An axis of areas spans at least this part of the image, so that rounding to pixels does not look like change."""


@dataclass(frozen=True)
class ZoneAreas:
    """Areas of the zones in one image.

    Parameters
    ----------
    case
        Name of the image.
    date
        Of the acquisition.
    resolution
        Pixel size in metres.
    extent
        Width and height of the image in metres.
    areas
        Square kilometres by zone: ``na``, ``rock``, ``glacier``, ``ocean``.
    """

    case: str
    date: datetime.date
    resolution: float
    extent: tuple[float, float]
    areas: Mapping[str, float]


def zone_areas(zones: npt.NDArray[Any], resolution: float) -> dict[str, float]:
    """Measure the zones of an image.

    Parameters
    ----------
    zones
        Indices into `nnunet_ext.caffe.grey_levels.ZONES`: 0 N/A, 1 rock, 2 glacier, 3 ocean; shape (H, W).
    resolution
        Pixel size in metres.

    Returns
    -------
    dict of str to float
        Square kilometres of each zone; 0 for one that is not there.

    Raises
    ------
    InputError
        If an index stands for no zone, or the pixel size is not positive.
    """
    if not resolution > 0:
        message = f"pixel size {resolution} m, expected a positive one"
        raise InputError(message)
    counts = np.bincount(zones.ravel(), minlength=len(ZONES))
    if len(counts) > len(ZONES):
        message = f"zone {len(counts) - 1} found, expected 0 to {len(ZONES) - 1}: {', '.join(ZONES)}"
        raise InputError(message)
    pixel = resolution**2 / SQUARE_METRES
    return {name: int(count) * pixel for name, count in zip(ZONES, counts, strict=True)}


def areas_over_time(
    series: Mapping[str, Sequence[ZoneAreas]], title: str, *, caption: str = CAPTION, models: Sequence[str] = ()
) -> Any:
    """Draw the areas of the zones of a glacier over time, a panel per zone.

    Parameters
    ----------
    series
        By source, ``label`` or a model, the areas of its images.
    title
        Of the figure: the glacier.
    caption
        Text below; a note on images of another extent is added. Empty for none.
    models
        Models in the order of their colours, also those without areas, so that colours are those of the box plots.
        Default: the models of ``series``.

    Returns
    -------
    matplotlib.figure.Figure
        Panels of the zones that occur share the axis of time; each has its own of areas.

    Raises
    ------
    InputError
        If there are no areas.
    """
    everything = [one for of_source in series.values() for one in of_source]
    shown = [zone for zone in SHOWN if any(one.areas[zone] > 0 for one in everything)]
    if not shown:
        message = f"{title}: no zones to draw"
        raise InputError(message)
    usual = usual_extent(everything)
    several = len(series) > 1
    figure = new_figure(6.6, 1.55 * len(shown) + 0.75 + 0.25 * bool(caption) + 0.2 * several)
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    colours = {LABEL: LABEL_COLOUR} | model_colours([*models, *(source for source in series if source != LABEL)])
    for axes, zone in zip(panels, shown, strict=True):
        for source, of_source in series.items():
            _draw_series(axes, of_source, zone, colours[source], usual, label=source == LABEL)
        add_title(axes, SHOWN[zone])
        axes.set_ylabel("km²", fontsize=FONT_SIZE, color=INK)
        tidy(axes)
        lowest, highest = (function(one.areas[zone] for one in everything) for function in (min, max))
        span = max(1.24 * (highest - lowest), LEAST_SPAN * usual[0] * usual[1] / SQUARE_METRES)
        bottom = max((lowest + highest - span) / 2, 0.0)
        axes.set_ylim(bottom, bottom + span)
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    date_axis(panels[-1].xaxis, [one.date for one in everything])
    figure.suptitle(literal(title), x=0.01, ha="left", fontsize=FONT_SIZE + 2.5, fontweight="bold", color=INK)
    if several:
        _legend(figure, {source: colours[source] for source in series})
    others = any(not _is_usual(one, usual) for one in everything)
    add_caption(figure, caption + OTHER_EXTENT * bool(caption and others))
    return figure


def usual_extent(images: Sequence[ZoneAreas]) -> tuple[float, float]:
    """Return the extent that most images have; of several, that of the earliest image."""
    in_order = sorted(images, key=lambda one: (one.date, one.case))
    votes = Counter(
        {
            index: sum(same_extent(one.extent, other.extent, max(one.resolution, other.resolution)) for other in images)
            for index, one in enumerate(in_order)
        }
    )
    return in_order[votes.most_common(1)[0][0]].extent


def _is_usual(one: ZoneAreas, usual: tuple[float, float]) -> bool:
    return same_extent(one.extent, usual, one.resolution)


def _draw_series(
    axes: Any, images: Sequence[ZoneAreas], zone: str, colour: str, usual: tuple[float, float], *, label: bool
) -> None:
    in_order = sorted(images, key=lambda one: (one.date, one.case))
    joined = [(one.date, one.areas[zone]) for one in in_order if _is_usual(one, usual)]
    others = [(one.date, one.areas[zone]) for one in in_order if not _is_usual(one, usual)]
    look = {"color": colour, "markersize": 4.2 if label else 3.4, "linewidth": 1.2, "zorder": 2 if label else 3}
    if joined:
        axes.plot(*zip(*joined, strict=True), marker="o", linestyle="-" if label else "--", **look)
    if others:
        axes.plot(*zip(*others, strict=True), marker="o", linestyle="none", markerfacecolor="white", **look)


def _legend(figure: Any, colours: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=colour,
            marker="o",
            markersize=4,
            linestyle="-" if source == LABEL else "--",
            label=literal(source),
        )
        for source, colour in colours.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=min(len(handles), 5),
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=INK,
    )
