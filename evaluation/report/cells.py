"""What all tables of report.html are made of: columns, cells, and numbers as text."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evaluation.metrics import Metric
    from evaluation.results import Evaluation

MISSING = "–"

SPACE = "\u202f"
"""Narrow and without a line break, between groups of three digits."""


@dataclass(frozen=True)
class Column:
    """Head of a column.

    Parameters
    ----------
    title
        What stands in it.
    note
        Second line: unit, and which way is better.
    numeric
        Whether it holds numbers, to be sorted as such.
    """

    title: str
    note: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Parameters
    ----------
    text
        What stands in it.
    value
        Number to sort by; NaN comes last.
    lines
        Small print below.
    strong
        Whether it stands out.
    model
        Index of the model it names, for its colour.
    """

    text: str
    value: float = math.nan
    lines: tuple[str, ...] = ()
    strong: bool = False
    model: int | None = None


@dataclass(frozen=True)
class Table:
    """A table with its name, and a row of cells per row; the first columns hold names."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def models_of(found: Evaluation) -> list[str]:
    """Return the models in the order of the output."""
    return list(dict.fromkeys(case.model for case in found.cases))


def decimals_of(found: Evaluation) -> dict[str, int]:
    """Return the number of decimals of each metric: three for shares, else three digits at the median value."""
    values = defaultdict(list)
    for case in found.cases:
        for scores in case.classes:
            for name, value in scores.values.items():
                if math.isfinite(value) and value != 0:
                    values[name].append(abs(value))
    return {
        metric.name: _decimals(median(values[metric.name]) if values[metric.name] else 1.0) if metric.unit else 3
        for metric in found.metrics
    }


def number(value: float, decimals: int) -> str:
    """Write a number with a fixed number of decimals; a dash for NaN."""
    if math.isnan(value):
        return MISSING
    text = f"{value:,.{decimals}f}".replace(",", SPACE).replace("inf", "∞")
    # -0.000 is nothing that anybody wants to read.
    return (text[1:] if text.startswith("-") and not text.strip("-0.") else text).replace("-", "−")


def metric_column(metric: Metric) -> Column:
    """Return the head of the column of a metric."""
    return Column(metric.name, note_of(metric))


def note_of(metric: Metric) -> str:
    """Return the unit of a metric and which way is better."""
    better = {"higher": "higher is better", "lower": "lower is better"}.get(metric.better, "")
    return ", ".join(part for part in (metric.unit, better) if part)


def class_columns(*, tasks: bool) -> list[Column]:
    """Return the heads of the columns that name a class."""
    return [Column("Task", numeric=False)] * tasks + [Column("Class", numeric=False)]


def class_cells(task: str, name: str, *, tasks: bool) -> list[Cell]:
    """Return the cells that name a class."""
    return [Cell(task)] * tasks + [Cell(name)]


def has_tasks(found: Evaluation) -> bool:
    """Return whether the classes belong to tasks, which then have a column."""
    return any(scored.task for scored in found.label_set.classes)


def _decimals(value: float) -> int:
    return min(max(2 - math.floor(math.log10(value)), 0), 6)
