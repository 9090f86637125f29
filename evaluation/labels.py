"""Which labels and regions are scored, and which is ignored: from dataset.json, a class file or a list."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError, MissingInputError
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PARENTS_SEARCHED = 2
"""Folders above predictions that may hold their dataset.json: it lies two above ``fold_X/validation``."""


@dataclass(frozen=True)
class ScoredClass:
    """A label, or a region made of several labels.

    Parameters
    ----------
    name
        Name of the class, without that of its task.
    values
        Label values that belong to it.
    region
        Whether it is declared as a region, that is, as a list of values.
    task
        Task it belongs to; empty in data sets with one task.
    not_annotated
        Reference values of voxels that are not annotated for this task, beside the ignore label.
    line
        Whether it is a line, which has a front error.
    """

    name: str
    values: tuple[int, ...]
    region: bool = False
    task: str = ""
    not_annotated: frozenset[int] = frozenset()
    line: bool = False

    @property
    def full_name(self) -> str:
        """Name with that of its task: ``front/front``."""
        return f"{self.task}/{self.name}" if self.task else self.name

    @property
    def key(self) -> str:
        """How nnU-Net's summary.json writes this label (``2``) or region (``(1, 2)``)."""
        return str(self.values) if self.region else str(self.values[0])


@dataclass(frozen=True)
class LabelSet:
    """What is scored, and what else may occur.

    Parameters
    ----------
    classes
        The scored labels and regions, in the order of the output.
    ignore
        Reference value that means "not annotated"; its voxels are left out.
    declared
        All values that may occur in the files; ``None`` where every other value is background.
    source
        Where this comes from, for messages.
    background
        Name of class 0, should it be scored.
    """

    classes: tuple[ScoredClass, ...]
    ignore: int | None
    declared: frozenset[int] | None
    source: str
    background: str = "background"

    def ignored_for(self, scored: ScoredClass) -> frozenset[int]:
        """Return the reference values whose voxels do not count for a class."""
        return scored.not_annotated | (frozenset() if self.ignore is None else {self.ignore})


def choose_labels(
    *,
    declaration: Path | None,
    labels: Sequence[int] | None = None,
    background: bool = False,
    ignore_label: int | None = None,
    lines: Sequence[str] | None = None,
) -> LabelSet:
    """Decide what is scored.

    Parameters
    ----------
    declaration
        A dataset.json or class file that names the labels.
    labels
        Score these label values and take every other value for background. Names and ignore label still come
        from ``declaration`` if there is one.
    background
        Whether to score class 0 as well.
    ignore_label
        Reference value to leave out, in place of the declared one.
    lines
        Names of the classes that are lines: ``front``, ``front/front``, or a task for all of its classes. Default:
        the classes of tasks that are declared with ``"deep_supervision": false``, as lines are.

    Returns
    -------
    LabelSet
        At least one class to score.

    Raises
    ------
    InputError
        If the declaration cannot be used, leaves nothing to score, the ignored label is to be scored, or a line is
        unknown.
    MissingInputError
        If neither a declaration nor labels are given.
    """
    declared = read_declaration(declaration) if declaration is not None else None
    if declared is None and labels is None:
        message = (
            "no dataset.json beside the predictions or labels, or in the two folders above them: "
            "say what to score with --labels 1 2 … or --classes FILE"
        )
        raise MissingInputError(message)
    if labels is not None:
        chosen = _choose_values(labels, declared)
    else:
        assert declared is not None
        chosen = declared
    if ignore_label is not None:
        allowed = None if chosen.declared is None else chosen.declared | {ignore_label}
        chosen = replace(chosen, ignore=ignore_label, declared=allowed)
    chosen = _checked(_with_background(chosen) if background else chosen)
    return chosen if lines is None else _with_lines(chosen, lines)


def find_declaration(folders: Iterable[Path]) -> Path | None:
    """Return the dataset.json that belongs to folders of predictions and labels.

    Parameters
    ----------
    folders
        Each is searched, then the two folders above it; the nearest file counts.

    Returns
    -------
    Path or None
        The first one found, or ``None`` if there is none.

    Raises
    ------
    InputError
        If the files found for different folders declare different labels.
    """
    found = list(dict.fromkeys(path for folder in folders if (path := _nearest_dataset_json(folder))))
    meanings = {path: _meaning(read_declaration(path)) for path in found}
    if len(set(meanings.values())) > 1:
        listed = ", ".join(str(path) for path in found)
        message = f"these files declare different labels: {listed}. Say which labels count with --classes FILE."
        raise InputError(message)
    return found[0] if found else None


