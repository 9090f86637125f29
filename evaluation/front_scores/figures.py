"""The figures of the report on fronts, as SVG in data URIs: models beside published numbers, and errors by group."""

from __future__ import annotations

import base64
import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.front_scores.names import groups_in_order
from evaluation.front_scores.published import PUBLISHED
from evaluation.front_scores.results import ALL
from evaluation.report.figures import PALE, PALETTE, STYLE, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evaluation.front_scores.results import FrontEvaluation, GroupRow, ImageRow

PLOTTED = ("glacier", "satellite", "resolution", "season", "glacier × season", "glacier × satellite")
REFERENCES = (("CaFFe baseline, zones", "baseline"), ("multi-temporal Tyrion", "best published"))
"""Published results that are lines in the figures of groups, and what they are called there."""

MAX_POINTS = 1000
"""Images of a group and model that are drawn as points; of more, only those beyond the whiskers."""

_GREY = "#7b858e"


@dataclass(frozen=True)
class Plot:
    """A figure: what it shows, in words, and its SVG as data URI with its width in CSS pixels."""

    alt: str
    uri: str
    width: int


def comparison_plot(found: FrontEvaluation) -> Plot:
    """Draw the mean distance error of each model with its interval, and the published ones, on a logarithmic axis."""
    ours = [(row.model, row) for row in found.groups if row.grouping == ALL and math.isfinite(row.mde)]
    entries: list[tuple[float, str, GroupRow | None, float]] = [(row.mde, model, row, math.nan) for model, row in ours]
    entries += [(published.mde, published.name, None, published.std) for published in PUBLISHED]
    entries.sort(key=lambda entry: -entry[0])
    with _style():
        figure, axes = _figure(6.6, 0.5 + 0.19 * len(entries))
        for place, (mde, _, row, std) in enumerate(entries):
            colour = _GREY if row is None else PALETTE[found.models.index(row.model) % len(PALETTE)]
            low, high = (mde - std, mde + std) if row is None else (row.mde_low, row.mde_high)
            if math.isfinite(low) and math.isfinite(high):
                axes.plot([low, high], [place, place], color=colour, linewidth=1.6, alpha=0.55, solid_capstyle="butt")
            marker, size = ("o", 4.0) if row is None else ("D", 5.5)
            axes.plot([mde], [place], marker, color=colour, markersize=size)
        axes.set_yticks(range(len(entries)), [_shortened(name, 44) for _, name, _, _ in entries])
        for tick, (_, _, row, _) in zip(axes.get_yticklabels(), entries, strict=True):
            tick.set_fontweight("normal" if row is None else "bold")
        axes.set_ylim(-0.7, len(entries) - 0.3)
        ends = [(row.mde, row.mde_low, row.mde_high) for _, _, row, _ in entries if row is not None]
        _log_axis(axes, [end for of_row in ends for end in of_row] + [p.mde for p in PUBLISHED])
        axes.set_xlabel("mean distance error, m, log scale")
        return Plot(
            "Mean distance errors of the models and published ones: the numbers are in the table.", *_svg(figure)
        )


def group_plots(found: FrontEvaluation) -> list[Plot]:
    """Draw the means of all images by group and model; groupings of a single group are left out."""
    plots = []
    for grouping in PLOTTED:
        groups = groups_in_order(row.group for row in found.groups if row.grouping == grouping)
        if len(groups) > 1 or grouping == PLOTTED[0]:
            plots.append(_group_plot(found, grouping, groups))
    return [plot for plot in plots if plot is not None]


