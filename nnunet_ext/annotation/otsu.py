"""A first annotation by a threshold: soil matrix against pores on the middle slice."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nnunet_ext.imageio import Volume

MATRIX = 1


@dataclass(frozen=True)
class FirstLabels:
    """What the threshold gives.

    Parameters
    ----------
    index
        The slice that is labelled.
    threshold
        Grey value; voxels above it are soil matrix.
    labels
        1 for soil matrix, 0 for not annotated, uint8, (y, x).
    """

    index: int
    threshold: float
    labels: NDArray[np.uint8]


def middle_slice(depth: int) -> int:
    """Return the index of the middle slice, ``depth // 2 - 1``, at least 0."""
    return max(0, depth // 2 - 1)


def label_middle_slice(volume: Volume) -> FirstLabels:
    """Label the middle slice of an image by Otsu's threshold; only this slice is read.

    Parameters
    ----------
    volume
        The image. Voxels that are not finite stay unannotated.

    Returns
    -------
    FirstLabels
        In a slice of one grey value, nothing is above the threshold.

    Raises
    ------
    InputError
        If the middle slice has no finite voxel.

    References
    ----------
    N. Otsu: A threshold selection method from gray-level histograms. IEEE Trans. Syst. Man Cybern. 9, 62-66 (1979).
    """
    filters: Any = importlib.import_module("skimage.filters")  # slow to import, and carries no types
    index = middle_slice(volume.shape[0])
    grey = volume.slab(index, index + 1)[0]
    finite = grey[np.isfinite(grey)]
    if not finite.size:
        message = f"{volume.path}: slice {index} has no finite voxel, expected grey values for a threshold"
        raise InputError(message)
    threshold = float(filters.threshold_otsu(finite))
    return FirstLabels(
        index, threshold, np.where(np.nan_to_num(grey, nan=-np.inf) > threshold, MATRIX, 0).astype(np.uint8)
    )
