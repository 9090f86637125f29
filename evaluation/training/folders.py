"""Find the folds of trained models and read their training curves."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.labels import read_declaration
from evaluation.training.checkpoints import CHECKPOINTS, CheckpointCurves, merge, newest, read_checkpoint
from evaluation.training.logs import LOG_PATTERN, PSEUDO_DICE, Curve, Epochs, LoggedTraining, in_order, read_logs
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ALL = "all"
_FOLD = re.compile(rf"fold_(\d+|{ALL})")


@dataclass(frozen=True)
class FoldCurves:
    """The training curves of one fold.

    Parameters
    ----------
    model, fold
        Name of the model; number of the fold, or ``all``.
    epochs
        Values by epoch.
    sources
        Names of the files that they come from.
    """

    model: str
    fold: str
    epochs: Epochs
    sources: tuple[str, ...]


def read_models(
    models: Mapping[str, Sequence[Path]], folds: Sequence[str] | None = None
) -> tuple[list[FoldCurves], list[str]]:
    """Read all folds of all models.

    Parameters
    ----------
    models
        By name, the model's folder, which holds ``fold_0`` and so on, or folders of its folds.
    folds
        Folds to read, ``"0"`` or ``"all"``. Default: all with a number, or else ``fold_all``.

    Returns
    -------
    curves : list of FoldCurves
        In the order of the models, then of the folds.
    notes : list of str
        What the reader should know: files and epochs that do not count.

    Raises
    ------
    BadCasesError
        With every folder, fold and dataset.json that cannot be used.
    """
    curves: list[FoldCurves] = []
    notes: list[str] = []
    problems: list[str] = []
    for model, folders in models.items():
        found: dict[str, Path] = {}
        for folder in folders:
            try:
                here = _folds_in(folder)
                problems += [
                    f"{folder}: fold {fold} of model {model!r} is also in {found[fold]}, expected it once; give models "
                    "different names, as in -i NAME=FOLDER"
                    for fold in here
                    if fold in found
                ]
                found |= here
            except InputError as error:
                problems.append(str(error))
        where = ", ".join(str(folder) for folder in folders)
        chosen = _chosen(found, folds, where, notes=notes, problems=problems if found else [])
        for fold, folder in chosen.items():
            try:
                curves.append(_read_fold(model, fold, folder, notes))
            except BadCasesError as error:
                problems += error.problems
            except NnunetExtError as error:
                problems.append(str(error))
    if problems:
        raise BadCasesError(list(dict.fromkeys(problems)))
    return curves, notes


def is_fold(folder: Path) -> bool:
    """Return whether this is the folder of one fold rather than of a model."""
    return bool(_FOLD.fullmatch(folder.name)) or bool(_logs(folder)) or bool(_checkpoints(folder))


def _folds_in(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        message = f"{folder}: no such folder"
        raise InputError(message)
    if is_fold(folder):
        return {_fold_name(folder): folder}
    folds = {_fold_name(path): path for path in folder.iterdir() if path.is_dir() and _FOLD.fullmatch(path.name)}
    if not folds:
        below = sorted(path.parent.name for path in folder.glob("*/fold_*") if path.is_dir())
        hint = f"; models are in {', '.join(dict.fromkeys(below))}" if below else ""
        message = f"{folder}: expected a model's folder with fold_0, …, or fold_{ALL} in it, found none{hint}"
        raise InputError(message)
    return dict(sorted(folds.items(), key=lambda item: (math.inf if item[0] == ALL else int(item[0]), item[0])))


def _fold_name(folder: Path) -> str:
    found = _FOLD.fullmatch(folder.name)
    return found[1] if found else folder.name


def _chosen(
    found: dict[str, Path], wanted: Sequence[str] | None, where: str, *, notes: list[str], problems: list[str]
) -> dict[str, Path]:
    if wanted is not None:
        problems += [
            f"{where}: no fold {fold}, found {', '.join(found)}" for fold in dict.fromkeys(wanted) if fold not in found
        ]
        return {fold: found[fold] for fold in dict.fromkeys(wanted) if fold in found}
    if ALL in found and len(found) > 1:
        # it validates on what it trains on, so a mean with the others would say nothing
        notes.append(f"{where}: fold_{ALL} is left out beside the folds of the cross-validation; -f {ALL} shows it")
        return {fold: folder for fold, folder in found.items() if fold != ALL}
    return found


def _read_fold(model: str, fold: str, folder: Path, notes: list[str]) -> FoldCurves:
    """Read logs and checkpoints of a fold, and name its classes."""
    files, checkpoints = in_order(_logs(folder)), _checkpoints(folder)
    if not files and not checkpoints:
        message = f"{folder}: expected {LOG_PATTERN} or a checkpoint ({', '.join(CHECKPOINTS)}), found none"
        raise InputError(message)
    logged = read_logs(files)
    saved, unreadable = _read_checkpoints(checkpoints)
    if unreadable and not logged.epochs and saved is None:
        raise BadCasesError(unreadable)
    names = ", ".join(path.name for path in files)
    if not logged.epochs and (saved is None or not saved.epochs):
        message = f"{folder}: no epoch in {', '.join(path.name for path in [*files, *checkpoints])}"
        raise InputError(message)
    notes += [f"{problem}; not used" for problem in unreadable]
    epochs, parted = merge(logged.epochs, saved.epochs if saved else {})
    if parted is not None and saved is not None:
        notes.append(
            f"{folder}: {saved.path.name} and {names} tell of different trainings from epoch {parted} on, as after "
            "a run that was taken up again; from there the log counts"
        )
    lost = [number for number in logged.left_out if number not in epochs]
    if lost:
        notes.append(
            f"{folder}: {_ranges(lost)} left out, since a later run began before and has not come so far again"
        )
    sources = [path.name for path in files if logged.epochs] + ([saved.path.name] if saved else [])
    return FoldCurves(model, fold, _with_names(epochs, folder, logged, notes), tuple(sources))


def _logs(folder: Path) -> list[Path]:
    return [path for path in folder.glob(LOG_PATTERN) if path.is_file()]


def _checkpoints(folder: Path) -> list[Path]:
    return [folder / name for name in CHECKPOINTS if (folder / name).is_file()]


def _read_checkpoints(paths: Sequence[Path]) -> tuple[CheckpointCurves | None, list[str]]:
    read, problems = [], []
    for path in paths:
        try:
            read.append(read_checkpoint(path))
        except InputError as error:
            problems.append(str(error))
    return newest(read), problems


def _with_names(epochs: Epochs, folder: Path, logged: LoggedTraining, notes: list[str]) -> Epochs:
    """Put names of classes in place of their numbers."""
    numbers = {curve.class_or_task for values in epochs.values() for curve in values if curve.name == PSEUDO_DICE}
    names = _class_names(folder) or logged.classes
    if numbers and names and len(names) != len(numbers):
        notes.append(
            f"{folder}: {len(numbers)} classes have a pseudo Dice, but {len(names)} are named "
            f"({', '.join(names)}); they are numbered"
        )
    if len(names) != len(numbers):
        return epochs
    curves = {Curve(PSEUDO_DICE, str(number)): Curve(PSEUDO_DICE, name) for number, name in enumerate(names, start=1)}
    return {
        number: {curves.get(curve, curve): value for curve, value in values.items()}
        for number, values in epochs.items()
    }


def _class_names(folder: Path) -> tuple[str, ...]:
    """Return the foreground classes of the dataset.json beside or above a fold, in nnU-Net's order."""
    path = next(
        (place / "dataset.json" for place in (folder, folder.parent) if (place / "dataset.json").is_file()), None
    )
    if path is None:
        return ()
    classes = read_declaration(path).classes
    return tuple(f"{scored.task}/{scored.name}" if scored.task else scored.name for scored in classes)


def _ranges(numbers: Sequence[int]) -> str:
    """Write sorted numbers of epochs as text: ``epochs 3–7, 9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    text = ", ".join("–".join(map(str, part)) for part in parts)
    return f"epoch{'s' if len(numbers) > 1 else ''} {text}"
