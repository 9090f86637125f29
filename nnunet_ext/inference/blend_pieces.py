"""Blend the probabilities of overlapping pieces across their halos, and take the labels of the result."""

from __future__ import annotations

import shutil
import zipfile
from contextlib import ExitStack
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import create_volume, volume_name
from nnunet_ext.imageio.volume import library_errors
from nnunet_ext.inference.piece_files import along, slab_ranges
from nnunet_ext.inference.pieces import Interval, blending_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnunet_ext.inference.split_manifest import SplitCase

_MEMBER = "probabilities.npy"


def blend_pieces(case: SplitCase, paths: Sequence[Path], target: Path) -> None:
    """Write the labels of blended probabilities to one volume.

    Where pieces overlap, their probabilities are averaged with weights that fall linearly from core to core;
    nnU-Net's label manager turns the result to labels, be they plain, regions or those of several tasks.

    A compressed array can only be read from its beginning, channel after channel. So each piece's probabilities are
    unpacked to a file beside the target before they are needed, and removed when they are not needed any more. Memory
    holds a few slabs of about 32 MiB, or of one slice with all channels if that is more. Disk space is needed for the
    unpacked probabilities of the pieces that hold the current slices: two neighbours along z, all pieces along y and x.

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
    labels = _label_manager(paths[0].parent)
    highest = max(labels.all_labels)
    dtype = np.dtype(np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)
    heads = int(labels.num_segmentation_heads)
    weights = blending_weights(case.pieces, case.shape[case.axis])
    with ExitStack() as stack:
        temporary = TemporaryDirectory(prefix=".partial-", dir=target.parent, ignore_cleanup_errors=True)
        scratch = Path(stack.enter_context(temporary))
        writer = stack.enter_context(create_volume(target, case.shape, dtype, case.geometry))
        unpacked: dict[int, NDArray[Any]] = {}
        for start, stop in slab_ranges(0, case.shape[0], heads * prod(case.shape[1:]) * 4):
            blended = np.zeros((heads, stop - start, *case.shape[1:]), np.float32)
            for index, (piece, path) in enumerate(zip(case.pieces, paths, strict=True)):
                held = piece.extent.clipped(Interval(start, stop)) if case.axis == 0 else piece.extent
                if not len(held):
                    if index in unpacked:
                        del unpacked[index]
                        _unpacked_file(scratch, index).unlink()
                    continue
                if index not in unpacked:
                    unpacked[index] = _unpack(_archive(path), _unpacked_file(scratch, index))
                _add(blended, unpacked[index], start, held, piece.extent, weights[index], case.axis)
            writer.write(_to_labels(labels, blended).astype(dtype))
        unpacked.clear()


def check_blending(predictions: Path) -> None:
    """See that the files beside predictions say how probabilities become labels.

    Raises
    ------
    MissingInputError
        If ``dataset.json`` or ``plans.json`` is not there.
    InputError
        If the model's reader turns images, since nnU-Net does not turn the probabilities back.
    """
    reader = str(read_json(predictions / "plans.json").get("image_reader_writer"))
    read_json(predictions / "dataset.json")
    if "Reorient" in reader:
        message = (
            f"{predictions / 'plans.json'}: {reader} turns images to standard axes, and nnU-Net leaves the "
            "probabilities that way: merge without --blend"
        )
        raise InputError(message)


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
    heads = int(_label_manager(path.parent).num_segmentation_heads)
    with library_errors(archive), zipfile.ZipFile(archive) as members, members.open(_MEMBER) as stream:
        major = np.lib.format.read_magic(stream)[0]
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        found, _, dtype = read(stream)
    if tuple(found) == (heads, *shape) and dtype.kind == "f":
        return []
    return [f"{archive}: {dtype} of shape {tuple(found)}, expected numbers of shape {(heads, *shape)} for {where}"]


def _label_manager(folder: Path) -> Any:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(read_json(folder / "plans.json"))
    return plans.get_label_manager(read_json(folder / "dataset.json"))


def _archive(path: Path) -> Path:
    return path.with_name(f"{volume_name(path)}.npz")


def _unpacked_file(scratch: Path, index: int) -> Path:
    return scratch / f"{index}.npy"


def _unpack(archive: Path, target: Path) -> NDArray[Any]:
    """Return the probabilities of a piece, (channels, z, y, x), mapped from a file that is not compressed."""
    with library_errors(archive):
        with zipfile.ZipFile(archive) as members, members.open(_MEMBER) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        mapped: NDArray[Any] = np.load(target, mmap_mode="r")
    return mapped


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


def _to_labels(manager: Any, probabilities: NDArray[np.float32]) -> NDArray[Any]:
    found = manager.convert_probabilities_to_segmentation(probabilities)
    return np.asarray(found)
