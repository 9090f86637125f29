"""The table of phase fractions: its rows, the CSV file, and what is printed."""

from __future__ import annotations

import csv
import math
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from evaluation.labels import LabelSet

TRAINING_COLUMNS = ("training_fraction", "collapsed")


@dataclass(frozen=True)
class PhaseRow:
    """A row of phase_fractions.csv: one class in one scan.

    Parameters
    ----------
    model, case
        Which prediction.
    task, class_name
        Which class; the task is empty in data sets with one task.
    voxels
        Voxels of the class.
    volume_mm3
        Their volume; NaN where the file gives no spacing.
    fraction
        Of the voxels of the scan, without those of an ignore label.
    training_fraction
        Of the annotated voxels of all training labels; NaN without any.
    collapsed
        Whether the fraction is below the threshold while that of the training is not.
    """

    model: str
    case: str
    task: str
    class_name: str
    voxels: int
    volume_mm3: float
    fraction: float
    training_fraction: float = math.nan
    collapsed: bool = False

    @property
    def full_name(self) -> str:
        """Name of the class with that of its task."""
        return f"{self.task}/{self.class_name}" if self.task else self.class_name


@dataclass(frozen=True)
class PhaseFractions:
    """What the command found.

    Parameters
    ----------
    rows
        One per model, scan and class.
    label_set
        The classes.
    training_files
        Number of label maps of the training; ``None`` if none were asked for.
    """

    rows: tuple[PhaseRow, ...]
    label_set: LabelSet
    training_files: int | None = None

    @property
    def collapsed(self) -> list[PhaseRow]:
        """The rows of collapsed classes."""
        return [row for row in self.rows if row.collapsed]


def write_fractions(path: Path, found: PhaseFractions) -> None:
    """Write a row per model, scan and class; what training had only where it was asked for."""
    columns = ["class" if field.name == "class_name" else field.name for field in fields(PhaseRow)]
    kept = len(columns) if found.training_files is not None else len(columns) - len(TRAINING_COLUMNS)
    # Names of files may hold bytes that are no text; they stay what they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns[:kept])
        writer.writerows(astuple(row)[:kept] for row in found.rows)


def print_fractions(found: PhaseFractions, threshold: float) -> None:
    """Print a line per scan, and the collapsed classes."""
    by_scan: dict[tuple[str, str], list[PhaseRow]] = {}
    for row in found.rows:
        by_scan.setdefault((row.model, row.case), []).append(row)
    first = next(iter(by_scan.values()))
    table = [("model", "scan", *(row.full_name for row in first))]
    for (model, case), rows in by_scan.items():
        table.append((model, case, *(_percent(row.fraction) + "*" * row.collapsed for row in rows)))
    if found.training_files is not None:
        table.append(("", "training", *(_percent(row.training_fraction) for row in first)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"labels: {found.label_set.source}; fractions in % of the voxels")
    for line in table:
        print("  ".join(_printable(text).ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    if found.training_files is not None:
        limit = f"{100 * threshold:g} %"
        print(f"* collapsed: below {limit} where training ({found.training_files} files) had {limit} or more")
        for row in found.collapsed:
            fractions = f"{_percent(row.fraction)} %, in training {_percent(row.training_fraction)} %"
            print(f"  {_printable(row.model)}  {_printable(row.case)}: {row.full_name} {fractions}")
        if not found.collapsed:
            print("  none")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3f}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
