"""Front error: distances between predicted and labelled lines, such as calving fronts.

The error of a set of images is the mean over all distances of all its images, in both directions (mean distance
error, MDE), so that long fronts count more than short ones.

References
----------
Gourmelon et al., Calving fronts and where to find them, Earth Syst. Sci. Data 14, 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.masks import check_masks
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FrontDistances:
    """Distances between the lines of an image, pixel by pixel, in both directions.

    Parameters
    ----------
    to_label
        From each predicted pixel to the nearest labelled one, in the unit of the spacing, shape (n_pred,); infinite
        if the label is empty.
    to_prediction
        From each labelled pixel to the nearest predicted one, shape (n_label,); infinite if the prediction is empty.
    """

    to_label: Floats
    to_prediction: Floats

    @property
    def n_pred(self) -> int:
        """Predicted pixels."""
        return self.to_label.size

    @property
    def n_label(self) -> int:
        """Labelled pixels."""
        return self.to_prediction.size

    @property
    def sum_to_label(self) -> float:
        """Sum of the distances of the predicted pixels; NaN where they have no partner, 0 where there are none."""
        return _sum(self.to_label)

    @property
    def sum_to_prediction(self) -> float:
        """Sum of the distances of the labelled pixels; NaN where they have no partner, 0 where there are none."""
        return _sum(self.to_prediction)

    @property
    def empty(self) -> str:
        """Which line has no pixel: ``none``, ``ref``, ``pred`` or ``both``."""
        if not self.n_label:
            return "ref" if self.n_pred else "both"
        return "none" if self.n_pred else "pred"

    @property
    def no_front(self) -> bool:
        """Whether prediction or label, or both, have no pixel."""
        return self.empty != "none"


def front_distances(
    prediction: Mask, label: Mask, spacing: Sequence[float], *, ignored: Mask | None = None
) -> FrontDistances:
    """Measure the distances between all marked pixels of two masks, in both directions.

    Parameters
    ----------
    prediction, label
        Boolean masks (z, y, x) of the same shape; (1, y, x) for an image.
    spacing
        Pixel size (z, y, x) in metres, or any other unit.
    ignored
        Boolean mask of the same shape; pixels in it count for neither line.

    Returns
    -------
    FrontDistances
        The two lists of distances.

    Raises
    ------
    InputError
        If the masks are no boolean volumes of one shape, or the spacing is not three positive numbers.
    """
    check_masks(prediction, label, spacing, ignored=ignored)
    if ignored is not None:
        prediction, label = prediction & ~ignored, label & ~ignored
    steps = np.asarray(spacing, dtype=np.float64)
    predicted, labelled = np.argwhere(prediction) * steps, np.argwhere(label) * steps
    return FrontDistances(_to_nearest(predicted, labelled), _to_nearest(labelled, predicted))


def front_error(distances: FrontDistances) -> float:
    """Return the mean over both lists of an image together: 0 if both lines are empty, NaN if one is."""
    return pooled_front_error([distances])


def pooled_front_error(images: Iterable[FrontDistances]) -> float:
    """Return the mean over the distances of all images together, the mean distance error (MDE).

    Images in which one line is empty have no distances and are left out; ``count_no_front`` says how many.

    Parameters
    ----------
    images
        Distances of each image.

    Returns
    -------
    float
        In the unit of the spacing. Without any distance: 0 if both lines are empty in all images, NaN otherwise.
    """
    images = list(images)
    measured = [image for image in images if image.empty != "pred" and image.empty != "ref"]
    if not images or (not _n(measured) and len(measured) < len(images)):
        return math.nan
    return _mean(measured)


def penalised_front_error(images: Sequence[FrontDistances], penalties: Sequence[float]) -> float:
    """Return the mean distance error in which missed and invented fronts count.

    Every pixel without partner, because the other line is empty, has the penalty of its image as its distance.

    Parameters
    ----------
    images
        Distances of each image.
    penalties
        For each image, in the unit of the spacing; the image diagonal, for example.

    Returns
    -------
    float
        In the unit of the spacing; 0 if both lines are empty in all images, NaN without images.

    Raises
    ------
    InputError
        If there is not one penalty per image, or one is negative or not finite.
    """
    if len(images) != len(penalties):
        message = f"{len(penalties)} penalties for {len(images)} images; expected one each"
        raise InputError(message)
    wrong = [penalty for penalty in penalties if not (math.isfinite(penalty) and penalty >= 0)]
    if wrong:
        message = f"the penalty is {wrong[0]}; expected a number from 0"
        raise InputError(message)
    if not images:
        return math.nan
    return _mean([_penalised(image, penalty) for image, penalty in zip(images, penalties, strict=True)])


def count_no_front(images: Iterable[FrontDistances]) -> int:
    """Return the number of images in which prediction or label, or both, have no pixel."""
    return sum(image.no_front for image in images)


def _to_nearest(points: Floats, others: Floats) -> Floats:
    if not (len(points) and len(others)):
        return np.full(len(points), np.inf)
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(others).query(points)
    return np.asarray(distances, dtype=np.float64)


def _penalised(image: FrontDistances, penalty: float) -> FrontDistances:
    if image.empty == "none":
        return image
    return FrontDistances(np.full(image.n_pred, penalty), np.full(image.n_label, penalty))


def _mean(images: Sequence[FrontDistances]) -> float:
    """Return the mean of all distances, which are finite; 0 if there are none."""
    return math.fsum(image.sum_to_label + image.sum_to_prediction for image in images) / max(1, _n(images))


def _n(images: Sequence[FrontDistances]) -> int:
    return sum(image.n_pred + image.n_label for image in images)


def _sum(distances: Floats) -> float:
    return math.nan if np.isinf(distances).any() else float(distances.sum())
