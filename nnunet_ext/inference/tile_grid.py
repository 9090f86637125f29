"""Where nnU-Net's window stands on a volume: the tiles of stock inference, row by row along the first axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class TileGrid:
    """All windows over a volume that is padded to the size of one window where it is smaller.

    nnU-Net visits them with the first axis outermost. A *row* is all windows with one start along the first axis.

    Parameters
    ----------
    shape
        Voxels of the preprocessed volume.
    patch
        Size of the window. A 2D configuration has windows of one slice.
    padding
        Voxels of padding before the volume, along each axis.
    starts
        Per axis the first voxels of the windows, in padded coordinates.
    """

    shape: Shape
    patch: Shape
    padding: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @property
    def padded(self) -> Shape:
        """Voxels of the padded volume."""
        first, second, third = (max(size, patch) for size, patch in zip(self.shape, self.patch, strict=True))
        return first, second, third

    @property
    def tiles_per_row(self) -> int:
        """Windows of one row."""
        return len(self.starts[1]) * len(self.starts[2])

    def rows_over(self, first: int, last: int) -> tuple[int, ...]:
        """Return the starts of all rows that touch the planes ``first`` to ``last`` (exclusive) of the volume.

        Both are counted without padding; the starts are in padded coordinates.
        """
        low, high = first + self.padding[0], last + self.padding[0]
        return tuple(start for start in self.starts[0] if start < high and start + self.patch[0] > low)


def tile_grid(shape: Shape, patch: Sequence[int], step_size: float) -> TileGrid:
    """Lay nnU-Net's windows over a volume.

    Parameters
    ----------
    shape
        Voxels of the preprocessed volume.
    patch
        nnU-Net's patch size, two numbers (every slice is predicted by itself) or three.
    step_size
        Largest step from window to window, as part of the patch.
    """
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    flat = len(patch) == 2
    first, second, third = (1, *patch) if flat else tuple(patch)
    window = (int(first), int(second), int(third))
    padded = tuple(max(size, length) for size, length in zip(shape, window, strict=True))
    starts = compute_steps_for_sliding_window(padded, window, step_size)
    if flat:
        starts[0] = list(range(shape[0]))
    before = tuple((whole - size) // 2 for whole, size in zip(padded, shape, strict=True))
    return TileGrid(
        shape,
        window,
        (before[0], before[1], before[2]),
        (tuple(starts[0]), tuple(starts[1]), tuple(starts[2])),
    )
