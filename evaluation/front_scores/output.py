"""Write the folder of an evaluation of fronts, and replace nothing but an earlier one."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from evaluation.csv_files import write_csv
from evaluation.front_scores.latex import latex_table
from evaluation.front_scores.results import ALL, GroupRow, ImageRow, ZoneRow
from evaluation.front_scores.zones import SCORES
from nnunet_ext.files import write_json, written_when_complete

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from evaluation.front_scores.results import FrontEvaluation

OUTPUT_FILES = (
    *("images.csv", "summary.csv", "summary.json", "table.tex", "report.html", "manifest.json"),
    *("zones.csv", "zones_summary.csv"),
)
_NAMES = ("model", "grouping", "group")
_INTERVALS = {"mde_interval": ("mde_low", "mde_high"), "mean_interval": ("mean_low", "mean_high")}


def is_output(path: Path) -> bool:
    """Return whether a file, given relative to the output folder, is one of an evaluation of fronts."""
    return str(path) in OUTPUT_FILES


def write_fronts(
    output: Path, found: FrontEvaluation, report: str, made_of: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Write all files of an evaluation, which appear together.

    Parameters
    ----------
    output
        Folder to write.
    found
        What to write; zones.csv and zones_summary.csv are written if zones were compared.
    report
        Content of report.html.
    made_of
        Content of manifest.json.
    overwrite
        Whether an earlier evaluation there may be replaced.
    """
    with written_when_complete(output, overwrite=overwrite) as folder:
        folder.mkdir()
        write_csv(folder / "images.csv", ImageRow, found.images)
        write_csv(folder / "summary.csv", GroupRow, found.groups)
        if found.zones:
            write_csv(folder / "zones.csv", ZoneRow, found.zones)
            write_csv(folder / "zones_summary.csv", ZoneRow, found.zone_summary)
        write_json(folder / "summary.json", summary_json(found))
        (folder / "table.tex").write_text(latex_table(found), encoding="utf-8")
        (folder / "report.html").write_text(report, encoding="utf-8")
        write_json(folder / "manifest.json", made_of)


def summary_json(found: FrontEvaluation) -> dict[str, Any]:
    """Return the content of summary.json.

    Returns
    -------
    dict
        For each model ``all``, the errors of all images, and by name of the grouping those of each group; ``zones``,
        if they were compared, holds the mean over images and the pooled scores of each zone. What has no value, such
        as the error where no image has both fronts, is null.
    """
    summary: dict[str, Any] = {}
    for row in found.groups:
        of_model = summary.setdefault(row.model, {})
        if row.grouping == ALL:
            of_model[ALL] = _errors(row)
        else:
            of_model.setdefault(row.grouping, {})[row.group] = _errors(row)
    for zone in found.zone_summary:
        of_zones = summary[zone.model].setdefault("zones", {}).setdefault(zone.case, {})
        of_zones[zone.zone] = {score: _value(getattr(zone, score)) for score in (*SCORES, "images")}
    return summary


def _errors(row: GroupRow) -> dict[str, Any]:
    ends = {end for pair in _INTERVALS.values() for end in pair}
    errors = {
        field.name: _value(getattr(row, field.name))
        for field in fields(row)
        if field.name not in _NAMES and field.name not in ends
    }
    return errors | {name: [_value(getattr(row, end)) for end in pair] for name, pair in _INTERVALS.items()}


def _value(value: float) -> float | None:
    # NaN is no JSON.
    return None if math.isnan(value) else value
