"""Label maps on another grid than the image, and several masks to one label map."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio import Geometry

MAX_LOST_SHARE = 1e-3
"""Share of labelled voxels that may lie outside the image: rounding at its border, and no more."""

FIRST = "first"
LAST = "last"


class Resampled(NamedTuple):
    """A label map on the grid of an image.

    Parameters
    ----------
    array
        Shape of the image, dtype of the labels; 0 where there was nothing.
    lost_voxels
        Labelled voxels of the original whose centre lies outside the image.
    total_voxels
        Labelled voxels of the original.
    """

    array: NDArray[Any]
    lost_voxels: int
    total_voxels: int


class Merged(NamedTuple):
    """Several masks as one label map.

    Parameters
    ----------
    array
        Label map; 0 where no mask is.
    overlap_voxels
        Voxels that are in more than one mask.
    """

    array: NDArray[Any]
    overlap_voxels: int


def resample_labels(
    labels: NDArray[Any],
    geometry: Geometry,
    shape_of_image: tuple[int, int, int],
    geometry_of_image: Geometry,
) -> Resampled:
    """Bring a label map on the grid of an image: nearest neighbour, in physical space.

    Parameters
    ----------
    labels
        Label map or mask (z, y, x) of whole numbers; 0 is background.
    geometry
        Its place in space.
    shape_of_image, geometry_of_image
        The grid that is wanted.

    Returns
    -------
    Resampled
        The label map, voxels lost outside the image, and labelled voxels in all. Structures thinner than the voxels
        of the image may vanish without lying outside; that is not counted here.
    """
    total = int(np.count_nonzero(labels))
    if (labels.shape, geometry) == (shape_of_image, geometry_of_image):
        return Resampled(labels, 0, total)
    if total == 0:
        return Resampled(np.zeros(shape_of_image, labels.dtype), 0, 0)
    box = _box(labels)
    lost = _count_outside(labels, box, geometry, shape_of_image, geometry_of_image)
    return Resampled(_resample(labels, geometry, shape_of_image, geometry_of_image), lost, total)


def loss_problem(path: Path, lost_voxels: int, total_voxels: int) -> str | None:
    """Return a message if more of a label map lies outside its image than rounding explains, else None."""
    if lost_voxels <= MAX_LOST_SHARE * total_voxels:
        return None
    return (
        f"{path}: {lost_voxels} of {total_voxels} labelled voxels ({lost_voxels / total_voxels:.2%}) lie outside the "
        f"image, expected at most {MAX_LOST_SHARE:.1%}; is it the label map of this image?"
    )


def merge_masks(
    masks: Iterable[tuple[int, NDArray[np.bool_]]], shape: tuple[int, int, int], *, keep: str = LAST
) -> Merged:
    """Put masks of one class each into one label map.

    Parameters
    ----------
    masks
        Label (1, 2, …) and mask (z, y, x) of each class; one at a time is held.
    shape
        Of the masks.
    keep
        Which of the masks a voxel belongs to that is in several: ``first`` or ``last``.

    Returns
    -------
    Merged
        The label map, uint8 or, for labels above 255, uint16; and how many voxels are in several masks.
    """
    merged = np.zeros(shape, np.uint8)
    several = np.zeros(shape, bool)
    for label, mask in masks:
        if label > np.iinfo(merged.dtype).max:
            merged = merged.astype(np.uint16)
        taken = mask & (merged != 0)
        several |= taken
        merged[mask & ~taken if keep == FIRST else mask] = label
    return Merged(merged, int(np.count_nonzero(several)))


def _resample(labels: NDArray[Any], geometry: Geometry, shape: tuple[int, int, int], grid: Geometry) -> NDArray[Any]:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(labels.astype(np.uint8) if labels.dtype == bool else labels)
    spacing, origin, direction = geometry.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(_rounded(direction))
    spacing, origin, direction = grid.to_itk()
    resampled = SimpleITK.Resample(
        image,
        shape[::-1],
        SimpleITK.Transform(),
        SimpleITK.sitkNearestNeighbor,
        origin,
        spacing,
        _rounded(direction),
        0.0,
        image.GetPixelID(),
    )
    array: NDArray[Any] = SimpleITK.GetArrayFromImage(resampled)
    return array.astype(labels.dtype, copy=False)


def _rounded(direction: tuple[float, ...]) -> list[float]:
    """Return a direction without the tiny numbers (below 1e-12) at which ITK's inversion of it fails."""
    rounded: list[float] = np.round(direction, 12).tolist()
    return rounded


def _box(labels: NDArray[Any]) -> list[tuple[int, int]]:
    """Return first and last labelled index along z, y, x."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(labels.any(axis=others))
        box.append((int(filled[0]), int(filled[-1])))
    return box


def _count_outside(
    labels: NDArray[Any],
    box: list[tuple[int, int]],
    geometry: Geometry,
    shape: tuple[int, int, int],
    grid: Geometry,
) -> int:
    """Count labelled voxels whose centre lies in no voxel of the grid."""
    matrix, offset = _between(geometry, grid)
    corners = np.array(list(product(*box)), float)
    if _is_inside(corners @ matrix.T + offset, shape).all():
        # Indices are an affine map of each other: if the corners of a box are inside, all of it is.
        return 0
    outside = 0
    for z in range(box[0][0], box[0][1] + 1):
        rows = np.argwhere(labels[z])
        points = np.column_stack([np.full(len(rows), z), rows]).astype(float)
        outside += int(np.count_nonzero(~_is_inside(points @ matrix.T + offset, shape)))
    return outside


def _between(geometry: Geometry, grid: Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix and offset that turn an index (z, y, x) of one geometry into that of another."""
    to_space = np.asarray(geometry.direction) * geometry.spacing
    to_index = np.linalg.inv(np.asarray(grid.direction) * grid.spacing)
    return to_index @ to_space, to_index @ (np.asarray(geometry.origin) - np.asarray(grid.origin))


def _is_inside(indices: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[Any]:
    # Rounding of origins must not turn the centre of a border voxel into one outside.
    margin = 0.5 + 1e-6
    inside = (indices >= -margin) & (indices <= np.asarray(shape) - 1 + margin)
    return np.asarray(inside.all(axis=1))
