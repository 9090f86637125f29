"""Read masks of fronts and maps of zones: pictures with the benchmark's grey levels, or label maps with indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.caffe.grey_levels import FRONT, ZONES, to_indices
from nnunet_ext.errors import InputError, NnunetExtError
from nnunet_ext.imageio import open_volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt


def read_front(path: Path) -> npt.NDArray[np.bool_]:
    """Read the mask of a front (y, x): grey levels 0 and 255, or indices 0 and 1.

    Raises
    ------
    InputError
        If the file cannot be read, is no single image or holds other values.
    """
    return np.equal(_read_indices(path, FRONT, "front"), 1)


def read_zones(path: Path) -> npt.NDArray[np.uint8]:
    """Read a map of zones (y, x) as indices; the file holds grey levels 0, 64, 127 and 254, or indices 0 to 3.

    Raises
    ------
    InputError
        If the file cannot be read, is no single image or holds other values.
    """
    return _read_indices(path, ZONES, "zones")


def image_shape(path: Path) -> tuple[int, int]:
    """Return rows and columns from the header of a file.

    Raises
    ------
    InputError
        If the file cannot be opened or is no single image.
    """
    try:
        with open_volume(path) as volume:
            depth, rows, columns = volume.shape
    except NnunetExtError as error:
        raise _about(path, error) from error
    if depth != 1:
        message = f"{path}: {depth} slices (z, y, x: {depth}, {rows}, {columns}) found, expected one image"
        raise InputError(message)
    return rows, columns


def read_image(path: Path) -> npt.NDArray[Any]:
    """Read an image (y, x) with its values as they are stored.

    Raises
    ------
    InputError
        If the file cannot be read or is no single image.
    """
    image_shape(path)
    try:
        with open_volume(path) as volume:
            pixels: npt.NDArray[Any] = volume.slab(0, 1)[0]
    except NnunetExtError as error:
        raise _about(path, error) from error
    return pixels


def _read_indices(path: Path, levels: Mapping[str, int], what: str) -> npt.NDArray[np.uint8]:
    stored = read_image(path)
    if stored.dtype != np.uint8:
        if stored.dtype.kind not in "iu" and not (np.isfinite(stored) & (stored == np.rint(stored))).all():
            message = f"{path}: values of type {stored.dtype} that are no whole numbers found, expected {what}"
            raise InputError(message)
        stored = stored.astype(np.int64)
        if stored.min() >= 0 and stored.max() <= np.iinfo(np.uint8).max:
            stored = stored.astype(np.uint8)
    try:
        return _to_indices(stored, levels)
    except InputError as error:
        message = (
            f"{path}: {error}; or class indices 0 to {len(levels) - 1}. What nnU-Net predicts for fused or several "
            "label maps becomes pictures with 'nnunet_ext export caffe'"
        )
        raise InputError(message) from error


def _to_indices(stored: npt.NDArray[Any], levels: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    if stored.dtype != np.uint8:
        return to_indices(stored, levels)[0]
    values = np.flatnonzero(np.bincount(stored.ravel()))
    if values[-1] < len(levels):
        return stored.astype(np.uint8)
    if not np.isin(values, list(levels.values())).all():
        return to_indices(stored, levels)[0]
    # By a table, which is several times faster than sorting all pixels.
    table = np.zeros(values[-1] + 1, np.uint8)
    table[values] = to_indices(values, levels)[0]
    indices: npt.NDArray[np.uint8] = table[stored]
    return indices


def _about(path: Path, error: NnunetExtError) -> InputError:
    text = str(error)
    return InputError(text if str(path) in text else f"{path}: {text}")
