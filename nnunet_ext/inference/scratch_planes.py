"""Planes in a scratch file that move through a volume, for machines with more disk than memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nnunet_ext.inference.disk import clear_disk_errors
from nnunet_ext.inference.held_planes import HeldPlanes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch


class ScratchPlanes(HeldPlanes):
    """Planes in a file; only lines that are looked at are in memory.

    The file is read and written, not mapped: the pages of a map count as memory of the process, and the system maps
    more of them than are touched. Plane n of the volume has place n modulo ``depth`` in it, so that nothing is moved.

    Parameters
    ----------
    channels, depth, height, width
        Size of what is held at one time.
    dtype
        Type of the numbers.
    path
        A new file, removed on ``close``; its disk space is reserved.
    start
        First plane that is held.

    Raises
    ------
    OutputError
        If the disk has no room for the file.
    """

    def __init__(
        self, channels: int, depth: int, height: int, width: int, *, dtype: torch.dtype, path: Path, start: int = 0
    ) -> None:
        import torch

        super().__init__(channels, depth, height, width, start=start)
        self._path = path
        self._dtype = dtype
        self._line = width * torch.zeros(0, dtype=dtype).itemsize
        size = channels * depth * height * self._line
        with clear_disk_errors(path, size):
            self._file = path.open("w+b", buffering=0)
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(self._file.fileno(), 0, size)
                else:
                    self._file.truncate(size)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Give up all planes and remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _read(self, first: int, last: int, top: int, bottom: int) -> torch.Tensor:
        import torch

        channels, _, _, width = self.shape
        values = torch.empty((channels, last - first, bottom - top, width), dtype=self._dtype)
        for plane in self._planes(values, first, top):
            found = self._file.readinto(plane)
            if found != len(plane):
                message = f"{self._path}: {found} bytes of a plane could be read, expected {len(plane)}"
                raise OSError(message)
        return values

    def _keep(self, values: torch.Tensor, first: int, top: int) -> None:
        with clear_disk_errors(self._path):
            for plane in self._planes(values, first, top):
                while plane:
                    plane = plane[self._file.write(plane) :]

    def _planes(self, values: torch.Tensor, first: int, top: int) -> Iterator[memoryview]:
        """Go through the bytes of lines, plane by plane, with the file at the place of each."""
        import numpy as np

        _, depth, height, _ = self.shape
        for channel, planes in enumerate(values.numpy()):
            for index, plane in enumerate(planes):
                place = channel * depth + (first + index) % depth
                self._file.seek((place * height + top) * self._line)
                yield plane.reshape(-1).view(np.uint8).data

    def _move(self, step: int) -> None:
        import torch

        channels, depth, height, width = self.shape
        zeros = torch.zeros((channels, 1, height, width), dtype=self._dtype)
        for plane in range(self.start, self.start + min(step, depth)):
            self._keep(zeros, plane, 0)

    def _give_up(self, first: int, last: int, top: int, bottom: int) -> None:
        """Do nothing: the disk space is used again for the planes that come."""
