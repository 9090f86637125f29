"""Scores that follow from the distances between two surfaces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float64]

ROUNDING = 1e-4
"""Part of a threshold by which a distance may exceed it: 3 × 0.8 is 2.4000000000000004, and maps hold 32 bits."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, element by element, in both directions.

    Parameters
    ----------
    to_reference
        From each element of the predicted surface to the reference surface, in mm, shape (n,); infinite if the
        reference is empty.
    to_prediction
        From each element of the reference surface to the predicted surface, in mm, shape (m,); infinite if the
        prediction is empty.
    prediction_weights, reference_weights
        Areas of the elements in mm² (lengths in mm in a plane), shapes (n,) and (m,); none if all count the same,
        as voxels do.
    """

    to_reference: Floats
    to_prediction: Floats
    prediction_weights: Floats | None = None
    reference_weights: Floats | None = None

    @property
    def empty(self) -> str:
        """Which mask has no surface: ``none``, ``ref``, ``pred`` or ``both``.

        This is about surfaces: a mask all whose neighbours are ignored has voxels, but no surface.
        """
        if not self.to_prediction.size:
            return "ref" if self.to_reference.size else "both"
        return "none" if self.to_reference.size else "pred"


def hd(distances: SurfaceDistances) -> float:
    """Return the Hausdorff distance, the largest of all distances, in mm: 0 if both masks are empty, NaN if one is.

    References
    ----------
    Huttenlocher, Klanderman, Rucklidge, Comparing images using the Hausdorff distance, PAMI 15, 1993.
    """
    if distances.empty != "none":
        return _distance_of_empty(distances)
    return float(max(distances.to_reference.max(), distances.to_prediction.max()))


def hd95(distances: SurfaceDistances) -> float:
    """Return the larger of the two directed 95th percentiles in mm: 0 if both masks are empty, NaN if one is."""
    if distances.empty != "none":
        return _distance_of_empty(distances)
    return max(
        percentile(distances.to_reference, 95, distances.prediction_weights),
        percentile(distances.to_prediction, 95, distances.reference_weights),
    )


def hd95_pooled(distances: SurfaceDistances) -> float:
    """Return the 95th percentile of both lists together in mm: 0 if both masks are empty, NaN if one is."""
    if distances.empty != "none":
        return _distance_of_empty(distances)
    values, weights = _pooled(distances)
    return percentile(values, 95, weights)


def assd(distances: SurfaceDistances) -> float:
    """Return the average symmetric surface distance in mm: the mean of both lists together.

    Both masks empty: 0; one: NaN.

    References
    ----------
    Heimann et al., Comparison and evaluation of methods for liver segmentation, TMI 28, 2009.
    """
    if distances.empty != "none":
        return _distance_of_empty(distances)
    values, weights = _pooled(distances)
    return float(np.average(values, weights=weights))


def masd(distances: SurfaceDistances) -> float:
    """Return the mean average surface distance in mm: the mean of the two directed means.

    Both masks empty: 0; one: NaN.

    References
    ----------
    Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 21, 2024.
    """
    if distances.empty != "none":
        return _distance_of_empty(distances)
    there = np.average(distances.to_reference, weights=distances.prediction_weights)
    back = np.average(distances.to_prediction, weights=distances.reference_weights)
    return float(there + back) / 2


def nsd(distances: SurfaceDistances, tolerance: float) -> float:
    """Return the part of both surfaces that lies within a tolerance of the other one (normalised surface distance).

    A score, so that empty masks count as in overlap: NaN if both are empty, 0 if one is.

    Parameters
    ----------
    distances
        What ``surface_distances`` returns.
    tolerance
        Largest distance in mm that is accepted; equality (up to ``ROUNDING``) is accepted, too.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    InputError
        If the tolerance is negative or not finite.

    References
    ----------
    Nikolov et al., Clinically applicable segmentation of head and neck anatomy, J. Med. Internet Res. 23, 2021.
    """
    limit = inclusive_limit(tolerance, "tolerance")
    if distances.empty != "none":
        return math.nan if distances.empty == "both" else 0.0
    values, weights = _pooled(distances)
    return float(np.average(values <= limit, weights=weights))


SURFACE_METRICS: dict[str, Callable[[SurfaceDistances], float]] = {
    "HD": hd,
    "HD95": hd95,
    "HD95_pooled": hd95_pooled,
    "ASSD": assd,
    "MASD": masd,
}


def percentile(values: Floats, percent: float, weights: Floats | None = None) -> float:
    """Return a percentile of distances, weighted if there are weights.

    Without weights it is NumPy's, linear between the two nearest values. With weights it is the smallest value at
    which the cumulated weight reaches the percentage; equal weights give NumPy's ``inverted_cdf``, which differs
    from the linear one by less than the gap between two neighbouring values.

    Parameters
    ----------
    values
        Distances, shape (n,), at least one.
    percent
        From 0 to 100.
    weights
        Positive weights, shape (n,).

    Returns
    -------
    float
        The percentile, in the unit of ``values``.
    """
    if weights is None:
        return float(np.percentile(values, percent))
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    reached = np.searchsorted(cumulated, cumulated[-1] * (percent / 100) * (1 - 1e-12))
    return float(values[order[reached]])


def inclusive_limit(threshold: float, name: str) -> float:
    """Return the largest distance in mm that counts as within a threshold; ``name`` is that of the threshold.

    Raises
    ------
    InputError
        If the threshold is negative or not finite.
    """
    if not (math.isfinite(threshold) and threshold >= 0):
        message = f"the {name} is {threshold}; expected a number of mm from 0"
        raise InputError(message)
    return threshold * (1 + ROUNDING)


def _distance_of_empty(distances: SurfaceDistances) -> float:
    return 0.0 if distances.empty == "both" else math.nan


def _pooled(distances: SurfaceDistances) -> tuple[Floats, Floats | None]:
    values = np.concatenate([distances.to_reference, distances.to_prediction])
    if distances.prediction_weights is None or distances.reference_weights is None:
        return values, None
    return values, np.concatenate([distances.prediction_weights, distances.reference_weights])
