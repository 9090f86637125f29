"""Measure one case: every class of a label set, by the metrics that are asked for."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evaluation.boxes import class_box, value_boxes
from evaluation.components import COMPONENT_METRICS, count_components
from evaluation.fronts import front_distances, front_error
from evaluation.histogram import counts_of
from evaluation.label_maps import LabelMaps, read_label_maps, undeclared_values_of_pair
from evaluation.manifest import FileRecord, file_records
from evaluation.metrics import BOUNDARY, COMPONENTS, FRONTS, OVERLAP, SURFACE, VOLUME, Metric
from evaluation.overlap import OVERLAP_METRICS, VOLUME_METRICS
from evaluation.results import CaseScores, ClassScores
from evaluation.surface import boundary_iou, surface_distances
from evaluation.surface_scores import SURFACE_METRICS, nsd
from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import numpy.typing as npt

    from evaluation.labels import LabelSet, ScoredClass
    from evaluation.overlap import Counts
    from evaluation.pairs import Pair

    Mask = npt.NDArray[np.bool_]
    Box = tuple[slice, slice, slice]

BOUNDARY_SHARE = 0.02
"""Depth of boundary regions as a part of the image's diagonal, as in the paper on boundary IoU."""


@dataclass(frozen=True)
class Request:
    """How to measure.

    Parameters
    ----------
    metrics
        What to compute.
    surface
        ``voxel`` or ``mesh``.
    boundary_distance
        Depth of boundary regions in mm; ``None`` for 2 % of the image's diagonal.
    """

    metrics: tuple[Metric, ...]
    surface: Literal["voxel", "mesh"] = "voxel"
    boundary_distance: float | None = None

    @property
    def needs_voxels(self) -> bool:
        """Whether the counts of label values do not suffice."""
        return self.of_families(OVERLAP, VOLUME) != list(self.metrics)

    def of_families(self, *families: str) -> list[Metric]:
        """Return the metrics of some families."""
        return [metric for metric in self.metrics if metric.family in families]


@dataclass(frozen=True)
class CaseResult:
    """What is known of a case once its files are read.

    Parameters
    ----------
    case
        Its scores.
    histogram
        How often each pair of reference and predicted value occurs.
    files
        The files themselves.
    problems
        What is wrong with them; there are no scores then.
    """

    case: CaseScores
    histogram: Counter[tuple[int, int]]
    files: tuple[FileRecord, ...]
    problems: tuple[str, ...]


def measure_case(pair: Pair, label_set: LabelSet, request: Request) -> CaseResult:
    """Read and measure one case; files that cannot be read and undeclared values become messages.

    Parameters
    ----------
    pair
        A pair of files whose grids have been compared.
    label_set
        What to score, and which values may occur.
    request
        How to measure it.

    Returns
    -------
    CaseResult
        Scores, or problems.
    """
    files = (*file_records(pair.prediction), *file_records(pair.reference))
    try:
        maps = read_label_maps(pair.reference, pair.prediction, keep_voxels=request.needs_voxels, rules=pair.rules)
        problems = undeclared_values_of_pair(pair, maps.histogram, label_set)
        scores = () if problems else measure_classes(maps, label_set, request)
    except NnunetExtError as error:
        problem = f"case {pair.case!r}: {pair.prediction} against {pair.reference}: {error}"
        return CaseResult(_case(pair, (), math.nan), Counter(), files, (problem,))
    return CaseResult(_case(pair, scores, diagonal(maps)), maps.histogram, files, tuple(problems))


def measure_classes(maps: LabelMaps, label_set: LabelSet, request: Request) -> tuple[ClassScores, ...]:
    """Measure every class of a case.

    Each class is looked at in the box around its voxels in both label maps; no mask of a whole volume is made.

    Parameters
    ----------
    maps
        The label maps, with voxels if the request needs them.
    label_set
        What to score.
    request
        How to measure it.

    Returns
    -------
    tuple of ClassScores
        In the order of the label set.
    """
    boxes: tuple[dict[int, Box], ...] = ()
    if request.needs_voxels:
        assert maps.reference is not None
        assert maps.prediction is not None
        boxes = (value_boxes(maps.reference), value_boxes(maps.prediction))
    return tuple(
        _measure_class(scored, maps, boxes, label_set.ignored_for(scored), request) for scored in label_set.classes
    )


