"""Distances between the surfaces of two masks, from which all scores in ``surface_scores`` follow.

All scores come from the same two lists: the distance of every element of the predicted surface to the reference
surface, and the reverse. What an element is depends on the surface mode.

* ``voxel``: the voxels of the mask that have a face neighbour outside it, taken at their centres; the image edge
  counts as outside. An image of one slice is a plane, where the neighbours in y and x count; those in z would make
  every voxel a surface voxel.
* ``mesh``: the triangles of marching cubes at half height on the mask (line segments of marching squares in an
  image of one slice), taken at their centroids and weighted by their areas (lengths).

The image edge being outside, what lies beyond the bounding box of both masks has no influence, and only that box is
looked at. Masks may be cropped to it beforehand; see ``planar`` where that leaves one slice.

Accuracy
--------
Distances between the chosen surfaces are exact up to rounding: in voxel mode to 1e-14 of the distance from a tree,
2e-6 from a map of square pixels and 5e-5 from a map of others; in mesh mode they equalled an exhaustive search around
spheres of three spacings. What remains is the voxel grid. Concentric spheres of 20 and 25 mm, everywhere 5 mm apart,
and of 20 and 21 mm, everywhere 1 mm apart, centred between voxels, come out as (in mm):

==============  =====  ======  ===========================  ===========================
spacing         apart  mode    HD / HD95 / ASSD / MASD      area of the mesh
==============  =====  ======  ===========================  ===========================
1 × 1 × 1       5      voxel   5.39 / 5.20 / 4.82 / 4.82
1 × 1 × 1       5      mesh    5.29 / 5.09 / 4.82 / 4.81    9 % above that of the sphere
2.5 × 1 × 1     5      voxel   5.59 / 5.39 / 4.66 / 4.65
2.5 × 1 × 1     5      mesh    5.57 / 5.17 / 4.68 / 4.67    14 % above
5 × 0.8 × 0.8   5      voxel   5.77 / 5.60 / 4.61 / 4.59
5 × 0.8 × 0.8   5      mesh    5.65 / 5.43 / 4.43 / 4.41    20 % above
1 × 1 × 1       1      voxel   1.41 / 1.41 / 1.10 / 1.10
1 × 1 × 1       1      mesh    1.41 / 1.18 / 0.96 / 0.96
2.5 × 1 × 1     1      voxel   2.50 / 2.50 / 0.90 / 0.90
2.5 × 1 × 1     1      mesh    2.50 / 1.86 / 0.92 / 0.92
5 × 0.8 × 0.8   1      voxel   5.00 / 5.00 / 0.65 / 0.65
5 × 0.8 × 0.8   1      mesh    5.00 / 3.33 / 0.91 / 0.91
==============  =====  ======  ===========================  ===========================

Means of large distances are too small because each distance ends at the nearest bump of a stepped surface.

References
----------
Maurer, Qi, Raghavan, A linear time algorithm for computing exact Euclidean distance transforms, PAMI 25, 2003.
Lewiner, Lopes, Vieira, Tavares, Efficient implementation of marching cubes' cases, J. Graphics Tools 8, 2003.
Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 21, 2024 (definitions of the scores).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
import SimpleITK as sitk
from scipy.spatial import cKDTree

from evaluation.masks import check_masks, union_box
from evaluation.mesh import distances_to_triangles, sizes_of, triangles_around
from evaluation.surface_scores import SurfaceDistances, inclusive_limit
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]

MAP_VOXELS = 8
"""Voxels of a distance map that cost as much as finding one near neighbour in a tree."""

NEAR = 3.0
"""Largest distance that is near, in steps of the coarsest axis."""

MAP_VOXELS_FAR = 256
"""Voxels of a distance map that cost as much as finding one far neighbour in a tree."""


def surface_distances(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float],
    *,
    surface: Literal["voxel", "mesh"] = "voxel",
    planar: bool | None = None,
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks, in both directions.

    In voxel mode, neighbours are looked up in a KD-tree where surfaces are small against the box around both masks
    and near each other, and in a Euclidean distance map of that box otherwise. At the peak that takes 4 bytes per
    voxel of the box with trees and 12 with maps, of which there is one at a time.

    Parameters
    ----------
    prediction, reference
        Boolean masks (z, y, x) of the same shape; (1, y, x) is a plane.
    spacing
        Voxel size (z, y, x) in mm.
    surface
        ``voxel`` or ``mesh``; see the module.
    planar
        Whether the single slice given is the whole image, the default, or a crop of one with more slices. A
        volume is never planar.

    Returns
    -------
    SurfaceDistances
        The two lists of distances, with weights in mesh mode.

    Raises
    ------
    InputError
        If the masks are no boolean volumes of one shape, the spacing is not three positive numbers, the surface
        mode is unknown, or several slices are called planar.
    """
    check_masks(prediction, reference, spacing)
    if surface not in ("voxel", "mesh"):
        message = f"the surface mode is {surface!r}; expected voxel or mesh"
        raise InputError(message)
    pred, ref, steps = _crop(prediction, reference, spacing, planar=planar)
    return _mesh_distances(pred, ref, steps) if surface == "mesh" else _voxel_distances(pred, ref, steps)


