"""Choose the worst images of each model and draw their fronts for the report."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from evaluation.front_scores.inputs import FrontCase
    from evaluation.front_scores.measure import Extraction, Fronts
    from evaluation.front_scores.results import ImageRow

SHOWN = 800
"""Pixels of the longer side of a picture; larger ones are reduced."""

FEW = 12
"""Pictures that are drawn one after another."""

MARGIN = 60
"""Pixels of the image that are shown around fronts and box, at least."""


@dataclass(frozen=True)
class WorstImage:
    """An image that deserves a look: its errors in words, and its picture as data URI."""

    model: str
    case: str
    caption: str
    uri: str


def worst_images(rows: Sequence[ImageRow], number: int) -> list[ImageRow]:
    """Return the images of each model with the largest penalised errors, the worst first.

    The penalised error of an image is its mean, or its diagonal if either line alone has no pixel. Images without
    front in both are none of them.
    """
    chosen = []
    for model in dict.fromkeys(row.model for row in rows):
        of_model = [row for row in rows if row.model == model and (row.n_pred or row.n_label)]
        chosen += sorted(of_model, key=lambda row: (-_penalised(row), row.case))[:number]
    return chosen


def draw_worst_images(
    rows: Sequence[ImageRow],
    cases: Sequence[FrontCase],
    extraction: Extraction,
    number: int,
    *,
    processes: int = 1,
) -> list[WorstImage]:
    """Draw the worst images of each model.

    Parameters
    ----------
    rows
        Errors of all images of all models.
    cases
        Files of all images.
    extraction
        How fronts were extracted.
    number
        Of images per model, at most.
    processes
        Number of images at a time.
    """
    by_name = {(case.model, case.case): case for case in cases}
    jobs = {index: (by_name[row.model, row.case], row) for index, row in enumerate(worst_images(rows, number))}
    draw = partial(_draw, extraction=extraction)
    # A few pictures are drawn before further processes have started.
    return list(run_jobs(jobs, draw, processes if len(jobs) > FEW else 1, "Drawing").values()) if jobs else []


def _draw(case: FrontCase, row: ImageRow, extraction: Extraction) -> WorstImage:
    from evaluation.front_pictures.overlay import front_overlay, line_width
    from evaluation.front_scores.measure import read_fronts

    fronts = read_fronts(case, extraction)
    shape = fronts.label.shape
    image = np.full(shape, 40, np.uint8) if case.image is None else _grey(case.image)
    rows, columns = _view(fronts)
    seen = (rows.stop - rows.start, columns.stop - columns.start)
    colours = front_overlay(image, fronts.label, fronts.prediction, fronts.box, width=line_width(seen, shown=SHOWN))
    return WorstImage(case.model, case.case, _caption(row, extraction.min_length), _jpeg_uri(colours[rows, columns]))


def _penalised(row: ImageRow) -> float:
    return row.diagonal if row.no_front else row.mean


def _caption(row: ImageRow, min_length: float) -> str:
    if row.no_front:
        missed = f"no predicted front of more than {min_length:g} m"
        return missed if row.n_label else "a predicted front, but none in the label"
    return f"mean {row.mean:.0f} m, HD95 {row.hd95:.0f} m; {row.n_pred} predicted and {row.n_label} labelled pixels"


def _grey(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image for display; 8 bits are shown as they are, others from their darkest to their brightest value."""
    from evaluation.front_scores.label_maps import read_image

    stored = read_image(path)
    if stored.dtype != np.uint8:
        values = np.nan_to_num(stored.astype(np.float64))
        low, high = values.min(), values.max()
        stored = ((values - low) * (255 / (high - low) if high > low else 0)).round()
    return stored.astype(np.uint8)


def _view(fronts: Fronts) -> tuple[slice, slice]:
    """Return the part of the image around both fronts and the box."""
    marked = fronts.label | fronts.prediction
    if fronts.box is not None:
        marked = marked.copy()
        marked[fronts.box] = True
    sides = []
    for axis, length in enumerate(marked.shape):
        where = np.flatnonzero(marked.any(axis=1 - axis))
        margin = max(MARGIN, (int(where[-1]) - int(where[0])) // 10)
        sides.append(slice(max(0, int(where[0]) - margin), min(length, int(where[-1]) + 1 + margin)))
    return sides[0], sides[1]


def _jpeg_uri(colours: npt.NDArray[np.uint8]) -> str:
    """Return a picture as data URI, a fifth as large as PNG where speckle lies behind the lines."""
    from PIL import Image

    picture = Image.fromarray(colours)
    scale = SHOWN / max(picture.size)
    if scale < 1:
        width, height = (math.ceil(length * scale) for length in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    # Colours of full resolution, or thin lines would fade.
    picture.save(buffer, "JPEG", quality=85, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
