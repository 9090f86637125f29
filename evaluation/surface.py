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

Voxels without annotation (``ignored``) belong to neither mask, and they are not outside either: nobody knows what they
are. A surface voxel is then a voxel of the mask with a face neighbour that is annotated and outside it, or at the image
edge, unless its neighbour on the other side is ignored. In a volume of which one slice is annotated, the surfaces are
therefore the contours in that slice, the first and the last one included. A mask may have voxels and no surface, if
all it touches is ignored; its list of distances is empty like that of an empty mask. Masks with ignored voxels may be
cropped beforehand to ``grown_box`` of their box, as the neighbours beyond it matter. There is no mesh of them.

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

from evaluation.masks import check_ignored, check_masks, grown_box, mask_box, union_box
from evaluation.mesh import distances_to_triangles, sizes_of, triangles_around
from evaluation.surface_scores import SurfaceDistances, inclusive_limit
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.intp]

MAP_VOXELS = 6
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
    ignored: Mask | None = None,
) -> SurfaceDistances:
    """Measure the distances between the surfaces of two masks, in both directions.

    In voxel mode, neighbours are looked up in a KD-tree where surfaces are small against the box around both masks
    and near each other, and in a Euclidean distance map of that box otherwise. At the peak that takes 2 bytes per
    voxel of the box with trees and 13 with maps, of which there is one at a time, beside the lists.

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
        volume is never planar. Masks without voxels, as a class that is nowhere leaves them, may be either.
    ignored
        Boolean mask of the voxels without annotation, of the same shape; in voxel mode alone.

    Returns
    -------
    SurfaceDistances
        The two lists of distances, with weights in mesh mode. The list of a mask without surface is empty, even if
        the mask has voxels.

    Raises
    ------
    InputError
        If the masks are no boolean volumes of one shape, the spacing is not three positive numbers, the surface
        mode is unknown, several slices are called planar, or voxels are ignored in mesh mode.
    """
    check_masks(prediction, reference, spacing, ignored=ignored)
    if surface not in ("voxel", "mesh"):
        message = f"the surface mode is {surface!r}; expected voxel or mesh"
        raise InputError(message)
    if surface == "mesh":
        if ignored is not None and ignored.any():
            message = (
                "mesh surfaces cannot leave out voxels, and the reference has some with the ignore label; give "
                "--surface voxel"
            )
            raise InputError(message)
        ignored = None
    pair = _crop(prediction, reference, spacing, planar=planar, ignored=ignored)
    return _mesh_distances(pair) if surface == "mesh" else _voxel_distances(pair)


def surface_voxels(mask: Mask, *, ignored: Mask | None = None) -> Mask:
    """Mark the voxels of a mask that have a face neighbour outside it; the image edge counts as outside.

    Parameters
    ----------
    mask
        Boolean mask, (z, y, x) or (y, x); neighbours along all its axes count.
    ignored
        Boolean mask of the voxels that are neither in the mask nor outside it, of the same shape.

    Returns
    -------
    ndarray
        Boolean, shape of ``mask``.

    Raises
    ------
    InputError
        If the mask of ignored voxels has another shape or is not boolean.
    """
    check_ignored(ignored, mask.shape)
    solid = mask if ignored is None else mask | ignored
    inner = solid.copy()
    for axis in range(mask.ndim):
        inside, source = np.moveaxis(inner, axis, 0), np.moveaxis(solid, axis, 0)
        inside[1:] &= source[:-1]
        inside[:-1] &= source[1:]
        if ignored is None or len(inside) == 1:
            inside[:1] = inside[-1:] = False
        else:
            # Where the neighbour on the other side is not annotated, nothing is known along this axis.
            unknown = np.moveaxis(ignored, axis, 0)
            inside[:1] &= unknown[1:2]
            inside[-1:] &= unknown[-2:-1]
    surface = np.greater(mask, inner, out=inner)
    if ignored is not None:
        surface[ignored] = False
    return surface


