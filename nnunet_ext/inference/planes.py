"""The planes of an image as the network sees them: cropped, turned, normalised, resampled, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.inference.disk import clear_disk_errors
from nnunet_ext.inference.resampling import Limits, SlabResampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.volume import Volume
    from nnunet_ext.inference.intensities import IntensityRule
    from nnunet_ext.inference.recipe import Box
    from nnunet_ext.inference.resampling import ResamplingPlan

BLOCK_BYTES = 32 * 2**20
_SMALL_BYTES = 2


def stored_type(volumes: Sequence[Volume]) -> np.dtype[Any] | None:
    """Return the integer type of all channels if it takes one or two bytes, so that it is worth keeping; else None."""
    types = {volume.dtype.newbyteorder("=") for volume in volumes}
    only = types.pop()
    return only if not types and only.kind in "iu" and only.itemsize <= _SMALL_BYTES else None


class ImagePlanes:
    """Normalised planes of the crop of an image along the first axis of the network, before resampling.

    Where that axis is z, the files are read forwards. Else their crop is first copied, uncompressed, to a scratch file
    per channel, from which planes are read in any direction.

    Parameters
    ----------
    volumes
        One per channel.
    crop
        Part of the image, (z, y, x).
    transpose
        Which axis of the image stands where in the network.
    rules
        Normalisation of each channel.
    scratch
        Folder for scratch files; they are left to whoever made the folder.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        crop: Box,
        transpose: tuple[int, int, int],
        rules: Sequence[IntensityRule],
        scratch: Path,
    ) -> None:
        self._volumes = volumes
        self._crop = crop
        self._transpose = transpose
        self._rules = rules
        sizes = [stop - start for start, stop in crop]
        self.shape = (sizes[transpose[0]], sizes[transpose[1]], sizes[transpose[2]])
        self._spooled = None if transpose[0] == 0 else [self._spool(volume, scratch) for volume in volumes]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self._volumes)

    def blocks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        """Read planes ``first`` to ``last`` (exclusive) in blocks (channels, n, height, width)."""
        for start, stop in self._ranges(first, last):
            yield np.stack([rule.apply(self._raw(index, start, stop)) for index, rule in enumerate(self._rules)])

    def stored_blocks(self, first: int, last: int) -> Iterator[NDArray[Any]]:
        """Read them as they are stored, all channels in one type."""
        for start, stop in self._ranges(first, last):
            yield np.stack([self._raw(index, start, stop) for index in range(self.channels)])

    def normalized(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise any part (channels, n, height, width) of what was read as stored."""
        return np.stack([rule.apply(stored[index]) for index, rule in enumerate(self._rules)])

    def _ranges(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        step = max(1, BLOCK_BYTES // (self.channels * self.shape[1] * self.shape[2] * 4))
        for start in range(first, last, step):
            yield start, min(last, start + step)

    def _raw(self, channel: int, start: int, stop: int) -> NDArray[Any]:
        if self._spooled is None:
            (z, _), (top, bottom), (left, right) = self._crop
            slab = self._volumes[channel].slab(z + start, z + stop)[:, top:bottom, left:right]
            return slab.transpose(self._transpose)
        # Mapped anew for every block: pages that were read stay with the process as long as the map does.
        sizes = tuple(stop - start for start, stop in self._crop)
        spooled = np.memmap(self._spooled[channel], self._volumes[channel].dtype, "r", shape=sizes)
        return np.array(spooled.transpose(self._transpose)[start:stop])

    def _spool(self, volume: Volume, scratch: Path) -> Path:
        (first, last), (top, bottom), (left, right) = self._crop
        path = scratch / f"channel{len(list(scratch.glob('channel*.raw')))}.raw"
        size = (last - first) * (bottom - top) * (right - left) * volume.dtype.itemsize
        step = max(1, BLOCK_BYTES // max(1, size // (last - first)))
        with clear_disk_errors(path, size), path.open("wb") as file:
            for start in range(first, last, step):
                slab = volume.slab(start, min(last, start + step))
                file.write(np.ascontiguousarray(slab[:, top:bottom, left:right]).data)
        return path


class NetworkPlanes:
    """The same planes, resampled to the spacing of the network.

    Parameters
    ----------
    image
        Planes of the image.
    resampling
        How to resample them; None if they are as the network wants them.
    """

    def __init__(self, image: ImagePlanes, resampling: ResamplingPlan | None) -> None:
        self._image = image
        self._resampling = resampling
        self._limits: Limits | None = None
        self.shape = image.shape if resampling is None else resampling.out_shape

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self._image.channels

    def stored_blocks(self, first: int, last: int) -> Iterator[NDArray[Any]]:
        """Read planes ``first`` to ``last`` (exclusive) as stored, in blocks (channels, n, height, width).

        For images that are not resampled.
        """
        return self._image.stored_blocks(first, last)

    def normalized(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise any part (channels, n, height, width) of what was read as stored."""
        return self._image.normalized(stored)

    def network_input(self, held: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network looks at of a part (channels, n, height, width) of ``blocks``, its own memory."""
        return held.copy()

    def blocks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        """Make planes ``first`` to ``last`` (exclusive) in blocks (channels, n, height, width), n at least 1."""
        if self._resampling is None:
            yield from self._image.blocks(first, last)
            return
        resampler = SlabResampler(
            self._resampling,
            channels=self._image.channels,
            first=first,
            last=last,
            limits=self._known_limits(self._resampling),
        )
        for block in self._image.blocks(*resampler.needed):
            made = resampler.push(block)
            if made.shape[1]:
                yield made

    def _known_limits(self, resampling: ResamplingPlan) -> Limits | None:
        """Return the smallest and largest values, which cubic interpolation must not leave; one more pass, once."""
        if resampling.needs_limits and self._limits is None:
            limits = Limits(resampling, self._image.channels)
            for block in self._image.blocks(0, self._image.shape[0]):
                limits.push(block)
            self._limits = limits
        return self._limits
