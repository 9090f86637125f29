"""Find and read the PNGs of the benchmark's folders: images, fronts, zones, and the text files of boxes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.caffe.grey_levels import FRONT, ZONES, to_indices
from nnunet_ext.errors import InputError, MissingInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

IMAGE = ("_0000.png", ".png")
FRONTS = ("_front.png",)
ZONE = ("_zone.png", "_zones.png")


def png_files(folder: Path) -> dict[str, Path]:
    """Return the PNGs that lie in a folder by name.

    Raises
    ------
    MissingInputError
        If there is no such folder.
    """
    if not folder.is_dir():
        message = f"no such folder: {folder}"
        raise MissingInputError(message)
    return {path.name: path for path in sorted(folder.iterdir()) if path.suffix == ".png"}


def files_of(cases: Sequence[str], folder: Path, endings: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """Find the file of each case, named as the case with one of some endings.

    Parameters
    ----------
    cases
        Names of images.
    folder
        Folder that the files lie in.
    endings
        The first that there is a file for counts.

    Returns
    -------
    dict of str to Path
        File of each case that has one.
    list of str
        One message per case without a file, and per file that cannot be opened or is no 8-bit image of one channel.

    Raises
    ------
    MissingInputError
        If there is no such folder.
    """
    present = png_files(folder)
    found: dict[str, Path] = {}
    problems = []
    for case in cases:
        names = [case + ending for ending in endings]
        path = next((present[name] for name in names if name in present), None)
        if path is None:
            problems.append(f"case {case!r}: no file in {folder}, expected {' or '.join(names)}")
            continue
        try:
            png_shape(path)
        except InputError as error:
            problems.append(str(error))
        else:
            found[case] = path
    return found, problems


def has_any(folder: Path, endings: Sequence[str]) -> bool:
    """Return whether a folder holds a PNG with one of some endings."""
    return any(name.endswith(tuple(endings)) for name in png_files(folder))


def box_files(cases: Sequence[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Find the box of each case: a text file whose name is that of the case, or goes on without a letter or digit.

    Returns
    -------
    dict of str to Path
        File of each case that has one.
    list of str
        One message per case without a file or with several.
    """
    if not folder.is_dir():
        message = f"no such folder: {folder}"
        raise MissingInputError(message)
    names = sorted(path.name for path in folder.iterdir() if path.suffix == ".txt")
    found, problems = {}, []
    for case in cases:
        belongs = re.compile(rf"{re.escape(case)}(?![0-9A-Za-z])")
        own = [name for name in names if belongs.match(name)]
        if len(own) == 1:
            found[case] = folder / own[0]
        else:
            what = f"several boxes {', '.join(own)}" if own else "no box"
            problems.append(f"case {case!r}: {what} in {folder}, expected one file {case}*.txt")
    return found, problems


def png_shape(path: Path) -> tuple[int, int]:
    """Return rows and columns of an 8-bit PNG of one channel, without reading its pixels.

    Raises
    ------
    InputError
        If it is something else.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, (columns, rows) = image.mode, image.size
    except (OSError, Image.DecompressionBombError) as error:
        message = f"{path}: cannot be opened as an image: {error}"
        raise InputError(message) from error
    if mode != "L":
        message = f"{path}: an image of mode {mode}, expected 8 bit and one channel (mode L)"
        raise InputError(message)
    return rows, columns


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read grey levels, shape (H, W).

    Raises
    ------
    InputError
        If the file is damaged, or no 8-bit image of one channel.
    """
    from PIL import Image

    png_shape(path)
    try:
        with Image.open(path) as image:
            return np.asarray(image, dtype=np.uint8)
    except (OSError, SyntaxError) as error:
        message = f"{path}: cannot be read as an image: {error}"
        raise InputError(message) from error


def read_front(path: Path) -> npt.NDArray[np.bool_]:
    """Read a front (0 and 255), shape (H, W).

    Raises
    ------
    InputError
        If the file is no 8-bit image of one channel, or holds other grey levels.
    """
    front: npt.NDArray[np.bool_] = _indices(path, FRONT) == 1
    return front


def read_zones(path: Path) -> npt.NDArray[np.uint8]:
    """Read zones as indices into `nnunet_ext.caffe.grey_levels.ZONES`, shape (H, W).

    Raises
    ------
    InputError
        If the file is no 8-bit image of one channel, or holds other grey levels.
    """
    return _indices(path, ZONES)


def _indices(path: Path, levels: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    try:
        return to_indices(read_image(path), levels)[0]
    except InputError as error:
        message = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise InputError(message) from error
