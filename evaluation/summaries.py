"""Rows of cases.csv, summary.csv and comparison.csv, from the scores of every case and class."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evaluation.comparison import compare, holm
from evaluation.components import COMPONENT_METRICS, ComponentCounts
from evaluation.fronts import pooled_front_error
from evaluation.intervals import bootstrap_interval
from evaluation.metrics import COMPONENTS, FRONTS, OVERLAP
from evaluation.overlap import OVERLAP_METRICS, Counts, relative_volume_difference
from evaluation.results import ALL_CASES, ComparisonRow, SummaryRow, value_in_means
from nnunet_ext.imageio import natural_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from evaluation.groups import Grouping
    from evaluation.labels import LabelSet, ScoredClass
    from evaluation.metrics import Metric
    from evaluation.results import CaseScores, ClassScores


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


def case_rows(cases: Sequence[CaseScores], label_set: LabelSet, metrics: Sequence[Metric]) -> Iterator[CaseRow]:
    """Yield a row per case, class and metric that applies to the class."""
    for case in cases:
        for scored, scores in zip(label_set.classes, case.classes, strict=True):
            for metric in metrics:
                if metric.name in scores.values:
                    value, empty = scores.values[metric.name], scores.counts.empty
                    yield CaseRow(case.model, case.case, scored.task, scored.name, metric.name, value, empty)


def summary_rows(
    cases: Sequence[CaseScores],
    label_set: LabelSet,
    metrics: Sequence[Metric],
    *,
    penalty: float | None,
    groupings: Sequence[Grouping] = (),
) -> Iterator[SummaryRow]:
    """Yield a row per model, group, class and metric that applies to the class.

    Parameters
    ----------
    cases
        All cases of all models.
    label_set
        What was scored.
    metrics
        By which metrics.
    penalty
        In place of a distance that has none, in mm; ``None`` for the diagonal of the image.
    groupings
        Beside the group of all cases, which comes first.
    """
    for model, of_model in by_model(cases).items():
        for grouping, group, members in _groups(of_model, groupings):
            for index, scored in enumerate(label_set.classes):
                scores = [case.classes[index] for case in members]
                for metric in metrics:
                    if any(metric.name in of_case.values for of_case in scores):
                        values = [value_in_means(*pair, metric, penalty) for pair in zip(members, scores, strict=True)]
                        yield _summary_row((model, grouping, group), scored, metric, scores, values)


def comparison_rows(
    cases: Sequence[CaseScores], label_set: LabelSet, metrics: Sequence[Metric], *, penalty: float | None
) -> list[ComparisonRow]:
    """Compare every two models on the cases that both have, by the metrics of which one direction is better.

    Parameters
    ----------
    cases, label_set, metrics, penalty
        As for ``summary_rows``.

    Returns
    -------
    list of ComparisonRow
        By metric, class and pair of models; the correction by Holm is over the rows of one metric.
    """
    models = {model: {case.case: case for case in of_model} for model, of_model in by_model(cases).items()}
    rows = []
    for metric in metrics:
        of_metric = [
            row
            for index, scored in enumerate(label_set.classes)
            for first, second in itertools.combinations(models, 2)
            if (row := _comparison_row((first, second), models, (index, scored), metric, penalty)) is not None
        ]
        corrected = holm([row.p for row in of_metric])
        rows += [replace(row, p_holm=p) for row, p in zip(of_metric, corrected, strict=True)]
    return rows


def by_model(cases: Sequence[CaseScores]) -> dict[str, list[CaseScores]]:
    """Return the cases of each model."""
    models: dict[str, list[CaseScores]] = {}
    for case in cases:
        models.setdefault(case.model, []).append(case)
    return models


def pooled_value(metric: Metric, scores: Sequence[ClassScores]) -> float:
    """Return a metric of the counts of several cases together; NaN where there is nothing to add up.

    Parameters
    ----------
    metric
        Overlap and the difference of volumes are pooled over voxels, metrics of components over components, and the
        front error over the distances of all voxels of all lines.
    scores
        Scores of one class in every case.
    """
    counts = sum((of_case.counts for of_case in scores), Counts())
    if metric.family == OVERLAP:
        return OVERLAP_METRICS[metric.name](counts)
    if metric.name == relative_volume_difference.__name__:
        return relative_volume_difference(counts, math.nan)
    if metric.family == COMPONENTS:
        found = [of_case.components for of_case in scores if of_case.components is not None]
        return COMPONENT_METRICS[metric.name](sum(found, ComponentCounts()))
    if metric.family == FRONTS:
        return pooled_front_error([of_case.fronts for of_case in scores if of_case.fronts is not None])
    return math.nan


def _summary_row(
    where: tuple[str, str, str],
    scored: ScoredClass,
    metric: Metric,
    scores: Sequence[ClassScores],
    values: Sequence[float],
) -> SummaryRow:
    model, grouping, group = where
    found = np.array([value for value in values if not math.isnan(value)])
    raw = [value for of_case in scores if not math.isnan(value := of_case.values.get(metric.name, math.nan))]
    empty = [of_case.counts.empty for of_case in scores]
    low, q1, median, q3, high = np.quantile(found, (0, 0.25, 0.5, 0.75, 1)).tolist() if found.size else [math.nan] * 5
    interval = bootstrap_interval(found)
    return SummaryRow(
        *(model, scored.task, scored.name, metric.name, grouping, group),
        n=len(found),
        mean=mean_of(found),
        std=float(np.std(found, ddof=1)) if len(found) > 1 else math.nan,
        median=median,
        q1=q1,
        q3=q3,
        min=low,
        max=high,
        ci_low=interval.low,
        ci_high=interval.high,
        n_raw=len(raw),
        mean_raw=mean_of(raw),
        pooled=pooled_value(metric, scores),
        n_empty_ref=empty.count("ref"),
        n_empty_pred=empty.count("pred"),
        n_empty_both=empty.count("both"),
    )


def mean_of(values: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Return the mean; NaN if there are no values."""
    return statistics.fmean(values) if len(values) else math.nan


def _groups(cases: Sequence[CaseScores], groupings: Sequence[Grouping]) -> Iterator[tuple[str, str, list[CaseScores]]]:
    """Yield grouping, group and members: all cases first, then every group by name."""
    yield ALL_CASES, ALL_CASES, list(cases)
    for grouping in groupings:
        members: dict[str, list[CaseScores]] = {}
        for case in cases:
            members.setdefault(grouping.of_case[case.case], []).append(case)
        for group in sorted(members, key=natural_key):
            yield grouping.name, group, members[group]


def _comparison_row(
    names: tuple[str, str],
    models: Mapping[str, Mapping[str, CaseScores]],
    of_class: tuple[int, ScoredClass],
    metric: Metric,
    penalty: float | None,
) -> ComparisonRow | None:
    """Compare two models by one metric of one class; ``None`` where the metric does not apply to the class."""
    index, scored = of_class
    first, second = (models[name] for name in names)
    shared = [case for case in first if case in second]
    values = [
        [value_in_means(model[case], model[case].classes[index], metric, penalty) for case in shared]
        for model in (first, second)
    ]
    if metric.better == "" or not any(metric.name in first[case].classes[index].values for case in shared):
        return None
    found = compare(*values, better=metric.better)
    return ComparisonRow(
        *names,
        *(scored.task, scored.name, metric.name),
        n=found.n,
        mean_difference=found.mean_difference,
        p=found.p,
        p_holm=math.nan,
        effect_size=found.effect_size,
        wins=found.wins,
        ties=found.ties,
        losses=found.losses,
    )
