"""Front of a glacier: the line between glacier and ocean in a map of zones, or the middle of a predicted mask.

References
----------
Gourmelon et al., Calving fronts and where to find them, Earth Syst. Sci. Data 14, 2022.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.caffe.grey_levels import ZONES
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Box = tuple[slice, slice]

NA, ROCK, GLACIER, OCEAN = range(len(ZONES))

MIN_LENGTH = 750.0
"""Metres; a front, or a part of one, that is not longer is dropped."""

_EIGHT = np.ones((3, 3), bool)
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def front_of_zones(
    zones: npt.NDArray[Any],
    *,
    resolution: float,
    box: Box | None = None,
    compat: bool = False,
    min_length: float = MIN_LENGTH,
    strait_width: int = 0,
    bridged_gap: int = 0,
) -> Mask:
    """Extract the front from a map of zones: ocean pixels with a glacier pixel above, below, left or right of them.

    Parameters
    ----------
    zones
        Class indices (y, x): 0 N/A, 1 rock, 2 glacier, 3 ocean with mélange.
    resolution
        Metres per pixel.
    box
        Rows and columns outside of which no front counts; applied last. Default: the whole image.
    compat
        Whether islands and lakes are removed as in the CaFFe benchmark; see ``clean_zones``.
    min_length
        In metres; 8-connected parts of at most ``min_length / resolution`` pixels are dropped.
    strait_width
        Straits of up to this number of pixels across become glacier beforehand, so that they have no front.
    bridged_gap
        Gaps of up to this number of pixels do not divide a front into parts. The gap itself is not filled.

    Returns
    -------
    ndarray of bool
        Front pixels (y, x).

    Raises
    ------
    InputError
        If the zones are no map of class indices, or a number is out of range.
    """
    _check_image(zones, "zones")
    _check_numbers(resolution, min_length, bridged_gap, strait_width)
    unknown = np.setdiff1d(zones, np.arange(len(ZONES)))
    if unknown.size:
        expected = ", ".join(f"{index} ({name})" for index, name in enumerate(ZONES))
        message = f"zones {unknown[:10].tolist()} found, expected class indices {expected}"
        raise InputError(message)
    clean = clean_zones(zones, compat=compat)
    if strait_width:
        clean = _without_straits(clean, strait_width)
    front = _long_parts(_ocean_beside_glacier(clean), min_length / resolution, bridged_gap)
    return _inside(front, box)


def front_of_mask(
    mask: npt.NDArray[Any],
    *,
    resolution: float,
    box: Box | None = None,
    compat: bool = False,
    min_length: float = MIN_LENGTH,
    bridged_gap: int = 0,
) -> Mask:
    """Extract the front from a predicted mask: the longest path through the skeleton of each of its parts.

    Parameters
    ----------
    mask
        Predicted front (y, x), some pixels wide; what is not 0 belongs to it.
    resolution
        Metres per pixel.
    box
        Rows and columns outside of which no front counts. Default: the whole image. It is applied last: the
        skeleton of a mask that was cut has spurs along the cut.
    compat
        Has no effect here: the benchmark does the same.
    min_length
        In metres; paths of at most ``min_length / resolution`` pixels are dropped.
    bridged_gap
        Gaps of up to this number of pixels do not make a front too short. The gap itself is not filled.

    Returns
    -------
    ndarray of bool
        Front pixels (y, x), one pixel wide.

    Raises
    ------
    InputError
        If the mask is no image, or a number is out of range.
    """
    _check_image(mask, "mask")
    _check_numbers(resolution, min_length, bridged_gap)
    more_than = min_length / resolution
    # No skeleton has more pixels than its mask: what is dropped here would be dropped below, at greater cost.
    lines = _skeleton(_long_parts(np.not_equal(mask, 0), more_than, bridged_gap))
    return _inside(_long_parts(longest_paths(lines), more_than, bridged_gap), box)


def clean_zones(zones: npt.NDArray[Any], *, compat: bool = False) -> npt.NDArray[Any]:
    """Remove islands and lakes, so that they have no front.

    An island is a part of what is not ocean that does not touch the edge of the image; it becomes ocean. A lake is a
    part of the ocean that touches neither the edge nor N/A, where the image may have ended; it becomes glacier. The
    largest part of either is neither island nor lake. Parts are 8-connected.

    Parameters
    ----------
    zones
        Class indices (y, x): 0 N/A, 1 rock, 2 glacier, 3 ocean.
    compat
        Whether to keep, as the benchmark does, the largest part alone: first of what is not ocean, then of the ocean.
        A strait that divides the land then floods the smaller side.

    Returns
    -------
    ndarray
        A copy.
    """
    clean = np.array(zones)
    land, number = _label(clean != OCEAN)
    if number:
        clean[_islands(land, number, keep=None if compat else _edge(clean.shape))] = OCEAN
    ocean, number = _label(clean == OCEAN)
    if number:
        keep = None if compat else _edge(clean.shape) | _around(clean == NA)
        clean[_islands(ocean, number, keep=keep)] = GLACIER
    return clean


def longest_paths(lines: Mask) -> Mask:
    """Return the longest path through each 8-connected part of a skeleton: the longest of all shortest paths.

    Diagonal steps count √2. The path is found by going to the farthest pixel, and from there to the farthest again,
    until that is no farther; this is exact for parts without loops.

    Parameters
    ----------
    lines
        Skeleton (y, x).

    Returns
    -------
    ndarray of bool
        Pixels (y, x) of the paths.
    """
    from scipy.sparse.csgraph import connected_components, dijkstra

    points = np.argwhere(lines)
    paths = np.zeros_like(lines)
    if not len(points):
        return paths
    graph = _neighbours(lines, points)
    number, part = connected_components(graph, directed=False)
    _, ends = np.unique(part, return_index=True)
    reached = np.full(number, -1.0)
    while True:
        # One search for all parts, each from its own pixel.
        distances, before, _ = dijkstra(graph, indices=ends, min_only=True, return_predecessors=True)
        order = np.lexsort((distances, part))
        farthest = order[np.append(np.flatnonzero(np.diff(part[order])), len(order) - 1)]
        # Rounding must not keep the search going.
        if (distances[farthest] <= reached + 1e-6).all():
            break
        reached, ends, path = distances[farthest], farthest, before
    at = ends
    while at.size:
        paths[points[at, 0], points[at, 1]] = True
        at = path[at]
        at = at[at >= 0]
    return paths


def _skeleton(mask: Mask) -> Mask:
    """Thin each 8-connected part in the box around it: parts do not touch each other, and empty pixels cost time."""
    from scipy import ndimage

    morphology: Any = importlib.import_module("skimage.morphology")  # slow to import, and carries no types
    parts, _ = _label(mask)
    skeleton = np.zeros_like(mask)
    for part, extent in enumerate(ndimage.find_objects(parts), start=1):
        skeleton[extent] |= morphology.skeletonize(parts[extent] == part)
    return skeleton


def _ocean_beside_glacier(zones: npt.NDArray[Any]) -> Mask:
    """Return the ocean pixels with a glacier pixel as one of their four neighbours in the image."""
    glacier: Mask = zones == GLACIER
    beside: Mask = np.zeros(zones.shape, bool)
    beside[1:] |= glacier[:-1]
    beside[:-1] |= glacier[1:]
    beside[:, 1:] |= glacier[:, :-1]
    beside[:, :-1] |= glacier[:, 1:]
    front: Mask = beside & (zones == OCEAN)
    return front


def _without_straits(zones: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    from scipy import ndimage

    # The ocean goes on beyond the edge, or its outermost pixels would be a strait.
    ocean = np.pad(zones == OCEAN, width + 1, mode="edge")
    wide = ndimage.grey_opening(ocean.astype(np.uint8), size=width + 1)
    inner = (slice(width + 1, -width - 1),) * 2
    return np.where(ocean[inner] & (wide[inner] == 0), zones.dtype.type(GLACIER), zones)


def _long_parts(front: Mask, more_than: float, bridged_gap: int) -> Mask:
    """Return the parts of more pixels than ``more_than``."""
    from scipy import ndimage

    # A square of n + 1 pixels in place of each pixel touches that of another one with n pixels between both.
    joined = ndimage.binary_dilation(front, np.ones((bridged_gap + 1,) * 2)) if bridged_gap else front
    parts, number = _label(joined)
    if not number:
        return front
    pixels = np.bincount(parts[front], minlength=number + 1)
    kept = pixels > more_than
    kept[0] = False
    return kept[parts] & front


def _islands(parts: npt.NDArray[np.int32], number: int, *, keep: Mask | None) -> Mask:
    """Return the pixels of all parts but the largest and, where it is given, those with a pixel in ``keep``."""
    pixels = np.bincount(parts.ravel(), minlength=number + 1)
    removed = np.ones(number + 1, bool)
    removed[0] = False
    removed[1 + np.argmax(pixels[1:])] = False
    if keep is not None:
        removed[parts[keep]] = False
    return removed[parts]


def _label(mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    from scipy import ndimage

    parts, number = ndimage.label(mask, _EIGHT)
    return parts, int(number)


def _edge(shape: tuple[int, ...]) -> Mask:
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    return edge


def _around(mask: Mask) -> Mask:
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, _EIGHT), bool)


def _neighbours(lines: Mask, points: npt.NDArray[np.intp]) -> Any:
    """Return the graph of the pixels of a line, numbered as ``points``, with the lengths of the steps between them."""
    from scipy.sparse import coo_matrix

    place = np.full(tuple(length + 2 for length in lines.shape), -1, np.int32)
    place[points[:, 0] + 1, points[:, 1] + 1] = np.arange(len(points))
    rows, columns, lengths = [], [], []
    for down, right in _STEPS:
        other = place[points[:, 0] + 1 + down, points[:, 1] + 1 + right]
        start = np.flatnonzero(other >= 0)
        rows += [start, other[start]]
        columns += [other[start], start]
        lengths.append(np.full(2 * len(start), math.hypot(down, right)))
    entries = np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns))
    # Not an array: its indices may have 64 bits, which the searches of SciPy 1.11 refuse.
    return coo_matrix(entries, shape=(len(points),) * 2).tocsr()


def _inside(front: Mask, box: Box | None) -> Mask:
    if box is None:
        return front
    inside = np.zeros_like(front)
    inside[box] = front[box]
    return inside


def _check_image(image: npt.NDArray[Any], what: str) -> None:
    if image.ndim != 2 or image.dtype.kind not in "biu":
        message = f"the {what} have shape {image.shape} and type {image.dtype}; expected whole numbers (y, x)"
        raise InputError(message)


def _check_numbers(resolution: float, min_length: float, *pixels: int) -> None:
    if not (math.isfinite(resolution) and resolution > 0):
        message = f"the resolution is {resolution}; expected metres per pixel above 0"
        raise InputError(message)
    if not (math.isfinite(min_length) and min_length >= 0):
        message = f"the minimum length is {min_length}; expected metres from 0"
        raise InputError(message)
    if any(number < 0 for number in pixels):
        message = f"{min(pixels)} pixels given for the width of straits or gaps; expected 0 or more"
        raise InputError(message)
