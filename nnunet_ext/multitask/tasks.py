"""A task is one of several label maps over the same voxels; this is how dataset.json writes tasks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IGNORE = "ignore"
"""Name of the value that means "not annotated", in a task as in dataset.json."""

SEPARATOR = "/"
"""Stands between task and class in the names of labels; no task may have it in its name."""

TASKS_OF_NETWORK = "multitask"
"""Key of the network's tasks, heads and branching, under ``architecture`` of a configuration in the plans.

They are no ``arch_kwargs``, which every trainer hands to the network: so a trainer that knows no tasks is told so by
the network, before it trains anything.
"""

_KEYS = ("labels", "weight", "deep_supervision")


@dataclass(frozen=True)
class Task:
    """One label map of a case.

    Parameters
    ----------
    name
        Name of the task.
    classes
        Names of the classes; the position is the value in the task's label map, and the first is its background.
    ignore
        Whether the value after the last class means "not annotated for this task".
    weight
        Factor of its loss; ``None`` shares what the others leave equally, see `loss_weights`.
    deep_supervision
        Whether its loss looks at all resolutions of the network, or at the full one only.

    Raises
    ------
    InputError
        If names are empty, occur twice or have characters that they may not have.
    """

    name: str
    classes: tuple[str, ...]
    ignore: bool = False
    weight: float | None = None
    deep_supervision: bool = True

    def __post_init__(self) -> None:
        check_task_name(self.name)
        if len(self.classes) < 2:
            message = f"task {self.name!r}: expected a background and at least one class, found {list(self.classes)}"
            raise InputError(message)
        doubles = sorted({c for c in self.classes if self.classes.count(c) > 1})
        if doubles or not all(self.classes) or IGNORE in self.classes:
            message = (
                f"task {self.name!r}: expected different names of classes, none of them empty or {IGNORE!r} "
                f"(which comes after the last one), found {list(self.classes)}"
            )
            raise InputError(message)
        if self.weight is not None and not 0 < self.weight < float("inf"):
            message = f"task {self.name!r}: the weight must be a positive number, not {self.weight!r}"
            raise InputError(message)

    @property
    def num_classes(self) -> int:
        """Number of classes with background, which is the number of output channels of the task's head."""
        return len(self.classes)

    @property
    def num_values(self) -> int:
        """Number of values in joint labels: the classes, and one more if the task has an ignore value."""
        return self.num_classes + int(self.ignore)

    @property
    def ignore_value(self) -> int:
        """Value for "not annotated" in the task's channel of a stack, whichever way a voxel got ignored."""
        return self.num_classes

    def to_json(self) -> dict[str, Any]:
        """Return the task as dataset.json has it under ``tasks``, without what is at its default."""
        labels = {name: value for value, name in enumerate(self.classes)}
        entry: dict[str, Any] = {"labels": labels | ({IGNORE: self.ignore_value} if self.ignore else {})}
        if self.weight is not None:
            entry["weight"] = self.weight
        if not self.deep_supervision:
            entry["deep_supervision"] = False
        return entry


def check_task_name(name: str) -> None:
    """Refuse names that cannot be part of a label's name, of a file's name and of a network's weights.

    Raises
    ------
    InputError
        If there are other characters than letters, digits, ``_``, ``-`` and spaces.
    """
    if not re.fullmatch(r"\w[\w -]*", name):
        message = f"task {name!r}: expected a name of letters, digits, '_', '-' and spaces"
        raise InputError(message)


def task_from_json(name: str, entry: object, source: str) -> Task:
    """Read one task of dataset.json.

    Parameters
    ----------
    name
        Name of the task.
    entry
        Its ``labels`` (from class to value, consecutive from 0, ``ignore`` last) and optionally ``weight`` and
        ``deep_supervision``.
    source
        Where it stands, for messages.

    Raises
    ------
    InputError
        If it is not of that form.
    """
    where = f"{source}: task {name!r}"
    if not isinstance(entry, dict) or not isinstance(entry.get("labels"), dict):
        message = f"{where}: expected an object with 'labels' from class to value, found {entry!r}"
        raise InputError(message)
    unknown = sorted(set(entry) - set(_KEYS))
    if unknown:
        message = f"{where}: unknown keys {unknown}; known ones are {list(_KEYS)}"
        raise InputError(message)
    weight, deep_supervision = entry.get("weight"), entry.get("deep_supervision", True)
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
        message = f"{where}: 'weight' must be a number, not {weight!r}"
        raise InputError(message)
    if not isinstance(deep_supervision, bool):
        message = f"{where}: 'deep_supervision' must be true or false, not {deep_supervision!r}"
        raise InputError(message)
    names = _by_value(entry["labels"], where)
    has_ignore = names[-1] == IGNORE
    try:
        return Task(name, tuple(names[: len(names) - has_ignore]), has_ignore, weight, deep_supervision)
    except InputError as error:
        message = f"{source}: {error}"
        raise InputError(message) from None


def tasks_from_json(entries: object, source: str) -> tuple[Task, ...]:
    """Read the tasks of dataset.json, in its order.

    Parameters
    ----------
    entries
        Object from name to task, see `task_from_json`.
    source
        Where it stands, for messages.

    Raises
    ------
    InputError
        If there is no task, or one cannot be used.
    """
    if not isinstance(entries, dict) or not entries:
        message = f"{source}: expected tasks as an object from name to task, found {entries!r}"
        raise InputError(message)
    return tuple(task_from_json(name, entry, source) for name, entry in entries.items())


def loss_weights(tasks: Sequence[Task]) -> tuple[float, ...]:
    """Return the factor of each task's loss.

    Parameters
    ----------
    tasks
        The tasks, with weights or without.

    Returns
    -------
    tuple
        One per task: the given weights; tasks without share what is left of 1 equally. So the default is equal
        weights that add up to 1.

    Raises
    ------
    InputError
        If some have weights that leave nothing to the others.
    """
    given = sum(task.weight for task in tasks if task.weight is not None)
    without = [task.name for task in tasks if task.weight is None]
    if without and given >= 1:
        message = (
            f"the given weights add up to {given:g}, which leaves nothing of 1 for {', '.join(without)}: "
            "give these tasks weights, too"
        )
        raise InputError(message)
    share = (1 - given) / len(without) if without else 0.0
    return tuple(share if task.weight is None else task.weight for task in tasks)


def _by_value(labels: Mapping[str, object], where: str) -> list[str]:
    """Return the names in the order of their values, which must be consecutive from 0."""
    values = [value for value in labels.values() if isinstance(value, int) and not isinstance(value, bool)]
    if not labels or len(values) < len(labels) or sorted(values) != list(range(len(labels))):
        message = f"{where}: the values of its labels must be 0, 1, 2, … without gap or double, found {dict(labels)}"
        raise InputError(message)
    names = [name for _, name in sorted(zip(values, labels, strict=True))]
    if IGNORE in names[:-1]:
        message = f"{where}: the value of {IGNORE!r} must be the highest one, found {dict(labels)}"
        raise InputError(message)
    return names
