"""Box plots of the front error of images by season, glacier and satellite, on a logarithmic axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.front_pictures.style import (
    FONT_SIZE,
    GREY,
    INK,
    add_caption,
    add_title,
    literal,
    model_colours,
    new_figure,
    tidy,
)
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.front_pictures.rows import ImageRow

GROUPINGS = ("season", "glacier", "satellite")
LANE, GAP = 0.24, 0.14
"""Height of a box with its surroundings, and between groups, in inches."""

CAPTION = (
    "Mean distance between predicted and labelled front per image (points). Box: quartiles and median; whiskers: "
    "furthest image within 1.5 times the interquartile range; diamond: mean distance error, the mean over all front "
    "pixels of the group. n: images with both fronts."
)
WITHOUT = " +k: k images in which prediction or label has no front; they are in no box."
WITH_ZERO = " The axis is linear below {linear:g} m, so that 0 has a place."


@dataclass(frozen=True)
class ErrorGroup:
    """The images of a model in one group.

    Parameters
    ----------
    name
        Of the group, such as ``summer``.
    model
        Of the model.
    means
        Mean distance in metres of each image with both fronts.
    pooled
        Mean distance error of these images in metres; NaN if there are none.
    no_front
        Images in which prediction or label has no front.
    """

    name: str
    model: str
    means: tuple[float, ...]
    pooled: float
    no_front: int


def error_groups(rows: Sequence[ImageRow], by: str) -> list[ErrorGroup]:
    """Gather the errors of images by group and model.

    Parameters
    ----------
    rows
        Rows of the table.
    by
        ``season``, ``glacier``, ``satellite`` or ``resolution``.

    Returns
    -------
    list of ErrorGroup
        In the order of the groups' names, and of the models in the table.
    """
    models = list(dict.fromkeys(row.model for row in rows))
    groups = []
    for name in sorted({getattr(row, by) for row in rows}):
        for model in models:
            own = [row for row in rows if getattr(row, by) == name and row.model == model]
            measured = [row for row in own if not row.no_front]
            distances = sum(row.n_distances for row in measured)
            pooled = sum(row.sum_distances for row in measured) / distances if distances else math.nan
            text = f"{name:g} m" if isinstance(name, float) else str(name)
            without = len(own) - len(measured)
            groups.append(ErrorGroup(text, model, tuple(row.mean for row in measured), pooled, without))
    return groups


def error_box_plots(
    rows: Sequence[ImageRow], groupings: Sequence[str] = GROUPINGS, *, title: str = "", caption: str = CAPTION
) -> Any:
    """Draw box plots of the images' errors, a panel per grouping, models by colour.

    Parameters
    ----------
    rows
        Rows of the table.
    groupings
        Columns to group by.
    title
        Of the figure.
    caption
        Text below; notes on images without front and on zeros are added. Empty for none.

    Returns
    -------
    matplotlib.figure.Figure
        All panels share one logarithmic axis of metres.

    Raises
    ------
    InputError
        If no image has an error.
    """
    values = [row.mean for row in rows if not row.no_front]
    if not values:
        message = "box plots: no image has both a predicted and a labelled front"
        raise InputError(message)
    panels = {by: error_groups(rows, by) for by in groupings}
    models = model_colours(row.model for row in rows)
    heights = [len({group.name for group in groups}) * (len(models) * LANE + GAP) + GAP for groups in panels.values()]
    height = sum(heights) + 0.4 * len(heights) + 0.65 + 0.35 * bool(caption) + 0.25 * bool(title or len(models) > 1)
    figure = new_figure(6.6, height)
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (by, groups), inches in zip(all_axes, panels.items(), heights, strict=True):
        _draw_panel(axes, groups, models, inches)
        add_title(axes, by.capitalize())
    linear = log_axis(all_axes[-1], values + [group.pooled for group in panels[groupings[0]]])
    all_axes[-1].set_xlabel("mean distance per image (m), log scale, lower is better", fontsize=FONT_SIZE, color=INK)
    if title:
        figure.suptitle(literal(title), x=0.01, ha="left", fontsize=FONT_SIZE + 2.5, fontweight="bold", color=INK)
    if len(models) > 1:
        _legend(figure, models)
    if caption:
        caption += WITHOUT * any(row.no_front for row in rows)
        caption += WITH_ZERO.format(linear=linear) if linear else ""
    add_caption(figure, caption)
    return figure


def log_axis(axes: Any, values: Sequence[float]) -> float:
    """Make the x axis logarithmic; with zeros it is linear below the smallest other value.

    Parameters
    ----------
    axes
        To change.
    values
        Not negative; NaN does not count.

    Returns
    -------
    float
        Where the axis turns linear, 0 if nowhere.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    finite = [value for value in values if math.isfinite(value)]
    positive = [value for value in finite if value > 0] or [1.0]
    margin = 1.25 if max(positive) > 2 * min(positive) else 1.6
    low, high = min(positive) / margin, max(positive) * margin
    decade = 10.0 ** math.floor(math.log10(low))
    steps = [factor * decade * 10.0**power for power in range(12) for factor in range(1, 10)]
    linear = 0.0
    if min(finite) > 0:
        axes.set_xscale("log")
        steps = [value for value in steps if low <= value <= high]
    else:
        linear = max(value for value in steps if value <= min(positive) and f"{value:e}"[0] in "125")
        axes.set_xscale("symlog", linthresh=linear, linscale=0.5)
        low = -0.08 * linear
        steps = [0.0, *(value for value in steps if linear <= value <= high)]
    # Powers of ten alone say little where there are one or two.
    few = high < 100 * (linear or low)
    named = [value for value in steps if f"{value:e}"[0] in ("0125" if few else "01")]
    axes.xaxis.set_major_locator(FixedLocator(named if len(named) > 1 else steps))
    axes.xaxis.set_minor_locator(FixedLocator(steps))
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace(",", "\u202f")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    return linear


