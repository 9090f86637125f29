"""Find the small connected components of a mask that comes slab by slab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.int64]


def voxels_of_small_components(slabs: Iterable[Mask], limit: float) -> Numbers:
    """Return the voxels of all components that are smaller than a limit.

    A component that goes through several slabs is labelled in pieces, which are joined where they touch. Only pieces
    that are small by themselves are remembered voxel by voxel.

    Parameters
    ----------
    slabs
        Boolean slabs (n, y, x) of a volume, from its first slice to its last.
    limit
        Number of voxels that a component must have to be left out. Voxels are neighbours if they share a face, an edge
        or a corner.

    Returns
    -------
    ndarray of int64
        Numbers of the voxels, counted through the volume (z, y, x), ascending.
    """
    sizes: list[Numbers] = []
    touching: list[Numbers] = []
    places: list[Numbers] = []
    pieces: list[Numbers] = []
    count = first = 0
    above: Numbers | None = None
    for mask in slabs:
        labels, number = ndimage.label(mask, structure=np.ones((3, 3, 3)))
        own = np.bincount(labels.reshape(-1), minlength=number + 1)[1:]
        if above is not None:
            touching.append(_touching(above, _numbered(labels[0], count)))
        small = np.concatenate([[False], own < limit])
        inside = np.flatnonzero(small[labels])
        places.append(inside + first)
        pieces.append(labels.reshape(-1)[inside].astype(np.int64) - 1 + count)
        above = _numbered(labels[-1], count)
        sizes.append(own)
        count, first = count + number, first + mask.size
    if not count:
        return np.zeros(0, np.int64)
    # scipy takes 32-bit indices everywhere, and 64-bit ones only from later releases on.
    pairs = np.concatenate([np.zeros((2, 0), np.int32), *touching], axis=1).astype(np.int32)
    graph = coo_array((np.ones(pairs.shape[1], np.bool_), (pairs[0], pairs[1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    total = np.bincount(component, weights=np.concatenate(sizes))
    small_ones: Mask = (total < limit)[component[np.concatenate(pieces)]]
    return np.concatenate(places)[small_ones]


def _numbered(plane: npt.NDArray[np.int32], count: int) -> Numbers:
    """Return the number of the piece at each voxel of a plane, with a border; -1 where there is none."""
    numbered = np.full((plane.shape[0] + 2, plane.shape[1] + 2), -1, np.int64)
    numbered[1:-1, 1:-1] = np.where(plane > 0, plane.astype(np.int64) - 1 + count, -1)
    return numbered


def _touching(above: Numbers, below: Numbers) -> Numbers:
    """Return the pairs of pieces that touch between two planes, (2, n)."""
    height, width = above.shape[0] - 2, above.shape[1] - 2
    center = above[1:-1, 1:-1]
    found = []
    for y in range(3):
        for x in range(3):
            other = below[y : y + height, x : x + width]
            both = (center >= 0) & (other >= 0)
            found.append(np.unique(np.stack([center[both], other[both]]), axis=1))
    return np.concatenate(found, axis=1)
