"""Count the label values of every case, slab by slab, in parallel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from evaluation.histogram import counts_of, joint_histogram
from evaluation.manifest import FileRecord, file_records
from evaluation.summaries import CaseCounts
from nnunet_ext.errors import NnunetExtError
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evaluation.labels import LabelSet
    from evaluation.pairs import Pair

SLAB_VOXELS = 2**23
"""Voxels of a slab, about; the memory of a process is a few times this."""


@dataclass(frozen=True)
class CaseResult:
    """What is known of a case once its files are read: counts, the files themselves, and what is wrong."""

    case: CaseCounts
    files: tuple[FileRecord, ...]
    problems: tuple[str, ...]


def count_cases(pairs: Sequence[Pair], label_set: LabelSet, *, processes: int = 1) -> list[CaseResult]:
    """Count all cases, in the order of ``pairs``.

    Parameters
    ----------
    pairs
        Pairs whose grids have been compared.
    label_set
        What to count, and which values may occur.
    processes
        Number of cases at a time. More than one are processes that ``spawn`` starts; they import the calling
        script.

    Returns
    -------
    list of CaseResult
        One per pair.
    """
    count = partial(count_case, label_set=label_set)
    return list(run_jobs({index: (pair,) for index, pair in enumerate(pairs)}, count, processes, "Counting").values())


def count_case(pair: Pair, label_set: LabelSet) -> CaseResult:
    """Count one case; files that cannot be read and undeclared values become messages."""
    files = (*file_records(pair.prediction), *file_records(pair.reference))
    try:
        histogram = read_histogram(pair.reference, pair.prediction)
    except NnunetExtError as error:
        problem = f"case {pair.case!r}: {pair.prediction} against {pair.reference}: {error}"
        return CaseResult(_case_counts(pair, label_set, {}), files, (problem,))
    problems = undeclared_values(pair, histogram, label_set)
    return CaseResult(_case_counts(pair, label_set, histogram), files, tuple(problems))


def undeclared_values(pair: Pair, histogram: Mapping[tuple[int, int], int], label_set: LabelSet) -> list[str]:
    """Return one message per file with values that are not declared; none where any value may occur."""
    if label_set.declared is None:
        return []
    problems = []
    for path, axis in ((pair.reference, 0), (pair.prediction, 1)):
        values: Counter[int] = Counter()
        for values_of_pair, voxels in histogram.items():
            values[values_of_pair[axis]] += voxels
        unknown = {value: voxels for value, voxels in values.items() if value not in label_set.declared}
        if unknown:
            expected = f"expected labels {sorted(label_set.declared)} as in {label_set.source}"
            problems.append(f"{path}: values {_listed(unknown)} found, {expected}")
    return problems


def read_histogram(reference: Path, prediction: Path) -> Counter[tuple[int, int]]:
    """Return the joint histogram of two files of the same shape, with one slab of each in memory."""
    total: Counter[tuple[int, int]] = Counter()
    with open_with_sidecar(reference) as ref, open_with_sidecar(prediction) as pred:
        _, height, width = ref.shape
        thickness = max(1, SLAB_VOXELS // (height * width))
        for (_, ref_slab), (_, pred_slab) in zip(ref.slabs(thickness), pred.slabs(thickness), strict=True):
            total.update(joint_histogram(ref_slab, pred_slab))
    return total


def _case_counts(pair: Pair, label_set: LabelSet, histogram: Mapping[tuple[int, int], int]) -> CaseCounts:
    counts = tuple(counts_of(histogram, scored.values, label_set.ignored_for(scored)) for scored in label_set.classes)
    return CaseCounts(pair.model, pair.case, pair.prediction, pair.reference, counts)


def _listed(values: Mapping[int, int]) -> str:
    shown = sorted(values.items())[:10]
    more = f" and {len(values) - len(shown)} more" if len(values) > len(shown) else ""
    return ", ".join(f"{value} ({voxels} voxels)" for value, voxels in shown) + more
