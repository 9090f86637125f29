"""Probabilities in ``.b2nd`` files: blosc2 arrays (heads, z, y, x) of float16, read and written in slabs."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, OutputError
from nnunet_ext.files import written_when_complete
from nnunet_ext.imageio.volume import library_errors
from nnunet_ext.inference.disk import clear_disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORED_ENDING = ".b2nd"


@contextmanager
def create_probabilities(
    path: Path, shape: tuple[int, int, int, int], thickness: int, *, overwrite: bool = False
) -> Iterator[Any]:
    """Begin an array of probabilities; it appears under its name when the block ends without an error.

    Parameters
    ----------
    path
        File to write, ``.b2nd``.
    shape
        Lengths (heads, z, y, x).
    thickness
        Slices that are written at a time: those of one head are compressed together.
    overwrite
        Whether an existing file may be replaced.

    Yields
    ------
    blosc2.NDArray
        To be filled: ``array[:, start:stop] = …``.

    Raises
    ------
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    OutputError
        If the disk is full.
    """
    import blosc2  # type: ignore[import-untyped]

    with written_when_complete(path, overwrite=overwrite) as partial, clear_disk_errors(path), _blosc_errors(path):
        yield blosc2.empty(
            shape,
            dtype=np.float16,
            chunks=(1, min(thickness, shape[1]), *shape[2:]),
            urlpath=str(partial),
            mode="w",
            cparams={"codec": blosc2.Codec.ZSTD, "clevel": 3},
        )


def open_probabilities(path: Path) -> Any:
    """Return a stored array: ``array[:, start:stop]`` reads slices of all heads.

    Raises
    ------
    InputError
        If the file is damaged, or not an array.
    """
    import blosc2

    with library_errors(path):
        array = blosc2.open(str(path), mode="r")
    if not isinstance(array, blosc2.NDArray):
        message = f"{path}: holds no array, expected probabilities (heads, z, y, x)"
        raise InputError(message)
    return array


@contextmanager
def _blosc_errors(path: Path) -> Iterator[None]:
    """Blosc2 has one error for everything, which is a full disk more often than not."""
    try:
        yield
    except RuntimeError as error:
        free = shutil.disk_usage(path.parent).free
        message = f"{path}: could not be written ({error}), {free / 1e9:.2f} GB free on the disk"
        raise OutputError(message) from error