def diagonal(maps: LabelMaps) -> float:
    """Return the diagonal of the image in mm; that of the plane where there is one slice."""
    sides = [size * step for size, step in zip(maps.shape, maps.spacing, strict=True)]
    return math.hypot(*(sides[1:] if maps.shape[0] == 1 else sides))


def _measure_class(
    scored: ScoredClass, maps: LabelMaps, boxes: Iterable[Mapping[int, Box]], ignored: Collection[int], request: Request
) -> ClassScores:
    counts = counts_of(maps.histogram, scored.values, ignored)
    values = _values_of_counts(counts, math.prod(maps.spacing), request)
    if not request.needs_voxels:
        return ClassScores(counts, values)
    pred, ref, without = _masks(maps, class_box(scored.values, *boxes), scored.values, ignored)
    planar = maps.shape[0] == 1 if pred.size else None
    components = fronts = None
    if surface_metrics := request.of_families(SURFACE):
        distances = surface_distances(pred, ref, maps.spacing, surface=request.surface, planar=planar, ignored=without)
        for metric in surface_metrics:
            known = SURFACE_METRICS.get(metric.name)
            values[metric.name] = known(distances) if known else nsd(distances, metric.tolerance)
    for metric in request.of_families(BOUNDARY):
        depth = request.boundary_distance
        depth = BOUNDARY_SHARE * diagonal(maps) if depth is None else depth
        values[metric.name] = boundary_iou(pred, ref, maps.spacing, depth, planar=planar, ignored=without)
    if component_metrics := request.of_families(COMPONENTS):
        components = count_components(pred, ref, maps.spacing)
        values.update({metric.name: COMPONENT_METRICS[metric.name](components) for metric in component_metrics})
    if scored.line and request.of_families(FRONTS):
        fronts = front_distances(pred, ref, maps.spacing)
        values["front_error"] = front_error(fronts)
    return ClassScores(counts, values, components, fronts)


def _values_of_counts(counts: Counts, voxel_volume: float, request: Request) -> dict[str, float]:
    values = {metric.name: OVERLAP_METRICS[metric.name](counts) for metric in request.of_families(OVERLAP)}
    for metric in request.of_families(VOLUME):
        values[metric.name] = VOLUME_METRICS[metric.name](counts, voxel_volume)
    return values


def _masks(
    maps: LabelMaps, box: Box, values: Collection[int], ignored: Collection[int]
) -> tuple[Mask, Mask, Mask | None]:
    """Return the masks of prediction and reference and, where there are any, of the ignored voxels in a box."""
    assert maps.reference is not None
    assert maps.prediction is not None
    occurring = {reference for reference, _ in maps.histogram}.intersection(ignored)
    if occurring:
        # A neighbour that is ignored does not end a mask, so that the neighbours have to be seen.
        box = _grown(box, maps.shape)
    ref_labels = maps.reference[box]
    pred, ref = _is_one_of(maps.prediction[box], values), _is_one_of(ref_labels, values)
    if not occurring:
        return pred, ref, None
    without = _is_one_of(ref_labels, occurring)
    pred &= ~without
    return pred, ref, without


def _grown(box: Box, shape: tuple[int, int, int]) -> Box:
    grown = [slice(max(0, part.start - 1), min(size, part.stop + 1)) for part, size in zip(box, shape, strict=True)]
    return grown[0], grown[1], grown[2]


def _is_one_of(labels: npt.NDArray[Any], values: Collection[int]) -> Mask:
    if len(values) == 1:
        return np.asarray(labels == next(iter(values)))
    return np.isin(labels, list(values))


def _case(pair: Pair, scores: tuple[ClassScores, ...], length: float) -> CaseScores:
    return CaseScores(pair.model, pair.case, pair.prediction, pair.reference, scores, length)
