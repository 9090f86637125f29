"""Combine the training curves of folds: rows of curves.csv, and mean and standard deviation per epoch."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.training.logs import (
    EPOCH_TIME,
    LEARNING_RATE,
    MEAN_PSEUDO_DICE,
    PSEUDO_DICE,
    TRAIN_LOSS,
    VAL_LOSS,
    Curve,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from evaluation.training.folders import FoldCurves

KNOWN_CURVES = (TRAIN_LOSS, VAL_LOSS, PSEUDO_DICE, MEAN_PSEUDO_DICE, LEARNING_RATE, EPOCH_TIME)


@dataclass(frozen=True)
class ValueRow:
    """A value of one fold, a line of curves.csv."""

    model: str
    fold: str
    epoch: int
    curve: str
    class_or_task: str
    value: float


@dataclass(frozen=True)
class MeanRow:
    """What the folds of a model have in one epoch, a line of curves_mean.csv.

    Parameters
    ----------
    model, epoch, curve, class_or_task
        What it is.
    mean, std
        Over the folds that reached the epoch and whose value is not NaN. The standard deviation is that of a sample
        (n - 1), and NaN for a single fold.
    n
        Number of these folds.
    """

    model: str
    epoch: int
    curve: str
    class_or_task: str
    mean: float
    std: float
    n: int


def value_rows(folds: Iterable[FoldCurves]) -> list[ValueRow]:
    """Return every value, in the order of the folds, the curves and the epochs."""
    folds = list(folds)
    order = curve_order(folds)
    return [
        ValueRow(fold.model, fold.fold, epoch, curve.name, curve.class_or_task, values[curve])
        for fold in folds
        for curve in order
        for epoch, values in fold.epochs.items()
        if curve in values
    ]


def mean_rows(folds: Iterable[FoldCurves]) -> list[MeanRow]:
    """Return mean and standard deviation over the folds of each model.

    Parameters
    ----------
    folds
        Of any number of models; they may end at different epochs.

    Returns
    -------
    list of MeanRow
        In the order of the models, the curves and the epochs.
    """
    folds = list(folds)
    order = curve_order(folds)
    rows = []
    for model in dict.fromkeys(fold.model for fold in folds):
        of_model = [fold.epochs for fold in folds if fold.model == model]
        numbers = sorted({number for epochs in of_model for number in epochs})
        for curve in order:
            for number in numbers:
                values = [epochs[number][curve] for epochs in of_model if curve in epochs.get(number, {})]
                if values:
                    rows.append(MeanRow(model, number, curve.name, curve.class_or_task, *_mean(values)))
    return rows


def curve_order(folds: Iterable[FoldCurves]) -> list[Curve]:
    """Return all curves: the known kinds first, and classes and tasks in the order in which they come."""
    found = list(dict.fromkeys(curve for fold in folds for values in fold.epochs.values() for curve in values))
    kinds = [*KNOWN_CURVES, *(curve.name for curve in found if curve.name not in KNOWN_CURVES)]
    return sorted(found, key=lambda curve: (kinds.index(curve.name), curve.class_or_task != ""))


def _mean(values: Sequence[float]) -> tuple[float, float, int]:
    known = [value for value in values if not math.isnan(value)]
    if not all(map(math.isfinite, known)):
        return sum(known), math.nan, len(known)
    mean = statistics.fmean(known) if known else math.nan
    return mean, statistics.stdev(known) if len(known) > 1 else math.nan, len(known)
