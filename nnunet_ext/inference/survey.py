"""Read an image once, slab by slab, for what nnU-Net computes from the whole: its crop and its intensities."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.imageio.grid import grid_differences, grid_of
from nnunet_ext.imageio.volume import SLAB_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.volume import Volume

    Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_BLOCK = 2**17
"""Voxels that are worked on in float64 at a time: 1 MiB stays in the cache of a core."""


@dataclass(frozen=True)
class ChannelStatistics:
    """Intensities of one channel within the crop, computed in float64 of voxels in float32.

    Parameters
    ----------
    mean, std
        Mean and population standard deviation.
    minimum, maximum
        Smallest and largest voxel value.
    """

    mean: float
    std: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Survey:
    """What must be known of a whole image before any part of it can be prepared for the network.

    Parameters
    ----------
    shape
        Voxels along z, y, x.
    crop
        Half-open box (z, y, x) around the voxels that are not zero in every channel; the whole image if all are.
    checksum
        Hexadecimal digest of shape, dtype and voxels of all channels as read; neither format nor slabs matter.
    statistics
        Of each channel, or None if they were not asked for.
    files
        File or folder of each channel, for messages.
    """

    shape: tuple[int, int, int]
    crop: Box
    checksum: str
    statistics: tuple[ChannelStatistics, ...] | None
    files: tuple[Path, ...] = field(default=(), compare=False)


def survey(volumes: Sequence[Volume], *, statistics: bool, progress: Callable[[int], object] | None = None) -> Survey:
    """Read all channels of a case side by side, once from the first slice to the last.

    Memory: one slab of about 32 MiB for all channels together (one slice of each, if that is more), a copy of one
    slice of each channel in float32, and 1 MiB of float64 to work in.

    Parameters
    ----------
    volumes
        One open volume per channel, (z, y, x), all on the same grid.
    statistics
        Whether to compute the statistics within the crop.
    progress
        Is called with the number of slices read since the last call; they add up to the length along z.

    Returns
    -------
    Survey
        The crop is that of nnU-Net. So are the statistics, but for the rounding of its sums in float32.

    Raises
    ------
    InputError
        If there are no channels, their shapes or geometries differ, a file is damaged, or a voxel is NaN, infinite
        or beyond the range of float32, which nnU-Net computes in.

    Notes
    -----
    One pass suffices although the crop is known only at its end: outside the box around the non-zero voxels of a
    slice, all is zero. The statistics of these boxes are joined with as many zeros as the crop holds beside them.
    Means and sums of squared deviations are joined as in Chan, Golub and LeVeque (1983), "Algorithms for computing
    the sample variance", which does not cancel where the mean is large and the deviation small.
    """
    _check_grids(volumes)
    shape = volumes[0].shape
    surveyor = _Surveyor(volumes, statistics=statistics)
    voxel_bytes = sum(volume.dtype.itemsize for volume in volumes)
    thickness = max(1, SLAB_BYTES // (math.prod(shape[1:]) * voxel_bytes))
    for start in range(0, shape[0], thickness):
        stop = min(shape[0], start + thickness)
        # No name is bound to the slabs here: they are gone before the next ones are read.
        surveyor.add(start, [volume.slab(start, stop) for volume in volumes])
        if progress is not None:
            progress(stop - start)
    return surveyor.result()


@dataclass(frozen=True)
class _Moments:
    """Count, mean, sum of squared deviations, and range of some numbers."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    def joined(self, other: _Moments) -> _Moments:
        """Return the moments of both sets of numbers together (Chan et al.)."""
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        delta = other.mean - self.mean
        return _Moments(
            count,
            self.mean + delta * (other.count / count),
            self.squares + other.squares + delta * delta * (self.count * (other.count / count)),
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def statistics(self) -> ChannelStatistics:
        """Return them in the form that is given out."""
        return ChannelStatistics(self.mean, math.sqrt(self.squares / self.count), self.minimum, self.maximum)


class _Surveyor:
    """Collect crop, digests and moments slice by slice."""

    def __init__(self, volumes: Sequence[Volume], *, statistics: bool) -> None:
        self._files = tuple(volume.path for volume in volumes)
        self._shape = volumes[0].shape
        # One digest per channel: in a common one, the thickness of the slabs would show.
        self._digests = [_digest(f"{volume.shape} {volume.dtype.str}".encode()) for volume in volumes]
        self._moments = [_Moments()] * len(volumes) if statistics else None
        self._crop: Box | None = None

    def add(self, start: int, slabs: list[NDArray[Any]]) -> None:
        """Take the slabs of all channels that begin at slice ``start``."""
        for digest, slab in zip(self._digests, slabs, strict=True):
            digest.update(slab.data)
        for z, slices in enumerate(zip(*slabs, strict=True), start):
            self._add_slice(z, [_float32(file, z, voxels) for file, voxels in zip(self._files, slices, strict=True)])

    def result(self) -> Survey:
        """Return the survey; all slices must have been added."""
        z, y, x = self._shape
        crop = self._crop or ((0, z), (0, y), (0, x))
        digest = _digest(b"".join(part.digest() for part in self._digests))
        statistics = None
        if self._moments is not None:
            size = math.prod(stop - start for start, stop in crop)
            zeros = [_Moments(size - moments.count, minimum=0.0, maximum=0.0) for moments in self._moments]
            joined = [moments.joined(rest) for moments, rest in zip(self._moments, zeros, strict=True)]
            statistics = tuple(moments.statistics() for moments in joined)
        return Survey(self._shape, crop, digest.hexdigest(), statistics, self._files)

    def _add_slice(self, z: int, channels: list[NDArray[np.float32]]) -> None:
        box = _nonzero_box(channels)
        if box is None:
            return
        found = ((z, z + 1), *box)
        self._crop = found if self._crop is None else _around(self._crop, found)
        if self._moments is not None:
            (top, bottom), (left, right) = box
            for index, channel in enumerate(channels):
                for block in _blocks(channel[top:bottom, left:right]):
                    self._moments[index] = self._moments[index].joined(_moments_of(block))


def _check_grids(volumes: Sequence[Volume]) -> None:
    if not volumes:
        message = "no volumes given, expected one per channel"
        raise InputError(message)
    first = grid_of(volumes[0])
    others = [grid_of(volume) for volume in volumes[1:]]
    differing = [(grid.path, differences) for grid in others if (differences := grid_differences(grid, first))]
    if differing:
        found = "; ".join(f"{path}: {', '.join(differences)}" for path, differences in differing)
        message = f"{found} as in {first.path}; expected one grid for all channels of a case"
        raise InputError(message)


def _float32(file: Path, z: int, voxels: NDArray[Any]) -> NDArray[np.float32]:
    """Return a slice in nnU-Net's type of number, all of them finite."""
    with np.errstate(over="ignore"):
        converted = voxels.astype(np.float32, copy=False)
    if voxels.dtype.kind == "f" and not np.isfinite(converted).all():
        message = (
            f"{file}: slice {z} (z, counted from 0) holds {_not_finite(voxels, converted)}; expected finite numbers"
        )
        raise InputError(message)
    return converted


def _not_finite(voxels: NDArray[Any], converted: NDArray[np.float32]) -> str:
    lost = np.isfinite(voxels) & ~np.isfinite(converted)
    largest = np.abs(voxels[lost]).max(initial=0)
    counts = {
        "NaN": np.isnan(voxels).sum(),
        "infinite": np.isinf(voxels).sum(),
        f"beyond float32 (up to {largest:.3g}, above {np.finfo(np.float32).max:.3g})": lost.sum(),
    }
    texts = [
        f"{count} voxel{'s' if count != 1 else ''} that {_be(count)} {what}" for what, count in counts.items() if count
    ]
    return " and ".join(texts)


def _be(count: int) -> str:
    return "are" if count != 1 else "is"


def _nonzero_box(channels: list[NDArray[np.float32]]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the half-open box (y, x) around the pixels that are not zero in every channel, None if all are."""
    nonzero = channels[0] != 0
    for channel in channels[1:]:
        nonzero |= channel != 0
    rows, columns = (np.flatnonzero(nonzero.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def _around(first: Box, second: Box) -> Box:
    z, y, x = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(first, second, strict=True))
    return z, y, x


def _blocks(pixels: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of a slice in float64; how many at a time depends on the slice alone, not on slabs."""
    step = max(1, _BLOCK // pixels.shape[1])
    for start in range(0, pixels.shape[0], step):
        yield pixels[start : start + step].astype(np.float64)


def _moments_of(block: NDArray[np.float64]) -> _Moments:
    """Return the moments of a block, whose memory is used up."""
    minimum, maximum, mean = float(block.min()), float(block.max()), float(block.mean())
    block -= mean
    np.square(block, out=block)
    return _Moments(block.size, mean, float(block.sum()), minimum, maximum)


def _digest(content: bytes) -> Any:
    return hashlib.blake2b(content, digest_size=20)