def surface_voxels(mask: Mask) -> Mask:
    """Mark the voxels of a mask that have a face neighbour outside it; the image edge counts as outside.

    Parameters
    ----------
    mask
        Boolean mask, (z, y, x) or (y, x); neighbours along all its axes count.

    Returns
    -------
    ndarray
        Boolean, shape of ``mask``.
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        inside, source = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= source[:-1]
        inside[:-1] &= source[1:]
        inside[:1] = inside[-1:] = False
    return np.greater(mask, inner, out=inner)


def boundary_iou(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float],
    distance: float,
    *,
    planar: bool | None = None,
) -> float:
    """Return the IoU of the two boundary regions: NaN if both masks are empty, 0 if one is.

    The boundary region of a mask are its voxels whose centres are at most ``distance`` from the centre of one of its
    surface voxels; at 0 it is the surface itself, and at large distances the score becomes the IoU of the masks.

    Parameters
    ----------
    prediction, reference
        Boolean masks (z, y, x) of the same shape; (1, y, x) is a plane.
    spacing
        Voxel size (z, y, x) in mm.
    distance
        Depth of the boundary region in mm, counted from the surface voxels.
    planar
        As in ``surface_distances``.

    Returns
    -------
    float
        From 0 to 1, or NaN.

    Raises
    ------
    InputError
        As ``surface_distances``, or if the distance is negative or not finite.

    References
    ----------
    Cheng, Girshick, Dollár, Berg, Kirillov, Boundary IoU, CVPR 2021.
    """
    check_masks(prediction, reference, spacing)
    limit = inclusive_limit(distance, "distance")
    pred_mask, ref_mask, steps = _crop(prediction, reference, spacing, planar=planar)
    pred, ref = _boundary_region(pred_mask, steps, limit), _boundary_region(ref_mask, steps, limit)
    union = int(np.count_nonzero(pred | ref))
    return int(np.count_nonzero(pred & ref)) / union if union else math.nan


"""Distances in mm that need no parameter; NSD needs its tolerance."""


def _crop(
    prediction: Mask, reference: Mask, spacing: Sequence[float], *, planar: bool | None
) -> tuple[Mask, Mask, Floats]:
    """Cut both masks to their common box; in a plane without the axis z, in the masks and the spacing alike."""
    single = prediction.shape[0] == 1
    if planar and not single:
        message = f"the masks have {prediction.shape[0]} slices and cannot be planar"
        raise InputError(message)
    box = union_box(prediction, reference)
    steps = np.asarray(spacing, dtype=np.float64)
    if single and planar is not False:
        return prediction[0, box[1], box[2]], reference[0, box[1], box[2]], steps[1:]
    return prediction[box], reference[box], steps


def _voxel_distances(pred: Mask, ref: Mask, spacing: Floats) -> SurfaceDistances:
    pred_surface, ref_surface = surface_voxels(pred), surface_voxels(ref)
    pred_voxels, ref_voxels = np.argwhere(pred_surface), np.argwhere(ref_surface)
    if not (len(pred_voxels) and len(ref_voxels)):
        return SurfaceDistances(np.full(len(pred_voxels), np.inf), np.full(len(ref_voxels), np.inf))
    return SurfaceDistances(
        _to_surface(pred_voxels, ref_surface, ref_voxels, spacing),
        _to_surface(ref_voxels, pred_surface, pred_voxels, spacing),
    )


def _to_surface(
    voxels: npt.NDArray[np.intp], target: Mask, target_voxels: npt.NDArray[np.intp], spacing: Floats
) -> Floats:
    """Measure how far voxels, as indices (n, axes), are from the marked voxels of a mask."""
    distances = np.zeros(len(voxels))
    # Voxels of both surfaces are at 0, which the map may give as 5e-6 because it holds 32 bits.
    apart = np.flatnonzero(~target[tuple(voxels.T)])
    if target.size > MAP_VOXELS * (len(apart) + len(target_voxels)):
        tree = cKDTree(target_voxels * spacing)
        distances[apart], _ = tree.query(voxels[apart] * spacing, distance_upper_bound=NEAR * spacing.max())
        apart = np.flatnonzero(np.isinf(distances))
        if target.size > MAP_VOXELS_FAR * len(apart):
            distances[apart], _ = tree.query(voxels[apart] * spacing)
            return distances
    if len(apart):
        distances[apart] = _distance_map(target, spacing)[tuple(voxels[apart].T)]
    return distances


def _distance_map(surface: Mask, spacing: Floats) -> npt.NDArray[np.float32]:
    """Map the distance of every voxel to the nearest surface voxel, in mm."""
    # The filter measures from the rim of what it is given. Each surface voxel is rim, having a neighbour that is none;
    # at the edge of the box that neighbour has to be added.
    image = sitk.GetImageFromArray(np.pad(surface, 1).view(np.uint8))
    # Positions are held in single precision: with the finest step as the unit, those along its axes are exact.
    unit = float(spacing.min())
    image.SetSpacing([float(step) / unit for step in spacing[::-1]])
    found = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    del image
    array: npt.NDArray[np.float32] = sitk.GetArrayFromImage(found)
    np.abs(array, out=array)
    array *= unit
    return array[(slice(1, -1),) * array.ndim]


def _boundary_region(mask: Mask, spacing: Floats, limit: float) -> Mask:
    region = surface_voxels(mask)
    if limit > 0 and region.any():
        region |= mask & (_distance_map(region, spacing) <= limit)
    return region


def _mesh_distances(pred: Mask, ref: Mask, spacing: Floats) -> SurfaceDistances:
    pred_mesh, ref_mesh = triangles_around(pred) * spacing, triangles_around(ref) * spacing
    return SurfaceDistances(
        distances_to_triangles(pred_mesh.mean(axis=1), ref_mesh),
        distances_to_triangles(ref_mesh.mean(axis=1), pred_mesh),
        sizes_of(pred_mesh),
        sizes_of(ref_mesh),
    )
