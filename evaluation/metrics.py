"""The metrics of the evaluation: their names, units and definitions, and which of them are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

OVERLAP, VOLUME, SURFACE, BOUNDARY, COMPONENTS, FRONTS = (
    "overlap",
    "volume",
    "surface",
    "boundary",
    "components",
    "front",
)
NSD = "NSD"
DEFAULT_TOLERANCES = (1.0, 2.0)


@dataclass(frozen=True)
class Metric:
    """A metric and how its numbers are to be read.

    Parameters
    ----------
    name
        As in all outputs.
    family
        What it is computed from: ``overlap``, ``volume``, ``surface``, ``boundary``, ``components`` or ``front``.
    better
        ``higher`` or ``lower``; empty where neither is better.
    definition
        One sentence, empty masks included.
    unit
        ``mm`` or ``mm³``; empty for shares and ratios.
    tolerance
        Of NSD, in mm.
    """

    name: str
    family: str
    better: Literal["higher", "lower", ""]
    definition: str
    unit: str = ""
    tolerance: float = math.nan

    @property
    def penalised(self) -> bool:
        """Whether a case without a value enters means with the penalty: true for distances."""
        return self.unit == "mm"


_EMPTY_OVERLAP = "Both masks empty: no value; one: 0."
_EMPTY_DISTANCE = "Both masks empty: 0; one: no value, and the penalty in means."

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("Dice", OVERLAP, "higher", f"2 TP / (2 TP + FP + FN). {_EMPTY_OVERLAP}"),
        Metric("IoU", OVERLAP, "higher", f"TP / (TP + FP + FN). {_EMPTY_OVERLAP}"),
        Metric("precision", OVERLAP, "higher", f"TP / (TP + FP). {_EMPTY_OVERLAP}"),
        Metric("recall", OVERLAP, "higher", f"TP / (TP + FN). {_EMPTY_OVERLAP}"),
        Metric(
            *("specificity", OVERLAP, "higher"),
            "TN / (TN + FP), whichever mask is empty; no value where the reference has no voxel outside the class.",
        ),
        Metric("volume_ref", VOLUME, "", "Volume of the reference.", unit="mm³"),
        Metric("volume_pred", VOLUME, "", "Volume of the prediction.", unit="mm³"),
        Metric(
            *("relative_volume_difference", VOLUME, ""),
            "(prediction - reference) / reference, by volume; no value where the reference is empty.",
        ),
        Metric("HD", SURFACE, "lower", f"Largest distance of either surface from the other. {_EMPTY_DISTANCE}", "mm"),
        Metric(
            *("HD95", SURFACE, "lower"),
            f"Larger of the two directed 95th percentiles of surface distances. {_EMPTY_DISTANCE}",
            unit="mm",
        ),
        Metric(
            *("HD95_pooled", SURFACE, "lower"),
            f"95th percentile of the surface distances of both directions together. {_EMPTY_DISTANCE}",
            unit="mm",
        ),
        Metric(
            *("ASSD", SURFACE, "lower"),
            f"Mean of the surface distances of both directions together. {_EMPTY_DISTANCE}",
            unit="mm",
        ),
        Metric(
            *("MASD", SURFACE, "lower"),
            f"Mean of the two directed means of surface distances. {_EMPTY_DISTANCE}",
            unit="mm",
        ),
        Metric(
            *(NSD, SURFACE, "higher"),
            f"Share of both surfaces at most so far from the other one (inclusive). {_EMPTY_OVERLAP}",
        ),
        Metric(
            *("boundary_IoU", BOUNDARY, "higher"),
            f"IoU of the two boundary regions, the voxels of a mask near its surface. {_EMPTY_OVERLAP}",
        ),
        Metric(
            *("component_precision", COMPONENTS, "higher"),
            f"Share of the predicted components that meet one of the reference. {_EMPTY_OVERLAP}",
        ),
        Metric(
            *("component_recall", COMPONENTS, "higher"),
            f"Share of the reference's components that meet a predicted one. {_EMPTY_OVERLAP}",
        ),
        Metric(
            *("component_F1", COMPONENTS, "higher"),
            f"Harmonic mean of component precision and recall. {_EMPTY_OVERLAP}",
        ),
        Metric(
            *("front_error", FRONTS, "lower"),
            "Mean distance of all voxels of either line from the other one, both directions together; for line "
            f"classes alone. {_EMPTY_DISTANCE}",
            unit="mm",
        ),
    )
}
"""All metrics; NSD stands for one metric per tolerance."""

FAMILIES = tuple(dict.fromkeys(metric.family for metric in METRICS.values()))
ALL = "all"


def choose_metrics(names: Sequence[str], tolerances: Sequence[float] = DEFAULT_TOLERANCES) -> tuple[Metric, ...]:
    """Return the metrics that are asked for, in the order of the registry and each once.

    Parameters
    ----------
    names
        Of metrics or families, or ``all``; upper and lower case are the same.
    tolerances
        Of NSD, in mm; each makes a metric of its own, ``NSD_1mm``.

    Raises
    ------
    InputError
        If a name is unknown, none is given, or a tolerance is no number of mm from 0.
    """
    wrong = [tolerance for tolerance in tolerances if not (math.isfinite(tolerance) and tolerance >= 0)]
    if wrong:
        message = f"tolerances {wrong}: expected numbers of mm from 0"
        raise InputError(message)
    wanted = {name.lower() for name in names}
    known = {ALL, *FAMILIES, *(name.lower() for name in METRICS)}
    unknown = [name for name in names if name.lower() not in known]
    if unknown or not names:
        message = f"metrics {unknown} are unknown, expected some of {', '.join((ALL, *FAMILIES, *METRICS))}"
        raise InputError(message)
    chosen = [metric for metric in METRICS.values() if not wanted.isdisjoint({ALL, metric.family, metric.name.lower()})]
    return tuple(made for metric in chosen for made in _with_tolerances(metric, tolerances))


def _with_tolerances(metric: Metric, tolerances: Sequence[float]) -> list[Metric]:
    if metric.name != NSD:
        return [metric]
    return [
        Metric(f"{NSD}_{tolerance:g}mm", SURFACE, "higher", metric.definition, tolerance=tolerance)
        for tolerance in sorted(set(tolerances))
    ]
