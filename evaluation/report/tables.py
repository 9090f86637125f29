"""The tables of report.html: which rows and columns, without any markup."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.metrics import FRONTS
from evaluation.report.cells import (
    MISSING,
    SPACE,
    Cell,
    Column,
    Table,
    class_cells,
    class_columns,
    decimals_of,
    has_tasks,
    metric_column,
    models_of,
    note_of,
    number,
)
from evaluation.results import ALL_CASES, value_in_means

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.confusion import Confusion
    from evaluation.labels import ScoredClass
    from evaluation.metrics import Metric
    from evaluation.results import ClassScores, ComparisonRow, Evaluation, SummaryRow

MAX_CASE_ROWS = 5000
"""Longer tables open slowly; what is left out stands in cases.csv."""

MAX_METRICS = 7
"""Metrics in one summary table; more are split by family."""

EXACT_COUNTS = 12
"""Confusion matrices of more classes show ``1.23 M`` for 1 234 567 voxels."""


@dataclass(frozen=True)
class MatrixCell:
    """A cell of a confusion matrix: percent of its row and number of voxels, and from 0 to 20 how dark it is."""

    percent: str
    count: str
    level: int


def summary_tables(found: Evaluation) -> list[Table]:
    """Return the summary over all cases: one table, or one per family where there are many metrics."""
    return _tables_of(found, ALL_CASES)


def group_tables(found: Evaluation) -> dict[str, list[Table]]:
    """Return the summaries by group, for each grouping."""
    groupings = dict.fromkeys(row.grouping for row in found.summary if row.grouping != ALL_CASES)
    return {grouping: _tables_of(found, grouping) for grouping in groupings}


def comparison_table(found: Evaluation) -> Table | None:
    """Return the comparison of models, if there are several."""
    if not found.comparisons:
        return None
    tasks = has_tasks(found)
    metrics, decimals = {metric.name: metric for metric in found.metrics}, decimals_of(found)
    columns = (
        *(Column("Metric", numeric=False), *class_columns(tasks=tasks)),
        *(Column("First model", numeric=False), Column("Second model", numeric=False)),
        *(Column("n"), Column("Mean difference", "first − second"), Column("p"), Column("p", "after Holm")),
        *(Column("Effect size", "rank-biserial"), Column("Wins"), Column("Ties"), Column("Losses")),
    )
    order = {model: index for index, model in enumerate(models_of(found))}
    rows = tuple(
        _comparison_cells(row, metrics[row.metric], order, decimals[row.metric], tasks=tasks)
        for row in found.comparisons
    )
    return Table("Comparison of models", columns, rows)


def case_table(found: Evaluation) -> tuple[Table, int, str]:
    """Return the table of all cases, how many rows it would have in full, and the metric it was cut by.

    Returns
    -------
    tuple
        The table with at most ``MAX_CASE_ROWS`` rows, the worst ones first if there are more; the number of rows
        without that limit; the name of the metric that says which are worst, empty if nothing is left out.
    """
    tasks, decimals = has_tasks(found), decimals_of(found)
    order = {model: index for index, model in enumerate(models_of(found))}
    entries = [
        (case, scored, scores)
        for case in found.cases
        for scored, scores in zip(found.label_set.classes, case.classes, strict=True)
    ]
    applied = {name for _, _, scores in entries for name in scores.values}
    metrics = [metric for metric in found.metrics if metric.name in applied]
    total, judged = len(entries), ""
    if total > MAX_CASE_ROWS and metrics:
        metric = next((metric for metric in metrics if metric.better), metrics[0])
        judged = metric.name
        entries.sort(key=lambda entry: _goodness(value_in_means(entry[0], entry[2], metric, found.penalty), metric))
    rows = tuple(
        (
            *(Cell(case.case), *class_cells(scored.task, scored.name, tasks=tasks)),
            Cell(case.model, model=order[case.model]),
            *(_case_cell(scores, metric, decimals[metric.name]) for metric in metrics),
        )
        for case, scored, scores in entries[:MAX_CASE_ROWS]
    )
    names = (Column("Case", numeric=False), *class_columns(tasks=tasks), Column("Model", numeric=False))
    return Table("Cases", (*names, *map(metric_column, metrics)), rows), total, judged


def confusion_cells(confusion: Confusion) -> list[list[MatrixCell]]:
    """Return the cells of a confusion matrix, row by row."""
    exact = len(confusion.names) <= EXACT_COUNTS
    return [
        [_matrix_cell(int(count), int(row.sum()), right=place == own, exact=exact) for place, count in enumerate(row)]
        for own, row in enumerate(confusion.counts)
    ]


def _tables_of(found: Evaluation, grouping: str) -> list[Table]:
    rows = {
        (row.group, row.task, row.class_name, row.model, row.metric): row
        for row in found.summary
        if row.grouping == grouping
    }
    blocks: dict[str, list[Metric]] = defaultdict(list)
    summarised = {key[-1] for key in rows}
    metrics = [metric for metric in found.metrics if metric.name in summarised]
    for metric in metrics:
        blocks[metric.family if len(metrics) > MAX_METRICS else ""].append(metric)
    title = "Summary" if grouping == ALL_CASES else f"By {grouping}"
    return [
        _summary_table(found, f"{title}, {family}" if family else title, metrics, grouping, rows)
        for family, metrics in blocks.items()
    ]


def _summary_table(
    found: Evaluation,
    name: str,
    metrics: Sequence[Metric],
    grouping: str,
    rows: Mapping[tuple[str, str, str, str, str], SummaryRow],
) -> Table:
    tasks, models, decimals = has_tasks(found), models_of(found), decimals_of(found)
    grouped = grouping != ALL_CASES
    # Only the Dice and front error of all voxels together are quoted beside their means.
    pooled = {
        metric.name
        for metric in metrics
        if metric.name == "Dice" or metric.family == FRONTS
        if any(row.metric == metric.name and math.isfinite(row.pooled) for row in rows.values())
    }
    columns = [Column(grouping, numeric=False)] if grouped else []
    columns += [*class_columns(tasks=tasks), Column("Model", numeric=False)]
    for metric in metrics:
        columns.append(metric_column(metric))
        if metric.name in pooled:
            columns.append(Column(f"{metric.name} pooled", note_of(metric)))
    columns.append(Column("Empty masks", "ref. / pred. / both"))
    lines = []
    for group in dict.fromkeys(key[0] for key in rows):
        for scored in found.label_set.classes:
            best = {metric.name: _best(rows, group, scored, metric, models) for metric in metrics}
            for index, model in enumerate(models):
                own = [rows.get((group, scored.task, scored.name, model, metric.name)) for metric in metrics]
                if not any(own):
                    continue
                cells = [Cell(group)] if grouped else []
                cells += [*class_cells(scored.task, scored.name, tasks=tasks), Cell(model, model=index)]
                for metric, row in zip(metrics, own, strict=True):
                    cells.append(_mean_cell(row, decimals[metric.name], strong=model in best[metric.name]))
                    if metric.name in pooled:
                        value = math.nan if row is None else row.pooled
                        cells.append(Cell(number(value, decimals[metric.name]), value))
                cells.append(_empty_cell(next(row for row in own if row is not None)))
                lines.append(tuple(cells))
    return Table(name, tuple(columns), tuple(lines))


def _best(
    rows: Mapping[tuple[str, str, str, str, str], SummaryRow],
    group: str,
    scored: ScoredClass,
    metric: Metric,
    models: Sequence[str],
) -> set[str]:
    """Return the models with the best mean; none if there is nothing to choose from."""
    found = {model: rows.get((group, scored.task, scored.name, model, metric.name)) for model in models}
    means = {model: row.mean for model, row in found.items() if row is not None and math.isfinite(row.mean)}
    if len(means) < 2 or not metric.better:
        return set()
    best = max(means.values()) if metric.better == "higher" else min(means.values())
    return {model for model, mean in means.items() if mean == best}


def _mean_cell(row: SummaryRow | None, decimals: int, *, strong: bool) -> Cell:
    if row is None:
        return Cell("")
    if math.isnan(row.mean):
        return Cell(MISSING, lines=(f"n {row.n}",))
    spread = f" ± {number(row.std, decimals)}" if math.isfinite(row.std) else ""
    low, high = (number(value, decimals) for value in (row.ci_low, row.ci_high))
    interval = f"[{low}, {high}] · " if math.isfinite(row.ci_low) else ""
    lines = [f"{interval}n {row.n}"]
    if row.n_raw < row.n:
        raw = f", without {number(row.mean_raw, decimals)}" if math.isfinite(row.mean_raw) else ""
        lines.append(f"{row.n - row.n_raw} penalised{raw}")
    return Cell(number(row.mean, decimals) + spread, row.mean, tuple(lines), strong=strong)


def _empty_cell(row: SummaryRow) -> Cell:
    counts = (row.n_empty_ref, row.n_empty_pred, row.n_empty_both)
    return Cell(" / ".join(map(str, counts)), sum(counts))


def _comparison_cells(
    row: ComparisonRow, metric: Metric, order: Mapping[str, int], decimals: int, *, tasks: bool
) -> tuple[Cell, ...]:
    return (
        Cell(f"{metric.name} ({metric.unit})" if metric.unit else metric.name),
        *class_cells(row.task, row.class_name, tasks=tasks),
        *(Cell(model, model=order.get(model)) for model in (row.first, row.second)),
        Cell(str(row.n), row.n),
        _signed(row.mean_difference, decimals),
        Cell(_p_text(row.p), row.p),
        Cell(_p_text(row.p_holm), row.p_holm, strong=row.p_holm < 0.05),
        _signed(row.effect_size, 2),
        *(Cell(str(count), count) for count in (row.wins, row.ties, row.losses)),
    )


def _signed(value: float, decimals: int) -> Cell:
    text = number(value, decimals)
    return Cell(f"+{text}" if value > 0 and text.strip("0.") else text, value)


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else number(p, 3)


def _case_cell(scores: ClassScores, metric: Metric, decimals: int) -> Cell:
    if metric.name not in scores.values:
        return Cell("")
    value = scores.values[metric.name]
    if math.isnan(value) and metric.penalised:
        why = {"pred": " (missed)", "ref": " (extra)"}.get(scores.counts.empty, "")
        return Cell(MISSING + why)
    return Cell(number(value, decimals), value)


def _matrix_cell(count: int, total: int, *, right: bool, exact: bool) -> MatrixCell:
    text = f"{count:,}".replace(",", SPACE) if exact else _short(count)
    if total == 0:
        return MatrixCell(MISSING, "", 0)
    if count == 0:
        return MatrixCell("0", "", 0)
    share = count / total
    percent = "< 0.1" if share < 0.0005 else f"{100 * share:.1f}"
    # Errors of one and of five percent should look different, which they only do on a steeper scale.
    return MatrixCell(percent, text, math.ceil(20 * (share if right else math.sqrt(share))))


def _short(count: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}".replace("e+03", "000") + SPACE + letter
    return str(count)


def _goodness(value: float, metric: Metric) -> float:
    """Return a number that is the smaller the worse the value is; no value is no reason to show a case."""
    if math.isnan(value):
        return math.inf
    return -value if metric.better == "lower" else value
