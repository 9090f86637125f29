"""Resample a volume slab by slab along axis 0, with the numbers of nnU-Net's own resampling of whole volumes.

nnU-Net interpolates with splines, which are separable: axis by axis gives the same as all axes at once. Axes within the
plane are done plane by plane, those that shrink before axis 0 and those that grow after it; axis 0 combines planes.
With nnU-Net's *separate z*, values are clipped slice by slice before the low-resolution axis is interpolated.
"""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.inference.interpolation import Block, PlaneAxis, interpolation_blocks
from nnunet_ext.inference.resampling_plan import ResamplingPlan, plan_resampling, supported_resampling

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Limits", "ResamplingPlan", "SlabResampler", "plan_resampling", "supported_resampling"]

# Output planes of one block along axis 0. Order 1 makes a plane of two; order 3 of many, which serve several at a time.
_PLANES_PER_BLOCK = {0: 1, 1: 1, 3: 16}
# Samples of a plane that are combined at one time, small enough for the processor's cache.
_SAMPLES_PER_TILE = 8192


class Limits:
    """Smallest and largest value per channel, or per channel and slice along the separate axis.

    Nothing is collected where the plan needs no limits.

    Parameters
    ----------
    plan
        How the volume will be resampled.
    channels
        Number of channels.

    Attributes
    ----------
    lowest, highest
        Arrays that broadcast with one plane of all channels, (channels, 1 or Y, 1 or X).
    planes
        Number of planes seen so far.
    """

    def __init__(self, plan: ResamplingPlan, channels: int) -> None:
        self.plan = plan
        self.planes = 0
        # Axes of a slab (channels, planes, Y, X) over which one limit holds.
        self._together = tuple(axis + 1 for axis in range(3) if axis != plan.separate_axis)
        shape = tuple(plan.in_shape[axis] if axis == plan.separate_axis else 1 for axis in (1, 2))
        self.lowest = np.full((channels, *shape), np.inf)
        self.highest = np.full((channels, *shape), -np.inf)

    def push(self, slab: NDArray[Any]) -> None:
        """Take the next planes of the input, (channels, planes, Y, X)."""
        self.planes += slab.shape[1]
        if self.plan.needs_limits and slab.shape[1]:
            np.minimum(self.lowest, slab.min(axis=self._together, keepdims=True)[:, 0], out=self.lowest)
            np.maximum(self.highest, slab.max(axis=self._together, keepdims=True)[:, 0], out=self.highest)


