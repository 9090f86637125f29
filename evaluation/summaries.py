"""Rows of cases.csv and summary.csv and content of summary.json, from the counts of every case and class."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evaluation.overlap import OVERLAP_METRICS, Counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from evaluation.labels import LabelSet, ScoredClass


@dataclass(frozen=True)
class CaseCounts:
    """Counts of one case.

    Parameters
    ----------
    model, case
        Whose prediction of which case.
    prediction, reference
        The two files.
    counts
        One entry per scored class, in the order of the label set.
    """

    model: str
    case: str
    prediction: Path
    reference: Path
    counts: tuple[Counts, ...]


@dataclass(frozen=True)
class CaseRow:
    """A row of cases.csv: one metric of one class in one case; ``class_name`` is the column ``class``."""

    model: str
    case: str
    task: str
    class_name: str
    metric: str
    value: float
    empty: str


@dataclass(frozen=True)
class SummaryRow:
    """A row of summary.csv: one metric of one class over the cases of a model.

    Parameters
    ----------
    model, task, class_name, metric
        What is summarised; ``class_name`` is the column ``class``.
    n
        Number of cases in which the metric has a value.
    mean, std, median, min, max
        Over these cases; the standard deviation is that of a sample (n − 1), NaN for a single case.
    pooled
        The metric of the counts summed over all cases.
    n_empty_ref, n_empty_pred, n_empty_both
        Number of cases in which only the reference, only the prediction, or both have no voxel of the class.
    """

    model: str
    task: str
    class_name: str
    metric: str
    n: int
    mean: float
    std: float
    median: float
    min: float
    max: float
    pooled: float
    n_empty_ref: int
    n_empty_pred: int
    n_empty_both: int


def case_rows(cases: Sequence[CaseCounts], classes: Sequence[ScoredClass], metrics: Sequence[str]) -> Iterator[CaseRow]:
    """Yield a row per case, class and metric."""
    for case in cases:
        for scored, counts in zip(classes, case.counts, strict=True):
            for metric in metrics:
                value = OVERLAP_METRICS[metric](counts)
                yield CaseRow(case.model, case.case, scored.task, scored.name, metric, value, counts.empty)


def summary_rows(
    cases: Sequence[CaseCounts], classes: Sequence[ScoredClass], metrics: Sequence[str]
) -> Iterator[SummaryRow]:
    """Yield a row per model, class and metric."""
    for model, of_model in _by_model(cases).items():
        for index, scored in enumerate(classes):
            counts = [case.counts[index] for case in of_model]
            for metric in metrics:
                yield _summary_row(model, scored, metric, counts)


def summary_json(cases: Sequence[CaseCounts], label_set: LabelSet) -> dict[str, Any]:
    """Return the content of summary.json.

    Parameters
    ----------
    cases
        All cases of all models.
    label_set
        What was scored.

    Returns
    -------
    dict
        For one model nnU-Net's keys ``foreground_mean``, ``mean`` and ``metric_per_case`` with its values,
        and beside them ``pooled`` and ``empty`` per label or region, ``model``, ``classes`` and
        ``ignore_label``. For several models the first five stand in ``models`` under the name of each.
    """
    models = {model: _model_summary(of_model, label_set.classes) for model, of_model in _by_model(cases).items()}
    about = {
        "classes": {
            scored.key: {"name": scored.name, "task": scored.task, "values": list(scored.values)}
            for scored in label_set.classes
        },
        "ignore_label": label_set.ignore,
    }
    if len(models) == 1:
        (model, summary), *_ = models.items()
        return {**summary, **about, "model": model}
    return {"models": models, **about}


def _by_model(cases: Sequence[CaseCounts]) -> dict[str, list[CaseCounts]]:
    models: dict[str, list[CaseCounts]] = {}
    for case in cases:
        models.setdefault(case.model, []).append(case)
    return models


def _summary_row(model: str, scored: ScoredClass, metric: str, counts: Sequence[Counts]) -> SummaryRow:
    function = OVERLAP_METRICS[metric]
    values = [value for count in counts if not math.isnan(value := function(count))]
    empty = [count.empty for count in counts]
    return SummaryRow(
        model=model,
        task=scored.task,
        class_name=scored.name,
        metric=metric,
        n=len(values),
        mean=_mean(values),
        std=statistics.stdev(values) if len(values) > 1 else math.nan,
        median=statistics.median(values) if values else math.nan,
        min=min(values, default=math.nan),
        max=max(values, default=math.nan),
        pooled=function(_sum(counts)),
        n_empty_ref=empty.count("ref"),
        n_empty_pred=empty.count("pred"),
        n_empty_both=empty.count("both"),
    )


def _model_summary(cases: Sequence[CaseCounts], classes: Sequence[ScoredClass]) -> dict[str, Any]:
    per_case = [
        {
            "metrics": {s.key: _numbers(c) for s, c in zip(classes, case.counts, strict=True)},
            "prediction_file": str(case.prediction),
            "reference_file": str(case.reference),
        }
        for case in cases
    ]
    columns = {scored.key: [case.counts[index] for case in cases] for index, scored in enumerate(classes)}
    mean = {key: _mean_numbers([_numbers(count) for count in counts]) for key, counts in columns.items()}
    foreground = [numbers for key, numbers in mean.items() if key != "0"]
    return {
        "foreground_mean": {name: _mean([numbers[name] for numbers in foreground]) for name in _NUMBERS},
        "mean": mean,
        "metric_per_case": per_case,
        "pooled": {key: _numbers(_sum(counts)) for key, counts in columns.items()},
        "empty": {
            key: {kind: [count.empty for count in counts].count(kind) for kind in ("ref", "pred", "both")}
            for key, counts in columns.items()
        },
    }


def _numbers(counts: Counts) -> dict[str, float]:
    """Return everything nnU-Net's summary has on a label."""
    return {
        **{metric: function(counts) for metric, function in OVERLAP_METRICS.items()},
        **{name.upper(): count for name, count in asdict(counts).items()},
        "n_pred": counts.n_pred,
        "n_ref": counts.n_ref,
    }


_NUMBERS = tuple(_numbers(Counts()))


def _mean_numbers(numbers: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean over cases of each number, as nnU-Net leaving out those that are NaN."""
    return {name: _mean([value for of_case in numbers if not math.isnan(value := of_case[name])]) for name in _NUMBERS}


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _sum(counts: Sequence[Counts]) -> Counts:
    return sum(counts, Counts())
