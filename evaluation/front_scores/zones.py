"""Scores of predicted zones: precision, recall, F1 and IoU of each, their means, per image and pooled."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from evaluation.front_extraction import NA
from evaluation.front_scores.results import ZoneRow
from evaluation.histogram import counts_of
from evaluation.overlap import dice, iou, precision, recall
from nnunet_ext.caffe.grey_levels import ZONES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.front_scores.results import ImageResult

SCORES = ("precision", "recall", "f1", "iou")
MACRO, WITHOUT_NA = "macro", "macro_without_na"
MEAN, POOLED = "mean", "pooled"
_FUNCTIONS = (precision, recall, dice, iou)


def image_zone_rows(results: Sequence[ImageResult]) -> list[ZoneRow]:
    """Return the scores of every zone of every image whose zones were compared."""
    return [
        row
        for result in results
        if result.zones is not None
        for row in zone_rows(result.case.model, result.case.case, result.zones)
    ]


def zone_summary_rows(results: Sequence[ImageResult]) -> list[ZoneRow]:
    """Return the means over images and the scores of the pixels of all images together, for each model.

    An image in which a zone occurs neither in label nor in prediction has no value, and is left out of its mean.
    """
    rows = []
    for model in dict.fromkeys(result.case.model for result in results if result.zones is not None):
        histograms = [result.zones for result in results if result.case.model == model and result.zones is not None]
        images = [zone_rows(model, "", histogram) for histogram in histograms]
        rows += [_mean_row(model, of_zone) for of_zone in zip(*images, strict=True)]
        total: Counter[tuple[int, int]] = Counter()
        for histogram in histograms:
            total.update(histogram)
        rows += zone_rows(model, POOLED, total, images=len(histograms))
    return rows


def zone_rows(model: str, case: str, histogram: Mapping[tuple[int, int], int], *, images: int = 1) -> list[ZoneRow]:
    """Return the scores of each zone and their means.

    Parameters
    ----------
    model, case
        Whose scores of which image.
    histogram
        (label, prediction) to number of pixels.
    images
        Number of images in it.

    Returns
    -------
    list of ZoneRow
        Of each zone, NaN if neither label nor prediction has it; ``macro``, the mean over those that do occur; and
        ``macro_without_na``, the mean over them without N/A.
    """
    scores = {}
    for index, zone in enumerate(ZONES):
        counts = counts_of(histogram, (index,))
        scores[zone] = [function(counts) for function in _FUNCTIONS]
    na = list(ZONES)[NA]
    for name, zones in ((MACRO, list(ZONES)), (WITHOUT_NA, [zone for zone in ZONES if zone != na])):
        scores[name] = [_mean(values) for values in zip(*(scores[zone] for zone in zones), strict=True)]
    return [ZoneRow(model, case, zone, images, *values) for zone, values in scores.items()]


def _mean_row(model: str, rows: Sequence[ZoneRow]) -> ZoneRow:
    means = [_mean([getattr(row, score) for row in rows]) for score in SCORES]
    return ZoneRow(model, MEAN, rows[0].zone, sum(not math.isnan(row.iou) for row in rows), *means)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
