"""The picture of one case: find its worst slices, read them, draw and caption them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluation.arguments import DEFAULT_MODEL
from evaluation.overlap import dice
from nnunet_ext.errors import BadCasesError, NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from evaluation.labels import LabelSet
    from evaluation.pairs import Pair
    from evaluation.pictures.caption import LegendEntry
    from evaluation.pictures.contours import LineColors
    from evaluation.pictures.slices import View

SLAB_VOXELS = 2**22
"""Voxels of a slab, about; the memory of a process is some dozens of bytes times this."""


@dataclass(frozen=True)
class CaseSurvey:
    """What one pass over the files of a case finds.

    Parameters
    ----------
    pair
        The case.
    dice
        Dice per class over the whole case; NaN where both masks are empty.
    slices
        Index and number of differing voxels of the slices to draw, worst first.
    length
        Slices of the volume along the axis.
    problems
        Why the case cannot be used; empty if it can.
    """

    pair: Pair
    dice: tuple[float, ...]
    slices: tuple[tuple[int, int], ...]
    length: int
    problems: tuple[str, ...] = ()

    @property
    def mean_dice(self) -> float:
        """Mean over the classes whose Dice is a number; NaN if there is none."""
        numbers = [value for value in self.dice if not math.isnan(value)]
        return sum(numbers) / len(numbers) if numbers else math.nan


@dataclass(frozen=True)
class Overlay:
    """A picture (height, width, 3; uint8) of the slice ``index``, from 0, perpendicular to an array axis."""

    picture: NDArray[Any]
    axis: str
    index: int


def case_overlay(pair: Pair, label_set: LabelSet, *, image: Path | None = None, axis: str = "z") -> Overlay:
    """Draw the slice of a case at which prediction and reference differ most, with a legend but without title.

    Parameters
    ----------
    pair
        Files of the same voxel grid.
    label_set
        The classes to draw.
    image
        File of the same grid, shown in grey. Default: plain dark grey.
    axis
        Array axis that the slice is perpendicular to: ``z``, ``y`` or ``x``.

    Returns
    -------
    Overlay
        The picture and which slice it shows.

    Raises
    ------
    BadCasesError
        If the files of the pair cannot be read or hold other values than declared.
    InputError
        If the image cannot be read, or has another shape.
    """
    survey = survey_case(pair, label_set=label_set, axis=axis)
    if survey.problems:
        raise BadCasesError(survey.problems)
    index = survey.slices[0][0]
    return Overlay(draw_slice(survey, index, (), label_set=label_set, image=image, axis=axis), axis, index)


def survey_case(pair: Pair, *, label_set: LabelSet, axis: str = "z", slices: int = 1) -> CaseSurvey:
    """Score a case and choose its worst slices, with one slab of each file in memory.

    Parameters
    ----------
    pair
        Files of the same shape.
    label_set
        The classes that count.
    axis
        Array axis that the slices are perpendicular to.
    slices
        How many slices to choose, at most.

    Returns
    -------
    CaseSurvey
        With problems instead of results if a file cannot be read or holds undeclared values.
    """
    import numpy as np

    from evaluation.histogram import counts_of, joint_histogram
    from evaluation.label_maps import undeclared_values_of_pair
    from evaluation.pictures.slices import AXES, SliceCounts, count_slices, worst_slices
    from nnunet_ext.class_rules.volume import open_with_rules
    from nnunet_ext.imageio.sidecar import open_with_sidecar

    histogram: Counter[tuple[int, int]] = Counter()
    parts = []
    number = AXES.index(axis)
    try:
        with open_with_sidecar(pair.reference) as ref, open_with_rules(pair.prediction, pair.rules) as pred:
            if ref.shape != pred.shape:
                problem = f"{pair.prediction}: shape {pred.shape} instead of {ref.shape} as in {pair.reference}"
                return CaseSurvey(pair, (), (), 0, (problem,))
            _, height, width = ref.shape
            thickness = max(1, SLAB_VOXELS // (height * width))
            for (_, ref_slab), (_, pred_slab) in zip(ref.slabs(thickness), pred.slabs(thickness), strict=True):
                histogram += joint_histogram(ref_slab, pred_slab)
                parts.append(count_slices(ref_slab, pred_slab, label_set, number))
    except NnunetExtError as error:
        problem = f"case {pair.case!r}: {pair.prediction} against {pair.reference}: {error}"
        return CaseSurvey(pair, (), (), 0, (problem,))
    join: Any = np.concatenate if number == 0 else sum
    counts = SliceCounts(join([part.differing for part in parts]), join([part.labelled for part in parts]))
    scores = tuple(
        dice(counts_of(histogram, frozenset(scored.values), label_set.ignored_for(scored)))
        for scored in label_set.classes
    )
    chosen = tuple((index, int(counts.differing[index])) for index in worst_slices(counts, slices))
    return CaseSurvey(
        pair, scores, chosen, len(counts.differing), tuple(undeclared_values_of_pair(pair, histogram, label_set))
    )


def draw_slice(
    survey: CaseSurvey,
    index: int,
    title: Sequence[str],
    *,
    label_set: LabelSet,
    image: Path | None = None,
    axis: str = "z",
) -> NDArray[Any]:
    """Draw one slice of a case, with a legend.

    Parameters
    ----------
    survey
        The case and its scores.
    index
        Which slice, from 0.
    title
        Paragraphs above the picture; may be none.
    label_set
        The classes to draw.
    image
        Shown in grey; of the same shape.
    axis
        Array axis that the slice is perpendicular to.

    Returns
    -------
    ndarray of uint8
        (height, width, 3).

    Raises
    ------
    InputError
        If a file cannot be read, or shapes differ.
    """
    from evaluation.pictures.caption import with_caption, with_sides
    from evaluation.pictures.contours import line_colors, overlay_picture
    from evaluation.pictures.slices import AXES, read_slice
    from nnunet_ext.class_rules.volume import open_with_rules

    pair = survey.pair
    view, spacing = _view(pair.reference, axis)
    reference = view.turn(_slice_of(pair.reference, pair.case, axis, index))
    with open_with_rules(pair.prediction, pair.rules) as volume:
        prediction = view.turn(read_slice(volume, AXES.index(axis), index))
    colors = line_colors(len(label_set.classes))
    picture = overlay_picture(
        reference,
        prediction,
        label_set,
        image=None if image is None else view.turn(_slice_of(image, pair.case, axis, index)),
        colors=colors,
        spacing=view.turn_pair(spacing),
    )
    return with_caption(
        with_sides(picture, view.sides), title, _legend(survey, reference, prediction, label_set, colors)
    )


def slice_title(survey: CaseSurvey, index: int, axis: str) -> tuple[str, str]:
    """Name case and model, and in the second line the slice and the mean Dice of the case."""
    pair = survey.pair
    who = pair.case if pair.model == DEFAULT_MODEL else f"{pair.case}   ({pair.model})"
    where = f"slice {axis} = {index} of 0 to {survey.length - 1},   " if survey.length > 1 else ""
    return who, f"{where}mean Dice of the case {_number(survey.mean_dice)}"


def _view(path: Path, axis: str) -> tuple[View, tuple[float, float]]:
    """Return how to turn slices of a volume, and their spacing before it is turned."""
    from evaluation.pictures.slices import AXES, View, radiological_view
    from nnunet_ext.imageio.grid import grid_of
    from nnunet_ext.imageio.sidecar import open_with_sidecar

    number = AXES.index(axis)
    with open_with_sidecar(path) as volume:
        grid = grid_of(volume)
    rows, columns = (step for other, step in enumerate(grid.geometry.spacing) if other != number)
    # Without a place in space, nobody knows where up is; then the array is shown as it is.
    view = radiological_view(grid.geometry, number) if grid.is_placed else View()
    return view, (rows, columns)


def _slice_of(path: Path, case: str, axis: str, index: int) -> NDArray[Any]:
    from evaluation.pictures.slices import AXES, read_slice
    from nnunet_ext.imageio.sidecar import open_with_sidecar

    with open_with_sidecar(path, case) as volume:
        return read_slice(volume, AXES.index(axis), index)


def _number(value: float) -> str:
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.3f}"


def _legend(
    survey: CaseSurvey,
    reference: NDArray[Any],
    prediction: NDArray[Any],
    label_set: LabelSet,
    colors: Sequence[LineColors],
) -> list[LegendEntry]:
    """Explain the lines, the classes that are in the picture, and what is not annotated in it."""
    import numpy as np

    from evaluation.pictures.caption import INK, LegendEntry
    from evaluation.pictures.contours import ignored_voxels

    values = {value for labels in (reference, prediction) for value in np.unique(labels).tolist()}
    shown = [
        (f"{scored.task}/{scored.name}" if scored.task else scored.name, score, color)
        for scored, score, color in zip(label_set.classes, survey.dice, colors, strict=True)
        if values & set(scored.values)
    ]
    same = all(color.reference == color.prediction for color in colors)
    first = colors[0]
    entries = [
        LegendEntry("label", INK if same else first.reference, "solid"),
        LegendEntry("prediction", INK if same else first.prediction, "dashed"),
    ]
    entries += [
        LegendEntry(f"{name}, Dice {_number(score)}", color.reference if same else INK, "block" if same else "none")
        for name, score, color in shown
    ]
    ignored = ignored_voxels(reference, label_set)
    if (ignored == 2).any():
        entries.append(LegendEntry("not annotated", INK, "hatched"))
    if (ignored == 1).any():
        some = np.unique(reference[ignored == 1]).tolist()
        tasks = [s.task or s.name for s in label_set.classes if label_set.ignored_for(s).intersection(some)]
        entries.append(LegendEntry(f"{', '.join(dict.fromkeys(tasks))} not annotated", INK, "hatched"))
    return entries
