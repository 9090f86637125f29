"""Distances between the surfaces of two masks, and the scores that follow from them.

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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import SimpleITK as sitk
from scipy.spatial import cKDTree

from evaluation.mesh import distances_to_triangles, sizes_of, triangles_around
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]

ROUNDING = 1e-4
"""Part of a threshold by which a distance may exceed it: 3 × 0.8 is 2.4000000000000004, and maps hold 32 bits."""

MAP_VOXELS = 8
"""Voxels of a distance map that cost as much as finding one near neighbour in a tree."""

NEAR = 3.0
"""Largest distance that is near, in steps of the coarsest axis."""

MAP_VOXELS_FAR = 256
"""Voxels of a distance map that cost as much as finding one far neighbour in a tree."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, element by element, in both directions.

    Parameters
    ----------
    to_reference
        From each element of the predicted surface to the reference surface, in mm, shape (n,); infinite if the
        reference is empty.
    to_prediction
        From each element of the reference surface to the predicted surface, in mm, shape (m,); infinite if the
        prediction is empty.
    prediction_weights, reference_weights
        Areas of the elements in mm² (lengths in mm in a plane), shapes (n,) and (m,); none if all count the same,
        as voxels do.
    """

    to_reference: Floats
    to_prediction: Floats
    prediction_weights: Floats | None = None
    reference_weights: Floats | None = None

    @property
    def empty(self) -> str:
        """Which mask has no surface: ``none``, ``ref``, ``pred`` or ``both``."""
        if not self.to_prediction.size:
            return "ref" if self.to_reference.size else "both"
        return "none" if self.to_reference.size else "pred"


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


def hd(distances: SurfaceDistances) -> float:
    """Return the Hausdorff distance, the largest of all distances, in mm: 0 if both masks are empty, NaN if one is.

    References
    ----------
    Huttenlocher, Klanderman, Rucklidge, Comparing images using the Hausdorff distance, PAMI 15, 1993.
    """
    if distances.empty != "none":
        return _distance_of_empty(distances)
    return float(max(distances.to_reference.max(), distances.to_prediction.max()))


def hd95(distances: SurfaceDistances) -> float:
    """Return the larger of the two directed 95th percentiles in mm: 0 if both masks are empty, NaN if one is."""
    if distances.empty != "none":
        return _distance_of_empty(distances)
    return max(
        percentile(distances.to_reference, 95, distances.prediction_weights),
        percentile(distances.to_prediction, 95, distances.reference_weights),
    )


def hd95_pooled(distances: SurfaceDistances) -> float:
    """Return the 95th percentile of both lists together in mm: 0 if both masks are empty, NaN if one is."""
    if distances.empty != "none":
        return _distance_of_empty(distances)
    values, weights = _pooled(distances)
    return percentile(values, 95, weights)


def assd(distances: SurfaceDistances) -> float:
    """Return the average symmetric surface distance in mm: the mean of both lists together.

    Both masks empty: 0; one: NaN.

    References
    ----------
    Heimann et al., Comparison and evaluation of methods for liver segmentation, TMI 28, 2009.
    """
    if distances.empty != "none":
        return _distance_of_empty(distances)
    values, weights = _pooled(distances)
    return float(np.average(values, weights=weights))


def masd(distances: SurfaceDistances) -> float:
    """Return the mean average surface distance in mm: the mean of the two directed means.

    Both masks empty: 0; one: NaN.

    References
    ----------
    Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 21, 2024.
    """
    if distances.empty != "none":
        return _distance_of_empty(distances)
    there = np.average(distances.to_reference, weights=distances.prediction_weights)
    back = np.average(distances.to_prediction, weights=distances.reference_weights)
    return float(there + back) / 2


def nsd(distances: SurfaceDistances, tolerance: float) -> float:
    """Return the part of both surfaces that lies within a tolerance of the other one (normalised surface distance).

    A score, so that empty masks count as in overlap: NaN if both are empty, 0 if one is.

    Parameters
    ----------
    distances
        What ``surface_distances`` returns.
    tolerance
        Largest distance in mm that is accepted; equality (up to ``ROUNDING``) is accepted, too.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    InputError
        If the tolerance is negative or not finite.

    References
    ----------
    Nikolov et al., Clinically applicable segmentation of head and neck anatomy, J. Med. Internet Res. 23, 2021.
    """
    limit = _limit(tolerance, "tolerance")
    if distances.empty != "none":
        return math.nan if distances.empty == "both" else 0.0
    values, weights = _pooled(distances)
    return float(np.average(values <= limit, weights=weights))


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
    limit = _limit(distance, "distance")
    pred_mask, ref_mask, steps = _crop(prediction, reference, spacing, planar=planar)
    pred, ref = _boundary_region(pred_mask, steps, limit), _boundary_region(ref_mask, steps, limit)
    union = int(np.count_nonzero(pred | ref))
    return int(np.count_nonzero(pred & ref)) / union if union else math.nan


SURFACE_METRICS: dict[str, Callable[[SurfaceDistances], float]] = {
    "HD": hd,
    "HD95": hd95,
    "HD95_pooled": hd95_pooled,
    "ASSD": assd,
    "MASD": masd,
}
"""Distances in mm that need no parameter; NSD needs its tolerance."""


def percentile(values: Floats, percent: float, weights: Floats | None = None) -> float:
    """Return a percentile of distances, weighted if there are weights.

    Without weights it is NumPy's, linear between the two nearest values. With weights it is the smallest value at
    which the cumulated weight reaches the percentage; equal weights give NumPy's ``inverted_cdf``, which differs
    from the linear one by less than the gap between two neighbouring values.

    Parameters
    ----------
    values
        Distances, shape (n,), at least one.
    percent
        From 0 to 100.
    weights
        Positive weights, shape (n,).

    Returns
    -------
    float
        The percentile, in the unit of ``values``.
    """
    if weights is None:
        return float(np.percentile(values, percent))
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    reached = np.searchsorted(cumulated, cumulated[-1] * (percent / 100) * (1 - 1e-12))
    return float(values[order[reached]])


def check_masks(prediction: Mask, reference: Mask, spacing: Sequence[float]) -> None:
    """Refuse what is no pair of boolean volumes with a spacing.

    Parameters
    ----------
    prediction, reference
        Boolean masks (z, y, x).
    spacing
        Voxel size (z, y, x) in mm.

    Raises
    ------
    InputError
        If the shapes differ, a mask is not boolean or has not three axes, or the spacing is not three positive
        numbers.
    """
    for role, mask in (("prediction", prediction), ("reference", reference)):
        if mask.ndim != 3 or mask.dtype != np.bool_:
            message = (
                f"the {role} has shape {mask.shape} and type {mask.dtype}; "
                "expected a boolean mask (z, y, x), such as `labels == 1`, with one slice for a 2D image"
            )
            raise InputError(message)
    if prediction.shape != reference.shape:
        message = f"reference and prediction differ in shape: {reference.shape} and {prediction.shape}"
        raise InputError(message)
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        message = f"the spacing is {tuple(spacing)}; expected three positive numbers (z, y, x) in mm"
        raise InputError(message)


def union_box(prediction: Mask, reference: Mask) -> tuple[slice, slice, slice]:
    """Find the smallest box that holds two masks.

    Parameters
    ----------
    prediction, reference
        Boolean masks (z, y, x) of the same shape.

    Returns
    -------
    tuple of slice
        The box along z, y, x; three empty slices if both masks are empty.
    """
    box = [slice(None)] * 3
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = prediction[tuple(box)].any(axis=others) | reference[tuple(box)].any(axis=others)
        indices = np.flatnonzero(occupied)
        if not indices.size:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        box[axis] = slice(int(indices[0]), int(indices[-1]) + 1)
    return box[0], box[1], box[2]


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


def _limit(threshold: float, name: str) -> float:
    if not (math.isfinite(threshold) and threshold >= 0):
        message = f"the {name} is {threshold}; expected a number of mm from 0"
        raise InputError(message)
    return threshold * (1 + ROUNDING)


def _distance_of_empty(distances: SurfaceDistances) -> float:
    return 0.0 if distances.empty == "both" else math.nan


def _pooled(distances: SurfaceDistances) -> tuple[Floats, Floats | None]:
    values = np.concatenate([distances.to_reference, distances.to_prediction])
    if distances.prediction_weights is None or distances.reference_weights is None:
        return values, None
    return values, np.concatenate([distances.prediction_weights, distances.reference_weights])


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
