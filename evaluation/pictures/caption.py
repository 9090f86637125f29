"""Title, legend and side letters around a picture; every name is drawn as plain text."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from evaluation.pictures.contours import Color, Picture

INK: Color = (235, 235, 235)
"""Colour of text, and of samples that stand for no class."""

SMALLEST_WIDTH = 460
"""Pixels; narrower pictures get margins, so that there is room for the text."""

MOST_LINES = 4
"""Lines that a paragraph of the title may have."""

_GROUND = (20, 20, 20)
_FONT_SIZE = 14
_LINE = 20
_MARGIN = 8
_SAMPLE = 34


@dataclass(frozen=True)
class LegendEntry:
    """A text and the sample before it.

    Parameters
    ----------
    text
        What the sample stands for.
    color
        Red, green and blue.
    sample
        A ``solid`` or ``dashed`` line, a ``block`` of colour, a ``hatched`` one, or ``none``.
    """

    text: str
    color: Color
    sample: Literal["solid", "dashed", "block", "hatched", "none"] = "block"


def with_caption(picture: Picture, title: Sequence[str], legend: Sequence[LegendEntry]) -> Picture:
    """Put a title above a picture, and a legend below it.

    Parameters
    ----------
    picture
        (height, width, 3).
    title
        Paragraphs; lines that are too long are broken.
    legend
        Entries, as many in a row as there is room for.

    Returns
    -------
    ndarray of uint8
        (height, width, 3), at least 460 pixels wide.
    """
    from PIL import Image, ImageDraw

    font = _font(_FONT_SIZE)
    height, width = picture.shape[:2]
    full_width = max(width, SMALLEST_WIDTH)
    lines = [line for text in title for line in _broken(drawable(text), font, full_width - 2 * _MARGIN)]
    placed = _placed(legend, font, full_width)
    above = _MARGIN + _LINE * len(lines) + _MARGIN // 2 if lines else 0
    rows = max((row for _, _, row in placed), default=-1) + 1
    below = _MARGIN + _LINE * rows + _MARGIN // 2 if rows else 0
    canvas = Image.new("RGB", (full_width, above + height + below), _GROUND)
    canvas.paste(Image.fromarray(picture), ((full_width - width) // 2, above))
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + row * _LINE), line, fill=INK, font=font)
    for entry, left, row in placed:
        _draw_entry(draw, entry, (left, above + height + _MARGIN + row * _LINE), font)
    return np.asarray(canvas)


def with_sides(picture: Picture, sides: Sequence[str]) -> Picture:
    """Write the letters of the patient's sides at the left, right, top and bottom of a picture; none if empty."""
    from PIL import Image, ImageDraw

    if not sides:
        return picture
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    height, width = picture.shape[:2]
    places = (
        ((4, height // 2), "lm"),
        ((width - 4, height // 2), "rm"),
        ((width // 2, 4), "mt"),
        ((width // 2, height - 4), "mb"),
    )
    for letter, (place, anchor) in zip(sides, places, strict=True):
        draw.text(place, letter, fill=INK, font=_font(_FONT_SIZE), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(canvas)


def drawable(text: str) -> str:
    """Replace line breaks, other control characters and what is no text at all; file names may have them."""
    return "".join("\ufffd" if unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter for letter in text)


def _font(size: int) -> FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    # Matplotlib carries this font; Pillow's own has few letters beyond ASCII.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _broken(text: str, font: FreeTypeFont, width: float) -> list[str]:
    """Break a text into lines, after spaces where there are any; what is too long for all lines is cut."""
    lines: list[str] = []
    while text and len(lines) < MOST_LINES:
        end = _fitting(text, font, width)
        if end < len(text) and " " in text[1:end]:
            end = text.rindex(" ", 1, end) + 1
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    if text:
        lines[-1] = lines[-1][: _fitting(lines[-1], font, width - font.getlength("…"))] + "…"
    return lines


def _fitting(text: str, font: FreeTypeFont, width: float) -> int:
    """Return how many letters fit, at least one."""
    end = len(text)
    while end > 1 and font.getlength(text[:end]) > width:
        end -= 1
    return end


def _placed(legend: Sequence[LegendEntry], font: FreeTypeFont, width: int) -> list[tuple[LegendEntry, int, int]]:
    """Return each entry, cut to the width, with its left edge and row."""
    placed = []
    left, row = _MARGIN, 0
    for entry in legend:
        text = _broken(drawable(entry.text), font, width - 2 * _MARGIN - _SAMPLE)[:1] or [""]
        needed = _sample_width(entry) + int(font.getlength(text[0])) + 2 * _MARGIN
        if left > _MARGIN and left + needed - _MARGIN > width:
            left, row = _MARGIN, row + 1
        placed.append((LegendEntry(text[0], entry.color, entry.sample), left, row))
        left += needed
    return placed


def _sample_width(entry: LegendEntry) -> int:
    return 0 if entry.sample == "none" else _SAMPLE


def _draw_entry(draw: ImageDraw, entry: LegendEntry, place: tuple[int, int], font: FreeTypeFont) -> None:
    left, top = place
    draw.text((left + _sample_width(entry), top + 1), entry.text, fill=INK, font=font)
    right, middle = left + _SAMPLE - 8, top + _LINE // 2
    if entry.sample in ("solid", "dashed"):
        step, length = (10, 6) if entry.sample == "dashed" else (right - left, right - left)
        for start in range(left, right, step):
            draw.line([(start, middle), (min(right, start + length), middle)], fill=entry.color, width=2)
    elif entry.sample != "none":
        box = (left, middle - 5, right, middle + 5)
        hatched = entry.sample == "hatched"
        draw.rectangle(box, fill=None if hatched else entry.color, outline=entry.color)
        for start in range(left, right - 9, 6) if hatched else ():
            draw.line([(start, middle + 5), (start + 10, middle - 5)], fill=entry.color)
