"""Choose the worst cases of each model and draw them for the report."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from evaluation.overlap import dice
from evaluation.pairs import Pair
from evaluation.report.page import WorstCase
from evaluation.summaries import by_model, mean_of
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evaluation.labels import LabelSet
    from evaluation.results import CaseScores
    from nnunet_ext.class_rules.rules import Rule


def worst_cases(cases: Sequence[CaseScores], number: int) -> list[tuple[CaseScores, float]]:
    """Return the cases of each model with the lowest mean Dice over their classes, the worst first.

    Parameters
    ----------
    cases
        All cases of all models.
    number
        Of cases per model, at most; cases without any voxel of any class are none of them.
    """
    chosen = []
    for of_model in by_model(cases).values():
        scored = [(case, mean_dice(case)) for case in of_model]
        known = [(case, score) for case, score in scored if not math.isnan(score)]
        chosen += sorted(known, key=lambda entry: (entry[1], entry[0].case))[:number]
    return chosen


def mean_dice(case: CaseScores) -> float:
    """Return the mean Dice over the classes that the case or its prediction has; NaN if there is none."""
    return mean_of([value for scores in case.classes if not math.isnan(value := dice(scores.counts))])


def draw_worst_cases(
    chosen: Sequence[tuple[CaseScores, float]],
    label_set: LabelSet,
    images: Mapping[str, Path],
    *,
    rules: tuple[Rule, ...] = (),
    processes: int = 1,
) -> list[WorstCase]:
    """Draw one slice of each case, that with most voxels that differ.

    Parameters
    ----------
    chosen
        Cases and their mean Dice.
    label_set
        Whose contours to draw.
    images
        Image of each case, if it is to lie behind them.
    rules
        After which the predictions count.
    processes
        Number of cases at a time.
    """
    jobs = {index: (case, score, images.get(case.case)) for index, (case, score) in enumerate(chosen)}
    return (
        list(run_jobs(jobs, partial(_draw, label_set=label_set, rules=rules), processes, "Drawing").values())
        if jobs
        else []
    )


def _draw(
    case: CaseScores, score: float, image: Path | None, label_set: LabelSet, rules: tuple[Rule, ...]
) -> WorstCase:
    from evaluation.overlay import case_overlay

    pair = Pair(case.model, case.case, case.prediction, case.reference, rules)
    overlay = case_overlay(pair, label_set, image=image)
    caption = f"slice {overlay.axis} = {overlay.index}, mean Dice {score:.3f}"
    return WorstCase(case.model, case.case, score, caption, overlay.picture)
