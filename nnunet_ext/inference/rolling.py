"""Planes in memory that move through a volume."""

from __future__ import annotations

import mmap
import sys
from typing import TYPE_CHECKING

from nnunet_ext.inference.held_planes import HeldPlanes

if TYPE_CHECKING:
    import torch


PAGES_CAN_BE_GIVEN_BACK = sys.platform == "linux" and hasattr(mmap, "MADV_DONTNEED")
"""Whether private pages that are given back are zeros afterwards; other systems do not promise it."""


class RollingPlanes(HeldPlanes):
    """Planes in the memory of a processor or of a GPU.

    Parameters
    ----------
    channels, depth, height, width
        Size of what is held at one time.
    dtype
        Type of the numbers.
    device
        Where they are.
    start
        First plane that is held.

    Attributes
    ----------
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
        start: int = 0,
    ) -> None:
        import torch

        super().__init__(channels, depth, height, width, start=start)
        self._map: mmap.mmap | None = None
        if device.type == "cpu" and PAGES_CAN_BE_GIVEN_BACK:
            self._map = _private(torch.zeros(0, dtype=dtype).itemsize * channels * depth * height * width)
            self.values = torch.frombuffer(self._map, dtype=dtype).view(self.shape)
        else:
            self.values = torch.zeros(self.shape, dtype=dtype, device=device)

    def close(self) -> None:
        """Give up all planes."""
        del self.values
        self._map = None

    def _read(self, first: int, last: int, top: int, bottom: int) -> torch.Tensor:
        return self.values[:, first - self.start : last - self.start, top:bottom]

    def _keep(self, values: torch.Tensor, first: int, top: int) -> None:
        """Do nothing: what is read is a view."""

    def _move(self, step: int) -> None:
        height = self.values.shape[2]
        kept = max(0, self.depth - step)
        # Plane by plane: source and target of one copy of them all would overlap.
        for plane in range(kept):
            self.values[:, plane].copy_(self.values[:, plane + step])
            if plane + step >= kept:
                self._clear(plane + step, plane + step + 1, 0, height)
        self._clear(kept, min(self.depth, max(step, kept)), 0, height)

    def _give_up(self, first: int, last: int, top: int, bottom: int) -> None:
        self._clear(first - self.start, last - self.start, top, bottom)

    def _clear(self, first: int, last: int, top: int, bottom: int) -> None:
        """Set lines to zero, with planes counted from the first one that is held.

        On Linux their memory goes back to the system until they are written to again.
        """
        if self._map is None:
            self.values[:, first:last, top:bottom].zero_()
            return
        channels, depth, height, width = self.shape
        line = width * self.values.element_size()
        for channel in range(channels):
            if (top, bottom) == (0, height):
                begin = (channel * depth + first) * height * line
                _give_back(self._map, begin, begin + (last - first) * height * line)
                continue
            for plane in range(first, last):
                begin = (channel * depth + plane) * height * line
                _give_back(self._map, begin + top * line, begin + bottom * line)


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
