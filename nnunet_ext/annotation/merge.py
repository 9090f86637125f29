"""Put the annotations of two annotators together."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.annotation.agreement import ALL, Agreement, agreements
from nnunet_ext.annotation.annotation_file import create_annotation
from nnunet_ext.annotation.classes import LARGEST_ID, annotation_classes
from nnunet_ext.class_table import read_class_table
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, listed
from nnunet_ext.files import refuse_existing, written_when_complete
from nnunet_ext.imageio import (
    STACK_ENDINGS,
    SUPPORTED_ENDINGS,
    Volume,
    ending_of,
    find_volumes,
    open_volume,
    volume_name,
)
from nnunet_ext.imageio.grid import grid_differences, grid_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.annotation.classes import AnnotationClass

ERROR, FIRST, SECOND, MAX = RULES = ("error", "first", "second", "max")
_SLAB_VOXELS = 16 * 2**20


@dataclass(frozen=True)
class MergedAnnotations:
    """What was written.

    Parameters
    ----------
    folder
        Where.
    cases
        Names of the annotations.
    conflicts
        Voxels to which the two gave different classes, by case.
    agreement
        Rows of ``agreement.csv`` over all cases.
    alone
        Those of ``cases`` that one annotator has and the other lacks; they are in no table.
    """

    folder: Path
    cases: list[str]
    conflicts: dict[str, int]
    agreement: list[Agreement]
    alone: list[str]


@dataclass
class _Comparison:
    """Two annotations of a case, counted."""

    first: Path
    second: Path
    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((LARGEST_ID + 1,) * 2, dtype=np.int64))
    conflicts: dict[int, int] = field(default_factory=dict)


def merge_annotations(
    first: Path,
    second: Path,
    output: Path,
    *,
    on_conflict: str = ERROR,
    classes: Path | None = None,
    missing_ok: bool = False,
    overwrite: bool = False,
) -> MergedAnnotations:
    """Put two annotations of the same scans together; where one annotator marked nothing, the other's mark stands.

    Parameters
    ----------
    first, second
        Two files, or two folders that are paired by name.
    output
        Folder for the annotations, named and formatted as the first, ``agreement.csv`` and ``confusion.csv``.
    on_conflict
        Where both annotated a voxel differently: ``error``, take the ``first`` or the ``second``, or ``max``, the
        larger id.
    classes
        Class file, for names and colours; ids that it does not have are an error then.
    missing_ok
        Whether an annotation that the other annotator lacks is taken as it is; otherwise it is an error.
    overwrite
        Whether existing files may be replaced.

    Raises
    ------
    BadCasesError
        If files do not pair, grids differ, values are no ids, or, with ``error``, annotations contradict each other;
        names all of them, and nothing is written.
    OutputExistsError
        If a file exists and ``overwrite`` is false.
    """
    if on_conflict not in RULES:
        message = f"--on-conflict: expected one of {', '.join(RULES)}, found '{on_conflict}'"
        raise InputError(message)
    entries = annotation_classes(read_class_table(classes)) if classes else []
    files, alone = _pairs(first, second, missing_ok=missing_ok)
    leading = {case: one for case, (one, _) in files.items()} | alone
    targets = {case: output / f"{case}{_ending(path)}" for case, path in sorted(leading.items())}
    tables = [output / "agreement.csv", output / "confusion.csv"]
    refuse_existing([*targets.values(), *tables], overwrite=overwrite)
    largest = entries[-1].id if entries else LARGEST_ID
    compared: dict[str, _Comparison] = {}
    problems: list[str] = []
    for case, (one, other) in files.items():
        try:
            compared[case] = _compare(one, other, largest)
        except BadCasesError as error:
            problems += error.problems
        except NnunetExtError as error:
            problems.append(str(error))
    for path in alone.values():
        try:
            _check(path, largest)
        except NnunetExtError as error:
            problems.append(str(error))
    if on_conflict == ERROR:
        problems += [_conflict_text(case, found) for case, found in compared.items() if found.conflicts]
    if problems:
        raise BadCasesError(problems)
    for case, found in compared.items():
        _write(found, targets[case], on_conflict, entries, overwrite=overwrite)
    for case, path in alone.items():
        _write_alone(path, targets[case], entries, overwrite=overwrite)
    confusions = {case: found.confusion for case, found in compared.items()}
    confusions[ALL] = np.sum([found.confusion for found in compared.values()], axis=0)
    names = {entry.id: entry.name for entry in entries}
    _write_agreement(tables[0], confusions, names)
    _write_confusion(tables[1], confusions)
    conflicts = {case: sum(found.conflicts.values()) for case, found in compared.items()}
    return MergedAnnotations(output, list(targets), conflicts, agreements(confusions[ALL]), sorted(alone))


def merge_labels(first: NDArray[np.uint8], second: NDArray[np.uint8], on_conflict: str) -> NDArray[np.uint8]:
    """Return the union of two arrays of ids, 0 being nothing; conflicts go by ``first``, ``second`` or ``max``."""
    if on_conflict == MAX:
        return np.maximum(first, second)
    leading, other = (second, first) if on_conflict == SECOND else (first, second)
    return np.where(leading != 0, leading, other)


def _pairs(first: Path, second: Path, *, missing_ok: bool) -> tuple[dict[str, tuple[Path, Path]], dict[str, Path]]:
    """Return the files of cases that both annotators have, and of those that only one has."""
    if first.is_file() and second.is_file():
        return {volume_name(first): (first, second)}, {}
    found = [{volume_name(path): path for path in find_volumes(folder)} for folder in (first, second)]
    if not found[0] or not found[1]:
        empty = first if not found[0] else second
        message = f"{empty}: no annotation found, expected files ending in {', '.join(SUPPORTED_ENDINGS)}"
        raise InputError(message)
    one, other = found
    alone = {
        case: path for mine, theirs in ((one, other), (other, one)) for case, path in mine.items() if case not in theirs
    }
    both = {case: (one[case], other[case]) for case in one if case in other}
    if alone and not missing_ok:
        problems = [
            f"{path}: no annotation '{case}' of the other annotator, who has {listed(other if case in one else one)}; "
            "--missing-ok takes it as it is"
            for case, path in sorted(alone.items())
        ]
        raise BadCasesError(problems)
    if not both:
        message = (
            f"{first}, {second}: no annotation of the same name in both, expected at least one; found {listed(alone)}"
        )
        raise InputError(message)
    return both, alone


def _ending(path: Path) -> str:
    return ending_of(path, STACK_ENDINGS) or ".tif" if path.is_file() else ".tif"


def _compare(first: Path, second: Path, largest: int) -> _Comparison:
    found = _Comparison(first, second)
    with ExitStack() as stack:
        one, other = (stack.enter_context(open_volume(path)) for path in (first, second))
        differences = grid_differences(grid_of(other), grid_of(one))
        if differences:
            message = f"{second}: {', '.join(differences)} (z, y, x) as in {first}"
            raise InputError(message)
        for start, mine, theirs in _slabs(one, other, largest):
            pairs = mine.astype(np.uint16) * (LARGEST_ID + 1) + theirs
            found.confusion += np.bincount(pairs.ravel(), minlength=(LARGEST_ID + 1) ** 2).reshape(LARGEST_ID + 1, -1)
            differing = ((mine != theirs) & (mine != 0) & (theirs != 0)).sum(axis=(1, 2))
            found.conflicts |= {start + int(z): int(differing[z]) for z in np.flatnonzero(differing)}
    return found


def _slabs(one: Volume, other: Volume, largest: int) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
    for start, stop in _steps(one):
        yield start, _ids(one, start, stop, largest), _ids(other, start, stop, largest)


def _steps(volume: Volume) -> Iterator[tuple[int, int]]:
    depth, height, width = volume.shape
    step = max(1, _SLAB_VOXELS // (height * width))
    for start in range(0, depth, step):
        yield start, min(depth, start + step)


def _ids(volume: Volume, start: int, stop: int, largest: int) -> NDArray[np.uint8]:
    slab = volume.slab(start, stop)
    unknown = np.unique(slab[~np.isin(slab, np.arange(largest + 1))])
    if unknown.size:
        message = f"{volume.path}: values {listed(map(str, unknown.tolist()))}, expected ids 0 to {largest}"
        raise InputError(message)
    return slab.astype(np.uint8)


def _check(path: Path, largest: int) -> None:
    with open_volume(path) as volume:
        for start, stop in _steps(volume):
            _ids(volume, start, stop, largest)


def _conflict_text(case: str, found: _Comparison) -> str:
    slices = ", ".join(f"slice {index}: {count}" for index, count in sorted(found.conflicts.items()))
    both = found.confusion.copy()
    both[0], both[:, 0] = 0, 0
    np.fill_diagonal(both, 0)
    kinds = ", ".join(f"{i} and {j}: {both[i, j]}" for i, j in np.argwhere(both))
    total = sum(found.conflicts.values())
    return (
        f"case '{case}': {total} voxels have another class in {found.second} than in {found.first} "
        f"(voxels on {slices}; classes {kinds}); correct them or choose --on-conflict first, second or max"
    )


def _write(found: _Comparison, target: Path, rule: str, entries: list[AnnotationClass], *, overwrite: bool) -> None:
    with (
        open_volume(found.first) as one,
        open_volume(found.second) as other,
        create_annotation(target, one, entries, overwrite=overwrite) as writer,
    ):
        for _, mine, theirs in _slabs(one, other, LARGEST_ID):
            writer.write(merge_labels(mine, theirs, rule))


def _write_alone(path: Path, target: Path, entries: list[AnnotationClass], *, overwrite: bool) -> None:
    with open_volume(path) as volume, create_annotation(target, volume, entries, overwrite=overwrite) as writer:
        for start, stop in _steps(volume):
            writer.write(_ids(volume, start, stop, LARGEST_ID))


def _write_agreement(path: Path, confusions: dict[str, NDArray[np.int64]], names: dict[int, str]) -> None:
    with (
        written_when_complete(path, overwrite=True) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            "case id class voxels_first voxels_second both_first both_second agreed dice kappa".split()  # noqa: SIM905
        )
        for case, confusion in confusions.items():
            for row in agreements(confusion):
                name = ALL if row.id is None else names.get(row.id, str(row.id))
                numbers = ["" if number is None else f"{number:.6g}" for number in (row.dice, row.kappa)]
                shown = "" if row.id is None else row.id
                counts = (row.first, row.second, row.both_first, row.both_second, row.agreed)
                writer.writerow([case, shown, name, *counts, *numbers])


def _write_confusion(path: Path, confusions: dict[str, NDArray[np.int64]]) -> None:
    with (
        written_when_complete(path, overwrite=True) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "first", "second", "voxels"])
        for case, confusion in confusions.items():
            writer.writerows([case, int(i), int(j), int(confusion[i, j])] for i, j in np.argwhere(confusion))
