"""What an evaluation finds, before it is written: scores of every case, their summary, and what the report shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from evaluation.components import ComponentCounts
    from evaluation.confusion import Confusion
    from evaluation.fronts import FrontDistances
    from evaluation.labels import LabelSet
    from evaluation.metrics import Metric
    from evaluation.overlap import Counts

ALL_CASES = "all"
"""Grouping, and its only group, of all cases of a model."""


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class in one case.

    Parameters
    ----------
    counts
        Voxels, those of ignored ones left out.
    values
        Value of each metric by its name; NaN where it has none. Metrics that do not apply to the class are absent.
    components, fronts
        What the metrics of components and lines are made of, if they were asked for.
    """

    counts: Counts
    values: Mapping[str, float] = field(default_factory=dict)
    components: ComponentCounts | None = None
    fronts: FrontDistances | None = None


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case.

    Parameters
    ----------
    model, case
        Whose prediction of which case.
    prediction, reference
        The two files.
    classes
        One entry per scored class, in the order of the label set.
    diagonal
        Diagonal of the image in mm.
    """

    model: str
    case: str
    prediction: Path
    reference: Path
    classes: tuple[ClassScores, ...]
    diagonal: float = math.nan


@dataclass(frozen=True)
class SummaryRow:
    """A row of summary.csv: one metric of one class over the cases of a model or of a group of them.

    Parameters
    ----------
    model, task, class_name, metric
        What is summarised; ``class_name`` is the column ``class``.
    grouping, group
        Which cases: of the group ``COL`` in the grouping ``glacier``; both are ``all`` for all cases.
    n
        Number of cases with a value, penalties included.
    mean, std, median, q1, q3, min, max
        Over these cases; the standard deviation is that of a sample (n - 1), NaN for a single case; quartiles are
        linear between the two nearest values.
    ci_low, ci_high
        95 % bootstrap interval (BCa) of the mean.
    n_raw, mean_raw
        The same without penalties.
    pooled
        The metric of the counts (of voxels, components, line distances) summed over all cases; NaN where there is
        nothing to sum.
    n_empty_ref, n_empty_pred, n_empty_both
        Number of cases in which only the reference, only the prediction, or both have no voxel of the class.
    """

    model: str
    task: str
    class_name: str
    metric: str
    grouping: str
    group: str
    n: int
    mean: float
    std: float
    median: float
    q1: float
    q3: float
    min: float
    max: float
    ci_low: float
    ci_high: float
    n_raw: int
    mean_raw: float
    pooled: float
    n_empty_ref: int
    n_empty_pred: int
    n_empty_both: int


@dataclass(frozen=True)
class ComparisonRow:
    """A row of comparison.csv: two models on the cases that both predicted, by one metric of one class.

    Parameters
    ----------
    first, second
        The two models.
    task, class_name, metric
        What is compared; ``class_name`` is the column ``class``.
    n
        Number of cases in which both have a value, penalties included.
    mean_difference
        Mean of first - second.
    p, p_holm
        Of the two-sided Wilcoxon signed-rank test; and corrected by Holm over all classes and pairs of models of the
        metric.
    effect_size
        Matched-pairs rank-biserial correlation, positive where the first model is better.
    wins, ties, losses
        Cases in which the first model is better, equal, worse.
    """

    first: str
    second: str
    task: str
    class_name: str
    metric: str
    n: int
    mean_difference: float
    p: float
    p_holm: float
    effect_size: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation found.

    Parameters
    ----------
    label_set
        What was scored.
    metrics
        By which metrics.
    surface
        ``voxel`` or ``mesh``.
    penalty
        What a missed structure counts in means of distances: ``None`` for the diagonal of the image, or so many mm.
    cases
        Scores of every case, by model.
    summary, comparisons
        The rows of summary.csv and comparison.csv.
    confusions
        Confusion matrices of each model, one per task.
    """

    label_set: LabelSet
    metrics: tuple[Metric, ...]
    surface: str
    penalty: float | None
    cases: tuple[CaseScores, ...]
    summary: tuple[SummaryRow, ...]
    comparisons: tuple[ComparisonRow, ...]
    confusions: Mapping[str, tuple[Confusion, ...]]


def value_in_means(case: CaseScores, scores: ClassScores, metric: Metric, penalty: float | None) -> float:
    """Return the value with which a class of a case enters means.

    Parameters
    ----------
    case, scores
        A case, and one of its classes.
    metric
        Which value.
    penalty
        In place of a distance that has none, in mm; ``None`` for the diagonal of the image.

    Returns
    -------
    float
        The value itself, or the penalty; NaN where there is neither.
    """
    value = scores.values.get(metric.name, math.nan)
    if metric.penalised and metric.name in scores.values and math.isnan(value):
        return case.diagonal if penalty is None else penalty
    return value
