"""Slices of label maps: where a prediction differs most, reading one slice, and turning it as it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evaluation.labels import LabelSet, ScoredClass
    from nnunet_ext.imageio import Geometry, Volume

AXES = ("z", "y", "x")
"""Names of the array's axes, whatever their direction in space."""

CLOSEST = 3
"""Slices that are nearer than this show the same."""

READ_VOXELS = 2**22
"""Voxels read at a time when a slice lies across the slabs, about."""

_POSITIVE_SIDES = ("S", "P", "L")
_NEGATIVE_SIDES = ("I", "A", "R")


@dataclass(frozen=True)
class SliceCounts:
    """What each slice along an axis holds.

    Parameters
    ----------
    differing
        Voxels that count and at which reference and prediction differ, for any class.
    labelled
        Annotated voxels of any class but background.
    """

    differing: NDArray[np.int64]
    labelled: NDArray[np.int64]


@dataclass(frozen=True)
class View:
    """How a slice is turned for looking at it.

    Parameters
    ----------
    transposed
        Whether rows and columns are swapped, before anything is flipped.
    flips
        Whether the order of rows, and of columns, is reversed.
    sides
        Letters of the patient's sides at the left, right, top and bottom; empty where they are not known.
    """

    transposed: bool = False
    flips: tuple[bool, bool] = (False, False)
    sides: tuple[str, ...] = ()

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn a slice."""
        turned = array.T if self.transposed else array
        rows, columns = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return turned[rows, columns]

    def turn_pair(self, pair: tuple[float, float]) -> tuple[float, float]:
        """Put what belongs to rows and columns, such as their spacing, in the order after turning."""
        return pair[::-1] if self.transposed else pair


def differing_voxels(reference: NDArray[Any], prediction: NDArray[Any], label_set: LabelSet) -> NDArray[np.bool_]:
    """Find the voxels at which a class is in one label map and not in the other.

    Parameters
    ----------
    reference, prediction
        Label maps of the same shape, with whole numbers.
    label_set
        The classes that count, and what is ignored for each.

    Returns
    -------
    ndarray of bool
        Of the same shape; false where the reference is not annotated for the classes in question.
    """
    mask: NDArray[np.bool_] = reference != prediction
    if not mask.any():
        return mask
    ref, pred = reference[mask].astype(np.int64), prediction[mask].astype(np.int64)
    lowest, values = pred.min(), pred.max() - pred.min() + 1
    pairs, inverse = np.unique(ref * values + (pred - lowest), return_inverse=True)
    differ = [_differ(int(pair // values), int(pair % values + lowest), label_set) for pair in pairs]
    mask[mask] = np.array(differ)[inverse]
    return mask


def count_slices(reference: NDArray[Any], prediction: NDArray[Any], label_set: LabelSet, axis: int) -> SliceCounts:
    """Count differing and labelled voxels of every slice along an axis.

    Parameters
    ----------
    reference, prediction
        Label maps (z, y, x), or slabs of them; counts of slabs add up, or follow each other along z.
    label_set
        The classes that count.
    axis
        0, 1 or 2.

    Returns
    -------
    SliceCounts
        One number per slice.
    """
    others = tuple(other for other in range(3) if other != axis)
    values = {value for scored in label_set.classes for value in scored.values} - {0, label_set.ignore}
    labelled = np.isin(reference, sorted(value for value in values if value is not None))
    differing = differing_voxels(reference, prediction, label_set)
    return SliceCounts(np.count_nonzero(differing, axis=others), np.count_nonzero(labelled, axis=others))


def worst_slices(counts: SliceCounts, number: int = 1) -> list[int]:
    """Choose the slices with most differing voxels.

    Parameters
    ----------
    counts
        What each slice holds.
    number
        How many slices, at most. They lie at least 3 slices apart, and more in long volumes.

    Returns
    -------
    list of int
        Worst first. Without any difference, the one slice with most labelled voxels; without any of them, the
        middle one.
    """
    length = len(counts.differing)
    if not counts.differing.any():
        return [int(counts.labelled.argmax()) if counts.labelled.any() else (length - 1) // 2]
    apart = max(CLOSEST, length // (4 * number))
    left = counts.differing.copy()
    chosen: list[int] = []
    while len(chosen) < number and left.any():
        index = int(left.argmax())
        chosen.append(index)
        left[max(0, index - apart + 1) : index + apart] = 0
    return chosen


def worst_slice(reference: NDArray[Any], prediction: NDArray[Any], label_set: LabelSet, *, axis: int = 0) -> int:
    """Return the index of the slice with most differing voxels.

    Parameters
    ----------
    reference, prediction
        Label maps (z, y, x) of the same shape.
    label_set
        The classes that count.
    axis
        0, 1 or 2.
    """
    return worst_slices(count_slices(reference, prediction, label_set, axis))[0]


def read_slice(volume: Volume, axis: int, index: int) -> NDArray[Any]:
    """Read one slice, with no more than a slab in memory.

    Parameters
    ----------
    volume
        Open volume.
    axis
        Array axis that the slice is perpendicular to.
    index
        Its position along this axis, from 0.

    Returns
    -------
    ndarray
        The other two axes, in their order.
    """
    depth, height, width = volume.shape
    if not 0 <= index < volume.shape[axis]:
        message = f"{volume.path}: slice {AXES[axis]}={index} asked for, expected 0 to {volume.shape[axis] - 1}"
        raise InputError(message)
    if axis == 0:
        only: NDArray[Any] = volume.slab(index, index + 1)[0]
        return only
    thickness = min(depth, max(1, READ_VOXELS // (height * width)))
    parts: list[NDArray[Any]] = [slab.take(index, axis=axis) for _, slab in volume.slabs(thickness)]
    whole: NDArray[Any] = np.concatenate(parts)
    return whole


def radiological_view(geometry: Geometry, axis: int) -> View:
    """Find out how to turn a slice to look at it as radiologists do.

    The head is up, or the front where slices are axial; the patient's right is at the left, or the front where
    slices are sagittal.

    Parameters
    ----------
    geometry
        Of the volume; its directions follow the LPS convention.
    axis
        Array axis that the slice is perpendicular to.

    Returns
    -------
    View
        Without any turn if two array axes point along the same axis of space.
    """
    direction = np.asarray(geometry.direction)
    in_plane = [other for other in range(3) if other != axis]
    along = [int(np.abs(direction[:, other]).argmax()) for other in in_plane]
    if along[0] == along[1]:
        return View()
    transposed = along[0] > along[1]
    if transposed:
        in_plane, along = in_plane[::-1], along[::-1]
    flips, sides = [], []
    for axis_of_picture, (array_axis, space_axis) in enumerate(zip(in_plane, along, strict=True)):
        positive = direction[space_axis, array_axis] > 0
        # Downwards lie feet and back, to the right lie left and back; only the feet are the negative end.
        flip = bool(positive) if (axis_of_picture, space_axis) == (0, 0) else not positive
        flips.append(flip)
        ends = (_NEGATIVE_SIDES[space_axis], _POSITIVE_SIDES[space_axis])
        sides.append(ends if positive != flip else ends[::-1])
    return View(transposed, (flips[0], flips[1]), (*sides[1], *sides[0]))


def _differ(ref: int, pred: int, label_set: LabelSet) -> bool:
    return any(_member(scored, ref) != _member(scored, pred) for scored in _counting(ref, label_set))


def _counting(ref: int, label_set: LabelSet) -> Sequence[ScoredClass]:
    return [scored for scored in label_set.classes if ref not in label_set.ignored_for(scored)]


def _member(scored: ScoredClass, value: int) -> bool:
    return value in scored.values
