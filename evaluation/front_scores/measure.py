"""Measure one image: extract the predicted front, and its distances from the labelled one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.front_extraction import MIN_LENGTH, front_of_mask, front_of_zones
from evaluation.front_scores.label_maps import read_front, read_zones
from evaluation.front_scores.results import ImageResult, ImageRow
from evaluation.fronts import front_distances, front_error
from evaluation.histogram import joint_histogram
from nnunet_ext.caffe.bounding_boxes import read_bounding_box
from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from evaluation.front_scores.inputs import FrontCase, Source


@dataclass(frozen=True)
class Extraction:
    """How fronts are extracted; see ``evaluation.front_extraction``."""

    compat: bool = False
    min_length: float = MIN_LENGTH
    strait_width: int = 0
    bridged_gap: int = 0


@dataclass(frozen=True, eq=False)
class Fronts:
    """The two lines of an image (y, x) and the box in which the predicted one was looked for."""

    prediction: npt.NDArray[np.bool_]
    label: npt.NDArray[np.bool_]
    box: tuple[slice, slice] | None


def measure_image(case: FrontCase, extraction: Extraction) -> ImageResult | tuple[str, ...]:
    """Measure an image.

    Parameters
    ----------
    case
        Its files, of the same size.
    extraction
        How to extract the front.

    Returns
    -------
    ImageResult or tuple of str
        All that is wrong with the files, if anything is.
    """
    try:
        fronts = read_fronts(case, extraction)
        metres = case.name.metres
        distances = front_distances(fronts.prediction[None], fronts.label[None], (metres, metres, metres))
        zones = None
        if case.zones is not None and case.predicted_zones is not None:
            zones = joint_histogram(read_zones(case.zones), read_zones(case.predicted_zones))
    except NnunetExtError as error:
        return (str(error),)
    return ImageResult(case, distances, metres * math.hypot(*fronts.label.shape), zones)


def read_fronts(case: FrontCase, extraction: Extraction) -> Fronts:
    """Read label and prediction of an image, and extract the predicted front.

    The label is taken as it is, whether inside or outside of the box, as in the benchmark.

    Raises
    ------
    InputError
        If a file holds something else than it should.
    """
    label = read_front(case.label)
    rows, columns = label.shape
    box = None if case.box is None else read_bounding_box(case.box, (rows, columns), compat=extraction.compat)
    prediction = extract_front(
        case.prediction, case.source, resolution=case.name.metres, extraction=extraction, box=box
    )
    return Fronts(prediction, label, box)


def extract_front(
    path: Path, source: Source, *, resolution: float, extraction: Extraction, box: tuple[slice, slice] | None
) -> npt.NDArray[np.bool_]:
    """Read a prediction and extract its front.

    Parameters
    ----------
    path
        Mask of a front, or map of zones.
    source
        Which of the two it is.
    resolution
        Pixel size in metres.
    extraction
        How to extract the front.
    box
        Rows and columns outside of which a front does not count.

    Returns
    -------
    ndarray of bool
        The line (y, x).

    Raises
    ------
    InputError
        If the file holds something else than it should.
    """
    if source == "front":
        return front_of_mask(
            read_front(path),
            resolution=resolution,
            box=box,
            compat=extraction.compat,
            min_length=extraction.min_length,
            bridged_gap=extraction.bridged_gap,
        )
    return front_of_zones(
        read_zones(path),
        resolution=resolution,
        box=box,
        compat=extraction.compat,
        min_length=extraction.min_length,
        strait_width=extraction.strait_width,
        bridged_gap=extraction.bridged_gap,
    )


def image_row(result: ImageResult) -> ImageRow:
    """Return the row of images.csv."""
    case, distances = result.case, result.distances
    name = case.name
    lists = (distances.to_label, distances.to_prediction)
    return ImageRow(
        model=case.model,
        case=case.case,
        glacier=name.glacier,
        date=name.date,
        satellite=name.satellite,
        resolution=name.resolution,
        season=name.season,
        n_pred=distances.n_pred,
        n_label=distances.n_label,
        sum_pred_to_label=distances.sum_to_label,
        sum_label_to_pred=distances.sum_to_prediction,
        # Where both lines are empty, there is no distance either that a mean could be taken of.
        mean=math.nan if distances.no_front else front_error(distances),
        no_front=int(distances.no_front),
        hd95=math.nan if distances.no_front else max(float(np.percentile(one, 95)) for one in lists),
        diagonal=result.diagonal,
        quality=name.quality,
        orbit=name.orbit,
        source=case.source,
    )
