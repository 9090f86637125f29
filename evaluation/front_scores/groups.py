"""Errors of groups of images: by glacier, satellite, resolution, season, and each two of these."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from evaluation.front_scores.measure import image_row
from evaluation.front_scores.names import groupings_of, groups_in_order
from evaluation.front_scores.results import ALL, GroupRow, ImageResult
from evaluation.fronts import count_no_front, penalised_front_error, pooled_front_error
from evaluation.groups import Grouping
from evaluation.intervals import Interval, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

LEVEL = 0.95
RESAMPLES = 2000


def group_rows(results: Sequence[ImageResult]) -> list[GroupRow]:
    """Return the errors of all images and of every group of them, for each model.

    Parameters
    ----------
    results
        What was measured, of all models.

    Returns
    -------
    list of GroupRow
        By model, grouping and group. The same results in the same order give the same intervals.
    """
    rows = []
    for model in dict.fromkeys(result.case.model for result in results):
        of_model = {result.case.case: result for result in results if result.case.model == model}
        groupings = groupings_of({case: result.case.name for case, result in of_model.items()})
        for grouping in [Grouping(ALL, dict.fromkeys(of_model, ALL)), *groupings]:
            for group in groups_in_order(grouping.of_case.values()):
                inside = [result for case, result in of_model.items() if grouping.of_case[case] == group]
                rows.append(group_row(model, grouping.name, group, inside))
    return rows


def group_row(model: str, grouping: str, group: str, results: Sequence[ImageResult]) -> GroupRow:
    """Return the errors of one group of images of a model."""
    distances = [result.distances for result in results]
    measured = [image_row(result) for result in results if not result.distances.no_front]
    means = np.array([row.mean for row in measured])
    sums = np.array([row.sum_pred_to_label + row.sum_label_to_pred for row in measured])
    pixels = np.array([row.n_pred + row.n_label for row in measured])
    of_mde, of_mean = pooled_interval(sums, pixels), bootstrap_interval(means, level=LEVEL, resamples=RESAMPLES)
    return GroupRow(
        model=model,
        grouping=grouping,
        group=group,
        images=len(results),
        no_front=count_no_front(distances),
        missed=sum(one.empty == "pred" for one in distances),
        invented=sum(one.empty == "ref" for one in distances),
        mde=pooled_front_error([one for one in distances if not one.no_front]),
        mde_low=of_mde.low,
        mde_high=of_mde.high,
        penalised_mde=penalised_front_error(distances, [result.diagonal for result in results]),
        mean_of_image_means=float(means.mean()) if means.size else math.nan,
        mean_low=of_mean.low,
        mean_high=of_mean.high,
        median_of_image_means=float(np.median(means)) if means.size else math.nan,
        std_of_image_means=float(means.std(ddof=1)) if means.size > 1 else math.nan,
        mean_hd95=float(np.mean([row.hd95 for row in measured])) if measured else math.nan,
    )


def pooled_interval(
    sums: npt.NDArray[np.float64],
    pixels: npt.NDArray[np.int64],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the BCa bootstrap interval of a mean over the pixels of images, with images drawn as a whole.

    Parameters
    ----------
    sums
        Sum of the values of each image.
    pixels
        How many they are, at least 1.
    level, resamples, seed
        As for ``evaluation.intervals.bootstrap_interval``.

    Returns
    -------
    Interval
        NaN at both ends for fewer than two images; the value itself, twice, if it is that of each image.
    """
    if len(sums) < 2:
        return Interval(math.nan, math.nan)
    ratios = sums / pixels
    if (ratios == ratios[0]).all():
        return Interval(float(ratios[0]), float(ratios[0]))
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        # SciPy warns where BCa is not defined and returns NaN; the percentiles stand in then.
        warnings.simplefilter("ignore")
        result = bootstrap(
            (sums, pixels),
            lambda total, count, axis: total.sum(axis=axis) / count.sum(axis=axis),
            axis=-1,
            vectorized=True,
            paired=True,
            n_resamples=resamples,
            confidence_level=level,
            method="BCa",
            random_state=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in result.confidence_interval)
    if math.isnan(low) or math.isnan(high):
        tail = (1 - level) / 2
        low, high = (float(end) for end in np.quantile(result.bootstrap_distribution, [tail, 1 - tail]))
    return Interval(low, high)
