"""Validation folders of a cross-validation: where nnU-Net leaves the predictions of each fold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from evaluation.folders import volumes_by_case

if TYPE_CHECKING:
    from pathlib import Path

_FOLD = re.compile(r"fold_(\d+|all)")


def is_validation(folder: Path) -> bool:
    """Return whether this is ``fold_X/validation``, which holds the cases of one fold."""
    resolved = folder.resolve()
    return resolved.name == "validation" and bool(_FOLD.fullmatch(resolved.parent.name))


def validations_in(folder: Path) -> list[Path]:
    """Return ``fold_0/validation`` and so on of a model's folder, in order of their numbers.

    ``fold_all`` validates on its training cases, and is none of them.
    """
    found = {path: _FOLD.fullmatch(path.parent.name) for path in folder.glob("fold_*/validation") if path.is_dir()}
    numbered = {path: int(name[1]) for path, name in found.items() if name and name[1].isdecimal()}
    return sorted(numbered, key=numbered.__getitem__)


def predictions_by_case(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Find predictions in a folder or, in that of a trained model, in the validation folders of its folds.

    Parameters
    ----------
    folder
        Folder to look into.

    Returns
    -------
    dict of str to Path
        File of each case.
    list of str
        One message per case with several files, and one per folder without any volume.

    Raises
    ------
    MissingInputError
        If there is no such folder.
    """
    validations = validations_in(folder)
    if not validations:
        return volumes_by_case(folder)
    files: dict[str, Path] = {}
    problems = []
    for validation in validations:
        found, of_fold = volumes_by_case(validation)
        problems += of_fold
        problems += [f"case {case!r} is in two folds: {files[case]}, {found[case]}" for case in found if case in files]
        files = {**found, **files}
    return files, problems