def _draw_panel(axes: Any, groups: Sequence[ErrorGroup], models: dict[str, str], inches: float) -> None:
    names = list(dict.fromkeys(group.name for group in groups))
    order = list(models)
    ticks = []
    for group in groups:
        start = names.index(group.name) * (len(order) * LANE + GAP) + GAP
        y = start + (order.index(group.model) + 0.5) * LANE
        _draw_box(axes, group, y, models[group.model])
        count = f"n = {len(group.means)}" + (f" +{group.no_front}" if group.no_front else "")
        axes.annotate(
            count, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=FONT_SIZE - 1.5, color=GREY
        )
        if group.model == order[0]:
            ticks.append(start + len(order) * LANE / 2)
    tidy(axes, grid="x")
    axes.set_ylim(inches, 0)
    axes.set_yticks(ticks, [literal(name) for name in names])
    axes.tick_params(axis="y", length=0)


def _draw_box(axes: Any, group: ErrorGroup, y: float, colour: str) -> None:
    from matplotlib.cbook import boxplot_stats
    from matplotlib.colors import to_rgba

    if not group.means:
        return
    # A box of one or two images would look like a distribution.
    if len(group.means) > 2:
        stats = boxplot_stats(np.array(group.means))[0]
        low, high, half = stats["q1"], stats["q3"], 0.31 * LANE
        axes.barh(
            y, high - low, left=low, height=2 * half, facecolor=to_rgba(colour, 0.16), edgecolor=colour, linewidth=0.9
        )
        axes.hlines([y, y], [stats["whislo"], high], [low, stats["whishi"]], colors=colour, linewidth=0.9)
        axes.vlines(stats["med"], y - half, y + half, colors=colour, linewidth=2.0)
    # Multiples of the golden ratio spread points evenly, and always in the same way.
    places = [y + 0.5 * LANE * ((index * 0.618034 + 0.5) % 1 - 0.5) for index in range(len(group.means))]
    axes.plot(
        group.means,
        places,
        linestyle="none",
        marker="o",
        markersize=2.8,
        markeredgewidth=0,
        color=colour,
        alpha=0.65,
        clip_on=False,
        zorder=5,
    )
    axes.plot(
        [group.pooled],
        [y],
        linestyle="none",
        marker="D",
        markersize=4.2,
        markerfacecolor="white",
        markeredgecolor=INK,
        markeredgewidth=0.9,
        zorder=4,
    )


def _legend(figure: Any, models: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=literal(model)) for model, colour in models.items()]
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=min(len(models), 5),
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=INK,
        handlelength=1.0,
    )