def _group_plot(found: FrontEvaluation, grouping: str, groups: Sequence[str]) -> Plot | None:
    models, fields = found.models, grouping.split(" × ")
    means: dict[tuple[str, str], list[float]] = {}
    for row in found.images:
        if not row.no_front:
            means.setdefault((_group_of(row, fields), row.model), []).append(row.mean)
    if not means:
        return None
    pooled = {(row.group, row.model): row.mde for row in found.groups if row.grouping == grouping}
    step = 0.8 / len(models)
    with _style():
        slot = max(0.3, 0.2 * len(models) + 0.1)
        figure, axes = _figure(5.2, 0.95 + slot * len(groups))
        for place, group in enumerate(groups):
            for index, model in enumerate(models):
                y = place + (index - (len(models) - 1) / 2) * step
                values = means.get((group, model), [])
                if values:
                    _draw_box(axes, y, step, values, pooled[group, model], PALETTE[index % len(PALETTE)])
        axes.set_yticks(range(len(groups)), [_shortened(_with_unit(group, fields), 32) for group in groups])
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        known = {published.name: published.mde for published in PUBLISHED}
        _log_axis(axes, [value for values in means.values() for value in values] + [known[n] for n, _ in REFERENCES])
        for line, (name, called) in enumerate(REFERENCES):
            axes.axvline(known[name], color=_GREY, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0.5)
            axes.annotate(
                f"{called} {known[name]:.0f}",
                (known[name], 1),
                # Right-aligned, one above the other: side by side they overlap where the axis is long.
                (1, 3 + 8 * line),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="right",
                fontsize=7,
                color=_GREY,
            )
        axes.set_title(f"By {grouping}", loc="left", fontsize=10, fontweight="bold", pad=22)
        axes.set_xlabel("mean distance of an image, m, log scale")
        return Plot(f"Mean distances of images by {grouping} and model: the numbers are in the tables.", *_svg(figure))


def _draw_box(axes: Axes, y: float, step: float, values: Sequence[float], mde: float, colour: str) -> None:
    """Draw quartiles, whiskers, the images, and the pooled error as a diamond."""
    from matplotlib.cbook import boxplot_stats
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    stats: dict[str, float] = boxplot_stats(np.array(values))[0]
    height = 0.7 * step
    low, high = stats["q1"], stats["q3"]
    axes.add_patch(
        Rectangle((low, y - height / 2), high - low, height, facecolor=to_rgba(colour, 0.16), edgecolor=colour, lw=0.9)
    )
    axes.plot([stats["whislo"], low], [y, y], color=colour, linewidth=0.9)
    axes.plot([high, stats["whishi"]], [y, y], color=colour, linewidth=0.9)
    axes.plot([stats["med"]] * 2, [y - height / 2, y + height / 2], color=colour, linewidth=2, solid_capstyle="butt")
    shown = [v for v in values if len(values) <= MAX_POINTS or not stats["whislo"] <= v <= stats["whishi"]]
    # Multiples of the golden ratio spread points evenly and, unlike random numbers, always in the same way.
    offsets = [((index * 0.618034) % 1 - 0.5) * height * 0.9 for index in range(len(shown))]
    axes.plot(
        shown, [y + offset for offset in offsets], "o", color=colour, alpha=0.6, markersize=2.4, markeredgewidth=0
    )
    axes.plot([mde], [y], "D", markersize=4.5, markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.3)


def _group_of(row: ImageRow, fields: Sequence[str]) -> str:
    return " × ".join(getattr(row, field) for field in fields)


def _with_unit(group: str, fields: Sequence[str]) -> str:
    return f"{group} m" if list(fields) == ["resolution"] else group


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    finite = [value for value in values if math.isfinite(value)]
    positive = [value for value in finite if value > 0]
    if not positive or min(finite) <= 0:
        # Zeros have no place on a logarithmic axis; below the smallest distance it is linear.
        lowest = math.floor(math.log10(min(positive))) if positive else 0
        axes.set_xscale("symlog", linthresh=10.0**lowest, linscale=0.5)
        highest = math.ceil(math.log10(max(positive))) if positive else 1
        axes.set_xticks([0, *(10.0**power for power in range(lowest, highest + 1))])
        axes.set_xlim(-(10.0**lowest) * 0.1, 1.3 * max(positive, default=1))
    else:
        axes.set_xscale("log")
        low, high = min(positive) / 1.25, max(positive) * 1.25
        if high < 100 * low:
            # Less than two decades: their powers alone would be two ticks or fewer.
            steps = [factor * 10.0**power for power in range(-3, 7) for factor in (1, 2, 5)]
            axes.set_xticks([value for value in steps if low <= value <= high])
        axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace(",", "\u202f")))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _style() -> Any:
    from matplotlib import rc_context

    return rc_context(STYLE)


def _svg(figure: Figure) -> tuple[str, int]:
    """Return a figure as data URI, and its width in CSS pixels."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    uri = f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return uri, round(figure.get_size_inches()[0] * 96)


def _shortened(name: str, length: int) -> str:
    name = " ".join(printable(name).split())
    return name if len(name) <= length else f"{name[: length - 1]}…"
