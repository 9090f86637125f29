"""Cut a volume into files, and join files to a volume, slab by slab."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.imageio import create_volume
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.imageio.volume import SLAB_BYTES
from nnunet_ext.inference.pieces import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from nnunet_ext.imageio import Volume, VolumeWriter
    from nnunet_ext.inference.pieces import Piece
    from nnunet_ext.inference.split_manifest import SplitCase


def write_pieces(volume: Volume, case: SplitCase, paths: Sequence[Path]) -> None:
    """Write the pieces of a volume, reading it once from its first to its last slice.

    Parameters
    ----------
    volume
        The whole volume.
    case
        How it is cut, and where it lies in space.
    paths
        A file per piece. None of them may exist. Along y and x all of them are open at the same time, along z those
        that hold the current slices.
    """
    with ExitStack() as everything:
        writers: dict[int, tuple[ExitStack, VolumeWriter]] = {}
        for start, slab in volume.slabs():
            at = Interval(start, start + len(slab))
            for index, piece in enumerate(case.pieces):
                part = _part_of_slab(slab, at, piece, case.axis)
                if not part.size:
                    continue
                if index not in writers:
                    own = everything.enter_context(ExitStack())
                    writing = create_volume(
                        paths[index], case.piece_shape(piece), volume.dtype, case.piece_geometry(piece)
                    )
                    writers[index] = own, own.enter_context(writing)
                own, writer = writers[index]
                writer.write(part)
                if writer.written == writer.shape[0]:
                    own.close()


def join_pieces(case: SplitCase, paths: Sequence[Path], target: Path) -> None:
    """Write the cores of pieces to one volume, slab by slab.

    Parameters
    ----------
    case
        How the volume was cut, and where it lies in space.
    paths
        The file of each piece. Along y and x all of them are open at the same time, along z one.
    target
        The volume's file, of a type that holds the values of all pieces.
    """
    dtype = joined_dtype(paths)
    with create_volume(target, case.shape, dtype, case.geometry) as writer:
        for slab in _core_slabs(case, paths, dtype):
            writer.write(slab)


def joined_dtype(paths: Sequence[Path]) -> np.dtype[Any]:
    """Return the type that holds the values of all pieces; nnU-Net writes each piece with the smallest one."""
    dtypes = []
    for path in paths:
        with open_with_sidecar(path) as volume:
            dtypes.append(volume.dtype)
    return np.result_type(*dtypes)


def slab_ranges(start: int, stop: int, bytes_per_slice: int) -> Iterator[tuple[int, int]]:
    """Cut slices ``start`` to ``stop`` into ranges of about 32 MiB, at least one slice each."""
    step = max(1, SLAB_BYTES // bytes_per_slice)
    for first in range(start, stop, step):
        yield first, min(stop, first + step)


def along(array: NDArray[Any], axis: int, interval: Interval) -> NDArray[Any]:
    """Return a view of an array (z, y, x) that is cut to an interval of one axis."""
    where = [slice(None)] * array.ndim
    where[axis] = slice(interval.start, interval.stop)
    return array[tuple(where)]


def _part_of_slab(slab: NDArray[Any], at: Interval, piece: Piece, axis: int) -> NDArray[Any]:
    """Return what a piece holds of the slices ``at``; may be empty."""
    if axis:
        return along(slab, axis, piece.extent)
    held = piece.extent.clipped(at).moved(-at.start)
    return slab[held.start : max(held.start, held.stop)]


def _core_slabs(case: SplitCase, paths: Sequence[Path], dtype: DTypeLike) -> Iterator[NDArray[Any]]:
    """Yield the slices of the whole volume in order, a few at a time."""
    per_slice = prod(case.shape[1:]) * np.dtype(dtype).itemsize
    cores = [piece.core.moved(-piece.extent.start) for piece in case.pieces]
    if case.axis == 0:
        for core, path in zip(cores, paths, strict=True):
            with open_with_sidecar(path) as volume:
                for start, stop in slab_ranges(core.start, core.stop, per_slice):
                    yield volume.slab(start, stop)
                # The halo behind the core is read to see that the file does not end too early.
                for start, stop in slab_ranges(core.stop, volume.shape[0], per_slice):
                    volume.slab(start, stop)
        return
    with ExitStack() as stack:
        volumes = [stack.enter_context(open_with_sidecar(path)) for path in paths]
        for start, stop in slab_ranges(0, case.shape[0], per_slice):
            whole = np.empty((stop - start, *case.shape[1:]), dtype)
            for volume, piece, core in zip(volumes, case.pieces, cores, strict=True):
                along(whole, case.axis, piece.core)[...] = along(volume.slab(start, stop), case.axis, core)
            yield whole
