"""What the second stage of a cascade sees: the planes of the image, and beside them the labels of the first stage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.inference.planes import NetworkPlanes
from nnunet_ext.inference.resampling import SlabResampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from nnunet_ext.imageio.volume import Volume
    from nnunet_ext.inference.planes import ImagePlanes
    from nnunet_ext.inference.resampling import ResamplingPlan

_TIE = 1e-12


class StagePlanes:
    """Labels of the first stage along the axes of the network, resampled as nnU-Net resamples label maps.

    A voxel gets the label with the largest linear weight; between equals, that of the nearest voxel. nnU-Net also has
    a label for voxels outside of the non-zero region of the image, which is background here.

    Parameters
    ----------
    volume
        The label map.
    planes
        Its planes.
    labels
        Foreground labels, ascending.
    resampling
        How to resample them; None if they are as the network wants them.
    """

    def __init__(
        self, volume: Volume, planes: ImagePlanes, labels: Sequence[int], resampling: ResamplingPlan | None
    ) -> None:
        self._volume = volume
        self._planes = planes
        self._labels = np.array([0, *labels])
        self._resampling = resampling

    @property
    def count(self) -> int:
        """Number of foreground labels."""
        return len(self._labels) - 1

    def blocks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        """Make planes ``first`` to ``last`` (exclusive) in blocks (1, n, height, width).

        Values are places among the foreground labels, counted from 1; 0 is background.

        Raises
        ------
        InputError
            If a value is no label of the model.
        """
        if self._resampling is None:
            for block in self._planes.stored_blocks(first, last):
                places = np.empty(block.shape, np.float32)
                for plane in range(block.shape[1]):
                    places[:, plane] = self._places(block[:, plane])
                yield places
            return
        yield from self._resampled(self._resampling, first, last)

    def _resampled(self, plan: ResamplingPlan, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        count = len(self._labels)
        scores = SlabResampler(plan, channels=count, first=first, last=last, dtype=np.float64)
        nearest = SlabResampler(_nearest_plan(plan), channels=1, first=first, last=last)
        begin = min(scores.needed[0], nearest.needed[0])
        end = max(scores.needed[1], nearest.needed[1])
        waiting = _Waiting(), _Waiting()
        place = begin
        for block in self._planes.stored_blocks(begin, end):
            # Plane by plane, as there is a channel for every label.
            for plane in range(block.shape[1]):
                slab = self._places(block[:, plane])[:, None]
                if scores.needed[0] <= place < scores.needed[1]:
                    waiting[0].add(scores.push(slab == np.arange(count).reshape(-1, 1, 1, 1)))
                if nearest.needed[0] <= place < nearest.needed[1]:
                    waiting[1].add(nearest.push(slab))
                place += 1
                if known := min(waiting[0].planes, waiting[1].planes):
                    yield _winners(waiting[0].take(known), waiting[1].take(known).astype(np.intp))

    def _places(self, labels: NDArray[Any]) -> NDArray[np.intp]:
        places = np.searchsorted(self._labels, labels).clip(0, len(self._labels) - 1)
        if (unknown := self._labels[places] != labels).any():
            values = ", ".join(str(value) for value in np.unique(labels[unknown])[:5])
            expected = ", ".join(map(str, self._labels))
            message = f"{self._volume.path}: value {values}, expected labels of the model: {expected}"
            raise InputError(message)
        return places


class CascadePlanes(NetworkPlanes):
    """Planes of an image, and as one more channel the labels of the first stage.

    The network has a channel for every foreground label; they are made of the labels when it is a window's turn.

    Parameters
    ----------
    image
        Planes of the image.
    resampling
        How to resample them; None if they are as the network wants them.
    stage
        Labels of the first stage.
    """

    def __init__(self, image: ImagePlanes, resampling: ResamplingPlan | None, stage: StagePlanes) -> None:
        super().__init__(image, resampling)
        self._stage = stage

    @property
    def channels(self) -> int:
        """Number of channels that are held."""
        return super().channels + 1

    def blocks(self, first: int, last: int) -> Iterator[NDArray[np.float32]]:
        """Make planes ``first`` to ``last`` (exclusive) in blocks (channels, n, height, width), n at least 1."""
        stage, waiting = self._stage.blocks(first, last), _Waiting()
        for block in super().blocks(first, last):
            while waiting.planes < block.shape[1]:
                waiting.add(next(stage))
            yield np.concatenate([block, waiting.take(block.shape[1])])

    def network_input(self, held: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the network looks at (channels and foreground labels, n, height, width), its own memory."""
        places = np.arange(1, self._stage.count + 1, dtype=np.float32).reshape(-1, 1, 1, 1)
        return np.concatenate([held[:-1], (held[-1:] == places).astype(np.float32)])


def stage_bytes(plan: ResamplingPlan | None, labels: int) -> int:
    """Return the bytes that resampling the labels of the first stage holds."""
    if plan is None:
        return 0
    count = labels + 1
    largest = max(plan.in_shape[1] * plan.in_shape[2], plan.out_shape[1] * plan.out_shape[2])
    held = SlabResampler(plan, channels=count, dtype=np.float64).held_planes
    # Scores that one more plane makes known, and what is compared and waits.
    made = -(-plan.out_shape[0] // plan.in_shape[0])
    return (held + 2 * made + 1) * count * largest * 8


def _nearest_plan(plan: ResamplingPlan) -> ResamplingPlan:
    """Return the plan of the same resampling that takes the nearest voxel along every axis."""
    return replace(plan, orders=(0, 0, 0), clip=False)


def _winners(scores: NDArray[np.float64], nearest: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the place of the largest score (places, n, height, width), or the nearest voxel's where it is as large."""
    highest = scores.max(axis=0, keepdims=True)
    is_as_large = np.take_along_axis(scores, nearest, axis=0) >= highest - _TIE
    first = (scores >= highest - _TIE).argmax(axis=0)[None]
    return np.where(is_as_large, nearest, first).astype(np.float32)


class _Waiting:
    """Planes (channels, n, height, width) that come in blocks of any size and go in others."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[Any]] = []

    @property
    def planes(self) -> int:
        return sum(block.shape[1] for block in self._blocks)

    def add(self, block: NDArray[Any]) -> None:
        if block.shape[1]:
            self._blocks.append(block)

    def take(self, count: int) -> NDArray[Any]:
        together = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks, axis=1)
        self._blocks = [together[:, count:]] if together.shape[1] > count else []
        return together[:, :count]
