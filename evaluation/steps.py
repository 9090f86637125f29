"""The steps of an evaluation: pair, group, measure, summarise, report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from evaluation.cases import measure_cases
from evaluation.confusion import add_confusions, confusions
from evaluation.folders import raise_problems
from evaluation.folds import is_validation
from evaluation.grids import grid_problems
from evaluation.groups import Grouping, read_grouping
from evaluation.measure import CaseResult, Request
from evaluation.pairs import Pair, find_pairs
from evaluation.pictures.images import find_images
from evaluation.report.page import report_html
from evaluation.report.worst_cases import draw_worst_cases, worst_cases
from evaluation.results import Evaluation
from evaluation.summaries import comparison_rows, summary_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evaluation.labels import LabelSet
    from nnunet_ext.class_rules.rules import Rule


def checked_pairs(
    predictions: Mapping[str, Path],
    labels: Path,
    label_set: LabelSet,
    *,
    rules: tuple[Rule, ...] = (),
    subset: bool,
    processes: int,
) -> list[Pair]:
    """Pair all files and compare their voxel grids; predictions count after the rules.

    Raises
    ------
    BadCasesError
        With all problems of pairs and grids and, if there are any, with those of the voxels of all other cases as well.
    """
    pairs, problems = find_pairs(predictions, labels, subset=subset)
    pairs = [replace(pair, rules=rules) for pair in pairs]
    unfit = {index: found for index, pair in enumerate(pairs) if (found := grid_problems(pair))}
    problems += [problem for found in unfit.values() for problem in found]
    if problems:
        others = [pair for index, pair in enumerate(pairs) if index not in unfit]
        for result in measure_cases(others, label_set, Request(()), processes=processes):
            problems += result.problems
    raise_problems(problems)
    return pairs


def read_groupings(group_by: Sequence[str], pairs: Sequence[Pair]) -> list[Grouping]:
    """Read all values of ``--group-by``, and group by fold where there are several; each name counts once."""
    cases = list(dict.fromkeys(pair.case for pair in pairs))
    asked = [grouping for text in group_by for grouping in read_grouping(text, cases)]
    named: dict[str, Grouping] = {}
    for grouping in (*asked, *grouping_by_fold(pairs)):
        named.setdefault(grouping.name, grouping)
    return list(named.values())


def checked_images(folder: Path | None, pairs: Sequence[Pair]) -> dict[str, Path]:
    """Find the images; raise ``BadCasesError`` with all that are missing or do not fit."""
    if folder is None:
        return {}
    images, problems = find_images(folder, pairs)
    raise_problems(problems)
    return images


def measure(pairs: Sequence[Pair], label_set: LabelSet, request: Request, *, processes: int) -> list[CaseResult]:
    """Measure all cases; raise ``BadCasesError`` with all that cannot be read or hold undeclared values."""
    results = measure_cases(pairs, label_set, request, processes=processes)
    raise_problems([problem for result in results for problem in result.problems])
    return results


def summarise(
    results: Sequence[CaseResult],
    label_set: LabelSet,
    request: Request,
    *,
    penalty: float | None,
    groupings: Sequence[Grouping],
) -> Evaluation:
    """Put everything together that follows from the scores of the cases."""
    cases = tuple(result.case for result in results)
    matrices = {
        model: tuple(add_confusions(confusions(r.histogram, label_set) for r in results if r.case.model == model))
        for model in dict.fromkeys(case.model for case in cases)
    }
    metrics = request.metrics
    return Evaluation(
        label_set,
        metrics,
        request.surface,
        penalty,
        cases,
        tuple(summary_rows(cases, label_set, metrics, penalty=penalty, groupings=groupings)),
        tuple(comparison_rows(cases, label_set, metrics, penalty=penalty)),
        matrices,
    )


def make_report(
    found: Evaluation,
    images: Mapping[str, Path],
    made_of: Mapping[str, Any],
    *,
    worst: int,
    rules: tuple[Rule, ...] = (),
    processes: int,
) -> str:
    """Draw the worst cases and return the content of report.html."""
    chosen = worst_cases(found.cases, worst)
    pictures = draw_worst_cases(chosen, found.label_set, images, rules=rules, processes=processes)
    title = "Evaluation of " + ", ".join(found.confusions)
    return report_html(found, pictures, title=title, created=made_of["created"], arguments=made_of["arguments"])


def grouping_by_fold(pairs: Sequence[Pair]) -> list[Grouping]:
    """Return the grouping of cases by fold.

    Parameters
    ----------
    pairs
        All cases of all models.

    Returns
    -------
    list of Grouping
        One, called ``fold``, if the predictions of any model are those of several folds; none if a case is in no fold,
        or in different folds of two models.
    """
    folds: dict[str, set[str]] = {pair.case: set() for pair in pairs}
    for pair in pairs:
        if is_validation(pair.prediction.parent):
            folds[pair.case].add(pair.prediction.resolve().parent.parent.name.removeprefix("fold_"))
    several = len(set().union(*folds.values())) > 1
    if not several or any(len(of_case) != 1 for of_case in folds.values()):
        return []
    return [Grouping("fold", {case: min(of_case) for case, of_case in folds.items()})]
