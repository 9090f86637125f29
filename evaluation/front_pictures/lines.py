"""Fronts as lines in metres, so that images of different pixel size and shape go into one picture.

The benchmark has no georeferencing. A pixel lies at (column + 0.5, row + 0.5) times the pixel size from the upper left
corner of its image, x to the right and y down; images of a glacier are laid onto each other at that corner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Line = npt.NDArray[np.float64]
    Pixel = tuple[int, int]

SAME_EXTENT = 0.01
"""Images whose sides differ by a smaller part, or by two pixels of the coarser one, cover the same extent."""

_NEIGHBOURS = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True, eq=False)
class DatedFront:
    """The front of one image.

    Parameters
    ----------
    date
        Of the acquisition.
    satellite
        Of the acquisition.
    lines
        Polylines of points (x, y) in metres from the upper left corner of the image, y down, each of shape (n, 2).
    extent
        Width and height of the image in metres.
    resolution
        Pixel size in metres.
    """

    date: datetime.date
    satellite: str
    lines: tuple[Line, ...]
    extent: tuple[float, float]
    resolution: float


def dated_front(front: npt.NDArray[Any], resolution: float, date: datetime.date, satellite: str) -> DatedFront:
    """Turn the front of an image into lines.

    Parameters
    ----------
    front
        Nonzero where the front is, shape (H, W). A wide front becomes a net of lines that covers it.
    resolution
        Pixel size in metres.
    date, satellite
        Of the acquisition.
    """
    rows, columns = front.shape
    extent = (columns * resolution, rows * resolution)
    return DatedFront(date, satellite, tuple(trace(front, resolution)), extent, resolution)


def trace(front: npt.NDArray[Any], resolution: float) -> list[Line]:
    """Follow a front from pixel to pixel.

    Parameters
    ----------
    front
        Nonzero where the front is, shape (H, W).
    resolution
        Pixel size in metres.

    Returns
    -------
    list of ndarray
        Polylines (x, y) in metres between the centres of neighbouring pixels, which meet where the front branches.
        Two pixels that touch at a corner are joined unless a third joins them. A single pixel is a line of one point.

    Raises
    ------
    InputError
        If the front has not two axes, or the pixel size is not positive.
    """
    if front.ndim != 2 or not resolution > 0:
        message = f"front of shape {front.shape} at {resolution} m, expected two axes and a positive pixel size"
        raise InputError(message)
    near = _neighbours(front)
    # Lines begin where they end or branch; what is left then are rings.
    starts = [pixel for pixel in near if len(near[pixel]) != 2]
    stops = set(starts)
    paths = [[pixel] for pixel in starts if not near[pixel]]
    for pixel in [*starts, *near]:
        while near[pixel]:
            paths.append(_walk(pixel, near, stops))
    return [(np.array(path, np.float64)[:, ::-1] + 0.5) * resolution for path in paths]


def extents(fronts: Iterable[DatedFront]) -> list[tuple[float, float]]:
    """Return the different extents of images, in metres, each once; those nearly the same count as one."""
    different: list[tuple[tuple[float, float], float]] = []
    for front in fronts:
        if not any(same_extent(front.extent, other, max(front.resolution, size)) for other, size in different):
            different.append((front.extent, front.resolution))
    return [extent for extent, _ in different]


def same_extent(first: tuple[float, float], second: tuple[float, float], resolution: float) -> bool:
    """Return whether two images cover the same width and height, but for a hundredth or two pixels."""
    return all(abs(a - b) <= max(2 * resolution, SAME_EXTENT * max(a, b)) for a, b in zip(first, second, strict=True))


def whole_extent(extent: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the width and height that hold all extents."""
    return max(width for width, _ in extent), max(height for _, height in extent)


def placement(different: Sequence[tuple[float, float]]) -> str:
    """Say for a caption how images are laid onto each other, and whether they differ in extent."""
    text = (
        "Images are not georeferenced: positions are pixel coordinates times pixel size from the upper left corner of "
        "each image."
    )
    if len(different) > 1:
        shown = ", ".join(f"{width / 1000:.3g} × {height / 1000:.3g}" for width, height in sorted(different)[:4])
        more = ", …" if len(different) > 4 else ""
        text += (
            f" The images differ in extent ({shown}{more} km): fronts of images with different extents may be "
            "shifted against each other."
        )
    return text


def _neighbours(front: npt.NDArray[Any]) -> dict[Pixel, set[Pixel]]:
    """Return for each pixel those that it is joined to."""
    pixels = {(int(row), int(column)) for row, column in np.argwhere(front)}
    near: dict[Pixel, set[Pixel]] = {}
    for row, column in sorted(pixels):
        near[row, column] = {
            (row + down, column + right)
            for down, right in _NEIGHBOURS
            if (row + down, column + right) in pixels
            and (not (down and right) or not {(row + down, column), (row, column + right)} & pixels)
        }
    return near


def _walk(start: Pixel, near: dict[Pixel, set[Pixel]], stops: set[Pixel]) -> list[Pixel]:
    """Follow neighbours until a stop or the end, and forget the steps that were taken."""
    path = [start]
    while near[path[-1]] and (len(path) == 1 or path[-1] not in stops):
        here = path[-1]
        following = min(near[here])
        near[here].discard(following)
        near[following].discard(here)
        path.append(following)
    return path
