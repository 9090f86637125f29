"""Read a volume from a folder that holds one TIFF file per slice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from nnunet_ext.errors import InputError, MissingInputError
from nnunet_ext.imageio.names import TIFF_ENDINGS, has_ending, natural_key
from nnunet_ext.imageio.tiff import read_slice_info
from nnunet_ext.imageio.volume import Volume, VolumeInfo, library_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def slice_files(folder: Path) -> list[Path]:
    """Return the TIFF files directly in ``folder`` in natural order; hidden files are no slices."""
    files = [path for path in folder.iterdir() if has_ending(path, TIFF_ENDINGS) and path.is_file()]
    shown = [path for path in files if not path.name.startswith(".")]
    return sorted(shown, key=lambda path: natural_key(path.name))


def open_slices(folder: Path) -> Volume:
    """Open a folder of slices; every header is read, and no voxel yet.

    Raises
    ------
    MissingInputError
        If there is no TIFF file in the folder.
    InputError
        If a file is damaged, or differs from the first in shape or type.
    UnsupportedFormatError
        If a slice has colours or channels.
    """
    files = slice_files(folder)
    if not files:
        message = f"{folder}: no TIFF files in this folder, expected one per slice"
        raise MissingInputError(message)
    first = read_slice_info(files[0])
    for path in files:
        _check_slice(path, read_slice_info(path), files[0], first)
    return SlicesVolume(folder, replace(first, shape=(len(files), *first.shape[1:])), files)


class SlicesVolume(Volume):
    """A volume of single-slice TIFF files.

    Parameters
    ----------
    path, info
        As for ``Volume``.
    files
        One file per slice, in order.
    """

    def __init__(self, path: Path, info: VolumeInfo, files: list[Path]) -> None:
        super().__init__(path, info)
        self._files = files

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        voxels = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for target, path in zip(voxels, self._files[start:stop], strict=True):
            with library_errors(path):
                target[...] = tifffile.imread(path).reshape(target.shape)
        return voxels


def _check_slice(path: Path, found: VolumeInfo, first_path: Path, first: VolumeInfo) -> None:
    if found.shape[0] != 1:
        message = f"{path}: {found.shape[0]} slices in a folder of slices, expected 1 per file"
        raise InputError(message)
    if (found.shape, found.dtype) != (first.shape, first.dtype):
        message = (
            f"{path}: slice of {found.shape[1:]} {found.dtype}, "
            f"expected {first.shape[1:]} {first.dtype} as in {first_path.name}"
        )
        raise InputError(message)
