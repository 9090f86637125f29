"""The tables of the report on fronts: which rows and columns, without any markup."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluation.front_scores.names import groups_in_order
from evaluation.front_scores.published import PUBLISHED
from evaluation.front_scores.results import ALL
from evaluation.front_scores.zones import MEAN, SCORES
from evaluation.report.cells import MISSING, Cell, Column, Table, number

if TYPE_CHECKING:
    from evaluation.front_scores.results import FrontEvaluation, GroupRow, ImageRow

MAX_IMAGE_ROWS = 5000
"""Longer tables open slowly; what is left out stands in images.csv."""

_METRES = "m, lower is better"
_ERRORS = (
    Column("Images"),
    Column("No front", "missed, invented"),
    Column("MDE", _METRES),
    Column("Penalised MDE", _METRES),
    Column("Mean of images", _METRES),
    Column("Median", "m"),
    Column("SD", "m"),
    Column("HD95", "mean of images, m"),
)
_SCORE_TITLES = {"precision": "Precision", "recall": "Recall", "f1": "F1", "iou": "IoU"}
_ZONE_TITLES = {"na": "N/A", "macro": "mean over zones", "macro_without_na": "mean without N/A"}


def summary_table(found: FrontEvaluation) -> Table:
    """Return the errors over all images of each model, and below them the published ones."""
    rows = [(_model(found, row.model), *_error_cells(row)) for row in found.groups if row.grouping == ALL]
    empty = Cell(MISSING)
    for published in PUBLISHED:
        spread = () if math.isnan(published.std) else (f"± {published.std:.0f}",)
        mde = Cell(_metres(published.mde), published.mde, lines=spread)
        rows.append((Cell(published.name, lines=(published.source,)), empty, empty, mde, *[empty] * (len(_ERRORS) - 3)))
    return Table("All images", (Column("Model", numeric=False), *_ERRORS), tuple(rows))


def group_tables(found: FrontEvaluation) -> list[Table]:
    """Return a table of each grouping, with a row per group and model."""
    several = len(found.models) > 1
    tables = []
    for grouping in dict.fromkeys(row.grouping for row in found.groups if row.grouping != ALL):
        of_grouping = [row for row in found.groups if row.grouping == grouping]
        names = grouping.split(" × ")
        columns = [Column(name.capitalize(), "m" * (name == "resolution"), numeric=False) for name in names]
        columns += [Column("Model", numeric=False)] * several
        rows = [
            (
                *(Cell(part) for part in _parts(row.group, len(names))),
                *([_model(found, row.model)] if several else []),
                *_error_cells(row),
            )
            for group in groups_in_order(row.group for row in of_grouping)
            for row in of_grouping
            if row.group == group
        ]
        tables.append(Table(f"By {grouping}", (*columns, *_ERRORS), tuple(rows)))
    return tables


def zone_tables(found: FrontEvaluation) -> list[Table]:
    """Return the scores of the zones of each model: means over images, and all pixels together."""
    several = len(found.models) > 1
    columns = [Column("Zone", numeric=False)] + [Column("Model", numeric=False)] * several + [Column("Images")]
    columns += [Column(_SCORE_TITLES[score], "higher is better") for score in SCORES]
    tables = []
    for how in dict.fromkeys(row.case for row in found.zone_summary):
        of_how = [row for row in found.zone_summary if row.case == how]
        rows = [
            (
                Cell(_ZONE_TITLES.get(zone, zone)),
                *([_model(found, row.model)] if several else []),
                Cell(str(row.images), row.images),
                *(Cell(number(getattr(row, score), 3), getattr(row, score)) for score in SCORES),
            )
            for zone in dict.fromkeys(row.zone for row in of_how)
            for row in of_how
            if row.zone == zone
        ]
        name = "Mean over images" if how == MEAN else "All pixels together"
        tables.append(Table(name, tuple(columns), tuple(rows)))
    return tables


def image_table(found: FrontEvaluation) -> tuple[Table, int]:
    """Return the table of images, cut where it is too long, and the number of all rows."""
    several = len(found.models) > 1
    columns = [Column("Image", numeric=False)] + [Column("Model", numeric=False)] * several
    columns += [Column("Season", numeric=False), Column("Predicted", "pixels"), Column("Labelled", "pixels")]
    columns += [Column("To label", "mean, m"), Column("To prediction", "mean, m"), Column("Mean", _METRES)]
    columns += [Column("HD95", "m"), Column("Front", numeric=False)]
    rows = [
        (Cell(row.case), *([_model(found, row.model)] if several else []), *_image_cells(row)) for row in found.images
    ]
    return Table("Images", tuple(columns), tuple(rows[:MAX_IMAGE_ROWS])), len(rows)


def _image_cells(row: ImageRow) -> list[Cell]:
    states = {(True, True): "found", (False, True): "missed", (True, False): "invented", (False, False): "in neither"}
    values = (
        row.sum_pred_to_label / row.n_pred if row.n_pred else math.nan,
        row.sum_label_to_pred / row.n_label if row.n_label else math.nan,
        row.mean,
        row.hd95,
    )
    counts = [Cell(str(count), count) for count in (row.n_pred, row.n_label)]
    return [
        Cell(row.season),
        *counts,
        *(Cell(_metres(value), value) for value in values),
        Cell(states[row.n_pred > 0, row.n_label > 0]),
    ]


def _error_cells(row: GroupRow) -> list[Cell]:
    both = f"{row.missed}, {row.invented}"
    return [
        Cell(str(row.images), row.images),
        Cell(str(row.no_front), row.no_front, lines=(both,) if row.no_front else ()),
        Cell(_metres(row.mde), row.mde, lines=_interval(row.mde_low, row.mde_high), strong=True),
        Cell(_metres(row.penalised_mde), row.penalised_mde),
        Cell(_metres(row.mean_of_image_means), row.mean_of_image_means, lines=_interval(row.mean_low, row.mean_high)),
        Cell(_metres(row.median_of_image_means), row.median_of_image_means),
        Cell(_metres(row.std_of_image_means), row.std_of_image_means),
        Cell(_metres(row.mean_hd95), row.mean_hd95),
    ]


def _model(found: FrontEvaluation, model: str) -> Cell:
    return Cell(model, model=found.models.index(model))


def _parts(group: str, number_of: int) -> list[str]:
    return group.split(" × ", number_of - 1)


def _interval(low: float, high: float) -> tuple[str, ...]:
    return () if math.isnan(low) or math.isnan(high) else (f"{_metres(low)} to {_metres(high)}",)


def _metres(value: float) -> str:
    return number(value, 1 if abs(value) < 100 else 0)
