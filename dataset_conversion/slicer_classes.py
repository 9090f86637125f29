"""Classes of a dataset out of the names of segments: which segment of a case is which class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataset_conversion.slicer_segments import LOOKS, key_of
from nnunet_ext.errors import InputError, listed
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from dataset_conversion.slicer_segments import Segment

_RESERVED = ("background", "ignore")
_FORM = '{"classes": {"lungs": ["Lung", "lungs left"], "airways": []}, "drop": ["table"]}'


@dataclass(frozen=True)
class Classes:
    """The classes of a dataset.

    Parameters
    ----------
    names
        In the order of their labels 1, 2, ….
    label_of
        Label by what a segment's name is compared by.
    dropped
        Names of segments that are left out on purpose, in the form they are compared by.
    are_listed
        Whether the user listed them, so that every case should have them all.
    """

    names: tuple[str, ...]
    label_of: Mapping[str, int]
    dropped: frozenset[str] = frozenset()
    are_listed: bool = True


@dataclass(frozen=True)
class Assignment:
    """What becomes of the segments of a case.

    Parameters
    ----------
    labels
        Label and segment.
    missing
        Classes without segment.
    dropped
        Segments that are left out.
    """

    labels: tuple[tuple[int, Segment], ...] = ()
    missing: tuple[str, ...] = ()
    dropped: tuple[Segment, ...] = field(default=())


def listed_classes(classes: Sequence[str] | None, classes_file: Path | None) -> Classes | None:
    """Return the classes that the user lists, or None if there is no list.

    Parameters
    ----------
    classes
        Names in the order of the labels.
    classes_file
        JSON file: ``classes`` is a list of names, or an object from each class to the names that its segments may
        have besides its own; ``drop`` lists segments to leave out.

    Raises
    ------
    InputError
        If both are given, the file is of another form, or a name stands for two classes.
    """
    if classes is not None and classes_file is not None:
        message = "--classes and --classes-file: expected one of them; the file has the names, too"
        raise InputError(message)
    if classes_file is not None:
        return _from_file(classes_file)
    return None if classes is None else _build({name: [] for name in _unique(classes, "--classes")}, [], "--classes")


def union_of_names(names: Iterable[str]) -> Classes:
    """Return all names of segments as classes, sorted; of several spellings the most frequent one counts.

    Raises
    ------
    InputError
        If there is none, or one that nnU-Net reserves.
    """
    spellings: dict[str, Counter[str]] = {}
    for name in names:
        spellings.setdefault(key_of(name), Counter())[name] += 1
    if not spellings:
        message = "no segment in any case, expected at least one; list the classes with --classes and --missing-ok"
        raise InputError(message)
    # Label maps without names have numbers, whose order is not that of letters.
    in_order = sorted(spellings, key=lambda key: (not key.isdigit(), int(key) if key.isdigit() else 0, key))
    chosen: dict[str, list[str]] = {
        min(spellings[key], key=lambda name: (-spellings[key_of(name)][name], name)): [] for key in in_order
    }
    built = _build(chosen, [], "names of the segments")
    return Classes(built.names, built.label_of, are_listed=False)


def assign(
    path: Path, segments: Sequence[Segment], classes: Classes, *, missing_ok: bool, drop_unlisted: bool
) -> tuple[Assignment, list[str]]:
    """Find the class of each segment of a case.

    Parameters
    ----------
    path
        The segmentation, for messages.
    segments
        What it has.
    classes
        The classes.
    missing_ok, drop_unlisted
        Whether a class without segment, and a segment without class, are fine.

    Returns
    -------
    tuple
        The assignment, and messages on what is missing or unknown.
    """
    labels, dropped, unknown = [], [], []
    for segment in segments:
        key = key_of(segment.name)
        if key in classes.label_of:
            labels.append((classes.label_of[key], segment))
        else:
            dropped.append(segment)
            unknown += [] if key in classes.dropped else [segment.name]
    present = {label for label, _ in labels}
    missing = tuple(name for label, name in enumerate(classes.names, 1) if label not in present)
    has = f"the file has {_quoted(segment.name for segment in segments)}"
    problems = []
    if missing and classes.are_listed and not missing_ok:
        problems.append(f"{path}: no segment for {_quoted(missing)}; {has}. Give --missing-ok if that is right")
    if unknown and not drop_unlisted:
        expected = _quoted(classes.names)
        problems.append(
            f"{path}: segments {_quoted(unknown)} are not listed, expected {expected}; list them, or give "
            "--drop-unlisted to leave them out"
        )
    return Assignment(tuple(labels), missing, tuple(dropped)), problems


def groups_without_overlap(labels: Sequence[int], overlaps: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Put classes into as few groups as come out of taking each in turn, so that no two in a group overlap.

    Parameters
    ----------
    labels
        Labels of all classes.
    overlaps
        Pairs of labels that share voxels in some case.

    Returns
    -------
    list of tuple of int
        Groups in the order of their first labels.
    """
    apart = {frozenset(pair) for pair in overlaps}
    groups: list[list[int]] = []
    for label in labels:
        fitting = [group for group in groups if not any(frozenset((label, other)) in apart for other in group)]
        if fitting:
            fitting[0].append(label)
        else:
            groups.append([label])
    return [tuple(group) for group in groups]


