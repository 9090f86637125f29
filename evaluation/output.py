"""Write the folder of an evaluation, and replace nothing but an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evaluation.csv_files import write_csv
from evaluation.results import ComparisonRow, SummaryRow
from evaluation.summaries import CaseRow, case_rows
from evaluation.summary_json import summary_json
from nnunet_ext.files import write_json, written_when_complete

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from evaluation.results import Evaluation

OUTPUT_FILES = ("cases.csv", "summary.csv", "comparison.csv", "summary.json", "report.html", "manifest.json")


def is_output(path: Path) -> bool:
    """Return whether a file, given relative to the output folder, is one of an evaluation."""
    return str(path) in OUTPUT_FILES


def write_evaluation(
    output: Path, found: Evaluation, report: str, made_of: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Write all files of an evaluation, which appear together.

    Parameters
    ----------
    output
        Folder to write.
    found
        What to write; comparison.csv is written for several models.
    report
        Content of report.html.
    made_of
        Content of manifest.json.
    overwrite
        Whether an earlier evaluation there may be replaced.
    """
    with written_when_complete(output, overwrite=overwrite) as folder:
        folder.mkdir()
        write_csv(folder / "cases.csv", CaseRow, case_rows(found.cases, found.label_set, found.metrics))
        write_csv(folder / "summary.csv", SummaryRow, found.summary)
        if found.comparisons:
            write_csv(folder / "comparison.csv", ComparisonRow, found.comparisons)
        write_json(folder / "summary.json", summary_json(found))
        (folder / "report.html").write_text(report, encoding="utf-8")
        write_json(folder / "manifest.json", made_of)
