"""Fronts of a glacier over time, coloured by date, label and predictions side by side."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

from evaluation.front_pictures.lines import extents, placement, whole_extent
from evaluation.front_pictures.style import (
    FONT_SIZE,
    GREY,
    INK,
    add_caption,
    add_title,
    counted,
    literal,
    new_figure,
    tidy,
)
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from evaluation.front_pictures.lines import DatedFront

PANEL = {1: 4.2, 2: 3.3, 3: 2.7}
"""Longer side of a panel in inches, by the number of panels side by side; further ones come below."""

LINE_WIDTH = 1.3


def fronts_over_time(
    fronts: Mapping[str, Sequence[DatedFront]],
    title: str,
    *,
    background: tuple[npt.NDArray[np.uint8], float] | None = None,
    caption: str = "",
) -> Any:
    """Draw the fronts of a glacier, a panel per source, older and newer ones in the colours of one scale of dates.

    Parameters
    ----------
    fronts
        By source, such as ``label`` or a model, its fronts. Later ones are drawn over earlier ones.
    title
        Of the figure: the glacier.
    background
        Image (grey levels, shape (H, W)) to draw on, and its pixel size in metres.
    caption
        Text below, such as that of `fronts_caption`.

    Returns
    -------
    matplotlib.figure.Figure
        Axes in kilometres, y down, the same in all panels.

    Raises
    ------
    InputError
        If there is no front at all.
    """
    from matplotlib.collections import LineCollection

    everything = [front for of_source in fronts.values() for front in of_source]
    if not everything:
        message = f"{title}: no fronts to draw"
        raise InputError(message)
    different = extents(everything)
    width, height = whole_extent(different)
    columns = min(len(fronts), max(PANEL))
    rows = math.ceil(len(fronts) / columns)
    scale = PANEL[columns] / max(width, height)
    panel = max(width * scale, 1.8), max(height * scale, 1.2)
    figure = new_figure(columns * panel[0] + 1.6, rows * (panel[1] + 0.6) + 0.4 + 0.35 * bool(caption))
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for spare in panels[len(fronts) :]:
        spare.set_visible(False)
    panels = panels[: len(fronts)]
    for lowest in panels[-columns:]:
        lowest.tick_params(labelbottom=True)
    colour_of = DateColours([front.date for front in everything])
    for axes, (source, of_source) in zip(panels, fronts.items(), strict=True):
        if background is not None:
            show_image(axes, *background, alpha=0.55)
        in_order = sorted(of_source, key=lambda front: front.date)
        for front in in_order:
            colour = colour_of(front.date)
            lines = [points / 1000 for points in front.lines]
            axes.add_collection(LineCollection(lines, colors=[colour], linewidths=LINE_WIDTH, capstyle="round"))
            dots = [points[0] for points in lines if len(points) == 1]
            if dots:
                axes.plot(*zip(*dots, strict=True), linestyle="none", marker=".", markersize=3, color=colour)
        _draw_extents(axes, different)
        _label_axes(axes, width, height)
        drawn = sum(bool(front.lines) for front in of_source)
        without = f", {len(of_source) - drawn} without" if drawn < len(of_source) else ""
        add_title(axes, source)
        axes.text(
            1.0,
            1.015,
            f"{counted(drawn, 'front')}{without}",
            transform=axes.transAxes,
            ha="right",
            va="bottom",
            fontsize=FONT_SIZE - 1,
            color=GREY,
        )
    for first in panels[::columns]:
        first.set_ylabel("km from the upper edge", fontsize=FONT_SIZE, color=INK)
    figure.suptitle(literal(title), x=0.01, ha="left", fontsize=FONT_SIZE + 2.5, fontweight="bold", color=INK)
    colour_of.add_bar(figure, list(panels))
    add_caption(figure, caption)
    return figure


def fronts_caption(fronts: Mapping[str, Sequence[DatedFront]], *, background: str = "") -> str:
    """Return what a reader has to know of `fronts_over_time`; ``background`` says what the image is."""
    everything = [front for of_source in fronts.values() for front in of_source]
    different = extents(everything)
    outlines = " Grey outlines: the extents." if len(different) > 1 else ""
    behind = f" Background: {background}." if background else ""
    return f"Calving fronts coloured by date. {placement(different)}{outlines}{behind}"


class DateColours:
    """One colour scale for all dates: dark for the earliest, light for the latest.

    Parameters
    ----------
    dates
        At least one; if all are equal there is one colour.
    """

    def __init__(self, dates: Sequence[datetime.date]) -> None:
        from matplotlib import colormaps
        from matplotlib.colors import ListedColormap, Normalize

        self.first, self.last = min(dates), max(dates)
        # The light end of the map is hard to see on white.
        self.colours = ListedColormap([colormaps["plasma"](0.88 * step / 255) for step in range(256)])
        self.scale = Normalize(self.first.toordinal(), max(self.last.toordinal(), self.first.toordinal() + 1))

    def __call__(self, date: datetime.date) -> tuple[float, float, float, float]:
        """Return the colour of a date as red, green, blue, alpha from 0 to 1."""
        red, green, blue, alpha = self.colours(self.scale(date.toordinal()))
        return float(red), float(green), float(blue), float(alpha)

    def add_bar(self, figure: Any, panels: Sequence[Any]) -> None:
        """Draw the scale beside panels; a single date is written instead."""
        from matplotlib.cm import ScalarMappable

        if self.first == self.last:
            panels[-1].annotate(
                self.first.isoformat(),
                (1.02, 1.0),
                xycoords="axes fraction",
                va="top",
                fontsize=FONT_SIZE,
                color=self(self.first),
            )
            return
        bar = figure.colorbar(ScalarMappable(self.scale, self.colours), ax=list(panels), fraction=0.05, pad=0.02)
        ticks = date_ticks(self.first, self.last)
        days = (self.last - self.first).days
        pattern = (
            "%Y" if all((tick.month, tick.day) == (1, 1) for tick in ticks) else "%Y-%m" if days > 90 else "%Y-%m-%d"
        )
        bar.set_ticks([tick.toordinal() for tick in ticks], labels=[tick.strftime(pattern) for tick in ticks])
        bar.ax.tick_params(labelsize=FONT_SIZE, color=GREY, labelcolor=INK)
        bar.outline.set_visible(False)


def date_ticks(first: datetime.date, last: datetime.date, most: int = 7) -> list[datetime.date]:
    """Return round dates in a span: first days of years or months, or else both ends."""
    for step in (1, 2, 3, 6, 12, 24, 60, 120):
        months = range(first.year * 12, last.year * 12 + 13)
        ticks = [datetime.date(month // 12, month % 12 + 1, 1) for month in months if month % step == 0]
        if step > 12:
            ticks = [datetime.date(year, 1, 1) for year in range(first.year, last.year + 1) if year % (step // 12) == 0]
        ticks = [tick for tick in ticks if first <= tick <= last]
        if len(ticks) <= most:
            return ticks if len(ticks) > 1 else [first, last]
    return [first, last]


def show_image(axes: Any, image: npt.NDArray[np.uint8], resolution: float, *, alpha: float = 1.0) -> Any:
    """Draw an image with its upper left corner at the origin, in kilometres."""
    rows, columns = image.shape[:2]
    side = resolution / 1000
    extent = (0, columns * side, rows * side, 0)
    return axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, alpha=alpha, zorder=0)


def _label_axes(axes: Any, width: float, height: float) -> None:
    axes.set_aspect("equal")
    axes.set_xlim(0, width / 1000)
    axes.set_ylim(height / 1000, 0)
    axes.set_xlabel("km from the left edge", fontsize=FONT_SIZE, color=INK)
    tidy(axes)
    axes.grid(visible=False)


def _draw_extents(axes: Any, different: Sequence[tuple[float, float]]) -> None:
    from matplotlib.patches import Rectangle

    if len(different) > 1:
        for width, height in different:
            outline = Rectangle((0, 0), width / 1000, height / 1000, fill=False, edgecolor="0.75", linewidth=0.8)
            outline.set_clip_on(False)
            axes.add_patch(outline)
