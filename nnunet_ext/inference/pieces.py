"""Cut a length into pieces that overlap: the core that a piece owns, and the halo that its prediction needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

AXES = ("z", "y", "x")
"""Names of the array axes 0, 1, 2."""

_DECIMALS = 3


@dataclass(frozen=True)
class Interval:
    """Half-open range ``[start, stop)`` of voxels along one axis."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __str__(self) -> str:
        return f"{self.start}–{self.stop}"

    def contains(self, other: Interval) -> bool:
        """Return whether ``other`` lies within this interval."""
        return self.start <= other.start and other.stop <= self.stop

    def clipped(self, other: Interval) -> Interval:
        """Return the part of this interval that lies within ``other``; its length may be 0."""
        return Interval(max(self.start, other.start), min(self.stop, other.stop))

    def moved(self, voxels: int) -> Interval:
        """Return the interval ``voxels`` further on."""
        return Interval(self.start + voxels, self.stop + voxels)


@dataclass(frozen=True)
class Piece:
    """What one piece owns, and what it holds.

    Parameters
    ----------
    core
        Voxels that the piece alone answers for; the cores of all pieces make up the whole length.
    extent
        Voxels that the piece holds: its core with the halo on both sides, clipped to the length.
    """

    core: Interval
    extent: Interval


def halo_width(patch: float, patch_spacing: float, spacing: float) -> int:
    """Return how many voxels of context a piece gets on either side: half a patch.

    Parameters
    ----------
    patch
        Length of the network's patch, in voxels of ``patch_spacing``.
    patch_spacing
        Voxel size in mm that the network works on.
    spacing
        Voxel size of the image in mm, along the same axis.

    Returns
    -------
    int
        ``ceil(patch · patch_spacing / spacing / 2)``, in voxels of the image. Thousandths of a voxel do not count: many
        formats store the spacing in single precision.
    """
    return math.ceil(round(patch * patch_spacing / spacing / 2, _DECIMALS))


def cut(length: int, pieces: int, halo: int) -> list[Piece]:
    """Cut ``length`` voxels into ``pieces`` cores of the same length and give each ``halo`` voxels of context.

    Parameters
    ----------
    length
        Voxels along the axis, at least 1.
    pieces
        Number of pieces, at least 1.
    halo
        Voxels of context on either side, at least 0.

    Returns
    -------
    list of Piece
        In order. Cores are ``ceil(length / pieces)`` long, the last one may be shorter; if fewer cores make up the
        length (10 voxels in 8 pieces: 5 cores of 2), there are fewer pieces. Neighbours whose halos make them hold the
        same voxels are one piece.

    Raises
    ------
    InputError
        If a number is too small.
    """
    for name, value, least in (("voxels", length, 1), ("pieces", pieces, 1), ("voxels of halo", halo, 0)):
        if value < least:
            message = f"{value} {name} given, expected at least {least}"
            raise InputError(message)
    whole = Interval(0, length)
    step = -(-length // pieces)
    cores = [Interval(start, min(length, start + step)) for start in range(0, length, step)]
    pieces_of: dict[Interval, Interval] = {}
    for core in cores:
        extent = Interval(core.start - halo, core.stop + halo).clipped(whole)
        pieces_of[extent] = Interval(pieces_of.get(extent, core).start, core.stop)
    return [Piece(core, extent) for extent, core in pieces_of.items()]


def cover_problems(pieces: Sequence[Piece], length: int) -> list[str]:
    """Describe where the cores of pieces do not make up ``0–length``, in order and each voxel once."""
    problems = []
    reached = 0
    for piece in pieces:
        if piece.core.start > reached:
            problems.append(f"no piece owns {Interval(reached, piece.core.start)}")
        if piece.core.start < reached:
            problems.append(f"two pieces own {Interval(piece.core.start, min(reached, piece.core.stop))}")
        if not len(piece.core) or not piece.extent.contains(piece.core):
            problems.append(f"a piece holds {piece.extent}, expected at least its core {piece.core}")
        if not Interval(0, length).contains(piece.extent):
            problems.append(f"a piece holds {piece.extent}, expected a part of {Interval(0, length)}")
        reached = max(reached, piece.core.stop)
    if reached < length:
        problems.append(f"no piece owns {Interval(reached, length)}")
    return problems


def blending_weights(pieces: Sequence[Piece], length: int) -> NDArray[np.float32]:
    """Return how much each piece counts at each voxel, falling linearly from core to core across the halo.

    Parameters
    ----------
    pieces
        The pieces of a length, in order.
    length
        Voxels along the axis.

    Returns
    -------
    numpy.ndarray
        Shape (pieces, length), float32; 0 outside of a piece, and all pieces together 1 at each voxel. Between two
        neighbours with a halo of o voxels, the weight changes over the 2·o voxels that both hold. The ends of the
        image are no border that a piece was cut at, so the weight does not fall there.
    """
    weights = np.zeros((len(pieces), length))
    for row, piece in zip(weights, pieces, strict=True):
        core, extent = piece.core, piece.extent
        centres = np.arange(extent.start, extent.stop) + 0.5
        ramp = np.ones(len(extent))
        if extent.start > 0 and core.start > extent.start:
            ramp = np.minimum(ramp, (centres - extent.start) / (2 * (core.start - extent.start)))
        if extent.stop < length and extent.stop > core.stop:
            ramp = np.minimum(ramp, (extent.stop - centres) / (2 * (extent.stop - core.stop)))
        row[extent.start : extent.stop] = ramp
    weights /= weights.sum(axis=0)
    return weights.astype(np.float32)
