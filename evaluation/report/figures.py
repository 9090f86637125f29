"""The pictures of report.html: box plots as SVG, overlays as PNG, both as data URIs.

An SVG in an ``img`` is a document of its own: its ids and styles cannot collide with those of the page, and nothing in
it can run. Names are drawn as text, so that the browser finds the glyphs that matplotlib's font lacks.
"""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from evaluation.results import value_in_means

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes

    from evaluation.metrics import Metric
    from evaluation.results import Evaluation

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#555555", "#7a4fbf")
"""Colours of the models, told apart by colour-blind readers too; with more models they start again."""

MAX_POINTS = 50
"""Cases in a box that are all drawn as points; of more, only those beyond the whiskers."""

MAX_VECTOR_POINTS = 2000
"""Points in a figure that are drawn one by one; more become a bitmap inside the SVG."""

LOG_RATIO = 50.0
"""Distances whose largest and smallest value differ by more are drawn on a logarithmic axis."""

FEW_CLASSES = 12
"""With more of them, boxes are drawn narrower."""

INK, PALE = "#3c4650", "#dfe3e7"
STYLE: Any = {
    # Names may hold $, and letters that matplotlib's own font does not have.
    "text.parse_math": False,
    "svg.fonttype": "none",
    # In place of random ids, so that the same evaluation gives the same bytes.
    "svg.hashsalt": "nnunet_ext",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": "#9aa3ab",
    "axes.linewidth": 0.8,
}
"""Settings of matplotlib for the figures of all reports."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class BoxPlot:
    """A figure of the report: what it shows, in words, and its SVG as data URI with its width in CSS pixels."""

    metric: str
    alt: str
    uri: str
    width: int
    notes: tuple[str, ...] = ()


@dataclass
class _Box:
    """The values of one class and model as they enter means, and those among them that are penalties."""

    position: float
    measured: list[float]
    penalised: list[float]

    @cached_property
    def stats(self) -> dict[str, float]:
        from matplotlib.cbook import boxplot_stats

        return cast("dict[str, float]", boxplot_stats(np.array(self.measured + self.penalised))[0])

    @cached_property
    def points(self) -> list[tuple[float, float, bool]]:
        """Place from -0.5 to 0.5, value and whether it is a penalty, of the points that are drawn."""
        values = [(value, False) for value in self.measured] + [(value, True) for value in self.penalised]
        if len(values) > MAX_POINTS:
            low, high = self.stats["whislo"], self.stats["whishi"]
            values = [entry for entry in values if not low <= entry[0] <= high]
        # Multiples of the golden ratio spread points evenly and, unlike random numbers, always in the same way.
        return [((index * 0.618034) % 1 - 0.5, *entry) for index, entry in enumerate(values)]


def printable(text: str) -> str:
    """Replace what no document may hold or what would turn its text around: control characters, lone surrogates."""
    return _UNPRINTABLE.sub("\ufffd", text)


def box_plots(found: Evaluation, models: Sequence[str]) -> list[BoxPlot]:
    """Draw the values of each metric that has any: classes along x, models by colour.

    Parameters
    ----------
    found
        The evaluation.
    models
        Its models, in the order of the colours.

    Returns
    -------
    list of BoxPlot
        In the order of the metrics. The same evaluation gives the same bytes.
    """
    plots = (_box_plot(found, models, metric) for metric in found.metrics)
    return [plot for plot in plots if plot is not None]


def png_uri(picture: npt.NDArray[np.uint8]) -> str:
    """Return a picture (height, width, 3) as data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return _data_uri("image/png", buffer.getvalue())


def _box_plot(found: Evaluation, models: Sequence[str], metric: Metric) -> BoxPlot | None:
    from matplotlib import rc_context

    classes = [f"{scored.task}/{scored.name}" if scored.task else scored.name for scored in found.label_set.classes]
    shown, boxes = _boxes(found, models, metric)
    if not shown:
        return None
    values = [value for row in boxes.values() for box in row for value in box.measured + box.penalised]
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        svg, width = _draw(metric, [_shortened(classes[index]) for index in shown], boxes, values)
    notes = []
    if any(len(box.measured) + len(box.penalised) > MAX_POINTS for row in boxes.values() for box in row):
        notes.append(f"Boxes of more than {MAX_POINTS} cases show only the points beyond the whiskers.")
    if len(shown) < len(classes):
        left_out = len(classes) - len(shown)
        notes.append(f"{left_out} {'classes' if left_out > 1 else 'class'} without a value left out.")
    better = f" ({metric.better} is better)" if metric.better else ""
    alt = f"Box plots of {metric.name}{better} by class and model: the numbers are in the tables."
    return BoxPlot(metric.name, alt, _data_uri("image/svg+xml", svg), width, tuple(notes))


