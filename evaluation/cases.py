"""Measure all cases of an evaluation, several at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from evaluation.measure import measure_case
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.labels import LabelSet
    from evaluation.measure import CaseResult, Request
    from evaluation.pairs import Pair


def measure_cases(
    pairs: Sequence[Pair], label_set: LabelSet, request: Request, *, processes: int = 1
) -> list[CaseResult]:
    """Measure all cases, in the order of ``pairs``.

    Every process holds one case at a time: a slab of both files where counts suffice, else both label maps as they
    are stored and, for one class after the other, at most 12 bytes per voxel of the box around it.

    Parameters
    ----------
    pairs
        Pairs whose grids have been compared.
    label_set
        What to score, and which values may occur.
    request
        How to measure.
    processes
        Number of cases at a time. More than one are processes that ``spawn`` starts; they import the calling
        script.

    Returns
    -------
    list of CaseResult
        One per pair.
    """
    measure = partial(measure_case, label_set=label_set, request=request)
    jobs = {index: (pair,) for index, pair in enumerate(pairs)}
    return list(run_jobs(jobs, measure, processes, "Evaluating").values())
