"""How much is annotated: voxels and slices per class, counted anew only where something was painted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.annotation.classes import LARGEST_ID, UNANNOTATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from nnunet_ext.annotation.classes import AnnotationClass

DENSE_SHARE = 0.95
"""A slice is densely annotated from this share of its voxels on; below it, the annotation is sparse."""


@dataclass(frozen=True)
class ClassCoverage:
    """How much of a class is annotated.

    Parameters
    ----------
    id, name
        The class.
    voxels
        Annotated voxels.
    slices
        Slices with at least one of them.
    dense, sparse
        How many of these slices are annotated densely (``DENSE_SHARE``) and sparsely.
    """

    id: int
    name: str
    voxels: int
    slices: int
    dense: int
    sparse: int


class Coverage:
    """Voxels of every id on every slice.

    Parameters
    ----------
    shape
        Of the annotation, (z, y, x).
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._slice_size = shape[1] * shape[2]
        self._counts = np.zeros((shape[0], LARGEST_ID + 1), dtype=np.int64)
        self._counts[:, UNANNOTATED] = self._slice_size

    def update(self, labels: NDArray[np.uint8], slices: Iterable[int]) -> None:
        """Count slices anew.

        Parameters
        ----------
        labels
            The whole annotation, (z, y, x), uint8.
        slices
            Those that may have changed.
        """
        for index in slices:
            self.count(index, labels[index])

    def count(self, index: int, plane: NDArray[np.uint8]) -> None:
        """Count one slice, (y, x), anew."""
        if plane.any():
            self._counts[index] = np.bincount(np.ravel(plane), minlength=LARGEST_ID + 1)
        else:
            # Most slices of a sparse annotation are empty, and that is seen ten times as fast.
            self._counts[index] = 0
            self._counts[index, UNANNOTATED] = self._slice_size

    def voxels_of_id(self) -> dict[int, int]:
        """Return how many voxels have each id that occurs, 0 left out."""
        total = self._counts.sum(axis=0)
        return {int(value): int(total[value]) for value in np.flatnonzero(total) if value != UNANNOTATED}

    def annotated_share(self, index: int) -> float:
        """Return the share of a slice's voxels that is annotated, 0 to 1."""
        return (self._slice_size - int(self._counts[index, UNANNOTATED])) / self._slice_size

    def annotated_slices(self) -> list[int]:
        """Return the slices with at least one annotated voxel."""
        return [int(index) for index in np.flatnonzero(self._counts[:, UNANNOTATED] < self._slice_size)]

    def table(self, classes: Sequence[AnnotationClass]) -> list[ClassCoverage]:
        """Return one row per class, id 0 left out."""
        dense = self._slice_size - self._counts[:, UNANNOTATED] >= DENSE_SHARE * self._slice_size
        return [_row(one, self._counts[:, one.id], dense) for one in classes if one.id != UNANNOTATED]


def coverage_text(rows: Sequence[ClassCoverage]) -> str:
    """Return a coverage table for the terminal."""
    head = ("id", "class", "voxels", "slices", "dense", "sparse")
    cells = [
        (str(row.id), row.name, *(f"{n:,}" for n in (row.voxels, row.slices, row.dense, row.sparse))) for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *cells]) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 1 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *cells]
    )


def _row(one: AnnotationClass, per_slice: NDArray[np.int64], dense: NDArray[np.bool_]) -> ClassCoverage:
    there = per_slice > 0
    return ClassCoverage(
        id=one.id,
        name=one.name,
        voxels=int(per_slice.sum()),
        slices=int(there.sum()),
        dense=int((there & dense).sum()),
        sparse=int((there & ~dense).sum()),
    )