def boundary_iou(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float],
    distance: float,
    *,
    planar: bool | None = None,
    ignored: Mask | None = None,
) -> float:
    """Return the IoU of the two boundary regions: NaN if both are empty, 0 if one is.

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
    planar, ignored
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
    check_masks(prediction, reference, spacing, ignored=ignored)
    limit = inclusive_limit(distance, "distance")
    pair = _crop(prediction, reference, spacing, planar=planar, ignored=ignored)
    pred, ref = (_boundary_region(mask, pair, limit) for mask in (pair.prediction, pair.reference))
    union = int(np.count_nonzero(pred | ref))
    return int(np.count_nonzero(pred & ref)) / union if union else math.nan


@dataclass(frozen=True)
class _Pair:
    """Two masks cut to their common box, the voxels of it that count as neither, and the spacing of its axes."""

    prediction: Mask
    reference: Mask
    ignored: Mask | None
    spacing: Floats


def _crop(
    prediction: Mask, reference: Mask, spacing: Sequence[float], *, planar: bool | None, ignored: Mask | None
) -> _Pair:
    """Cut both masks to their common box; in a plane without the axis z, in the masks and the spacing alike."""
    single = prediction.shape[0] == 1
    if planar and prediction.shape[0] > 1:
        message = f"the masks have {prediction.shape[0]} slices and cannot be planar"
        raise InputError(message)
    box: tuple[slice, ...] = union_box(prediction, reference)
    if ignored is not None:
        # The margin holds the neighbours, which may be ignored; where it is missing is the image edge.
        box = grown_box(box, prediction.shape)
        ignored = ignored[box]
        prediction, reference = np.greater(prediction[box], ignored), np.greater(reference[box], ignored)
        # Once more, since the box of a dense prediction is larger than its annotated part.
        box = grown_box(union_box(prediction, reference), prediction.shape)
    steps = np.asarray(spacing, dtype=np.float64)
    cut = (0, box[1], box[2]) if single and planar is not False else box
    return _Pair(
        prediction[cut], reference[cut], None if ignored is None else ignored[cut], steps[3 - prediction[cut].ndim :]
    )


def _voxel_distances(pair: _Pair) -> SurfaceDistances:
    pred, ref = (_surface_indices(mask, pair.ignored) for mask in (pair.prediction, pair.reference))
    if not (len(pred) and len(ref)):
        return SurfaceDistances(np.full(len(pred), np.inf), np.full(len(ref), np.inf))
    shape = pair.reference.shape
    return SurfaceDistances(
        _to_surface(pred, ref, shape, pair.spacing),
        _to_surface(ref, pred, shape, pair.spacing),
    )


def _surface_indices(mask: Mask, ignored: Mask | None) -> Indices:
    """Return the surface voxels of a mask as indices (n, axes), looking at the box of this mask alone."""
    box = mask_box(mask) if ignored is None else grown_box(mask_box(mask), mask.shape)
    surface = surface_voxels(mask[box], ignored=None if ignored is None else ignored[box])
    # The same as np.argwhere, which takes several times as long where few voxels are marked.
    places = np.unravel_index(np.flatnonzero(surface), surface.shape)
    return np.stack([place + side.start for place, side in zip(places, box, strict=True)], axis=1)


def _to_surface(voxels: Indices, target: Indices, shape: tuple[int, ...], spacing: Floats) -> Floats:
    """Measure how far voxels are from those of a surface, both as indices (n, axes) in a box of some shape."""
    distances = np.zeros(len(voxels))
    marked = np.zeros(shape, dtype=np.bool_)  # memory that is not touched, between far masks, is not used
    marked[tuple(target.T)] = True
    # Voxels of both surfaces are at 0, which the map may give as 5e-6 because it holds 32 bits.
    apart = np.flatnonzero(~marked[tuple(voxels.T)])
    if marked.size > MAP_VOXELS * (len(apart) + len(target)):
        tree = cKDTree(target * spacing, leafsize=32, balanced_tree=False)  # a tenth faster on voxel grids
        distances[apart], _ = tree.query(voxels[apart] * spacing, distance_upper_bound=NEAR * spacing.max())
        apart = np.flatnonzero(np.isinf(distances))
        if marked.size > MAP_VOXELS_FAR * len(apart):
            distances[apart], _ = tree.query(voxels[apart] * spacing)
            return distances
    if len(apart):
        distances[apart] = _mapped_distances(marked, spacing, tuple(voxels[apart].T))
    return distances


def _mapped_distances(surface: Mask, spacing: Floats, where: Mask | tuple[npt.NDArray[np.intp], ...]) -> Floats:
    """Map the distances of all voxels to the nearest marked one, and return those of some, in mm."""
    # The filter measures from the rim of what it is given. Each surface voxel is rim, having a neighbour that is none;
    # at the edge of the box that neighbour has to be added.
    image = sitk.GetImageFromArray(np.pad(surface, 1).view(np.uint8))
    # Positions are held in single precision: with the finest step as the unit, those along its axes are exact.
    unit = float(spacing.min())
    image.SetSpacing([float(step) / unit for step in spacing[::-1]])
    method = sitk.SignedMaurerDistanceMapImageFilter()
    method.SquaredDistanceOff()
    method.UseImageSpacingOn()
    # More threads gain little, and they wait for each other for long where other cases are measured at the same time.
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    image = method.Execute(image)
    distances: Floats = sitk.GetArrayViewFromImage(image)[(slice(1, -1),) * surface.ndim][where].astype(np.float64)
    return np.abs(distances, out=distances) * unit


def _boundary_region(mask: Mask, pair: _Pair, limit: float) -> Mask:
    region = surface_voxels(mask, ignored=pair.ignored)
    if limit > 0 and region.any():
        region[mask] = _mapped_distances(region, pair.spacing, mask) <= limit
    return region


def _mesh_distances(pair: _Pair) -> SurfaceDistances:
    pred_mesh, ref_mesh = (triangles_around(mask) * pair.spacing for mask in (pair.prediction, pair.reference))
    return SurfaceDistances(
        distances_to_triangles(pred_mesh.mean(axis=1), ref_mesh),
        distances_to_triangles(ref_mesh.mean(axis=1), pred_mesh),
        sizes_of(pred_mesh),
        sizes_of(ref_mesh),
    )
