"""Fractions of the classes of a label map, background included, from the number of voxels of each value."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from evaluation.labels import LabelSet

CHUNK_VOXELS = 2**18
"""Voxels counted at a time; small enough for the intermediate arrays to stay in the cache."""

MOST_VALUES = 2**16
"""More values than any label map has; an image taken for one would fill the memory."""

REST = "other values"
"""Name of what belongs to no class, where class 0 is one of the classes."""


@dataclass(frozen=True)
class Phase:
    """A class whose fraction is asked for.

    Parameters
    ----------
    task, name
        Its task, empty in data sets with one task, and its name.
    values
        Label values that belong to it; or, for ``rest``, those that do not.
    ignored
        Values whose voxels do not count for it.
    rest
        Whether it is everything but ``values``: background.
    """

    task: str
    name: str
    values: frozenset[int]
    ignored: frozenset[int]
    rest: bool = False

    def voxels(self, counts: Mapping[int, int]) -> int:
        """Return the voxels of the class, given those of each value."""
        return sum(
            n for value, n in counts.items() if value not in self.ignored and (value in self.values) != self.rest
        )

    def fraction(self, counts: Mapping[int, int]) -> float:
        """Return the share of the class in the voxels that count for it; NaN if there are none."""
        counting = sum(n for value, n in counts.items() if value not in self.ignored)
        return self.voxels(counts) / counting if counting else math.nan


def phases_of(label_set: LabelSet, task_backgrounds: Mapping[str, str] | None = None) -> list[Phase]:
    """List all classes, each task's background first; their fractions add up to 1 unless regions overlap.

    Parameters
    ----------
    label_set
        The classes. What belongs to none of a task's is its background.
    task_backgrounds
        Name of the background of each task. Default: that of the label set.

    Returns
    -------
    list of Phase
        By task, in the order of the classes.
    """
    names = task_backgrounds or {}
    phases = []
    for task in dict.fromkeys(scored.task for scored in label_set.classes):
        classes = [scored for scored in label_set.classes if scored.task == task]
        ignored = frozenset[int]().union(*(label_set.ignored_for(scored) for scored in classes))
        values = frozenset(value for scored in classes for value in scored.values)
        rest = REST if 0 in values and not task else names.get(task, label_set.background)
        background = Phase(task, rest, values, ignored, rest=True)
        of_classes = [Phase(task, scored.name, frozenset(scored.values), ignored) for scored in classes]
        phases += [*of_classes, background] if rest == REST else [background, *of_classes]
    return phases


def count_values(labels: NDArray[Any]) -> Counter[int]:
    """Count the voxels of each value.

    Parameters
    ----------
    labels
        Integers, or floating-point numbers that are whole.

    Returns
    -------
    Counter
        Value to number of voxels; values that do not occur are not in it.

    Raises
    ------
    InputError
        If a value is not a whole number, or there are more values than label maps have.
    """
    total: Counter[int] = Counter()
    flat = labels.ravel()
    for start in range(0, flat.size, CHUNK_VOXELS):
        total += _count_chunk(_whole(flat[start : start + CHUNK_VOXELS]))
        if len(total) > MOST_VALUES:
            message = f"more than {MOST_VALUES} values occur; this is an image, not a label map"
            raise InputError(message)
    return total


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iub":
        return values
    whole = np.isfinite(values) & (values == np.rint(values))
    if not whole.all():
        message = f"the value {values[~whole][0]} is no label; labels are whole numbers"
        raise InputError(message)
    return values.astype(np.int64)


def _count_chunk(values: NDArray[Any]) -> Counter[int]:
    low = int(values.min())
    span = int(values.max()) - low
    if span >= CHUNK_VOXELS:
        found, voxels = np.unique(values, return_counts=True)
        return Counter(dict(zip(found.tolist(), voxels.tolist(), strict=True)))
    counts = np.bincount((values.astype(np.int64) - low).ravel())
    return Counter({int(value) + low: int(counts[value]) for value in np.flatnonzero(counts)})