def read_declaration(path: Path) -> LabelSet:
    """Read the labels of a dataset.json or class file.

    Parameters
    ----------
    path
        JSON file with ``labels`` from name to value, or to a list of values for a region, as nnU-Net has it;
        or from id to name, as class files of annotations have it. In the latter, id 0 means "not annotated"
        and is ignored, unless it is called background.

    Returns
    -------
    LabelSet
        Every class but background, with all values of the file as the declared ones.

    Raises
    ------
    InputError
        If the file has no usable ``labels``.
    MissingInputError
        If there is no such file.
    """
    content = read_json(path)
    labels = content.get("labels")
    if not isinstance(labels, dict) or not labels:
        message = f"{path}: expected names and values of the classes under the key 'labels', found {labels!r}"
        raise InputError(message)
    if all(isinstance(value, str) for value in labels.values()):
        labels = _names_to_values(labels, path)
    entries = {str(name): _values(name, value, path) for name, value in labels.items()}
    ignore = entries.pop("ignore", None)
    if ignore is not None and len(ignore) != 1:
        message = f"{path}: the ignore label must be one value, found {list(ignore)}"
        raise InputError(message)
    tasks = content.get("tasks")
    classes = _classes(entries, labels, tasks if isinstance(tasks, dict) else {})
    values = {value for members in entries.values() for value in members} | {0} | set(ignore or ())
    background = next((name for name, members in entries.items() if set(members) == {0}), "background")
    return LabelSet(classes, ignore[0] if ignore else None, frozenset(values), str(path), background)


def _nearest_dataset_json(folder: Path) -> Path | None:
    above = folder.absolute()
    for candidate in (above, *list(above.parents)[:PARENTS_SEARCHED]):
        if (candidate / "dataset.json").is_file():
            return candidate / "dataset.json"
    return None


def _meaning(label_set: LabelSet) -> tuple[frozenset[ScoredClass], int | None, frozenset[int] | None]:
    return frozenset(label_set.classes), label_set.ignore, label_set.declared


def _names_to_values(labels: dict[str, str], path: Path) -> dict[str, int]:
    """Turn labels from id to name around."""
    values: dict[str, int] = {}
    for identifier, name in labels.items():
        if not identifier.isdecimal():
            message = f"{path}: expected label ids such as '1' as keys of names, found {identifier!r}: {name!r}"
            raise InputError(message)
        value = int(identifier)
        key = name if value != 0 else ("background" if name.lower() == "background" else "ignore")
        if key in values:
            message = f"{path}: the ids {values[key]} and {value} have the same name {key!r}"
            raise InputError(message)
        values[key] = value
    return values


def _values(name: object, value: object, path: Path) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not values or not all(isinstance(item, int) and not isinstance(item, bool) for item in values):
        message = f"{path}: label {name!r} must be a whole number or a list of them, found {value!r}"
        raise InputError(message)
    return values


def _classes(
    entries: dict[str, tuple[int, ...]], labels: dict[str, Any], tasks: dict[str, Any]
) -> tuple[ScoredClass, ...]:
    """Return what nnU-Net scores: regions in the order of the file, labels in that of their values."""
    has_regions = any(len(values) > 1 for values in entries.values())
    not_annotated = {task: frozenset(entries.get(f"{task}/ignore", ())) for task in tasks}
    classes = []
    for full_name, values in entries.items():
        task, name = _split_task(full_name, tasks)
        if set(values) != {0} and not (task and name == "ignore"):
            region = has_regions and isinstance(labels[full_name], (list, tuple))
            line = bool(task) and tasks[task].get("deep_supervision", True) is False
            classes.append(ScoredClass(name, values, region, task, not_annotated.get(task, frozenset()), line))
    return tuple(classes if has_regions else sorted(classes, key=lambda scored: scored.values))


def _split_task(full_name: str, tasks: dict[str, Any]) -> tuple[str, str]:
    task, slash, name = full_name.partition("/")
    return (task, name) if slash and task in tasks else ("", full_name)


def _choose_values(labels: Sequence[int], declared: LabelSet | None) -> LabelSet:
    known = declared or LabelSet((), None, None, "--labels")
    singles = {scored.values[0]: scored for scored in known.classes if len(scored.values) == 1}
    singles.setdefault(0, ScoredClass(known.background, (0,)))
    chosen = (singles.get(value, ScoredClass(str(value), (value,))) for value in dict.fromkeys(labels))
    classes = tuple(replace(scored, region=False) for scored in chosen)
    return replace(known, classes=classes, declared=None, source="--labels")


def _with_background(chosen: LabelSet) -> LabelSet:
    if any(scored.values == (0,) for scored in chosen.classes):
        return chosen
    return replace(chosen, classes=(ScoredClass(chosen.background, (0,)), *chosen.classes))


def _with_lines(chosen: LabelSet, lines: Sequence[str]) -> LabelSet:
    names = {name for scored in chosen.classes for name in (scored.name, scored.full_name, scored.task)}
    if unknown := sorted(set(lines) - names):
        message = f"--lines: {unknown} is not among the classes {[scored.full_name for scored in chosen.classes]}"
        raise InputError(message)
    wanted = set(lines)
    return replace(
        chosen,
        classes=tuple(
            replace(scored, line=not wanted.isdisjoint({scored.name, scored.full_name, scored.task or scored.name}))
            for scored in chosen.classes
        ),
    )


def _checked(label_set: LabelSet) -> LabelSet:
    if not label_set.classes:
        message = (
            f"{label_set.source}: no class but background, expected at least one; --labels 0 takes background itself"
        )
        raise InputError(message)
    for scored in label_set.classes:
        if label_set.ignore in scored.values:
            message = (
                f"{label_set.source}: class {scored.name!r} has label {label_set.ignore}, "
                "which is the ignore label and cannot be scored"
            )
            raise InputError(message)
    return label_set
