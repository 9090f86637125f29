"""Read the folds of nnU-Net v1 (``splits_final.pkl``) without running what a pickle may ask for."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, listed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dataset_conversion.caffe_folds import Splits

# All that a list of dictionaries of arrays of text needs, by the names that numpy had over the years.
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy", "str_"),
    ("_codecs", "encode"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


def read_splits(path: Path, cases: Iterable[str]) -> Splits:
    """Read folds, and see that they are made of these cases.

    Parameters
    ----------
    path
        ``splits_final.pkl`` of nnU-Net v1, or a JSON file of the same content.
    cases
        Names of the training cases.

    Returns
    -------
    list of dict
        ``train`` and ``val`` cases of each fold, in the order of the file.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it cannot be read, or holds something else than folds.
    BadCasesError
        If a fold names a case that is not there, or one twice.
    """
    if not path.is_file():
        message = f"{path}: no such file"
        raise MissingInputError(message)
    content = _read(path)
    if not isinstance(content, list) or not content:
        message = f"{path}: expected a list of folds with 'train' and 'val', found {type(content).__name__}"
        raise InputError(message)
    known = set(cases)
    problems, splits = [], []
    for number, fold in enumerate(content):
        if not isinstance(fold, dict) or not {"train", "val"} <= set(fold):
            message = f"{path}: fold {number}: expected 'train' and 'val' with names of cases"
            raise InputError(message)
        parts = {part: [str(name) for name in fold[part]] for part in ("train", "val")}
        names = [*parts["train"], *parts["val"]]
        unknown = sorted(set(names) - known)
        if unknown:
            problems.append(f"{path}: fold {number} has cases that are not in the dataset: {listed(unknown)}")
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            problems.append(f"{path}: fold {number} has cases more than once: {listed(doubles)}")
        if not parts["train"] or not parts["val"]:
            problems.append(f"{path}: fold {number}: expected cases to train and to validate on, found none")
        splits.append(parts)
    if problems:
        raise BadCasesError(problems)
    return splits


def _read(path: Path) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            message = f"{path}: not a JSON file: {error}"
            raise InputError(message) from error
    try:
        with path.open("rb") as file:
            return _FoldsUnpickler(file).load()
    except InputError as error:
        message = f"{path}: {error}"
        raise InputError(message) from error
    except Exception as error:
        # A damaged pickle ends in any error at all.
        message = f"{path}: cannot be read, expected splits_final.pkl of nnU-Net v1: {error}"
        raise InputError(message) from error


class _FoldsUnpickler(pickle.Unpickler):
    """An unpickler that makes lists, dictionaries, texts and arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            message = f"asks for {module}.{name}, expected folds only: lists, dictionaries, arrays and names"
            raise InputError(message)
        return super().find_class(module, name)
