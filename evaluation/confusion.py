"""Confusion matrices: which label was predicted for which, from a joint histogram of two label maps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from evaluation.labels import LabelSet, ScoredClass


@dataclass(frozen=True, eq=False)
class Confusion:
    """Confusion matrix of a task.

    Parameters
    ----------
    task
        Name of the task; empty in data sets with one task.
    names
        Names of the rows and columns, background first; no two are the same.
    counts
        Number of voxels, shape (n, n); rows are the reference, columns the prediction.
    """

    task: str
    names: tuple[str, ...]
    counts: npt.NDArray[np.int64]


def confusions(histogram: Mapping[tuple[int, int], int], label_set: LabelSet) -> list[Confusion]:
    """Return the confusion matrix of each task.

    The rows are background and the classes. Where classes overlap, as regions do, they are background and the label
    values that occur in any class, each with the classes it lies in. A value in no class is background. Voxels whose
    reference is the ignore label, or is not annotated for the task, are left out.

    Parameters
    ----------
    histogram
        What ``joint_histogram`` returns: (reference value, predicted value) to number of voxels.
    label_set
        The classes.

    Returns
    -------
    list of Confusion
        In the order in which the tasks appear in the classes; none for a task with no class but background.
    """
    tasks: dict[str, list[ScoredClass]] = {}
    for scored in label_set.classes:
        if set(scored.values) != {0}:
            tasks.setdefault(scored.task, []).append(scored)
    return [_confusion(task, classes, histogram, label_set) for task, classes in tasks.items()]


def add_confusions(parts: Iterable[Sequence[Confusion]]) -> list[Confusion]:
    """Sum what ``confusions`` returns for several cases.

    Parameters
    ----------
    parts
        The matrices of each case.

    Returns
    -------
    list of Confusion
        One per task; empty without cases.

    Raises
    ------
    InputError
        If the cases have other tasks or classes.
    """
    total: list[Confusion] | None = None
    for part in parts:
        if total is None:
            total = list(part)
        elif _headers(part) == _headers(total):
            total = [replace(old, counts=old.counts + new.counts) for old, new in zip(total, part, strict=True)]
        else:
            message = f"confusion matrices of {_headers(part)} cannot be added to those of {_headers(total)}"
            raise InputError(message)
    return total or []


def _confusion(
    task: str, classes: Sequence[ScoredClass], histogram: Mapping[tuple[int, int], int], label_set: LabelSet
) -> Confusion:
    rows = _rows(classes)
    row_of = {value: row for row, (_, values) in enumerate(rows, start=1) for value in values}
    ignored = frozenset[int]().union(*(label_set.ignored_for(scored) for scored in classes))
    counts = np.zeros((len(rows) + 1,) * 2, dtype=np.int64)
    for (ref, pred), voxels in histogram.items():
        if ref not in ignored:
            counts[row_of.get(ref, 0), row_of.get(pred, 0)] += voxels
    return Confusion(task, _unambiguous([(label_set.background, ()), *rows]), counts)


def _rows(classes: Sequence[ScoredClass]) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and label values of every row but background."""
    members = Counter(value for scored in classes for value in set(scored.values))
    if all(times == 1 for times in members.values()):
        return [(scored.name, scored.values) for scored in classes]
    return [
        (f"{value} ({', '.join(scored.name for scored in classes if value in scored.values)})", (value,))
        for value in sorted(members)
        # A region may hold the value 0, which is then no longer told from the rest of the background.
        if value != 0
    ]


def _unambiguous(rows: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[str, ...]:
    """Return the names, with the label values behind those that would be the same."""
    names = [name for name, _ in rows]
    longer = [f"{name} ({', '.join(map(str, values)) or 'no class'})" for name, values in rows]
    mixed = [long if names.count(name) > 1 else name for name, long in zip(names, longer, strict=True)]
    # The values of no two rows are the same, so that the longer names never are.
    return tuple(mixed if len(set(mixed)) == len(mixed) else longer)


def _headers(part: Sequence[Confusion]) -> list[tuple[str, tuple[str, ...]]]:
    return [(matrix.task, matrix.names) for matrix in part]
