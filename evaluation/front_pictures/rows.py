"""The rows of ``images.csv``, the table of ``evaluate_fronts`` with the front error of every image."""

from __future__ import annotations

import csv
import datetime
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from evaluation.front_scores.inputs import Source

COLUMNS = (
    "model",
    "case",
    "glacier",
    "date",
    "satellite",
    "resolution",
    "season",
    "n_pred",
    "n_label",
    "sum_pred_to_label",
    "sum_label_to_pred",
    "mean",
    "no_front",
)

SOURCE = "source"
"""A column that may be missing, in tables by hand."""

_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no", ""}


@dataclass(frozen=True)
class ImageRow:
    """What the table says of one image and model.

    Parameters
    ----------
    model
        Name of the model.
    case
        Name of the image.
    glacier, date, satellite, season
        Of the acquisition.
    resolution
        Pixel size in metres.
    n_distances
        Front pixels of prediction and label together.
    sum_distances
        Sum of their distances in metres; NaN without front.
    mean
        Mean distance of the image in metres; NaN without front.
    no_front
        Whether prediction or label, or both, have no front.
    source
        What the predicted front was extracted from, ``front`` (its mask) or ``zone``.
    """

    model: str
    case: str
    glacier: str
    date: datetime.date
    satellite: str
    resolution: float
    season: str
    n_distances: int
    sum_distances: float
    mean: float
    no_front: bool
    source: Source = "front"


def read_rows(path: Path, glaciers: Sequence[str] | None = None) -> list[ImageRow]:
    """Read the table, or the rows of some glaciers.

    Parameters
    ----------
    path
        CSV file with at least the columns of `COLUMNS`.
    glaciers
        Which to keep. Default: all.

    Returns
    -------
    list of ImageRow
        In the order of the table.

    Raises
    ------
    MissingInputError
        If there is no such file.
    BadCasesError
        With every value that cannot be read, every double, and every case about which two rows disagree.
    InputError
        If columns or glaciers are missing, or the table has no rows.
    """
    if not path.is_file():
        message = f"{path}: no such file; expected images.csv of evaluate_fronts"
        raise MissingInputError(message)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = list(reader)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    except (UnicodeDecodeError, csv.Error) as error:
        message = f"{path}: not a CSV file: {error}"
        raise InputError(message) from error
    if missing or not found:
        what = f"no column {', '.join(missing)}" if missing else "no rows"
        message = f"{path}: {what}; expected images.csv of evaluate_fronts"
        raise InputError(message)
    rows: list[ImageRow] = []
    problems: list[str] = []
    for number, cells in enumerate(found, start=2):
        row, bad = _row(cells)
        problems += [f"{path}, row {number}: {problem}" for problem in bad]
        rows += [row] if row is not None else []
    problems += [f"{path}: {problem}" for problem in _disagreements(rows)]
    if problems:
        raise BadCasesError(problems)
    return _of_glaciers(path, rows, glaciers)


def one_row_per_case(rows: Iterable[ImageRow]) -> list[ImageRow]:
    """Return the first row of each image, in order of date and name; what it says of the acquisition holds for all."""
    first: dict[str, ImageRow] = {}
    for row in rows:
        first.setdefault(row.case, row)
    return sorted(first.values(), key=lambda row: (row.date, row.case))


def by_glacier(rows: Iterable[ImageRow]) -> dict[str, list[ImageRow]]:
    """Divide rows by glacier, in the order of their names."""
    divided: dict[str, list[ImageRow]] = defaultdict(list)
    for row in rows:
        divided[row.glacier].append(row)
    return dict(sorted(divided.items()))


def _row(cells: Mapping[str, str | None]) -> tuple[ImageRow | None, list[str]]:
    problems: list[str] = []

    def number(column: str, *, lowest: float = 0.0, needed: bool = True) -> float:
        text = (cells[column] or "").strip()
        try:
            value = float(text) if text or needed else math.nan
        except ValueError:
            value = -math.inf
        if value < lowest or (needed and not math.isfinite(value)):
            problems.append(f"{column} is {text!r}, expected a number of at least {lowest:g}")
        return value

    words = {column: (cells[column] or "").strip() for column in ("model", "case", "glacier", "satellite", "season")}
    problems += [f"no {column}" for column, word in words.items() if not word]
    try:
        date = datetime.date.fromisoformat((cells["date"] or "").strip())
    except ValueError:
        problems.append(f"date is {cells['date']!r}, expected YYYY-MM-DD")
        date = datetime.date.min
    said = (cells["no_front"] or "").strip().lower()
    if said not in _TRUE | _FALSE:
        problems.append(f"no_front is {cells['no_front']!r}, expected 0 or 1")
    no_front = said in _TRUE
    source: Source = "zone" if (cells.get(SOURCE) or "").strip() == "zone" else "front"
    resolution = number("resolution", lowest=1e-6)
    n_distances = number("n_pred") + number("n_label")
    needed = not no_front
    total = number("sum_pred_to_label", needed=needed) + number("sum_label_to_pred", needed=needed)
    mean = number("mean", needed=needed)
    if problems:
        return None, problems
    numbers = (int(n_distances), math.nan if no_front else total, math.nan if no_front else mean)
    where = (words["model"], words["case"], words["glacier"], date, words["satellite"], resolution, words["season"])
    return ImageRow(*where, *numbers, no_front, source), []


def _disagreements(rows: Iterable[ImageRow]) -> list[str]:
    problems = []
    seen: set[tuple[str, str]] = set()
    first: dict[str, ImageRow] = {}
    for row in rows:
        if (row.model, row.case) in seen:
            problems.append(f"model {row.model!r} has two rows for case {row.case!r}")
        seen.add((row.model, row.case))
        other = first.setdefault(row.case, row)
        for column in ("glacier", "date", "satellite", "resolution", "season"):
            if getattr(row, column) != getattr(other, column):
                values = f"{getattr(other, column)} and {getattr(row, column)}"
                problems.append(f"case {row.case!r} has {column} {values}, expected one for all models")
    return problems


def _of_glaciers(path: Path, rows: list[ImageRow], glaciers: Sequence[str] | None) -> list[ImageRow]:
    if glaciers is None:
        return rows
    known = sorted({row.glacier for row in rows})
    unknown = [glacier for glacier in glaciers if glacier not in known]
    if unknown or not glaciers:
        message = f"{path}: no glacier {', '.join(unknown) or 'asked for'}; expected some of {', '.join(known)}"
        raise InputError(message)
    return [row for row in rows if row.glacier in glaciers]
