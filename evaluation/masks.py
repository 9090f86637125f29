"""What all scores of two masks need: checks, and the box around both."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Box = tuple[slice, slice, slice]


def check_masks(prediction: Mask, reference: Mask, spacing: Sequence[float], *, ignored: Mask | None = None) -> None:
    """Refuse what is no pair of boolean volumes with a spacing.

    Parameters
    ----------
    prediction, reference
        Boolean masks (z, y, x).
    spacing
        Voxel size (z, y, x) in mm.
    ignored
        Boolean mask (z, y, x) of the voxels without annotation, if there are any.

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
    check_ignored(ignored, prediction.shape)
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        message = f"the spacing is {tuple(spacing)}; expected three positive numbers (z, y, x) in mm"
        raise InputError(message)


def check_ignored(ignored: Mask | None, shape: tuple[int, ...]) -> None:
    """Refuse a mask of ignored voxels that is not boolean or has not the shape of the image.

    Parameters
    ----------
    ignored
        Boolean mask, or none.
    shape
        Shape of the image.

    Raises
    ------
    InputError
        If the mask has another shape or is not boolean.
    """
    if ignored is not None and (ignored.shape != shape or ignored.dtype != np.bool_):
        message = (
            f"the mask of ignored voxels has shape {ignored.shape} and type {ignored.dtype}; "
            f"expected a boolean mask of shape {shape}, such as `labels == ignore_label`"
        )
        raise InputError(message)


def union_box(prediction: Mask, reference: Mask) -> Box:
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
    z, y, x = _box_of((prediction, reference))
    return z, y, x


def mask_box(mask: Mask) -> tuple[slice, ...]:
    """Find the smallest box that holds a mask.

    Parameters
    ----------
    mask
        Boolean mask with any number of axes.

    Returns
    -------
    tuple of slice
        The box along each axis; empty slices if the mask is empty.
    """
    return _box_of((mask,))


def grown_box(box: tuple[slice, ...], shape: Sequence[int]) -> tuple[slice, ...]:
    """Grow a box by one voxel on all sides, but not beyond the image.

    Parameters
    ----------
    box
        Box, one slice per axis.
    shape
        Shape of the image.

    Returns
    -------
    tuple of slice
        The grown box.
    """
    return tuple(
        slice(max(side.start - 1, 0), min(side.stop + 1, length)) for side, length in zip(box, shape, strict=True)
    )


def _box_of(masks: tuple[Mask, ...]) -> tuple[slice, ...]:
    box = [slice(None)] * masks[0].ndim
    for axis in range(len(box)):
        others = tuple(other for other in range(len(box)) if other != axis)
        occupied = np.any([mask[tuple(box)].any(axis=others) for mask in masks], axis=0)
        indices = np.flatnonzero(occupied)
        if not indices.size:
            return (slice(0, 0),) * len(box)
        box[axis] = slice(int(indices[0]), int(indices[-1]) + 1)
    return tuple(box)
