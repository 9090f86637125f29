"""What people say about tasks: ``--task NAME=LABELS:classes`` and the file with tasks."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json
from nnunet_ext.imageio.case_files import is_there
from nnunet_ext.multitask.branching import branching_of_tasks
from nnunet_ext.multitask.tasks import IGNORE, Task, check_task_name, task_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAX_FOUND = 32
"""So many values in label files may become classes without anybody having named them."""

Branching = str | dict[str, str]


@dataclass(frozen=True)
class TaskOption:
    """A task as people ask for it.

    Parameters
    ----------
    name
        Of the task.
    task
        None if its classes are to be taken from the label files.
    values
        Value in the label files of each class, that of ``ignore`` last; empty without ``task``.
    labels
        Folder or pattern of its label files; None if they are layers of one file.
    """

    name: str
    task: Task | None = None
    values: tuple[int, ...] = ()
    labels: str | None = None


def read_options(words: Sequence[str], tasks_file: Path | None) -> tuple[list[TaskOption], Branching | None]:
    """Read all that is said about tasks.

    Parameters
    ----------
    words
        ``NAME=LABELS`` or ``NAME=LABELS:class0,class1=value,…``, one per task; without any, the tasks are those of
        the file.
    tasks_file
        See ``read_tasks_file``; gives classes and options of the tasks in ``words``.

    Returns
    -------
    list of TaskOption
        In order.
    str, dict or None
        What the file says about branching, of these tasks.

    Raises
    ------
    InputError
        If something is not of that form, said twice or not said at all.
    """
    known, branching = ({}, None) if tasks_file is None else read_tasks_file(tasks_file)
    options = [_with_known(parse_task(word), word, known, tasks_file) for word in words] or list(known.values())
    names = [option.name for option in options]
    if len(set(names)) < len(names):
        message = f"--task: expected each task once, found {names}"
        raise InputError(message)
    if isinstance(branching, dict):
        branching = {name: mode for name, mode in branching.items() if name in names} or None
    return options, branching


def parse_task(word: str) -> TaskOption:
    """Parse ``NAME=LABELS`` or ``NAME=LABELS:class0,class1=value,…``.

    Classes come in the order of the values, background first and ``ignore``, if there is one, last. The value of
    a class in the files is its position, or the one given. Classes stand after the last colon, unless the path exists
    as it is, colon and all.

    Raises
    ------
    InputError
        If it is not of that form.
    """
    where = f"--task {word}"
    name, _, labels = word.partition("=")
    if not name or not labels:
        message = f"{where}: expected NAME=LABELS or NAME=LABELS:class0,class1,…"
        raise InputError(message)
    _check_name(name, where)
    path, colon, classes = labels.rpartition(":")
    if not colon or not path or is_there(labels):
        return TaskOption(name, labels=labels)
    entries = [entry.strip().partition("=") for entry in classes.split(",")]
    values = [_integer(value, where) if sep else position for position, (_, sep, value) in enumerate(entries)]
    return _option(name, [class_name for class_name, _, _ in entries], values, where, labels=path)


def read_tasks_file(path: Path) -> tuple[dict[str, TaskOption], Branching | None]:
    """Read a file with tasks.

    Parameters
    ----------
    path
        An object from task to ``labels`` (class to 0, 1, …) and optionally ``weight``, ``deep_supervision`` and
        ``values`` (class to value in the label files), beside which ``branching`` may stand; or a dataset.json with
        such ``tasks``; or an older one with one object per label map under ``labels``.

    Raises
    ------
    MissingInputError, InputError
        If it is not there, or not of that form.
    """
    content = read_json(path)
    branching = content.pop("branching", None)
    labels = content.get("labels")
    if isinstance(content.get("tasks"), dict):
        record = content.get("conversion")
        values = record.get("tasks") if isinstance(record, dict) else None
        options = _from_entries(content["tasks"], path, values if isinstance(values, dict) else {})
    elif isinstance(labels, dict) and labels and all(isinstance(entry, dict) for entry in labels.values()):
        options = {name: _from_nested(name, entry, path) for name, entry in labels.items()}
    elif "file_ending" in content or not content:
        message = f"{path}: no tasks there; expected an object from task to its labels, or a dataset.json with 'tasks'"
        raise InputError(message)
    else:
        options = _from_entries(content, path, {})
    return options, _checked_branching(branching, list(options), path)


def with_ignore(option: TaskOption) -> TaskOption:
    """Return a task that has an ignore class, with a value that none of its classes has in the files."""
    if option.task is None or option.task.ignore:
        return option
    return replace(option, task=replace(option.task, ignore=True), values=(*option.values, free_value(option.values)))


def free_value(values: Sequence[int]) -> int:
    """Return the highest 8-bit value that is not among ``values``, or the one after the highest of them."""
    free = [value for value in range(256) if value not in values]
    return free[-1] if free and max(values, default=0) < 256 else max(values) + 1


def option_from_values(option: TaskOption, values: set[int]) -> TaskOption:
    """Return a task with the classes that its label files show: 0 is background, n is ``class<n>``.

    Raises
    ------
    InputError
        If there are more than 32, negative ones, or none but 0.
    """
    in_order = sorted(values | {0})
    if len(in_order) > MAX_FOUND or in_order[0] < 0 or len(in_order) < 2:
        shown = ", ".join(map(str, in_order[:10])) + (", …" if len(in_order) > 10 else "")
        message = (
            f"task '{option.name}': its files have {len(values)} different values ({shown}); expected 0 for background "
            f"and 1 to {MAX_FOUND - 1} others above it. "
            f"Name the classes: --task {option.name}=LABELS:class0,class1=value,…"
        )
        raise InputError(message)
    names = ["background", *(f"class{value}" for value in in_order[1:])]
    return _option(option.name, names, in_order, f"task '{option.name}'", labels=option.labels)


def _option(name: str, names: Sequence[str], values: Sequence[int], where: str, labels: str | None) -> TaskOption:
    ignore = bool(names) and names[-1] == IGNORE
    if len(set(values)) < len(values):
        message = f"{where}: expected a value of its own for each class, found {dict(zip(names, values, strict=True))}"
        raise InputError(message)
    try:
        task = Task(name, tuple(names[: len(names) - ignore]), ignore)
    except InputError as error:
        message = f"{where}: {error}"
        raise InputError(message) from None
    return TaskOption(name, task, tuple(values), labels)


def _with_known(option: TaskOption, word: str, known: Mapping[str, TaskOption], tasks_file: Path | None) -> TaskOption:
    """Complete what ``--task`` says by what the file says of the same task."""
    if option.name not in known:
        if tasks_file is not None and option.task is None:
            message = (
                f"--task {word}: {tasks_file} has no such task and no classes are given; it has {', '.join(known)}"
            )
            raise InputError(message)
        return option
    if option.task is not None:
        message = f"--task {word}: classes are given here and in {tasks_file}; leave out one of them"
        raise InputError(message)
    return replace(known[option.name], labels=option.labels)


def _from_entries(entries: Mapping[str, Any], path: Path, recorded: Mapping[str, object]) -> dict[str, TaskOption]:
    options = {}
    for name, entry in entries.items():
        _check_name(name, str(path))
        is_object = isinstance(entry, dict)
        rest = {key: value for key, value in entry.items() if key != "values"} if is_object else entry
        task = task_from_json(name, rest, str(path))
        names = [*task.classes, IGNORE] if task.ignore else list(task.classes)
        given = entry.get("values", _recorded_values(recorded.get(name), names))
        values = _file_values(given, names, f"{path}: task {name!r}")
        options[name] = TaskOption(name, task, values)
    return options


def _recorded_values(record: object, names: Sequence[str]) -> dict[str, Any]:
    """Return the values that ``stack`` recorded when it made the dataset, or 0, 1, … if it did not."""
    values = record.get("values") if isinstance(record, dict) else None
    if not isinstance(values, list) or len(values) != len(names):
        values = range(len(names))
    return dict(zip(names, values, strict=True))


def _file_values(given: object, names: Sequence[str], where: str) -> tuple[int, ...]:
    if not isinstance(given, dict) or set(given) != set(names):
        message = f"{where}: 'values' must give each of {list(names)} its value in the files, found {given!r}"
        raise InputError(message)
    values = tuple(_integer(given[name], where) for name in names)
    if len(set(values)) < len(values):
        message = f"{where}: 'values' must be different, found {given}"
        raise InputError(message)
    return values


def _from_nested(name: str, entry: Mapping[str, Any], path: Path) -> TaskOption:
    """Read the labels of one task in an older dataset.json: from value to name, or from name to value."""
    where = f"{path}: labels {name!r}"
    _check_name(name, str(path))
    by_name = (
        {str(class_name): _integer(value, where) for value, class_name in entry.items()}
        if all(isinstance(class_name, str) and not re.fullmatch(r"-?\d+", class_name) for class_name in entry.values())
        else {class_name: _integer(value, where) for class_name, value in entry.items()}
    )
    if len(by_name) < len(entry):
        message = f"{where}: expected each class once, found {dict(entry)}"
        raise InputError(message)
    names = sorted(by_name, key=lambda class_name: (class_name == IGNORE, by_name[class_name]))
    return _option(name, names, [by_name[class_name] for class_name in names], where, labels=None)


def _checked_branching(branching: object, names: Sequence[str], path: Path) -> Branching | None:
    if branching is None:
        return None
    if not isinstance(branching, str | dict):
        message = f"{path}: 'branching' must be a word, or an object from task to word, not {branching!r}"
        raise InputError(message)
    try:
        branching_of_tasks(branching, names)
    except InputError as error:
        message = f"{path}: {error}"
        raise InputError(message) from None
    return branching


def _check_name(name: str, where: str) -> None:
    try:
        check_task_name(name)
    except InputError as error:
        message = f"{where}: {error}"
        raise InputError(message) from None


def _integer(value: object, where: str) -> int:
    text = "" if isinstance(value, bool) else str(value).strip()
    if not re.fullmatch(r"[+-]?\d+", text):
        message = f"{where}: expected a whole number as the value of a class, found {value!r}"
        raise InputError(message)
    return int(text)
