"""Bounding boxes of the CaFFe benchmark: the part of an image in which its front is looked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nnunet_ext.errors import InputError, MissingInputError

if TYPE_CHECKING:
    from pathlib import Path

CORNERS = 4


def read_bounding_box(path: Path, shape: tuple[int, int], *, compat: bool = False) -> tuple[slice, slice]:
    """Read the box of an image.

    Parameters
    ----------
    path
        Text file: a header line, then four lines with a corner ``x, y`` each, in any order.
    shape
        Rows and columns of the image, to which the box is clipped.
    compat
        Whether a box that reaches beyond the far edges loses the last row or column, as in the benchmark's own code.

    Returns
    -------
    tuple of slice
        Rows and columns, from the smallest coordinate (inclusive) to the largest (exclusive), rounded.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If the file holds something else, or the box has no pixel in the image.
    """
    if not path.is_file():
        message = f"{path}: no such file"
        raise MissingInputError(message)
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
    corners = [_corner(line) for line in lines[1:] if line]
    known = [corner for corner in corners if corner is not None]
    if len(known) != CORNERS or len(corners) != CORNERS:
        message = f"{path}: expected a header line and {CORNERS} lines 'x, y', found {lines}"
        raise InputError(message)
    columns, rows = (
        _span(values, size, compat=compat)
        for values, size in zip(zip(*known, strict=True), reversed(shape), strict=True)
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        message = f"{path}: the box {known} has no pixel in an image of {shape[0]} rows and {shape[1]} columns"
        raise InputError(message)
    return rows, columns


def _corner(line: str) -> tuple[float, float] | None:
    parts = line.replace(",", " ").split()
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def _span(values: tuple[float, ...], size: int, *, compat: bool) -> slice:
    start, stop = max(0, round(min(values))), round(max(values))
    if stop > size:
        stop = size - 1 if compat else size
    return slice(start, stop)
