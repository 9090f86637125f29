"""Which slices of a sparsely annotated volume become training cases."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Range = tuple[int, int]


def crop_range(annotated: Sequence[int], length: int, context: int | None) -> Range:
    """Return the slices ``[start, stop)`` from the first to the last annotated one with context on both sides.

    Parameters
    ----------
    annotated
        Indices of the annotated slices, ascending, at least one.
    length
        Number of slices of the volume.
    context
        Slices kept before the first and behind the last annotated one, where the volume has them; None keeps all.
    """
    if context is None:
        return 0, length
    return max(0, annotated[0] - context), min(length, annotated[-1] + context + 1)


def split_ranges(annotated: Sequence[int], length: int, context: int | None, parts: int) -> list[Range]:
    """Cut a volume into at most ``parts`` ranges of slices that share no slice and are annotated each.

    The annotated slices are dealt out in order, as evenly as possible; two neighbouring ranges meet in the middle
    between their annotated slices. Cases that share no slice may stand in different folds. A volume with fewer
    annotated slices than ``parts`` gives as many ranges as it has annotated slices.
    """
    parts = min(parts, len(annotated))
    bounds = [len(annotated) * part // parts for part in range(parts + 1)]
    groups = [annotated[start:stop] for start, stop in pairwise(bounds)]
    borders = [(left[-1] + right[0] + 1) // 2 for left, right in pairwise(groups)]
    limits = list(zip([0, *borders], [*borders, length], strict=True))
    ranges = []
    for group, (low, high) in zip(groups, limits, strict=True):
        start, stop = crop_range(group, length, context)
        ranges.append((max(start, low), min(stop, high)))
    return ranges
