"""A stack of planes that moves through a volume: what is behind it is given up, what comes next starts as zeros."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from nnunet_ext.inference.disk import clear_disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    import torch


class RollingPlanes:
    """Planes ``start`` to ``start + depth`` of a volume with several channels, in memory or in a scratch file.

    Parameters
    ----------
    channels, depth, height, width
        Size of what is held at one time.
    dtype
        Type of the numbers.
    device
        Where they are; a scratch file serves the processor only.
    scratch
        Name of a file to hold them, for machines with more disk than memory; default: memory. The file is removed
        on ``close``.

    Attributes
    ----------
    start
        First plane that is held.
    values
        Tensor (channels, depth, height, width); its plane 0 is plane ``start`` of the volume.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        height: int,
        width: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        scratch: Path | None = None,
    ) -> None:
        import torch

        self.start = 0
        self._map: mmap.mmap | None = None
        self._scratch = scratch
        shape = (channels, depth, height, width)
        if scratch is None:
            self.values = torch.zeros(shape, dtype=dtype, device=device)
        else:
            self._map = _mapped(scratch, torch.zeros(0, dtype=dtype).itemsize * channels * depth * height * width)
            self.values = torch.frombuffer(self._map, dtype=dtype).view(shape)

    @property
    def depth(self) -> int:
        """Number of planes that are held."""
        return int(self.values.shape[1])

    def planes(self, first: int, last: int) -> torch.Tensor:
        """Return a view of the planes ``first`` to ``last`` (exclusive) of the volume."""
        if not self.start <= first <= last <= self.start + self.depth:
            message = f"planes {first} to {last} asked for, held are {self.start} to {self.start + self.depth}"
            raise IndexError(message)
        return self.values[:, first - self.start : last - self.start]

    def move_to(self, start: int) -> None:
        """Give up the planes before ``start``; the new ones at the end are zeros."""
        step = start - self.start
        if step < 0:
            message = f"cannot move back from plane {self.start} to {start}"
            raise IndexError(message)
        kept = max(0, self.depth - step)
        # Plane by plane: source and target of one copy of them all would overlap.
        for plane in range(kept if step else 0):
            self.values[:, plane].copy_(self.values[:, plane + step])
        if step:
            self.values[:, kept:].zero_()
        self.start = start

    def relax(self) -> None:
        """Let the system take the memory of a scratch file back; its content stays."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Give up all planes and remove the scratch file."""
        del self.values
        self._map = None
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)


def _mapped(path: Path, size: int) -> mmap.mmap:
    """Map a new file of zeros; its disk space is reserved, as a full disk would end the process later."""
    with clear_disk_errors(path, size), path.open("w+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)
