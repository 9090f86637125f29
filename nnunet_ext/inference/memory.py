"""How much memory a prediction needs, and which way of doing it fits into what there is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError
from nnunet_ext.inference.planes import BLOCK_BYTES
from nnunet_ext.inference.rolling import PAGES_CAN_BE_GIVEN_BACK
from nnunet_ext.inference.sliding import Layout
from nnunet_ext.machine_memory import free_memory, memory_limits, peak_memory, resident_memory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import torch

    from nnunet_ext.inference.tile_grid import TileGrid

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d{1,18}(?:\.\d+)?)\s*(?:([KMGT])I?)?B?")
_SHARE = 0.8
_CLOSING_BYTES = 16 * 2**20
_SLICES = 16


@dataclass(frozen=True)
class Demand:
    """Bytes that a prediction holds at one time.

    Parameters
    ----------
    process
        What is held already: program, libraries, weights.
    network
        Layers of the network for one window.
    sums
        Image window and sums over windows.
    work
        Blocks that are read, resampled, decoded and written.
    disk
        Scratch files.
    """

    process: int
    network: int
    sums: int
    work: int
    disk: int

    @property
    def total(self) -> int:
        """All of the memory."""
        return self.process + self.network + self.sums + self.work

    def __str__(self) -> str:
        parts = f"network {_gb(self.network)}, sums over windows {_gb(self.sums)}, blocks {_gb(self.work)}"
        on_disk = f"; {_gb(self.disk)} of scratch files" if self.disk else ""
        return f"{_gb(self.total)} of memory ({_gb(self.process)} held already, {parts}){on_disk}"


def parse_memory(text: str) -> int:
    """Return the bytes of ``8G``, ``500M`` or ``8000000000``; units are powers of 1024.

    Raises
    ------
    InputError
        If it is no such size.
    """
    match = _SIZE.fullmatch(text.strip().upper())
    size = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if size <= 0:
        message = f"--memory {text}: expected a size such as 8G or 500M"
        raise InputError(message)
    return size


def default_memory() -> int:
    """Return four fifths of the memory that is free now and that this process may use."""
    limits = [free_memory() + resident_memory() / _SHARE, *memory_limits()]
    return int(_SHARE * min(limits))


def choose_layout(
    grid: TileGrid,
    *,
    channels: int,
    heads: int,
    folds: int,
    network: int,
    resampling: int,
    available: int,
    on_device: int,
    by_strip: bool,
    scratch: Path,
    stored: np.dtype[Any] | None = None,
) -> tuple[Layout, Demand]:
    """Choose how many planes are held, and whether in memory or in scratch files.

    Parameters
    ----------
    grid
        Windows over the volume.
    channels, heads, folds
        Of image, network output and model.
    network
        Bytes that the network needs for one window.
    resampling
        Bytes that resampling holds.
    available
        Bytes that may be used in all.
    on_device
        Free bytes of the GPU; 0 without one. Sums stay there if they take half of it at most.
    by_strip
        Whether labels are taken strip by strip, so that only part of the sums of a row of windows is held.
    scratch
        Folder for scratch files.
    stored
        Type of the image, if it could be kept as stored until the network's turn. Padding is zeros *after*
        normalisation; so images smaller than the window are not.

    Raises
    ------
    InputError
        If it cannot be done with so little memory; says how much is needed.
    """
    _, height, width = grid.padded
    plane = height * width
    logits = plane * heads
    closing = max(1, min(grid.patch[0] if grid.patch[0] > 1 else _SLICES, _CLOSING_BYTES // (logits * 4)))
    # A closed block exists as half, as float and as probabilities; what is read as stored and as float.
    # Of its lines, the windows' weights are summed as well.
    work = 4 * BLOCK_BYTES + closing * (logits * (2 + 4 + 4) + plane * 2) + resampling
    depth = grid.patch[0] if grid.patch[0] > 1 else closing
    per_plane = folds * heads * plane * 2
    kept = stored if grid.padded == grid.shape else None
    window = channels * grid.patch[0] * plane * (4 if kept is None else kept.itemsize)
    process = resident_memory()
    beside_device = Demand(process, network, window, work, 0)
    if 2 * depth * per_plane <= on_device and beside_device.total <= available:
        return Layout(depth, closing, on_device=True, stored=kept), beside_device
    in_strips = by_strip and grid.patch[0] > 1 and PAGES_CAN_BE_GIVEN_BACK
    held = int((_held_planes(grid) if in_strips else depth) * per_plane)
    in_memory = Demand(process, network, window + held, work, 0)
    if in_memory.total <= available:
        return Layout(depth, closing, stored=kept), in_memory
    # Lines of one window's height, and sums of one fold; where they are closed, those count as work.
    strip = grid.patch[1] / height
    held = int((window + depth * logits * 2) * strip)
    on_disk = Demand(process, network, held, work, window + depth * per_plane)
    if on_disk.total > available:
        message = (
            f"{_gb(available)} of memory is too little, expected {_gb(on_disk.total)}, or {_gb(in_memory.total)} to do "
            "without scratch files; give more (--memory; default: four fifths of what is free), or end other programs"
        )
        raise InputError(message)
    return Layout(depth, closing, scratch, stored=kept), on_disk


def _held_planes(grid: TileGrid) -> float:
    """Return how many planes of sums are held at most if strips are given up within a row of windows.

    Of all lines, the planes that the next row adds to; of the lines in a window, those that end with this row as well.
    """
    depth, height, _ = grid.patch
    starts = grid.starts[0]
    strip = height / grid.padded[1]
    steps = [after - before for before, after in pairwise(starts)]
    return depth - min(steps) + max(steps) * strip if steps else depth * strip


def measure_network(predictor: Any, channels: int, patch: Sequence[int]) -> int:
    """Return the bytes of memory that the network needs for one window, by predicting an empty one.

    On a GPU that is not this memory: 0.
    """
    import torch

    if predictor.device.type != "cpu":
        return 0
    before = resident_memory()
    with torch.inference_mode():
        predictor.network.eval()(torch.zeros((1, channels, *patch)))
    return max(0, peak_memory() - before)


def free_device_memory(device: torch.device) -> int:
    """Return the free bytes of a CUDA device; 0 for any other."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def _gb(size: int) -> str:
    return f"{size / 2**30:.2f} GB"
