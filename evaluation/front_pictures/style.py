"""How all figures of calving fronts look: size, fonts, colours that colour-blind readers tell apart, captions."""

from __future__ import annotations

import datetime
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

from evaluation.report.figures import PALETTE, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

INK, GREY, PALE = "#262c32", "#6a737b", "#e3e6e9"
LABEL_COLOUR = "#000000"
"""Of labels where predictions are drawn beside them."""

FONT_SIZE = 8.5
CHARACTERS_PER_INCH = 17
"""Of the caption's font, to break its lines."""

SATELLITES = {
    "ERS": ("#e69f00", "s"),
    "RSAT": ("#009e73", "^"),
    "ENVISAT": ("#56b4e9", "D"),
    "PALSAR": ("#cc79a7", "v"),
    "ALOS": ("#cc79a7", "v"),
    "TSX": ("#0072b2", "o"),
    "TDX": ("#d55e00", ">"),
    "S1": ("#000000", "p"),
}
"""Colour (Okabe and Ito) and marker of each satellite of the benchmark, the same in all figures."""

DAYS_WITHOUT_YEAR = 800
"""Axes of dates that span less need the year beside them, since not every tick names one."""

_MARKERS = "Ph*dX<8"


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Any, *, grid: str = "both") -> None:
    """Give axes the look of these figures; ``grid`` says along which axes lines are drawn."""
    axes.tick_params(labelsize=FONT_SIZE, color=GREY, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(axis=grid, color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)


def add_title(axes: Any, text: str) -> None:
    """Write a title at the left, as it stands: a dollar sign begins no formula."""
    axes.set_title(literal(text), loc="left", fontsize=FONT_SIZE + 1, fontweight="bold", color=INK)


def add_caption(figure: Any, caption: str) -> None:
    """Write a caption below a figure, if it is not empty; constrained layout leaves the room for it."""
    if caption:
        columns = int(figure.get_size_inches()[0] * CHARACTERS_PER_INCH)
        text = literal(textwrap.fill(printable(caption), columns))
        figure.supxlabel(text, x=0.01, ha="left", fontsize=FONT_SIZE - 2, color=GREY)


def literal(text: str) -> str:
    """Keep matplotlib from reading what stands between dollar signs as a formula."""
    return printable(text).replace("$", r"\$")


def model_colours(models: Iterable[str]) -> dict[str, str]:
    """Return the colour of each model; with more than eight models they start again."""
    return {model: PALETTE[index % len(PALETTE)] for index, model in enumerate(dict.fromkeys(models))}


def satellite_styles(satellites: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each satellite; those that the benchmark does not have get what is left."""
    styles: dict[str, tuple[str, str]] = {}
    others = 0
    for satellite in sorted(set(satellites)):
        if satellite in SATELLITES:
            styles[satellite] = SATELLITES[satellite]
        else:
            styles[satellite] = (PALETTE[others % len(PALETTE)], _MARKERS[others % len(_MARKERS)])
            others += 1
    return styles


def date_axis(axis: Any, dates: Sequence[datetime.date]) -> None:
    """Put ticks at years, months or days, whatever the span of the dates needs, and leave room for a single one."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    span = max(dates) - min(dates)
    margin = max(span * 0.04, datetime.timedelta(days=15 if span else 180))
    axis.axes.set_xlim(min(dates) - margin, max(dates) + margin)
    locator: Any = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    offset = span.days < DAYS_WITHOUT_YEAR
    formatter: Any = ConciseDateFormatter(locator, show_offset=offset)  # type: ignore[no-untyped-call]
    axis.set_major_locator(locator)
    axis.set_major_formatter(formatter)


def save_figure(figure: Any, path: Path) -> None:
    """Save a figure in the format that the file's ending names; the same figure gives the same SVG."""
    from matplotlib import rc_context

    plain: Any = {"svg.hashsalt": "nnunet_ext", "pdf.fonttype": 42}
    metadata: dict[str, Any] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[path.suffix[1:]]
    with rc_context(plain), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        figure.savefig(path, dpi=200, metadata=metadata)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 image``, ``2 images``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def listed(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
