"""Grey levels of the label maps of the CaFFe benchmark, and the class indices that stand for them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

ZONES: Mapping[str, int] = MappingProxyType({"na": 0, "rock": 64, "glacier": 127, "ocean": 254})
FRONT: Mapping[str, int] = MappingProxyType({"background": 0, "front": 255})
BOUNDARY: Mapping[str, int] = MappingProxyType({"background": 0, "boundary": 255})

_LISTED = 10


def to_indices(
    grey: npt.NDArray[Any], levels: Mapping[str, int], *, tolerance: int = 0
) -> tuple[npt.NDArray[np.uint8], int]:
    """Turn grey levels into class indices.

    Parameters
    ----------
    grey
        Grey levels, whole numbers, any shape.
    levels
        Grey level of each class, in the order of the indices.
    tolerance
        Distance within which another grey value counts as the nearest level.

    Returns
    -------
    ndarray
        Class indices from 0, shape of ``grey``.
    int
        Number of pixels that were not exactly at a level.

    Raises
    ------
    InputError
        If a value is further than the tolerance from every level; with the values and their numbers of pixels.
    """
    values, codes, pixels = np.unique(grey, return_inverse=True, return_counts=True)
    distances = np.abs(values.astype(np.int64)[:, None] - np.array(list(levels.values())))
    nearest, gap = distances.argmin(axis=1), distances.min(axis=1)
    wrong = np.flatnonzero(gap > tolerance)
    if wrong.size:
        listed = ", ".join(f"{values[i]} ({pixels[i]} pixels)" for i in wrong[:_LISTED])
        more = f" and {wrong.size - _LISTED} more" if wrong.size > _LISTED else ""
        expected = ", ".join(f"{level} ({name})" for name, level in levels.items())
        message = f"grey values {listed}{more} found, expected {expected}"
        raise InputError(message)
    indices = nearest.astype(np.uint8)[codes].reshape(grey.shape)
    return indices, int(pixels[gap > 0].sum())


def to_grey(indices: npt.NDArray[Any], levels: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    """Turn class indices into grey levels, the same whatever classes occur.

    Parameters
    ----------
    indices
        Class indices, any shape.
    levels
        Grey level of each class, in the order of the indices.

    Raises
    ------
    InputError
        If an index has no level.
    """
    table = np.array(list(levels.values()), np.uint8)
    wrong = np.setdiff1d(indices, np.arange(len(table)))
    if wrong.size:
        message = f"class indices {wrong[:_LISTED].tolist()} found, expected 0 to {len(table) - 1}: {', '.join(levels)}"
        raise InputError(message)
    return table[indices.astype(np.intp)]
