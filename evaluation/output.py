"""Write the folder of an evaluation, and replace nothing but an earlier one."""

from __future__ import annotations

import csv
import os
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from evaluation.summaries import case_rows, summary_json
from nnunet_ext.errors import InputError, OutputExistsError
from nnunet_ext.files import refuse_existing, write_json, written_when_complete

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from evaluation.labels import LabelSet
    from evaluation.summaries import CaseCounts, SummaryRow

CASE_COLUMNS = ("model", "case", "task", "class", "metric", "value", "empty")
SUMMARY_COLUMNS = (
    *("model", "task", "class", "metric", "n", "mean", "std", "median", "min", "max", "pooled"),
    *("n_empty_ref", "n_empty_pred", "n_empty_both"),
)
OUTPUT_FILES = ("cases.csv", "summary.csv", "summary.json", "report.html", "manifest.json")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Parameters
    ----------
    label_set
        What was scored.
    cases
        Counts of every case, by model.
    summary
        The rows of summary.csv.
    """

    label_set: LabelSet
    cases: tuple[CaseCounts, ...]
    summary: tuple[SummaryRow, ...]


def check_output(output: Path, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse an output that exists, or whose replacement would remove more than an earlier evaluation.

    Parameters
    ----------
    output
        Folder to write.
    inputs
        Folders that are read.
    overwrite
        Whether an earlier evaluation there may be replaced.

    Raises
    ------
    InputError
        If an input is, or lies in, the output.
    OutputExistsError
        If the output exists and ``overwrite`` is false, or holds other files.
    """
    for folder in inputs:
        if folder.resolve().is_relative_to(output.resolve()):
            message = f"{output}: the output would replace the input {folder}; choose another folder"
            raise InputError(message)
    refuse_existing([output], overwrite=overwrite)
    if not os.path.lexists(output):
        return
    others = [path for path in output.iterdir() if path.name not in OUTPUT_FILES] if output.is_dir() else [output]
    if others:
        message = f"{others[0]} was not written by an evaluation and is not replaced; choose another output"
        raise OutputExistsError(message)


def write_evaluation(
    output: Path, found: Evaluation, metrics: Sequence[str], made_of: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Write all files of an evaluation, which appear together.

    Parameters
    ----------
    output
        Folder to write.
    found
        What to write.
    metrics
        Which scores cases.csv holds.
    made_of
        Content of manifest.json.
    overwrite
        Whether an earlier evaluation there may be replaced.
    """
    with written_when_complete(output, overwrite=overwrite) as folder:
        folder.mkdir()
        rows = case_rows(found.cases, found.label_set.classes, metrics)
        _write_csv(folder / "cases.csv", CASE_COLUMNS, map(astuple, rows))
        _write_csv(folder / "summary.csv", SUMMARY_COLUMNS, map(astuple, found.summary))
        write_json(folder / "summary.json", summary_json(found.cases, found.label_set))
        write_json(folder / "manifest.json", made_of)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
