"""Pair predictions and labels by case name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.folders import volumes_by_case
from evaluation.folds import is_validation, predictions_by_case, validations_in
from nnunet_ext.errors import MissingInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_ext.class_rules.rules import Rule


@dataclass(frozen=True)
class Pair:
    """The prediction of a model and the reference of the same case; with the rules after which it counts."""

    model: str
    case: str
    prediction: Path
    reference: Path
    rules: tuple[Rule, ...] = ()


def find_pairs(predictions: Mapping[str, Path], labels: Path, *, subset: bool = False) -> tuple[list[Pair], list[str]]:
    """Pair the files that have the same name but for the ending.

    Parameters
    ----------
    predictions
        Folder of each model; that of a trained model stands for the validation folders of its folds.
    labels
        Folder of the references.
    subset
        Whether references without prediction are left out. They always are for ``fold_X/validation`` and trained
        models, where nnU-Net leaves the cases of the folds that were trained.

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
    references, problems = volumes_by_case(labels)
    pairs = []
    for model, folder in predictions.items():
        predicted, doubled = predictions_by_case(folder)
        problems += doubled
        problems += [
            f"{predicted[case]}: no label of case {case!r} in {labels}"
            for case in sorted(predicted.keys() - references.keys())
        ]
        if not (subset or is_validation(folder) or validations_in(folder)):
            problems += [
                f"{references[case]}: no prediction of case {case!r} in {folder}"
                for case in sorted(references.keys() - predicted.keys())
            ]
        pairs += [
            Pair(model, case, predicted[case], references[case])
            for case in sorted(predicted.keys() & references.keys())
        ]
    return pairs, problems
