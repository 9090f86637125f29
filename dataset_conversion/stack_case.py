"""Check and write one case of a dataset with several label maps per image."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.label_map import count_values
from dataset_conversion.normalization import refuse_non_finite
from dataset_conversion.scan_writer import SLAB_VOXELS, write_range
from dataset_conversion.task_labels import LabelPaths, open_labels, positions
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, UnsupportedFormatError
from nnunet_ext.imageio import create_volume, ending_of
from nnunet_ext.imageio.grid import Grid, grid_differences, grid_of
from nnunet_ext.imageio.names import PNG_ENDING, TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import open_with_sidecar, write_sidecar
from nnunet_ext.imageio.volume import library_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dataset_conversion.task_options import TaskOption
    from nnunet_ext.multitask.joint_labels import JointLabels

_ITK_ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
_WRITABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case.

    Parameters
    ----------
    case
        Its name.
    images
        One per channel, or one colour image.
    labels
        One per task, None where there is none; or one file with a layer per task.
    """

    case: str
    images: tuple[Path, ...]
    labels: LabelPaths | Path


@dataclass
class Inspection:
    """What a case holds, and what is wrong with it.

    Parameters
    ----------
    files
        Of the case.
    problems
        One message each; the rest is only complete if there are none.
    grid
        Of the images.
    channels
        Number of channels: that of images, or of colours of the only one.
    dimension
        Of the image file, for programs that tell 2D images from volumes of one slice.
    spacing_source
        Where the spacing comes from.
    dtypes
        Of the images.
    values
        Per task the values that its label map has, ascending; None if it has no file.
    names
        Per task the file, for messages.
    by_name
        Whether ``values`` are positions of classes, found by the names of segments.
    """

    files: CaseFiles
    problems: list[str] = field(default_factory=list)
    grid: Grid | None = None
    channels: int = 0
    dimension: int = 3
    spacing_source: str = ""
    dtypes: list[str] = field(default_factory=list)
    values: list[list[int] | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    by_name: bool = False


def inspect_case(files: CaseFiles, options: Sequence[TaskOption]) -> Inspection:
    """Read all of a case; collect problems instead of raising them."""
    found = Inspection(files)
    for path in files.images:
        try:
            _inspect_image(found, path)
        except NnunetExtError as error:
            found.problems.append(_naming(path, error))
    if found.grid is None:
        return found
    try:
        with open_labels(files.labels, options, found.grid) as labels:
            found.problems += [text for grid in labels.grids() for text in grid_problems(grid, found.grid)]
            if any(grid.shape != found.grid.shape for grid in labels.grids()):
                return found
            found.by_name = labels.by_name()
            found.names = [labels.name(task) for task in range(len(options))]
            seen: list[set[int] | None] = [set() for _ in options]
            for start, stop in slabs_of(found.grid.shape):
                for task in range(len(options)):
                    values, known = labels.values(task, start, stop), seen[task]
                    if values is None or known is None:
                        seen[task] = None
                    else:
                        known.update(count_values(values))
            found.values = [None if known is None else sorted(known) for known in seen]
    except BadCasesError as error:
        found.problems += error.problems
    except NnunetExtError as error:
        found.problems.append(str(error))
    return found


def target_problems(found: Inspection, ending: str) -> list[str]:
    """Return why the images of a case cannot be written with this ending."""
    grid = found.grid
    if grid is None or all(is_copied(found, path, ending) for path in found.files.images):
        return []
    path = found.files.images[0]
    if found.channels > len(found.files.images):
        return [f"{path}: a colour image, which only PNG holds; leave out --format {ending}"]
    odd = sorted({dtype for dtype in found.dtypes if dtype not in _WRITABLE})
    if odd:
        return [f"{path}: voxels of {', '.join(odd)}, expected one of {', '.join(_WRITABLE)} for --format {ending}"]
    if ending in (*TIFF_ENDINGS, PNG_ENDING) and not grid.geometry.is_straight:
        return [f"{path}: {ending} cannot hold its direction; choose --format .nii.gz, .nrrd or .mha"]
    if ending == PNG_ENDING and (grid.shape[0] != 1 or not set(found.dtypes) <= {"uint8", "uint16"}):
        what = f"{grid.shape[0]} slices of {' and '.join(sorted(set(found.dtypes)))}"
        return [f"{path}: {what}, PNG holds one slice of uint8 or uint16; choose --format .nii.gz, .nrrd, .mha or .tif"]
    return []


def is_copied(found: Inspection, path: Path, ending: str) -> bool:
    """Return whether an image can stay as it is: nnU-Net reads files of two or three dimensions."""
    return path.is_file() and ending_of(path) == ending and found.dimension in (2, 3)


def write_case(
    folder: Path, found: Inspection, options: Sequence[TaskOption], joint: JointLabels, ending: str, flat: bool
) -> dict[str, Any]:
    """Write images and joint label of a case.

    Parameters
    ----------
    folder
        The dataset's folder, still under its temporary name.
    found
        The case, without problems.
    options
        The tasks, complete.
    joint
        The same, as joint labels.
    ending
        Of images and labels.
    flat
        Whether all images of the dataset have one slice.

    Returns
    -------
    dict
        What was done, for ``conversion.json``.
    """
    files, grid = found.files, _grid(found)
    (folder / "imagesTr").mkdir(exist_ok=True)
    for channel, path in enumerate(files.images):
        target = folder / "imagesTr" / f"{files.case}_{channel:04d}{ending}"
        if is_copied(found, path, ending):
            shutil.copyfile(path, target)
            continue
        with open_with_sidecar(path, files.case) as volume:
            write_range(volume, (0, grid.shape[0]), target, volume.dtype, lambda slab: slab, volume.geometry)
    flat_file = found.dimension == 2 and is_copied(found, files.images[0], ending)
    _write_joint(folder / "labelsTr" / f"{files.case}{ending}", found, options, joint, flat_file=flat_file)
    if ending in TIFF_ENDINGS and not flat:
        for name in ("imagesTr", "labelsTr"):
            write_sidecar(folder / name, files.case, grid.geometry)
    labels = files.labels if isinstance(files.labels, tuple) else (files.labels,)
    return {
        "images": [str(path.absolute()) for path in files.images],
        "copied": all(is_copied(found, path, ending) for path in files.images),
        "labels": [None if path is None else str(path.absolute()) for path in labels],
        "source_shape": list(grid.shape),
        "source_spacing": list(grid.geometry.spacing),
        "source_origin": list(grid.geometry.origin),
        "source_direction": [list(row) for row in grid.geometry.direction],
        "spacing_source": found.spacing_source,
        "missing": [option.name for option, values in zip(options, found.values, strict=True) if values is None],
    }


def grid_problems(found: Grid, image: Grid) -> list[str]:
    """Return one message if a grid is not that of the image."""
    differences = grid_differences(found, image)
    return [f"{found.path}: {', '.join(differences)} (z, y, x) as in the image {image.path}"] if differences else []


def slabs_of(shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of slices that make up a volume, a few at a time."""
    step = max(1, SLAB_VOXELS // prod(shape[1:]))
    for start in range(0, shape[0], step):
        yield start, min(shape[0], start + step)


def _inspect_image(found: Inspection, path: Path) -> None:
    """Read a channel, and compare it with those before it."""
    if ending_of(path) == PNG_ENDING and path.is_file() and _is_color(found, path):
        return
    with open_with_sidecar(path, found.files.case) as volume:
        grid = grid_of(volume)
        if found.grid is None:
            found.grid, found.spacing_source = grid, volume.spacing_source
            found.dimension = _dimension(path)
        else:
            found.problems += grid_problems(grid, found.grid)
        found.channels += 1
        found.dtypes.append(str(volume.dtype))
        for _, slab in volume.slabs():
            refuse_non_finite(slab)


def _is_color(found: Inspection, path: Path) -> bool:
    """Take a colour PNG as it is; refuse those that nnU-Net reads as something else than what is in them."""
    from PIL import Image

    from nnunet_ext.imageio.png import read_png_header

    header = read_png_header(path)
    if header.has_palette:
        message = f"{path}: an image with a palette, which nnU-Net would read as colours; save it as grey or colours"
        raise UnsupportedFormatError(message)
    if header.channels not in (3, 4):
        return False
    if len(found.files.images) > 1:
        message = f"{path}: a colour image among several channels, expected one value per pixel in each file"
        raise UnsupportedFormatError(message)
    with library_errors(path), Image.open(path, formats=["PNG"]) as image:
        image.load()
    found.grid, found.channels = Grid(path, (1, header.height, header.width)), header.channels
    found.dtypes.append("uint8")
    return True


def _dimension(path: Path) -> int:
    if not path.is_file() or ending_of(path) not in _ITK_ENDINGS:
        return 3
    from nnunet_ext.imageio.itk import header_reader

    return int(header_reader(path).GetDimension())


def _write_joint(
    path: Path, found: Inspection, options: Sequence[TaskOption], joint: JointLabels, *, flat_file: bool
) -> None:
    grid = _grid(found)
    dtype = np.dtype(np.uint8 if joint.num_codes + joint.all_ignored <= 256 else np.uint16)
    with open_labels(found.files.labels, options, grid) as labels:

        def codes(start: int, stop: int) -> NDArray[Any]:
            stack = np.empty((len(options), stop - start, *grid.shape[1:]), np.int16)
            for task, (option, target) in enumerate(zip(options, stack, strict=True)):
                values = labels.values(task, start, stop)
                known = range(joint.tasks[task].num_values) if labels.by_name() else option.values
                target[...] = joint.tasks[task].ignore_value if values is None else positions(values, known)
            return joint.encode(stack).astype(dtype)

        if flat_file:
            _write_flat(path, codes(0, 1)[0], grid)
            return
        with create_volume(path, grid.shape, dtype, grid.geometry) as writer:
            for start, stop in slabs_of(grid.shape):
                writer.write(codes(start, stop))


def _write_flat(path: Path, codes: NDArray[Any], grid: Grid) -> None:
    """Write a file of two dimensions: nnU-Net gives such images another spacing than volumes of one slice."""
    import SimpleITK

    spacing, origin, direction = grid.geometry.to_itk()
    image = SimpleITK.GetImageFromArray(codes)
    image.SetSpacing(spacing[:2])
    image.SetOrigin(origin[:2])
    image.SetDirection((*direction[:2], *direction[3:5]))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def _grid(found: Inspection) -> Grid:
    if found.grid is None:
        message = f"case '{found.files.case}': no image could be read"
        raise InputError(message)
    return found.grid


def _naming(path: Path, error: NnunetExtError) -> str:
    text = str(error)
    return text if str(path) in text else f"{path}: {text}"
