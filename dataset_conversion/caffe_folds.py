"""Folds of cross-validation that keep the images of a glacier together, and the file that nnU-Net reads them from.

The trainer of nnU-Net looks for ``splits_final.json`` in the folder of the preprocessed dataset. Planning copies the
one beside dataset.json of the raw dataset to there, and fails if another one is there already.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.caffe.names import parse_caffe_name
from nnunet_ext.errors import InputError
from nnunet_ext.files import refuse_existing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FOLDS = 5
SPLITS = "splits_final.json"

Splits = list[dict[str, list[str]]]


def folds_by_glacier(cases: Iterable[str]) -> Splits:
    """Deal glaciers out to up to five folds of about the same number of images.

    The glacier with the most images comes first, and each goes to the fold with the fewest so far.

    Parameters
    ----------
    cases
        Stems of the training images.

    Returns
    -------
    list of dict
        ``train`` and ``val`` cases of each fold, sorted, as nnU-Net has them in ``splits_final.json``. There are fewer
        than five folds where there are fewer glaciers.

    Raises
    ------
    InputError
        If there is only one glacier.
    """
    of_glacier: defaultdict[str, list[str]] = defaultdict(list)
    for case in sorted(cases):
        of_glacier[parse_caffe_name(case).glacier].append(case)
    if len(of_glacier) < 2:
        message = f"--folds-by glacier: expected images of two glaciers or more, found {list(of_glacier)}"
        raise InputError(message)
    folds: list[list[str]] = [[] for _ in range(min(FOLDS, len(of_glacier)))]
    for glacier in sorted(of_glacier, key=lambda name: (-len(of_glacier[name]), name)):
        min(folds, key=len).extend(of_glacier[glacier])
    everything = sorted(case for fold in folds for case in fold)
    return [{"train": [case for case in everything if case not in fold], "val": sorted(fold)} for fold in folds]


def trainer_splits(folder: Path, splits: Splits | None, *, overwrite: bool) -> Path | None:
    """Return the file that the trainer reads the folds of a dataset from, after checking that it may be written.

    Parameters
    ----------
    folder
        ``DatasetXXX_Name`` in the folder of raw datasets.
    splits
        What is to be written; None for nothing.
    overwrite
        Whether folds that are there may be replaced.

    Returns
    -------
    Path or None
        None if ``nnUNet_preprocessed`` is not set.

    Raises
    ------
    OutputExistsError
        If folds are there, and ``overwrite`` is false.
    """
    root = os.environ.get("nnUNet_preprocessed")  # noqa: SIM112 - nnU-Net's spelling
    if not root:
        return None
    path = Path(root) / folder.name / SPLITS
    if splits:
        refuse_existing([path], overwrite=overwrite)
    return path


def fold_notes(folder: Path, cases: Sequence[str], splits: Splits | None, trainer_file: Path | None) -> list[str]:
    """Return what the user should know about the folds of a dataset, whose parameters are those of `trainer_splits`."""
    if splits is None:
        notes = []
        if len(cases) < FOLDS:
            notes.append(
                f"{len(cases)} cases are too few for the {FOLDS} folds of nnU-Net: train with fold 'all', or give "
                "--folds-by glacier"
            )
        if trainer_file is not None and trainer_file.is_file():
            notes.append(
                f"{trainer_file}: folds are there already, and nnU-Net goes by them; remove it to get new ones"
            )
        return notes
    where = f"{folder / SPLITS}, which planning copies to nnUNet_preprocessed"
    where += f", and in {trainer_file}" if trainer_file is not None else ""
    glaciers = [sorted({parse_caffe_name(case).glacier for case in fold["val"]}) for fold in splits]
    shown = "; ".join(f"fold {number} validates on {', '.join(names)}" for number, names in enumerate(glaciers))
    notes = [f"{shown}. They stand in {where}"]
    if len(splits) < FOLDS:
        last = len(splits) - 1
        notes.append(f"there are folds 0 to {last} only; for others nnU-Net would draw cases from all glaciers")
    return notes
