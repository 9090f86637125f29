"""Bounding boxes of all values of a label volume, so that a class is looked at where it is and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

    from evaluation.masks import Box

SMALL = 2**16
"""Values below this are found by means of a table with an entry for each; others are numbered first."""

CHUNK_VOXELS = 2**20
"""Voxels whose values are numbered at a time, to bound the memory."""


def value_boxes(labels: npt.NDArray[Any]) -> dict[int, Box]:
    """Find the bounding boxes of all values of a label volume in one pass.

    Parameters
    ----------
    labels
        Label volume (z, y, x) of any integer type, or boolean. Values from 0 to 65535 are fast.

    Returns
    -------
    dict
        From each value that occurs, 0 included, to the smallest box that holds its voxels; in order of the values.

    Raises
    ------
    InputError
        If the labels have not three axes, or are neither of an integer type nor boolean.
    """
    if labels.ndim != 3 or labels.dtype.kind not in "iub":
        message = (
            f"the labels have shape {labels.shape} and type {labels.dtype}; "
            "expected a volume (z, y, x) of an integer type, with one slice for a 2D image"
        )
        raise InputError(message)
    if not labels.size:
        return {}
    if labels.dtype == np.bool_:
        labels = labels.view(np.uint8)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= SMALL:
        return _boxes_by_chunks(labels, low, high)
    boxes = {0: _box_of_zero(labels)} if low == 0 else {}
    if high > 0:
        # Maxima take a tenth of the time per voxel; what they leave is often a small part.
        (z, y, x), inner = _start_and_part_above_zero(labels)
        for value, box in _found(inner):
            boxes[value] = _moved(box, z, y, x)
    return boxes


def class_box(values: Iterable[int], *boxes: Mapping[int, Box]) -> Box:
    """Join the boxes of the values that make up a class, over any number of label volumes of one shape.

    Parameters
    ----------
    values
        Values of the class; several for a region.
    *boxes
        What ``value_boxes`` returns for each volume.

    Returns
    -------
    tuple of slice
        The smallest box (z, y, x) that holds the class in all volumes; three empty slices if it is in none.
    """
    wanted = set(values)
    found = [box for volume in boxes for value, box in volume.items() if value in wanted]
    if not found:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    z, y, x = (
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*found, strict=True)
    )
    return z, y, x


def _box_of_zero(labels: npt.NDArray[Any]) -> Box:
    """Find the box of 0, which is there: background mostly reaches every side, where looking from the sides is free."""
    box = [slice(0, length) for length in labels.shape]
    for axis, side in enumerate(box):
        slices = np.moveaxis(labels[tuple(box)], axis, 0)
        start = next(index for index in range(side.stop) if not slices[index].all())
        stop = next(index for index in range(side.stop, 0, -1) if not slices[index - 1].all())
        box[axis] = slice(start, stop)
    return box[0], box[1], box[2]


def _start_and_part_above_zero(labels: npt.NDArray[Any]) -> tuple[tuple[int, int, int], npt.NDArray[Any]]:
    """Cut labels to the box of all values above 0, of which there are some; return its first voxel and the cut."""
    plane = labels.max(axis=0)
    occupied = (np.flatnonzero(line) for line in (labels.max(axis=(1, 2)), plane.max(axis=1), plane.max(axis=0)))
    z, y, x = (slice(int(indices[0]), int(indices[-1]) + 1) for indices in occupied)
    return (z.start, y.start, x.start), labels[z, y, x]


def _boxes_by_chunks(labels: npt.NDArray[Any], low: int, high: int) -> dict[int, Box]:
    """Find the boxes of any values by numbering those of some slices at a time, from 1."""
    boxes: dict[int, Box] = {}
    step = max(1, CHUNK_VOXELS // labels[0].size)
    for start in range(0, len(labels), step):
        values, numbers = _numbered(labels[start : start + step], low, high)
        for number, box in _found(numbers):
            value = int(values[number - 1])
            boxes[value] = class_box([value], boxes, {value: _moved(box, start, 0, 0)})
    return dict(sorted(boxes.items()))


def _numbered(chunk: npt.NDArray[Any], low: int, high: int) -> tuple[Any, npt.NDArray[Any]]:
    """Return the values of some slices, and the slices with the numbers of these values."""
    if low >= -SMALL and high < SMALL:
        return range(low, high + 1), chunk.astype(np.int64) - (low - 1)
    values, inverse = np.unique(chunk, return_inverse=True)
    return values, inverse.reshape(chunk.shape) + 1


def _found(numbers: npt.NDArray[Any]) -> Iterator[tuple[int, Box]]:
    return ((number, box) for number, box in enumerate(ndimage.find_objects(numbers), 1) if box is not None)


def _moved(box: Box, *starts: int) -> Box:
    z, y, x = (slice(start + side.start, start + side.stop) for start, side in zip(starts, box, strict=True))
    return z, y, x
