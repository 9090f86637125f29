"""Where a training patch lies: corners of patches that are sure to show a chosen voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def draw_corner(
    voxel: Sequence[int], shape: Sequence[int], final_patch_size: Sequence[int], rng: np.random.Generator
) -> tuple[int, ...]:
    """Draw the corner of a patch, uniformly among all patches that contain ``voxel`` and waste no space.

    A patch wastes no space if, axis by axis, it lies inside the volume or, where the volume is smaller than
    the patch, contains all of it.

    Parameters
    ----------
    voxel
        Index that the patch has to contain, one number per axis.
    shape
        Shape of the volume.
    final_patch_size
        Size of the patch that the network sees.
    rng
        Source of randomness.

    Returns
    -------
    tuple of int
        First index of the patch per axis; negative where the patch begins before the volume.

    Raises
    ------
    InputError
        If ``voxel`` lies outside the volume.
    """
    index, size, patch = np.asarray(voxel, int), np.asarray(shape, int), np.asarray(final_patch_size, int)
    if np.any(index < 0) or np.any(index >= size):
        message = f"The voxel to show must lie in the volume, but {tuple(voxel)} is outside of {tuple(shape)}."
        raise InputError(message)
    lowest, highest = _useful_corners(size, patch)
    return _draw(np.maximum(lowest, index - patch + 1), np.minimum(highest, index), rng)


def draw_any_corner(shape: Sequence[int], final_patch_size: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
    """Draw the corner of a patch as `draw_corner` does, with no voxel that it has to contain."""
    return _draw(*_useful_corners(np.asarray(shape, int), np.asarray(final_patch_size, int)), rng)


def central_crop_offset(patch_size: Sequence[int], final_patch_size: Sequence[int]) -> tuple[int, ...]:
    """Give the index at which the final patch begins inside the loader's larger patch.

    This is where batchgeneratorsv2's ``SpatialTransform`` crops when it does not deform: index ``F // 2`` of
    the final patch comes from index ``P // 2`` of the larger one. That is one more than ``(P - F) // 2`` if P
    is even and F odd.
    """
    return tuple(int(large) // 2 - int(final) // 2 for large, final in zip(patch_size, final_patch_size, strict=True))


def _useful_corners(size: NDArray[np.int_], patch: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Give the lowest and the highest corner per axis of patches that waste no space."""
    room = size - patch
    return np.minimum(room, 0), np.maximum(room, 0)


def _draw(lowest: NDArray[np.int_], highest: NDArray[np.int_], rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(corner) for corner in rng.integers(lowest, highest, endpoint=True))