class SlabResampler:
    """Make the output planes ``[first, last)`` of a volume from slabs of its input.

    A plane is computed in the same way whatever the slabs and whatever ``first`` are: outputs along axis 0 form blocks
    at fixed positions. Arithmetic is in float64; planes are held as float32, or as float64 where ``dtype`` is that.
    Held are the input planes of one block only (order 0: 1, order 1: 2, order 3: 36 and those of 16 outputs),
    in the size they have after the shrinking in-plane axes; see ``held_planes``.

    Parameters
    ----------
    plan
        How the volume is resampled.
    channels
        Number of channels.
    first, last
        Output planes that are wanted; default: all.
    limits
        Limits of the whole volume; needed if ``plan.needs_limits``.
    dtype
        Type of the planes that are returned.

    Raises
    ------
    InputError
        If the range is empty or beyond the volume, or limits are missing, incomplete or those of another volume.
    """

    def __init__(
        self,
        plan: ResamplingPlan,
        *,
        channels: int,
        first: int = 0,
        last: int | None = None,
        limits: Limits | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        last = plan.out_shape[0] if last is None else last
        if not 0 <= first < last <= plan.out_shape[0]:
            message = f"Output planes {first} to {last} asked for, the volume has planes 0 to {plan.out_shape[0]}"
            raise InputError(message)
        self._limits = _checked(limits, plan, channels) if plan.needs_limits else None
        self.plan = plan
        self._channels = channels
        self._dtype = np.dtype(dtype)
        self._held_dtype = np.dtype(np.float64 if self._dtype == np.float64 else np.float32)
        self._before, self._after, self._last_axis = _plane_axes(plan)
        order = plan.orders[0] if plan.in_shape[0] != plan.out_shape[0] else 0
        blocks = interpolation_blocks(plan.in_shape[0], plan.out_shape[0], order, rows=_PLANES_PER_BLOCK[order])
        self._blocks = deque(block for block in blocks if block.start < last and first < block.stop)
        self._next_output = first
        self._last = last
        self._needed = (self._blocks[0].first, self._blocks[-1].last)
        self._next_input = self._needed[0]
        self._window: deque[NDArray[Any]] = deque()
        self._window_size = max(block.last - block.first for block in self._blocks)
        self._rows = max(block.stop - block.start for block in self._blocks)

    @property
    def needed(self) -> tuple[int, int]:
        """Half-open range of input planes that must be pushed, in order."""
        return self._needed

    @property
    def held_planes(self) -> int:
        """Most memory held, in input planes (all channels, ``dtype``), without what is pushed and returned."""
        held = _inner_shape(self.plan)
        largest = max(np.prod(shape) for shape in (self.plan.in_shape[1:], self.plan.out_shape[1:], held))
        window = self._channels * self._window_size * np.prod(held) * self._held_dtype.itemsize
        # One block of one channel, and float64 numbers: on the way into the block, or through the in-plane axes.
        block = self._rows * np.prod(held) * self._held_dtype.itemsize
        tile = (self._window_size + self._rows) * min(held[0], _rows_per_tile(held[1])) * held[1] * 8
        on_the_way = max(tile, 3 * largest * 8)
        plane = self._channels * np.prod(self.plan.in_shape[1:]) * self._dtype.itemsize
        return int(np.ceil((window + block + on_the_way) / plane))

    def push(self, slab: NDArray[Any]) -> NDArray[Any]:
        """Take the next input planes and give all output planes that are now known and were not given yet.

        Parameters
        ----------
        slab
            Input planes, (channels, planes, Y, X).

        Returns
        -------
        NDArray
            (channels, planes, Y, X) of the output, with zero or more planes.

        Raises
        ------
        InputError
            If the slab has another shape or more planes than needed.
        """
        self._check(slab)
        given = known = self._next_output
        for block in takewhile(lambda block: block.last <= self._next_input + slab.shape[1], self._blocks):
            known = min(block.stop, self._last)
        result = np.empty((self._channels, known - given, *self.plan.out_shape[1:]), self._dtype)
        for plane in range(slab.shape[1]):
            # Where axis 0 shrinks, planes between two outputs count for nothing.
            if self._blocks and self._next_input >= self._blocks[0].first:
                self._window.append(self._before_axis_0(slab[:, plane]))
            self._next_input += 1
            while self._blocks and self._blocks[0].last <= self._next_input:
                self._finish_block(result, given)
        return result

    def _check(self, slab: NDArray[Any]) -> None:
        """Refuse a slab of another volume, and planes after the last one."""
        expected = (self._channels, *self.plan.in_shape[1:])
        if slab.ndim != 4 or (slab.shape[0], *slab.shape[2:]) != expected:
            message = f"Slab of shape {slab.shape}, expected ({expected[0]}, planes, {expected[1]}, {expected[2]})"
            raise InputError(message)
        if self._next_input + slab.shape[1] > self._needed[1]:
            message = f"Slab with {slab.shape[1]} planes, only {self._needed[1] - self._next_input} are still needed"
            raise InputError(message)

    def _before_axis_0(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Do the in-plane axes that come first, and clip each plane to its own limits if planes are separate."""
        held = np.empty((self._channels, *_inner_shape(self.plan)), self._held_dtype)
        for channel in range(self._channels):
            values = _along(self._before, plane[channel].astype(np.float64))
            if self.plan.clip and self.plan.separate_axis == 0:
                np.clip(values, plane[channel].min(), plane[channel].max(), out=values)
            held[channel] = values
        return held

    def _finish_block(self, result: NDArray[Any], given: int) -> None:
        """Compute the next block from the planes held, write what is wanted of it, and give up planes behind it."""
        block = self._blocks.popleft()
        start, stop = max(block.start, self._next_output), min(block.stop, self._last)
        for channel in range(self._channels):
            self._write(channel, block, start, result[channel, start - given : stop - given])
        self._next_output = stop
        kept_from = self._blocks[0].first if self._blocks else block.last
        for _ in range(min(kept_from - block.first, len(self._window))):
            self._window.popleft()

    def _write(self, channel: int, block: Block, start: int, target: NDArray[Any]) -> None:
        """Compute a block of one channel and write its planes from output plane ``start`` on."""
        height, width = _inner_shape(self.plan)
        # The whole block also where a part is wanted, as products of another size may differ in the last bit.
        combined = np.empty((block.stop - block.start, height, width), self._held_dtype)
        step = _rows_per_tile(width)
        for top in range(0, height, step):
            rows = slice(top, top + step)
            combined[:, rows] = self._combine(channel, rows, block.weights)
        for plane in range(len(target)):
            target[plane] = self._after_axis_0(combined[start - block.start + plane], channel)

    def _combine(self, channel: int, rows: slice, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weighted sums of some rows of the planes held."""
        tile = np.stack([plane[channel, rows] for plane in self._window], dtype=np.float64)
        return (weights @ tile.reshape(len(tile), -1)).reshape(-1, *tile.shape[1:])

    def _after_axis_0(self, plane: NDArray[Any], channel: int) -> NDArray[Any]:
        """Do the other in-plane axes, clip, and at last the separate axis if that is one within the plane."""
        values = _along(self._after, plane.astype(np.float64))
        if self._limits is not None:
            np.clip(values, self._limits.lowest[channel], self._limits.highest[channel], out=values)
        return _along(self._last_axis, values)


def _plane_axes(plan: ResamplingPlan) -> tuple[list[PlaneAxis], list[PlaneAxis], list[PlaneAxis]]:
    """Return the in-plane axes to do before axis 0, after it, and after clipping."""
    before, after, last = [], [], []
    for axis in (1, 2):
        n_in, n_out = plan.in_shape[axis], plan.out_shape[axis]
        if n_in == n_out:
            continue
        step = PlaneAxis(axis - 3, n_in, n_out, plan.orders[axis])
        if axis == plan.separate_axis:
            last.append(step)
        elif _comes_before(plan, axis):
            before.append(step)
        else:
            after.append(step)
    return before, after, last


def _comes_before(plan: ResamplingPlan, axis: int) -> bool:
    """Whether an in-plane axis is done before axis 0: where that saves memory, and where slices along axis 0 are."""
    return plan.separate_axis == 0 or (axis != plan.separate_axis and plan.out_shape[axis] < plan.in_shape[axis])


def _inner_shape(plan: ResamplingPlan) -> tuple[int, int]:
    """Return the size of the planes that are held between the in-plane axes before and after axis 0."""
    height, width = (plan.out_shape[axis] if _comes_before(plan, axis) else plan.in_shape[axis] for axis in (1, 2))
    return height, width


def _rows_per_tile(width: int) -> int:
    """Return how many rows of the planes held are combined at one time."""
    return max(1, _SAMPLES_PER_TILE // width)


def _along(axes: list[PlaneAxis], values: NDArray[Any]) -> NDArray[Any]:
    """Interpolate along one axis after the other."""
    for axis in axes:
        values = axis(values)
    return values


def _checked(limits: Limits | None, plan: ResamplingPlan, channels: int) -> Limits:
    """Return limits that are those of the whole volume."""
    if limits is None:
        message = "Resampling of order 3 clips to the range of the whole volume: limits are needed, none were given"
        raise InputError(message)
    if limits.plan != plan or len(limits.lowest) != channels:
        message = f"Limits of {limits.plan} with {len(limits.lowest)} channels, expected {plan} with {channels}"
        raise InputError(message)
    if limits.planes != plan.in_shape[0]:
        message = f"Limits of {limits.planes} planes, expected all {plan.in_shape[0]}"
        raise InputError(message)
    return limits
