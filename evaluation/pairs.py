"""Pair predictions and labels by case name."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.errors import MissingInputError
from nnunet_ext.imageio import SUPPORTED_ENDINGS, find_volumes, is_supported, volume_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """The prediction of a model and the reference of the same case."""

    model: str
    case: str
    prediction: Path
    reference: Path


def find_pairs(predictions: Mapping[str, Path], labels: Path, *, subset: bool = False) -> tuple[list[Pair], list[str]]:
    """Pair the files that have the same name but for the ending.

    Parameters
    ----------
    predictions
        Folder of each model.
    labels
        Folder of the references.
    subset
        Whether references without prediction are left out. They always are for ``fold_X/validation``, where
        nnU-Net leaves the cases of one fold.

    Returns
    -------
    list of Pair
        By model, then by case.
    list of str
        One message per file without partner, case with several files, and folder without any.

    Raises
    ------
    MissingInputError
        If a folder does not exist.
    """
    absent = [str(folder) for folder in (*predictions.values(), labels) if not folder.is_dir()]
    if absent:
        message = f"no such folder: {', '.join(absent)}"
        raise MissingInputError(message)
    references, problems = _cases(labels)
    pairs = []
    for model, folder in predictions.items():
        predicted, doubled = _cases(folder)
        problems += doubled
        problems += [
            f"{predicted[case]}: no label of case {case!r} in {labels}"
            for case in sorted(predicted.keys() - references.keys())
        ]
        if not subset and not _is_fold_validation(folder):
            problems += [
                f"{references[case]}: no prediction of case {case!r} in {folder}"
                for case in sorted(references.keys() - predicted.keys())
            ]
        pairs += [
            Pair(model, case, predicted[case], references[case])
            for case in sorted(predicted.keys() & references.keys())
        ]
    return pairs, problems


def _cases(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the first file of each case, and messages on folders without files and cases with several."""
    files = defaultdict(list)
    for path in _volumes(folder):
        files[volume_name(path)].append(path)
    if not files:
        return {}, [f"{folder}: no volume found, expected files ending with {', '.join(SUPPORTED_ENDINGS)}"]
    problems = [
        f"case {case!r} has several files: {', '.join(str(path) for path in paths)}"
        for case, paths in sorted(files.items())
        if len(paths) > 1
    ]
    return {case: paths[0] for case, paths in files.items()}, problems


def _volumes(folder: Path) -> list[Path]:
    """Return the volumes in a folder; single slices that lie in it are cases, and not together one volume."""
    volumes = find_volumes(folder)
    if volumes == [folder]:
        return sorted(path for path in folder.iterdir() if is_supported(path) and not path.name.startswith("."))
    return volumes


def _is_fold_validation(folder: Path) -> bool:
    resolved = folder.resolve()
    return resolved.name == "validation" and resolved.parent.name.startswith("fold_")
