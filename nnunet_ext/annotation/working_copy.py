"""The annotation while it is painted: an uncompressed file mapped into memory, so that a crash loses nothing."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import InputError, OutputError
from nnunet_ext.files import written_when_complete

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

Shape = tuple[int, int, int]
WorkingCopy = np.memmap[tuple[int, ...], np.dtype[np.uint8]]


def create_working_copy(path: Path, shape: Shape, fill: Callable[[NDArray[np.uint8]], None] | None) -> None:
    """Write an annotation uncompressed.

    Parameters
    ----------
    path
        File to write; appears when complete.
    shape
        Of the annotation, (z, y, x).
    fill
        Fills zeros of this shape with what is to be there; None leaves them.

    Raises
    ------
    OutputError
        If the disk cannot hold it.
    """
    with written_when_complete(path) as partial:
        try:
            _reserve(partial, prod(shape))
        except OSError as error:
            needed = f"{prod(shape) / 1e9:.2f} GB needed while the annotation is open"
            message = f"{path}: cannot be written, {needed}: {error.strerror}"
            raise OutputError(message) from error
        if fill is not None:
            labels = np.memmap(partial, dtype=np.uint8, mode="r+", shape=shape)
            fill(labels)
            labels.flush()


def open_working_copy(path: Path, shape: Shape) -> WorkingCopy:
    """Map a working copy into memory; writing to it writes to the file.

    Raises
    ------
    InputError
        If its size is not that of ``shape``.
    """
    size = path.stat().st_size
    if size != prod(shape):
        message = (
            f"{path}: unsaved work of {size} voxels is there, expected {prod(shape)} as the image has "
            f"{shape} (z, y, x): was the image replaced? Move this file away to begin anew"
        )
        raise InputError(message)
    return np.memmap(path, dtype=np.uint8, mode="r+", shape=shape)


def _reserve(path: Path, size: int) -> None:
    """Make a file of zeros whose space is taken at once: a mapped file that meets a full disk ends the process."""
    with path.open("wb") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
