"""Read voxels that lie one after another in a file, uncompressed."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.imageio.volume import Volume, VolumeInfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


class RawVolume(Volume):
    """Uncompressed voxels at an offset of a file.

    Slabs are read and not mapped: mapped pages stay resident as long as the file is open.

    Parameters
    ----------
    path, info
        As for ``Volume``.
    offset
        Byte of the first voxel.
    stored
        Type of the voxels in the file, byte order included.
    convert
        Turns stored voxels into those given out (the scaling of NIfTI).

    Raises
    ------
    InputError
        If the file is shorter than its header says.
    """

    def __init__(
        self,
        path: Path,
        info: VolumeInfo,
        *,
        offset: int,
        stored: np.dtype[Any],
        convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        super().__init__(path, info)
        self._offset = offset
        self._stored = stored
        self._convert = convert
        needed = offset + prod(info.shape) * stored.itemsize
        size = path.stat().st_size
        if size < needed:
            message = f"{path}: holds {size} bytes, expected {needed} for {info.shape} {stored.name} voxels"
            raise InputError(message)

    def mapped(self) -> NDArray[Any] | None:
        """Return all voxels, (z, y, x), mapped into memory for reading; None if the file holds them in another form."""
        if self._convert is not None or not self._stored.isnative or self._stored != self.dtype:
            return None
        return np.memmap(self.path, dtype=self._stored, mode="r", offset=self._offset, shape=self.shape)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        per_slice = prod(self.shape[1:])
        first = self._offset + start * per_slice * self._stored.itemsize
        count = (stop - start) * per_slice
        flat = np.fromfile(self.path, dtype=self._stored, count=count, offset=first)
        voxels = flat.reshape(stop - start, *self.shape[1:])
        return voxels if self._convert is None else self._convert(voxels)
