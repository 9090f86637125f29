"""What an evaluation of fronts found: errors of images, of groups of images, and scores of zones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

    from evaluation.front_scores.inputs import FrontCase
    from evaluation.fronts import FrontDistances

ALL = "all"
"""Name of the group of all images, and of its grouping."""


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What was measured in an image.

    Parameters
    ----------
    case
        The files.
    distances
        In metres.
    diagonal
        Of the image in metres, which penalises a missing front.
    zones
        (label, prediction) to number of pixels; ``None`` if zones were not compared.
    """

    case: FrontCase
    distances: FrontDistances
    diagonal: float
    zones: Counter[tuple[int, int]] | None = None


@dataclass(frozen=True)
class ImageRow:
    """A row of images.csv; the fields are its columns.

    Parameters
    ----------
    model, case
        Whose prediction of which image.
    glacier, date, satellite, resolution, season
        What the name of the image says; the resolution in metres per pixel.
    n_pred, n_label
        Front pixels of prediction and label.
    sum_pred_to_label, sum_label_to_pred
        Sum of the distances of the pixels of one line to the other in metres; NaN where that has none.
    mean
        Mean of both lists together in metres; NaN for an image with ``no_front``.
    no_front
        1 if prediction or label, or both, have no front, else 0.
    hd95
        The larger of the two directed 95th percentiles in metres; NaN as ``mean``.
    diagonal
        Of the image in metres: the distance that every pixel without partner has in the penalised error.
    quality, orbit
        What the name says.
    source
        Whether the front is that of a predicted front or of predicted zones.
    """

    model: str
    case: str
    glacier: str
    date: str
    satellite: str
    resolution: str
    season: str
    n_pred: int
    n_label: int
    sum_pred_to_label: float
    sum_label_to_pred: float
    mean: float
    no_front: int
    hd95: float
    diagonal: float
    quality: str
    orbit: str
    source: str


@dataclass(frozen=True)
class GroupRow:
    """A row of summary.csv: the errors of a group of images; the fields are its columns.

    Parameters
    ----------
    model
        Name of the model.
    grouping, group
        By what the images are grouped, and which group; ``all`` twice for all images.
    images
        Number of images.
    no_front, missed, invented
        Images in which prediction or label has no front; in which the prediction alone has none; in which the label
        alone has none.
    mde, mde_low, mde_high
        Mean distance error in metres over the distances of all images together, and its 95 % bootstrap interval over
        images.
    penalised_mde
        The same with the diagonal of the image as distance of each pixel without partner.
    mean_of_image_means, mean_low, mean_high, median_of_image_means, std_of_image_means
        Of the means of those images that have one, in metres; the interval as above.
    mean_hd95
        Mean of the HD95 of these images in metres.
    """

    model: str
    grouping: str
    group: str
    images: int
    no_front: int
    missed: int
    invented: int
    mde: float
    mde_low: float
    mde_high: float
    penalised_mde: float
    mean_of_image_means: float
    mean_low: float
    mean_high: float
    median_of_image_means: float
    std_of_image_means: float
    mean_hd95: float


@dataclass(frozen=True)
class ZoneRow:
    """A row of zones.csv or zones_summary.csv: scores of a zone, or the mean over zones.

    Parameters
    ----------
    model
        Name of the model.
    case
        The image; ``mean`` for the mean over images, ``pooled`` for the pixels of all images together.
    zone
        Name of the zone; ``macro`` for the mean over the zones that occur, ``macro_without_na`` without N/A.
    images
        Number of images with a value; of all that are pooled.
    precision, recall, f1, iou
        NaN for a zone that occurs neither in label nor in prediction.
    """

    model: str
    case: str
    zone: str
    images: int
    precision: float
    recall: float
    f1: float
    iou: float


@dataclass(frozen=True, eq=False)
class FrontEvaluation:
    """All that an evaluation of fronts found."""

    images: tuple[ImageRow, ...]
    groups: tuple[GroupRow, ...]
    zones: tuple[ZoneRow, ...] = ()
    zone_summary: tuple[ZoneRow, ...] = ()

    @property
    def models(self) -> list[str]:
        """Models in the order in which they were given."""
        return list(dict.fromkeys(row.model for row in self.images))
