"""Turn the pixels of a front into lines, ordered from one end to the other."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.front_extraction import longest_paths

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Line = npt.NDArray[np.intp]

SHORTEST_BRANCH = 6.0
"""Pixels; what leaves a line by less is its thickness or the tooth of a ragged edge, not a branch."""

_EIGHT = np.ones((3, 3), bool)


def vectorize(front: Mask) -> list[list[Line]]:
    """Order the pixels of a front.

    Parameters
    ----------
    front
        Front pixels (y, x), a line about one pixel wide.

    Returns
    -------
    list of list of ndarray
        For each 8-connected part, from top to bottom, its lines of pixels (row, column), each of shape (n, 2).
        Neighbours in a line are neighbours in the image. The first line is the longest path through the part; the
        others are branches of at least ``SHORTEST_BRANCH`` pixels, and begin (those that close a ring also end) at
        a pixel of a line before. Of a single pixel, the line is one point. Lines start at their upper end, or the
        left one of two in the same row.
    """
    from scipy import ndimage

    parts, _ = ndimage.label(front, _EIGHT)
    found = []
    for number, extent in enumerate(ndimage.find_objects(parts), start=1):
        corner = [side.start for side in extent]
        # A margin, so that everything has neighbours.
        lines = _lines(np.pad(parts[extent] == number, 1))
        found.append([line - 1 + corner for line in lines])
    return found


def path_length(line: Line) -> float:
    """Return the length of a line in pixels; diagonal steps count √2."""
    return float(np.hypot(*np.diff(line, axis=0).T).sum())


def _lines(part: Mask) -> list[Line]:
    """Return the lines of one part."""
    taken = longest_paths(part)
    lines = [_in_order(taken)]
    while True:
        costs, search = _distances(part, taken)
        farthest = np.unravel_index(np.argmax(np.where(part, costs, -1)), part.shape)
        if costs[farthest] < SHORTEST_BRANCH:
            return lines
        branch = np.array(search.traceback(farthest))
        branch = np.concatenate([branch, _way_back(part, taken, branch)])
        taken[branch[:, 0], branch[:, 1]] = True
        lines.append(branch)


def _in_order(path: Mask) -> Line:
    """Return the pixels of a shortest path from one end to the other: no pixel of it has a third neighbour."""
    from scipy import ndimage

    pixels = np.argwhere(path)
    if len(pixels) < 2:
        return pixels
    neighbours = ndimage.convolve(path.astype(np.uint8), _EIGHT.astype(np.uint8), mode="constant")[path] - 1
    start = np.zeros_like(path)
    start[tuple(pixels[np.flatnonzero(neighbours == 1)[0]])] = True
    costs, _ = _distances(path, start)
    return pixels[np.argsort(costs[path])]


def _way_back(part: Mask, taken: Mask, branch: Line) -> Line:
    """Return the pixels by which the far end of a branch leads to the other lines again, if it is one of a ring."""
    from scipy import ndimage

    # All but the far end, where both ways meet, is out of reach.
    near = np.zeros_like(part)
    near[branch[:-2, 0], branch[:-2, 1]] = True
    allowed = part & ~ndimage.binary_dilation(near, _EIGHT)
    end = tuple(branch[-1])
    allowed[tuple(branch[-2])] = False
    allowed[end] = True
    costs, search = _distances(allowed, taken & allowed)
    if not np.isfinite(costs[end]):
        return branch[:0]
    return np.array(search.traceback(end))[::-1][1:]


def _distances(part: Mask, starts: Mask) -> tuple[npt.NDArray[np.float64], Any]:
    """Return how far each pixel of a part is from the nearest start, along pixels of the part, and the search."""
    graph: Any = importlib.import_module("skimage.graph")  # slow to import, and carries no types
    search = graph.MCP_Geometric(np.where(part, 1.0, np.inf))
    points = np.argwhere(starts)
    if not len(points):
        return np.full(part.shape, np.inf), search
    costs, _ = search.find_costs(points.tolist())
    return costs, search
