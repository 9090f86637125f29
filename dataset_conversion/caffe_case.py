"""Check and write one image of the CaFFe benchmark and its label map."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataset_conversion.caffe_files import TEST
from dataset_conversion.caffe_labels import training_label
from dataset_conversion.raw_dataset import image_name
from nnunet_ext.caffe.grey_levels import FRONT, ZONES, to_indices
from nnunet_ext.caffe.names import parse_caffe_name
from nnunet_ext.errors import NnunetExtError, UnsupportedFormatError
from nnunet_ext.files import written_when_complete
from nnunet_ext.imageio import Geometry, open_volume, write_volume
from nnunet_ext.imageio.names import PNG_ENDING
from nnunet_ext.imageio.png import read_png_header

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dataset_conversion.caffe_files import Scene
    from dataset_conversion.caffe_tasks import CaffeTask

LEVELS = {"fronts": FRONT, "zones": ZONES}
THICKNESS = 999.0
"""Distance of slices that an image does not have: what nnU-Net's own reader of PNG gives them."""


@dataclass(frozen=True)
class Output:
    """How images and label maps are written.

    Parameters
    ----------
    task
        What the dataset is for.
    ending
        ``.png`` or ``.nii.gz``.
    front_width
        Width of dilated lines in pixels.
    tolerance
        Distance within which a grey value counts as the nearest level.
    has_pixel_size
        Whether the metres per pixel become the spacing.
    """

    task: CaffeTask
    ending: str
    front_width: int
    tolerance: int
    has_pixel_size: bool


@dataclass
class Checked:
    """What is wrong with an image and its label maps, and what is to be told of them.

    Parameters
    ----------
    problems
        One message each.
    inexact
        Number of pixels by label folder that were not exactly at a grey level.
    has_front
        Whether its front has a pixel.
    """

    problems: list[str] = field(default_factory=list)
    inexact: dict[str, int] = field(default_factory=dict)
    has_front: bool = True


def check_scene(scene: Scene, output: Output) -> Checked:
    """Read all files of an image; collect problems instead of raising them."""
    found = Checked()
    shape = None
    try:
        shape = _image(scene.image).shape
    except NnunetExtError as error:
        found.problems.append(_naming(scene.image, error))
    for folder, path in scene.labels.items():
        try:
            grey = _pixels(path)
            if shape not in (None, grey.shape):
                found.problems.append(f"{path}: shape {grey.shape} (y, x), expected {shape} as of {scene.image}")
            indices, inexact = to_indices(grey, LEVELS[folder], tolerance=output.tolerance)
        except NnunetExtError as error:
            found.problems.append(_naming(path, error))
            continue
        found.inexact[folder] = inexact
        if folder == "fronts":
            found.has_front = bool(indices.any())
    return found


def write_scene(folder: Path, scene: Scene, output: Output) -> dict[str, Any]:
    """Write image and label map of a case into a dataset.

    Parameters
    ----------
    folder
        The dataset's folder, still under its temporary name.
    scene
        The image.
    output
        What to write.

    Returns
    -------
    dict
        What was done, for ``conversion.json``.
    """
    split = "Ts" if scene.split == TEST else "Tr"
    record = write_image(folder / f"images{split}", scene, output)
    maps = {
        name: to_indices(_pixels(path), LEVELS[name], tolerance=output.tolerance) for name, path in scene.labels.items()
    }
    front, zones = (maps[name][0] if name in maps else None for name in ("fronts", "zones"))
    label = training_label(output.task, front, zones, front_width=output.front_width)
    write_volume(folder / f"labels{split}" / f"{scene.stem}{output.ending}", label[None], _geometry(scene, output))
    return record | {
        "split": scene.split,
        "labels": {name: str(path.absolute()) for name, path in scene.labels.items()},
        "inexact_pixels": {name: inexact for name, (_, inexact) in maps.items()},
    }


def write_image(folder: Path, scene: Scene, output: Output, *, overwrite: bool = False) -> dict[str, Any]:
    """Write an image under nnU-Net's name; PNG files are copied as they are.

    Parameters
    ----------
    folder
        Where to.
    scene
        The image.
    output
        What to write.
    overwrite
        Whether a file of the same name may be replaced.

    Returns
    -------
    dict
        What was done, for ``conversion.json``.
    """
    target = folder / image_name(scene.stem, output.ending)
    geometry = _geometry(scene, output)
    if output.ending == PNG_ENDING:
        with written_when_complete(target, overwrite=overwrite) as partial:
            shutil.copyfile(scene.image, partial)
    else:
        write_volume(target, _image(scene.image)[None], geometry, overwrite=overwrite)
    return {"image": str(scene.image.absolute()), "spacing": list(geometry.spacing)}


def _geometry(scene: Scene, output: Output) -> Geometry:
    size = parse_caffe_name(scene.stem).resolution if output.has_pixel_size else 1.0
    return Geometry((THICKNESS, size, size))


def _image(path: Path) -> NDArray[np.uint8]:
    """Read an image that nnU-Net reads in the same way: 8 bits, one channel, no palette."""
    header = read_png_header(path)
    if header.bits != 8 or header.channels != 1 or header.has_palette:
        kind = "a palette" if header.has_palette else f"{header.channels} channels"
        message = f"{path}: {header.bits} bits and {kind} found, expected 8 bits and one grey channel"
        raise UnsupportedFormatError(message)
    return _pixels(path)


def _pixels(path: Path) -> NDArray[Any]:
    with open_volume(path) as volume:
        pixels: NDArray[Any] = volume.slab(0, 1)[0]
        return pixels


def _naming(path: Path, error: NnunetExtError) -> str:
    text = str(error)
    return text if str(path) in text else f"{path}: {text}"
