"""A stack of planes that moves through a volume: what is behind it is given up, what comes next starts as zeros."""

from __future__ import annotations

import mmap
import os
import sys
from typing import TYPE_CHECKING

from nnunet_ext.inference.disk import clear_disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    import torch


PAGES_CAN_BE_GIVEN_BACK = sys.platform == "linux" and hasattr(mmap, "MADV_DONTNEED")
"""Whether private pages that are given back are zeros afterwards; other systems do not promise it."""


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
        size = torch.zeros(0, dtype=dtype).itemsize * channels * depth * height * width
        if scratch is not None:
            self._map = _mapped(scratch, size)
        elif device.type == "cpu" and PAGES_CAN_BE_GIVEN_BACK:
            self._map = _private(size)
        if self._map is None:
            self.values = torch.zeros(shape, dtype=dtype, device=device)
        else:
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
        if step == 0:
            return
        kept = max(0, self.depth - step)
        # Plane by plane: source and target of one copy of them all would overlap.
        for plane in range(kept):
            self.values[:, plane].copy_(self.values[:, plane + step])
            if plane + step >= kept:
                self._clear(plane + step, plane + step + 1, 0, self.values.shape[2])
            # Else all planes of a scratch file would be in memory at the end.
            self.relax()
        for plane in range(kept, min(self.depth, max(step, kept))):
            self._clear(plane, plane + 1, 0, self.values.shape[2])
            self.relax()
        self.start = start

    def clear(self, first: int, last: int, top: int, bottom: int) -> None:
        """Set rows ``top`` to ``bottom`` of the planes ``first`` to ``last`` (exclusive) to zero.

        On Linux their memory goes back to the system until they are written to again.
        """
        self.planes(first, last)  # an error if they are not held
        self._clear(first - self.start, last - self.start, top, bottom)

    def relax(self) -> None:
        """Let the system take the memory of a scratch file back; its content stays."""
        if self._map is not None and self._scratch is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def _clear(self, first: int, last: int, top: int, bottom: int) -> None:
        """Do what ``clear`` does, with planes counted from the first one that is held."""
        if self._map is None or self._scratch is not None:
            self.values[:, first:last, top:bottom].zero_()
            return
        channels, depth, height, width = self.values.shape
        line = width * self.values.element_size()
        for channel in range(channels):
            if (top, bottom) == (0, height):
                begin = (channel * depth + first) * height * line
                _give_back(self._map, begin, begin + (last - first) * height * line)
                continue
            for plane in range(first, last):
                begin = (channel * depth + plane) * height * line
                _give_back(self._map, begin + top * line, begin + bottom * line)

    def close(self) -> None:
        """Give up all planes and remove the scratch file."""
        del self.values
        self._map = None
        if self._scratch is not None:
            self._scratch.unlink(missing_ok=True)


def _private(size: int) -> mmap.mmap:
    """Return zeros that take memory where they are written to only, and give it back page by page."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        # Huge pages would take memory for rows far from those that are written to.
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def _give_back(memory: mmap.mmap, begin: int, end: int) -> None:
    """Set bytes of private memory to zero: whole pages by giving them back, what is left by writing."""
    first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    last = end // mmap.PAGESIZE * mmap.PAGESIZE
    if first >= last:
        memory[begin:end] = bytes(end - begin)
        return
    memory[begin:first] = bytes(first - begin)
    memory.madvise(mmap.MADV_DONTNEED, first, last - first)
    memory[last:end] = bytes(end - last)


def _mapped(path: Path, size: int) -> mmap.mmap:
    """Map a new file of zeros; its disk space is reserved, as a full disk would end the process later."""
    with clear_disk_errors(path, size), path.open("w+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return mmap.mmap(file.fileno(), size)
