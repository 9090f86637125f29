"""Probabilities in the ``.npz`` files of ``nnUNetv2_predict --save_probabilities``, unpacked to be read in slabs.

A compressed array can only be read from its beginning, channel after channel; the slices of all channels are within
reach when it is unpacked to a file.
"""

from __future__ import annotations

import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json
from nnunet_ext.imageio.volume import library_errors
from nnunet_ext.inference.disk import clear_disk_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARCHIVE_ENDING = ".npz"

_MEMBER = "probabilities.npy"


def archived_array(archive: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of archived probabilities; reads the header only.

    Raises
    ------
    InputError
        If there are none in the file, or it is damaged.
    """
    with library_errors(archive), zipfile.ZipFile(archive) as members, members.open(_MEMBER) as stream:
        major = np.lib.format.read_magic(stream)[0]
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    return tuple(shape), dtype


def unpack(archive: Path, target: Path) -> None:
    """Unpack probabilities to a ``.npy`` file.

    Raises
    ------
    InputError
        If the archive is damaged.
    OutputError
        If the disk is full.
    """
    with library_errors(archive), zipfile.ZipFile(archive) as members, members.open(_MEMBER) as source:
        size = members.getinfo(_MEMBER).file_size
        with clear_disk_errors(target, size), target.open("wb") as file:
            shutil.copyfileobj(source, file, 2**20)
        unpacked(target)


def unpacked(path: Path) -> NDArray[Any]:
    """Return the probabilities of an unpacked file, shape (heads, z, y, x), mapped to memory.

    What was read of a map counts as memory of the process as long as the map is held: ask for a new one for every slab.
    """
    mapped: NDArray[Any] = np.load(path, mmap_mode="r")
    return mapped


def check_axes(predictions: Path, way_out: str) -> None:
    """Raise ``InputError`` if archived probabilities lie along other axes than their label maps.

    So they do if the model's reader turns images, since nnU-Net does not turn the probabilities back.

    Parameters
    ----------
    predictions
        Folder with ``plans.json``.
    way_out
        What to do instead, for the message.
    """
    plans = predictions / "plans.json"
    reader = str(read_json(plans).get("image_reader_writer"))
    if "Reorient" in reader:
        message = (
            f"{plans}: {reader} turns images to standard axes, and nnU-Net leaves the probabilities that way: {way_out}"
        )
        raise InputError(message)
