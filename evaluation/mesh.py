"""Triangles around masks, and how far points are from them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]

NEAREST_TRIANGLES = 16
"""Triangles with the nearest centroids, one of which is the nearest; 8 fail by up to 0.01 mm at 5 × 0.8 × 0.8 mm."""

CHUNK_POINTS = 2**15
"""Points whose nearest triangles are looked for at a time, to bound the memory."""


def triangles_around(mask: Mask) -> Floats:
    """Return the surface of a mask by marching cubes at half height.

    Parameters
    ----------
    mask
        Boolean, (z, y, x) or (y, x).

    Returns
    -------
    ndarray
        Corners of the triangles, (n, 3, axes) in voxels. In a plane these are segments, whose second end is there
        twice.
    """
    if not mask.any():
        return np.empty((0, 3, mask.ndim))
    measure: Any = importlib.import_module("skimage.measure")  # slow to import, and needed in this mode alone
    volume = np.pad(mask, 1).astype(np.float32)
    if mask.ndim == 2:
        lines = measure.find_contours(volume, 0.5)
        starts, ends = np.concatenate([line[:-1] for line in lines]), np.concatenate([line[1:] for line in lines])
        return np.stack([starts, ends, ends], axis=1)
    vertices, faces, _, _ = measure.marching_cubes(volume, 0.5)
    return np.asarray(vertices[faces], dtype=np.float64)


def sizes_of(triangles: Floats) -> Floats:
    """Return the areas of triangles (n, 3, 3), or the lengths of segments (n, 3, 2), shape (n,)."""
    first, second, third = np.moveaxis(triangles, 1, 0)
    if triangles.shape[2] == 2:
        return np.asarray(np.linalg.norm(second - first, axis=1))
    return np.asarray(np.linalg.norm(np.cross(second - first, third - first), axis=1) / 2)


def distances_to_triangles(points: Floats, triangles: Floats) -> Floats:
    """Measure how far points (n, axes) are from the nearest triangle (m, 3, axes); infinitely if there is none."""
    distances = np.full(len(points), np.inf)
    if not (len(points) and len(triangles)):
        return distances
    tree = cKDTree(triangles.mean(axis=1))
    ranks = np.arange(1, min(NEAREST_TRIANGLES, len(triangles)) + 1)
    for start in range(0, len(points), CHUNK_POINTS):
        chunk = points[start : start + CHUNK_POINTS]
        _, neighbours = tree.query(chunk, k=ranks)
        for candidates in neighbours.T:
            part = distances[start : start + CHUNK_POINTS]
            np.minimum(part, _squared_to_triangle(chunk, triangles[candidates]), out=part)
    return np.asarray(np.sqrt(distances))


def _squared_to_triangle(points: Floats, triangles: Floats) -> Floats:
    """Measure the squared distance of each point (n, axes) to its triangle (n, 3, axes).

    The nearest point of a triangle is the foot of the perpendicular if that lies inside, and on a side otherwise.
    """
    first, second, third = np.moveaxis(triangles, 1, 0)
    along, across, offset = second - first, third - first, points - first
    aa, ac, cc = _dot(along, along), _dot(along, across), _dot(across, across)
    oa, oc = _dot(offset, along), _dot(offset, across)
    determinant = aa * cc - ac * ac
    flat = determinant <= 1e-12 * aa * cc
    determinant[flat] = 1.0
    u, v = (cc * oa - ac * oc) / determinant, (aa * oc - ac * oa) / determinant
    rest = offset - u[:, None] * along - v[:, None] * across
    squared = np.where(~flat & (u >= 0) & (v >= 0) & (u + v <= 1), _dot(rest, rest), np.inf)
    for start, end in ((first, second), (second, third), (third, first)):
        squared = np.minimum(squared, _squared_to_segment(points, start, end))
    return squared


def _squared_to_segment(points: Floats, starts: Floats, ends: Floats) -> Floats:
    side, offset = ends - starts, points - starts
    length = _dot(side, side)
    part = np.clip(_dot(offset, side) / np.where(length > 0, length, 1.0), 0.0, 1.0)
    rest = offset - part[:, None] * side
    return _dot(rest, rest)


def _dot(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", first, second))