def looks_of_classes(classes: Classes, assignments: Iterable[Assignment]) -> dict[str, dict[str, Any]]:
    """Return per class the names of its segments, and the most frequent colour, terminology and tags of them.

    Returns
    -------
    dict
        By class, for the key ``conversion`` of dataset.json.
    """
    segments: dict[int, list[Segment]] = {label: [] for label in range(1, len(classes.names) + 1)}
    for assignment in assignments:
        for label, segment in assignment.labels:
            segments[label].append(segment)
    looks: dict[str, dict[str, Any]] = {}
    for name, of_class in zip(classes.names, segments.values(), strict=True):
        entry: dict[str, Any] = {"names": sorted({segment.name for segment in of_class})}
        for key in LOOKS:
            found = [segment.look[key] for segment in of_class if key in segment.look]
            if found:
                entry[key] = max(found, key=found.count)
        looks[name] = entry
    return looks


def _from_file(path: Path) -> Classes:
    content = read_json(path)
    unknown = sorted(set(content) - {"classes", "drop"})
    classes, drop = content.get("classes"), content.get("drop", [])
    if isinstance(classes, list):
        classes = {name: [] for name in _unique(map(str, classes), str(path))}
    if unknown or not isinstance(classes, dict) or not isinstance(drop, list):
        message = f"{path}: expected an object like {_FORM}, found the keys {', '.join(content)}"
        raise InputError(message)
    names = {}
    for name, aliases in classes.items():
        aliases = [aliases] if isinstance(aliases, str | int) else aliases
        if not isinstance(aliases, list) or not all(isinstance(alias, str | int) for alias in aliases):
            message = f"{path}: class '{name}': expected a list of names of segments, found {aliases!r}"
            raise InputError(message)
        names[name] = [str(alias) for alias in aliases]
    return _build(names, [str(name) for name in drop], str(path))


def _build(names: Mapping[str, Sequence[str]], drop: Sequence[str], source: str) -> Classes:
    """Give labels to classes and all names of their segments."""
    if not names:
        message = f"{source}: no class, expected at least one"
        raise InputError(message)
    label_of: dict[str, int] = {}
    for label, (name, aliases) in enumerate(names.items(), 1):
        if key_of(name) in _RESERVED or not name.strip():
            message = f"{source}: a class cannot be called '{name}', nnU-Net reserves {' and '.join(_RESERVED)}; "
            message += "give segments another class name, or drop them, with --classes-file"
            raise InputError(message)
        for alias in (name, *aliases):
            if label_of.setdefault(key_of(alias), label) != label:
                other = list(names)[label_of[key_of(alias)] - 1]
                message = f"{source}: '{alias}' stands for '{other}' and '{name}', expected one class per name"
                raise InputError(message)
    dropped = frozenset(key_of(name) for name in drop)
    both = sorted(dropped & set(label_of))
    if both:
        message = f"{source}: {_quoted(both)} under 'classes' and under 'drop', expected only one of the two"
        raise InputError(message)
    return Classes(tuple(name.strip() for name in names), label_of, dropped)


def _unique(names: Iterable[str], source: str) -> list[str]:
    names = list(names)
    keys = [key_of(name) for name in names]
    doubles = sorted({name for name in names if keys.count(key_of(name)) > 1})
    if doubles:
        message = f"{source}: the same name more than once: {_quoted(doubles)}, expected different classes"
        raise InputError(message)
    return names


def _quoted(names: Iterable[str]) -> str:
    return listed(f"'{name}'" for name in names)
