"""Find the images whose fronts are wanted, and what is known of each: pixel size, place on the map, box."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evaluation.front_scores.inputs import boxes_by_stem
from nnunet_ext.caffe.bounding_boxes import read_bounding_box
from nnunet_ext.caffe.names import SUFFIXES, parse_caffe_name
from nnunet_ext.errors import InputError, MissingInputError, UnsupportedFormatError
from nnunet_ext.front_lines.georeference import CHANNEL, Georeference, read_georeference
from nnunet_ext.imageio import has_ending, natural_key, open_volume, volume_name
from nnunet_ext.imageio.names import PNG_ENDING, TIFF_ENDINGS
from nnunet_ext.imageio.png import read_png_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

ENDINGS = (PNG_ENDING, *TIFF_ENDINGS)
MAX_DISAGREEMENT = 0.1
"""Part by which the pixel sizes of name and georeferencing may differ: the benchmark's names are rounded."""


@dataclass(frozen=True)
class Scene:
    """An image and what is known of it.

    Parameters
    ----------
    stem
        Name without ending and ``_0000``.
    path
        The file.
    shape
        Rows and columns.
    resolution
        Metres per pixel.
    place
        Where it lies on a map, or None.
    box
        Rows and columns in which fronts count, or None for all.
    """

    stem: str
    path: Path
    shape: tuple[int, int]
    resolution: float
    place: Georeference | None = None
    box: tuple[slice, slice] | None = None


@dataclass(frozen=True)
class Hints:
    """What the user says about all images.

    Parameters
    ----------
    resolution
        Metres per pixel of images whose names and georeferencing do not say it.
    boxes
        Folder of the boxes ``<stem>*.txt``, of which every image needs one; or None.
    in_pixels
        Whether georeferencing is left alone.
    crs
        Coordinate system of world files, or empty.
    compat
        Whether boxes are clipped as in the benchmark.
    """

    resolution: float | None = None
    boxes: Path | None = None
    in_pixels: bool = False
    crs: str = ""
    compat: bool = False


def find_images(folder: Path) -> dict[str, list[Path]]:
    """Return the images in a folder by stem, in natural order; several of a stem are a mistake of the user.

    Raises
    ------
    MissingInputError
        If there is no such folder.
    InputError
        If there is no image in it.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder"
        raise MissingInputError(message)
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if path.is_file() and has_ending(path, ENDINGS) and not path.name.startswith("."):
            found[volume_name(path).removesuffix(CHANNEL)].append(path)
    if not found:
        message = f"{folder}: no image there, expected <stem>.png or <stem>{CHANNEL}.png (or .tif)"
        raise InputError(message)
    return dict(found)


def describe(stem: str, paths: list[Path], hints: Hints) -> Scene:
    """Find out what is known of an image, without reading its pixels.

    Parameters
    ----------
    stem, paths
        As of ``find_images``.
    hints
        What the user says.

    Raises
    ------
    NnunetExtError
        If the image cannot be used; the message names the file.
    """
    path = paths[0]
    if len(paths) > 1:
        message = f"image '{stem}' is there more than once: {', '.join(map(str, paths))}"
        raise InputError(message)
    if stem.endswith(SUFFIXES):
        message = f"{path}: this is the name of a label map, expected an image"
        raise InputError(message)
    channels = _other_channels(path)
    if channels:
        message = f"{path}: other channels of it are there, {', '.join(channels)}; expected images of one channel"
        raise UnsupportedFormatError(message)
    shape = _shape(path)
    place = None if hints.in_pixels else read_georeference(path, hints.crs)
    metres = _metres(stem, path, place, hints.resolution)
    return Scene(stem, path, shape, metres, place, _box(stem, shape, hints.boxes, compat=hints.compat))


def read_image(scene: Scene) -> npt.NDArray[np.uint8]:
    """Read the grey levels of an image, shape (H, W).

    Raises
    ------
    InputError
        If the file is damaged.
    """
    with open_volume(scene.path) as volume:
        return np.asarray(volume.slab(0, 1)[0], np.uint8)


def _other_channels(path: Path) -> list[str]:
    """Return the names of other channels beside an image ``<stem>_<number>``, if there is a first one."""
    channel = re.compile(r"(.+)_[0-9]{4}")
    own = channel.fullmatch(volume_name(path))
    if own is None:
        return []
    names = {volume_name(other): other.name for other in path.parent.iterdir() if has_ending(other, ENDINGS)}
    found = [name for name in names if (match := channel.fullmatch(name)) and match[1] == own[1]]
    return sorted(names[name] for name in found if name != own[0]) if f"{own[1]}{CHANNEL}" in found else []


def _shape(path: Path) -> tuple[int, int]:
    """Return the shape of an image that nnU-Net reads as it was trained: 8 bits, one channel, no palette."""
    expected = "expected 8 bits and one grey channel, scaled as the images of the training"
    if has_ending(path, (PNG_ENDING,)):
        header = read_png_header(path)
        if header.bits != 8 or header.channels != 1 or header.has_palette:
            kind = "a palette" if header.has_palette else f"{header.channels} channels"
            message = f"{path}: {header.bits} bits and {kind} found, {expected}"
            raise UnsupportedFormatError(message)
        return header.height, header.width
    with open_volume(path) as volume:
        if volume.dtype != np.uint8 or volume.shape[0] != 1:
            message = f"{path}: {volume.shape[0]} pages of type {volume.dtype} found, {expected}"
            raise UnsupportedFormatError(message)
        return volume.shape[1:]


def _metres(stem: str, path: Path, place: Georeference | None, given: float | None) -> float:
    """Return the pixel size: of the name, or else of the map, or else as given."""
    of_map = None if place is None else place.metres
    try:
        of_name = parse_caffe_name(stem).resolution
    except InputError:
        of_name = None
    if of_name is not None and of_map is not None and abs(of_name - of_map) > MAX_DISAGREEMENT * of_map:
        source = "" if place is None else place.source
        message = f"{path}: {of_name:g} m per pixel by its name, {of_map:g} m by {source}; correct one of them"
        raise InputError(message)
    metres = of_name or of_map or given
    if metres is None:
        degrees = "" if place is None else f" ({place.source} has degrees or an unknown unit)"
        message = (
            f"{path}: the pixel size is not known{degrees}, and short fronts cannot be told from long ones; give "
            "--resolution METRES, a world file in metres, or a name as in the CaFFe benchmark"
        )
        raise InputError(message)
    return metres


def _box(stem: str, shape: tuple[int, int], boxes: Path | None, *, compat: bool) -> tuple[slice, slice] | None:
    if boxes is None:
        return None
    found, problems = boxes_by_stem(boxes, [stem])
    if problems:
        raise InputError(problems[0])
    if stem not in found:
        message = f"image '{stem}': no box {stem}*.txt in {boxes}"
        raise MissingInputError(message)
    return read_bounding_box(found[stem], shape, compat=compat)
