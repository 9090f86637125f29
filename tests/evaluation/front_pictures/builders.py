"""Small tables, fronts and folders for the tests of the pictures."""

from __future__ import annotations

import csv
import datetime
import math

import numpy as np
from PIL import Image

from evaluation.front_pictures.rows import COLUMNS, ImageRow

GREYS = np.array([0, 64, 127, 254], np.uint8)
ROWS_AND_COLUMNS = (30, 40)


def image_row(case="COL_a", mean=10.0, **given):
    """Return a row of the table with one distance per metre of the mean, if nothing else is given."""
    no_front = given.pop("no_front", False)
    values = {
        "model": "m",
        "case": case,
        "glacier": case.partition("_")[0],
        "date": datetime.date(2011, 11, 13),
        "satellite": "TDX",
        "resolution": 7.0,
        "season": "winter",
        "n_distances": 10,
        "sum_distances": math.nan if no_front else 10 * mean,
        "mean": math.nan if no_front else mean,
    }
    return ImageRow(**(values | given), no_front=no_front)


def stem(glacier, date, satellite="TDX", resolution=7):
    return f"{glacier}_{date}_{satellite}_{resolution}_1_092"


def cells(case, model="m", **given):
    """Return the cells of a row as ``evaluate_fronts`` writes them."""
    glacier, date, satellite, resolution = case.split("_")[:4]
    values = {
        "model": model,
        "case": case,
        "glacier": glacier,
        "date": date,
        "satellite": satellite,
        "resolution": resolution,
        "season": "winter",
        "n_pred": "20",
        "n_label": "20",
        "sum_pred_to_label": "400.0",
        "sum_label_to_pred": "200.0",
        "mean": "15.0",
        "no_front": "0",
    }
    return values | given


def write_table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *(name for name in rows[0] if name not in COLUMNS)])
        writer.writeheader()
        writer.writerows(rows)
    return path


def front_at(column, shape=ROWS_AND_COLUMNS):
    front = np.zeros(shape, np.uint8)
    front[5:-5, column] = 255
    return front


def zones_at(column, shape=ROWS_AND_COLUMNS):
    """Return grey levels: rock above row 5, then glacier before a column and ocean from it on."""
    zones = np.full(shape, 254, np.uint8)
    zones[:, :column] = 127
    zones[:5] = 64
    return zones


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def texts(figure):
    """Return all texts of a figure that are not empty, tick labels included."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
