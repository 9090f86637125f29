"""Content of summary.json: nnU-Net's keys with its values, and beside them all that it does not have."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evaluation.overlap import Counts, dice, iou
from evaluation.results import ALL_CASES, value_in_means
from evaluation.summaries import by_model, mean_of, pooled_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.metrics import Metric
    from evaluation.results import CaseScores, ClassScores, Evaluation


def summary_json(found: Evaluation) -> dict[str, Any]:
    """Return the content of summary.json.

    Parameters
    ----------
    found
        What the evaluation found.

    Returns
    -------
    dict
        For one model nnU-Net's keys ``foreground_mean``, ``mean`` and ``metric_per_case`` with its values and,
        in the same places, the other metrics; beside them ``pooled`` and ``empty`` per label or region, ``groups``
        if cases are grouped, ``confusion`` per task, ``model``, ``classes``, ``metrics`` with their definitions,
        ``surface``, ``penalty`` and ``ignore_label``. For several models all up to ``confusion`` stands in
        ``models`` under the name of each, and ``comparisons`` beside that.

        Means of distances hold the penalty for every missed structure; ``metric_per_case`` holds none.
    """
    models = {model: _model_summary(model, cases, found) for model, cases in by_model(found.cases).items()}
    about = {
        "classes": {
            scored.key: {"name": scored.name, "task": scored.task, "values": list(scored.values)}
            for scored in found.label_set.classes
        },
        "metrics": {
            metric.name: {"definition": metric.definition, "unit": metric.unit, "better": metric.better}
            for metric in found.metrics
        },
        "surface": found.surface,
        "penalty": "diagonal" if found.penalty is None else found.penalty,
        "ignore_label": found.label_set.ignore,
    }
    if len(models) == 1:
        (model, summary), *_ = models.items()
        return {**summary, **about, "model": model}
    return {"models": models, "comparisons": [asdict(row) for row in found.comparisons], **about}


def _model_summary(model: str, cases: Sequence[CaseScores], found: Evaluation) -> dict[str, Any]:
    classes = found.label_set.classes
    per_case = [
        {
            "metrics": {s.key: _numbers(scores) for s, scores in zip(classes, case.classes, strict=True)},
            "prediction_file": str(case.prediction),
            "reference_file": str(case.reference),
        }
        for case in cases
    ]
    columns = {scored.key: [case.classes[index] for case in cases] for index, scored in enumerate(classes)}
    mean = {
        key: _means([_numbers_in_means(*pair, found) for pair in zip(cases, scores, strict=True)])
        for key, scores in columns.items()
    }
    foreground = [numbers for key, numbers in mean.items() if key != "0"]
    names = list(dict.fromkeys(name for numbers in mean.values() for name in numbers))
    return {
        "foreground_mean": {name: mean_of([n[name] for n in foreground if name in n]) for name in names},
        "mean": mean,
        "metric_per_case": per_case,
        "pooled": {key: _pooled(scores, found.metrics) for key, scores in columns.items()},
        "empty": {
            key: {kind: [s.counts.empty for s in scores].count(kind) for kind in ("ref", "pred", "both")}
            for key, scores in columns.items()
        },
        **_groups(model, found),
        "confusion": [
            {"task": matrix.task, "names": list(matrix.names), "counts": matrix.counts.tolist()}
            for matrix in found.confusions.get(model, ())
        ],
    }


def _groups(model: str, found: Evaluation) -> dict[str, Any]:
    """Return the mean, its interval and the number of cases of every group, class and metric."""
    rows = [row for row in found.summary if row.model == model and row.grouping != ALL_CASES]
    groups: dict[str, Any] = {}
    keys = {(scored.task, scored.name): scored.key for scored in found.label_set.classes}
    for row in rows:
        of_group = groups.setdefault(row.grouping, {}).setdefault(row.group, {})
        of_group.setdefault(keys[row.task, row.class_name], {})[row.metric] = {
            **{"n": row.n, "mean": row.mean, "ci_low": row.ci_low, "ci_high": row.ci_high},
            **{"median": row.median, "pooled": row.pooled},
        }
    return {"groups": groups} if groups else {}


def _numbers(scores: ClassScores) -> dict[str, float]:
    """Return everything that is known of a class in a case, with nnU-Net's names where it has one."""
    return {**_of_counts(scores.counts), **scores.values}


def _numbers_in_means(case: CaseScores, scores: ClassScores, found: Evaluation) -> dict[str, float]:
    values = {
        metric.name: value_in_means(case, scores, metric, found.penalty)
        for metric in found.metrics
        if metric.name in scores.values
    }
    return {**_of_counts(scores.counts), **values}


def _pooled(scores: Sequence[ClassScores], metrics: Sequence[Metric]) -> dict[str, float]:
    counts = _of_counts(sum((of_case.counts for of_case in scores), Counts()))
    pooled = {metric.name: pooled_value(metric, scores) for metric in metrics}
    return {**counts, **{name: value for name, value in pooled.items() if name in counts or not math.isnan(value)}}


def _of_counts(counts: Counts) -> dict[str, float]:
    """Return what nnU-Net's summary has on a label."""
    return {
        **{"Dice": dice(counts), "IoU": iou(counts)},
        **{name.upper(): count for name, count in asdict(counts).items()},
        **{"n_pred": counts.n_pred, "n_ref": counts.n_ref},
    }


def _means(numbers: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean over cases of each number, as nnU-Net leaving out those that are NaN."""
    names = list(dict.fromkeys(name for of_case in numbers for name in of_case))
    return {
        name: mean_of([value for of_case in numbers if not math.isnan(value := of_case.get(name, math.nan))])
        for name in names
    }