def _boxes(found: Evaluation, models: Sequence[str], metric: Metric) -> tuple[list[int], dict[int, list[_Box]]]:
    """Return the classes that have a value, and for each model, by its index, the box of each of them."""
    gathered: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    order = {model: index for index, model in enumerate(models)}
    for case in found.cases:
        for index, scores in enumerate(case.classes):
            value = value_in_means(case, scores, metric, found.penalty)
            if math.isfinite(value):
                lists = gathered.setdefault((order[case.model], index), ([], []))
                lists[math.isnan(scores.values[metric.name])].append(value)
    shown = sorted({index for _, index in gathered})
    step = 0.8 / len(models)
    boxes = {
        model: [
            _Box(place + (model - (len(models) - 1) / 2) * step, *gathered[model, index])
            for place, index in enumerate(shown)
            if (model, index) in gathered
        ]
        for model in range(len(models))
    }
    return shown, boxes


def _draw(
    metric: Metric, names: Sequence[str], boxes: Mapping[int, Sequence[_Box]], values: Sequence[float]
) -> tuple[bytes, int]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    few = len(names) <= FEW_CLASSES
    slot = max(0.26, min(0.9, (0.24 if few else 0.13) * len(boxes) + 0.12))
    longest = max(map(len, names))
    tilted = longest * 0.075 > slot
    width = max(3.9, 0.75 + slot * len(names))
    figure = Figure(figsize=(width, 2.75 + 0.042 * longest * tilted), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.set_title(metric.name, loc="left", fontsize=10, fontweight="bold")
    better = f"{metric.better} is better" if metric.better else ""
    axes.set_ylabel(", ".join(part for part in (metric.unit, better) if part))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    rotation: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if tilted else {}
    axes.set_xticks(range(len(names)), names, **rotation)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(names) - 0.5)
    bitmap = sum(len(box.points) for row in boxes.values() for box in row) > MAX_VECTOR_POINTS
    for model, row in boxes.items():
        _draw_model(axes, PALETTE[model % len(PALETTE)], row, 0.56 / len(boxes), bitmap=bitmap)
    _scale(axes, metric, values)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return _compact(buffer.getvalue()), round(width * 96)


def _draw_model(axes: Axes, colour: str, row: Sequence[_Box], width: float, *, bitmap: bool) -> None:
    """Draw the boxes of one model: all boxes as one path, which makes the SVG a tenth as large as one path per line."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    rectangles, lines, medians = [], [], []
    for box in row:
        stats, left, right, x = box.stats, box.position - width / 2, box.position + width / 2, box.position
        corners = [(left, stats["q1"]), (right, stats["q1"]), (right, stats["q3"]), (left, stats["q3"])]
        rectangles.append(Outline([*corners, corners[0]], closed=True))
        lines.append([(x, stats["q3"]), (x, stats["whishi"])])
        lines.append([(x, stats["whislo"]), (x, stats["q1"])])
        medians.append([(left, stats["med"]), (right, stats["med"])])
    if not rectangles:
        return
    outline = Outline.make_compound_path(*rectangles)
    axes.add_patch(PathPatch(outline, facecolor=to_rgba(colour, 0.16), edgecolor=colour, linewidth=0.9))
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=0.9))
    axes.add_collection(LineCollection(medians, colors=colour, linewidths=2.0, capstyle="butt"))
    for penalised, marker, size in ((False, "o", 2.6), (True, "x", 4.5)):
        points = [
            (box.position + 0.7 * width * place, value)
            for box in row
            for place, value, of in box.points
            if of == penalised
        ]
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            linestyle="none",
            marker=marker,
            markersize=size,
            markeredgewidth=1.1 if penalised else 0,
            color=colour,
            alpha=0.85 if penalised else 0.6,
            rasterized=bitmap,
        )


def _scale(axes: Axes, metric: Metric, values: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    positive = [value for value in values if value > 0]
    if metric.unit and min(values) >= 0 and positive and max(positive) > LOG_RATIO * min(positive):
        if min(values) > 0:
            axes.set_yscale("log")
        else:
            # Zeros have no place on a logarithmic axis; below the smallest distance it is linear.
            lowest = math.floor(math.log10(min(positive)))
            axes.set_yscale("symlog", linthresh=10.0**lowest, linscale=0.5)
            axes.set_yticks([0, *(10.0**power for power in range(lowest, math.floor(math.log10(max(positive))) + 1))])
            axes.set_ylim(bottom=0)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
    elif min(values) >= 0:
        shares = not metric.unit and max(values) <= 1
        if shares and min(values) < 0.5:
            axes.set_ylim(-0.03, 1.03)
        elif not shares:
            axes.set_ylim(bottom=0)
    if metric.unit:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace(",", "\u202f")))


def _shortened(name: str, length: int = 24) -> str:
    name = " ".join(printable(name).split())
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _compact(svg: bytes) -> bytes:
    """Drop line breaks, and digits of coordinates below a hundredth of a point: half of the file."""
    # Only inside of tags: the next bracket after a name is that of its closing tag.
    return re.sub(rb"(\d\.\d\d)\d+(?=[^<>]*>)", rb"\1", re.sub(rb"\s*\n\s*", b" ", svg))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
