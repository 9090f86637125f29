"""Blend the probabilities of overlapping pieces across their halos, and take the labels of the result."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.files import read_json
from nnunet_ext.imageio import create_volume, volume_name
from nnunet_ext.inference.archived_probabilities import ARCHIVE_ENDING, archived_array, check_axes, unpack, unpacked
from nnunet_ext.inference.piece_files import along, slab_ranges
from nnunet_ext.inference.pieces import Interval, blending_weights
from nnunet_ext.inference.probability_labels import labels_of_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnunet_ext.inference.split_manifest import SplitCase


def blend_pieces(case: SplitCase, paths: Sequence[Path], target: Path) -> None:
    """Write the labels of blended probabilities to one volume.

    Where pieces overlap, their probabilities are averaged with weights that fall linearly from core to core;
    nnU-Net's label manager turns the result to labels, be they plain, regions or those of several tasks.

    Each piece's probabilities are unpacked to a file beside the target before they are needed, and removed when they
    are not needed any more, see `nnunet_ext.inference.archived_probabilities`. Memory holds a few slabs of about
    32 MiB, or of one slice with all channels if that is more. Disk space is needed for the unpacked probabilities of
    the pieces that hold the current slices: two neighbours along z, all pieces along y and x.

    Parameters
    ----------
    case
        How the volume was cut, and where it lies in space.
    paths
        Predicted label map of each piece; its probabilities are in ``<name>.npz`` beside it.
    target
        File to write, as uint8, or uint16 where labels are above 255.

    Raises
    ------
    InputError
        If probabilities are damaged.
    """
    labels = labels_of_folder(paths[0].parent)
    weights = blending_weights(case.pieces, case.shape[case.axis])
    with ExitStack() as stack:
        temporary = TemporaryDirectory(prefix=".partial-", dir=target.parent, ignore_cleanup_errors=True)
        scratch = Path(stack.enter_context(temporary))
        writer = stack.enter_context(create_volume(target, case.shape, labels.dtype, case.geometry))
        files: dict[int, Path] = {}
        for start, stop in slab_ranges(0, case.shape[0], labels.heads * prod(case.shape[1:]) * 4):
            blended = np.zeros((labels.heads, stop - start, *case.shape[1:]), np.float32)
            for index, (piece, path) in enumerate(zip(case.pieces, paths, strict=True)):
                held = piece.extent.clipped(Interval(start, stop)) if case.axis == 0 else piece.extent
                if not len(held):
                    if index in files:
                        files.pop(index).unlink()
                    continue
                if index not in files:
                    files[index] = scratch / f"{index}.npy"
                    unpack(_archive(path), files[index])
                _add(blended, unpacked(files[index]), start, held, piece.extent, weights[index], case.axis)
            writer.write(labels.of(blended))


def check_blending(predictions: Path) -> None:
    """See that the files beside predictions say how probabilities become labels.

    Raises
    ------
    MissingInputError
        If ``dataset.json`` or ``plans.json`` is not there.
    InputError
        If the model's reader turns images, since nnU-Net does not turn the probabilities back.
    """
    read_json(predictions / "dataset.json")
    check_axes(predictions, "merge without --blend")


def blending_problems(path: Path, shape: tuple[int, int, int], where: str) -> list[str]:
    """Return what is wrong with the probabilities of a piece; reads their header only.

    Parameters
    ----------
    path
        Predicted label map of the piece.
    shape
        Voxels of the piece along z, y, x.
    where
        Names case and interval in messages.
    """
    archive = _archive(path)
    if not archive.is_file():
        return [f"{archive}: missing, expected the probabilities of {where}: nnUNetv2_predict --save_probabilities"]
    heads = labels_of_folder(path.parent).heads
    found, dtype = archived_array(archive)
    if found == (heads, *shape) and dtype.kind == "f":
        return []
    return [f"{archive}: {dtype} of shape {found}, expected numbers of shape {(heads, *shape)} for {where}"]


def _archive(path: Path) -> Path:
    return path.with_name(f"{volume_name(path)}{ARCHIVE_ENDING}")


def _add(
    blended: NDArray[np.float32],
    probabilities: NDArray[Any],
    start: int,
    held: Interval,
    extent: Interval,
    weights: NDArray[np.float32],
    axis: int,
) -> None:
    """Add what a piece says of the slices from ``start`` on, weighted along the axis that was cut."""
    own = held.moved(-extent.start)
    if axis == 0:
        target = along(blended, 1, held.moved(-start))
        source = along(probabilities, 1, own)
    else:
        target = along(blended, axis + 1, held)
        source = along(probabilities[:, start : start + blended.shape[1]], axis + 1, own)
    shape = [1, 1, 1, 1]
    shape[axis + 1] = len(held)
    factors = weights[held.start : held.stop].reshape(shape)
    for into, values in zip(target, source, strict=True):
        into += values * factors[0]
