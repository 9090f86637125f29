"""Finished planes to the files of a prediction: turned back, put into the whole image, written slab by slab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.imageio import create_volume, has_ending
from nnunet_ext.imageio.names import TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import write_sidecar
from nnunet_ext.inference.disk import clear_disk_errors
from nnunet_ext.inference.planes import BLOCK_BYTES
from nnunet_ext.inference.stored_probabilities import create_probabilities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.geometry import Geometry
    from nnunet_ext.inference.recipe import Box
    from nnunet_ext.inference.tile_grid import Shape

_THICKNESS = 16
_BYTE_LIMIT = 255
"""nnU-Net's readers write bytes where the highest label lies below this."""


class PlaneRuns:
    """Arrays of planes that follow each other, as if they were one: the parts of a case.

    Parameters
    ----------
    runs
        Arrays (n, height, width).
    """

    def __init__(self, runs: Sequence[NDArray[Any]]) -> None:
        self._runs = [run for run in runs if len(run)]
        self.shape = (sum(len(run) for run in self._runs), *runs[0].shape[1:])
        self.dtype = runs[0].dtype

    def maximum(self) -> int:
        """Return the highest value."""
        return max(int(run[start : start + 16].max()) for run in self._runs for start in range(0, len(run), 16))

    def along(self, axis: int, start: int, stop: int) -> NDArray[Any]:
        """Return ``start`` to ``stop`` (exclusive) along an axis, all of the others."""
        if axis:
            return np.concatenate([run.take(range(start, stop), axis) for run in self._runs])
        parts, first = [], 0
        for run in self._runs:
            low, high = max(start, first), min(stop, first + len(run))
            if low < high:
                parts.append(run[low - first : high - first])
            first += len(run)
        return np.concatenate(parts)


def write_labels(
    path: Path,
    planes: PlaneRuns,
    *,
    shape: Shape,
    crop: Box,
    transpose: tuple[int, int, int],
    geometry: Geometry,
    case: str,
    overwrite: bool,
) -> None:
    """Write the label map of a case.

    Parameters
    ----------
    path
        File to write.
    planes
        Labels of the crop, along the axes of the network.
    shape
        Voxels of the image (z, y, x).
    crop
        Where the crop lies in it; everything else is 0.
    transpose
        Which axis of the image stands where in the network.
    geometry
        Position in space.
    case
        Name of the case, for nnU-Net's side-car of a TIFF file.
    overwrite
        Whether a file of that name may be replaced.
    """
    dtype = np.dtype(np.uint8 if planes.maximum() < _BYTE_LIMIT else np.uint16)
    with (
        clear_disk_errors(path),
        create_volume(path, shape, dtype, geometry, overwrite=overwrite) as writer,
    ):
        # The space that is free is asked for while the unfinished file is still there.
        with clear_disk_errors(path):
            for slab in _slabs(planes, shape, crop, transpose):
                writer.write(slab.astype(dtype))
        if has_ending(path, TIFF_ENDINGS):
            write_sidecar(path.parent, case, geometry)


def write_probabilities(
    path: Path,
    runs: Sequence[NDArray[Any]],
    background: Sequence[float],
    *,
    shape: Shape,
    crop: Box,
    transpose: tuple[int, int, int],
    overwrite: bool,
) -> None:
    """Write probabilities as a blosc2 array (heads, z, y, x) of float16.

    Parameters
    ----------
    path
        File to write, ``.b2nd``.
    runs
        Arrays (n, heads, height, width) that follow each other, along the axes of the network.
    background
        Probabilities outside of the crop, one per head.
    shape, crop, transpose, overwrite
        As in `write_labels`.
    """
    with create_probabilities(path, (len(background), *shape), _THICKNESS, overwrite=overwrite) as stored:
        for head, fill in enumerate(background):
            planes = PlaneRuns([run[:, head] for run in runs])
            start = 0
            for slab in _slabs(planes, shape, crop, transpose, fill=fill, thickness=_THICKNESS):
                stored[head, start : start + len(slab)] = slab
                start += len(slab)


def _slabs(
    planes: PlaneRuns,
    shape: Shape,
    crop: Box,
    transpose: tuple[int, int, int],
    *,
    fill: float = 0,
    thickness: int | None = None,
) -> Iterator[NDArray[Any]]:
    """Give out slabs (n, y, x) of the whole image, from the first to the last slice."""
    (first, last), rows, columns = crop
    axis = transpose.index(0)
    back = tuple(int(place) for place in np.argsort(transpose))
    step = thickness or max(1, BLOCK_BYTES // (shape[1] * shape[2] * planes.dtype.itemsize))
    for start in range(0, shape[0], step):
        stop = min(shape[0], start + step)
        slab = np.full((stop - start, *shape[1:]), fill, planes.dtype)
        low, high = max(start, first), min(stop, last)
        if low < high:
            inside = planes.along(axis, low - first, high - first).transpose(back)
            slab[low - start : high - start, slice(*rows), slice(*columns)] = inside
        yield slab
