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
    Floats = npt.NDArray[np.float64]


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
