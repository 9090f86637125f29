"""Read label maps that are layers of one file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.imageio import ending_of, open_volume
from nnunet_ext.imageio.grid import Grid, grid_of
from nnunet_ext.imageio.volume import library_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.multitask.tasks import Task

_SEGMENT = re.compile(r"Segment(\d+)_Name")


@dataclass(frozen=True)
class Layers:
    """The label maps of a case.

    Parameters
    ----------
    grid
        Of each of them.
    maps
        Shape (T, z, y, x), in task order.
    by_name
        Whether the values are already the positions of the classes, found by the names of segments.
    """

    grid: Grid
    maps: NDArray[Any]
    by_name: bool = False


@dataclass(frozen=True)
class Segment:
    """Where 3D Slicer keeps a segment: the voxels of a layer that have a value."""

    layer: int
    value: int


def read_layers(path: Path, tasks: Sequence[Task], image: Grid) -> Layers:
    """Read one file with a label map per task.

    Parameters
    ----------
    path
        NIfTI of four dimensions (the last one holds the tasks; a fourth of length 1 may come before it), an image
        with several values per voxel, ``.seg.nrrd`` of 3D Slicer (classes are found by the names of its segments,
        ``<class>`` or ``<task>/<class>``), or a 3D file with one slice per task, if the image has one slice.
    tasks
        The tasks.
    image
        Grid of the image.

    Raises
    ------
    InputError
        If the file is damaged, or does not hold that many layers.
    BadCasesError
        If segments are missing, belong to no class, or overlap within a task.
    """
    maps, grid, keys = _load(path)
    segments = _segments(path, keys, len(maps))
    if segments:
        return Layers(grid, _maps_of_segments(path, maps, segments, tasks), by_name=True)
    if len(maps) == 1 < len(tasks) and image.shape[0] == 1 and maps.shape[1] == len(tasks):
        # Slices are tasks here, and their distance says nothing.
        maps = np.moveaxis(maps, 1, 0)
        spacing = (image.geometry.spacing[0], *grid.geometry.spacing[1:])
        grid = replace(grid, shape=(1, *grid.shape[1:]), geometry=replace(grid.geometry, spacing=spacing))
    if len(maps) != len(tasks):
        names = ", ".join(task.name for task in tasks)
        message = f"{path}: {len(maps)} layers of shape {maps.shape[1:]} (z, y, x), expected {len(tasks)} ({names})"
        raise InputError(message)
    return Layers(grid, maps)


def _load(path: Path) -> tuple[NDArray[Any], Grid, dict[str, str]]:
    """Return the layers (layer, z, y, x), their grid and the keys of the header."""
    ending = ending_of(path)
    keys: dict[str, str] = {}
    if ending in (".nii", ".nii.gz"):
        maps = _load_nifti(path)
    elif ending in (".nrrd", ".mha", ".mhd"):
        maps, keys = _load_itk(path)
    else:
        with open_volume(path) as volume:
            return volume.slab(0, volume.shape[0])[None], grid_of(volume), keys
    from nnunet_ext.imageio.itk import header_geometry, header_reader

    _, z, y, x = maps.shape
    return maps, Grid(path, (z, y, x), header_geometry(header_reader(path)), has_spacing=True, is_placed=True), keys


def _load_nifti(path: Path) -> NDArray[Any]:
    import nibabel

    with library_errors(path):
        # SimpleITK gives zeros for what is missing in a truncated file.
        voxels: NDArray[Any] = np.asanyarray(nibabel.load(path).dataobj).T
    if voxels.ndim == 5 and voxels.shape[1] == 1:
        voxels = voxels[:, 0]
    if not 2 <= voxels.ndim <= 4:
        message = f"{path}: axes of lengths {voxels.shape[::-1]} (x, y, z, …), expected (x, y, z, tasks)"
        raise InputError(message)
    return voxels if voxels.ndim == 4 else voxels.reshape(1, *(1, *voxels.shape)[-3:])


def _load_itk(path: Path) -> tuple[NDArray[Any], dict[str, str]]:
    from nnunet_ext.imageio.itk import header_reader

    with library_errors(path):
        image = header_reader(path).Execute()
        voxels = _array(image)
        keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = np.moveaxis(voxels, -1, 0)
        voxels = voxels if voxels.ndim == 4 else voxels[:, None]
    elif voxels.ndim < 4:
        voxels = voxels.reshape(1, *(1, *voxels.shape)[-3:])
    if voxels.ndim != 4:
        message = f"{path}: {voxels.ndim} dimensions of lengths {voxels.shape}, expected (tasks, z, y, x)"
        raise InputError(message)
    return voxels, keys


def _array(image: Any) -> NDArray[Any]:
    import SimpleITK

    voxels: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    return voxels


def _segments(path: Path, keys: Mapping[str, str], layers: int) -> dict[str, Segment]:
    """Return the segments of 3D Slicer by name; none if the file has no such keys."""
    found: dict[str, Segment] = {}
    numbers = sorted(int(match[1]) for key in keys if (match := _SEGMENT.fullmatch(key)))
    # Before there were layers, each segment had one of its own, with the value 1.
    has_layers = any(f"Segment{number}_Layer" in keys for number in numbers)
    for number in numbers:
        name = keys[f"Segment{number}_Name"].strip()
        if name in found:
            message = f"{path}: two segments are called '{name}'; rename one of them in 3D Slicer"
            raise InputError(message)
        layer = keys.get(f"Segment{number}_Layer", "0" if has_layers or layers == 1 else str(number))
        value = keys.get(f"Segment{number}_LabelValue", "1")
        if not (layer.strip().isdigit() and value.strip().isdigit() and int(layer) < layers):
            message = f"{path}: segment '{name}' is value {value} of layer {layer}, expected one of {layers} layers"
            raise InputError(message)
        found[name] = Segment(int(layer), int(value))
    return found


def _maps_of_segments(
    path: Path, layers: NDArray[Any], segments: Mapping[str, Segment], tasks: Sequence[Task]
) -> NDArray[np.int16]:
    maps = np.zeros((len(tasks), *layers.shape[1:]), np.int16)
    problems: list[str] = []
    missing: list[str] = []
    used: set[str] = set()
    for target, task in zip(maps, tasks, strict=True):
        covered = np.zeros(target.shape, bool)
        overlap = 0
        for value, class_name in enumerate([*task.classes, *(["ignore"] if task.ignore else [])]):
            full_name = f"{task.name}/{class_name}"
            name = full_name if full_name in segments else class_name
            segment = segments.get(name)
            if segment is None:
                missing += [full_name] if 0 < value < task.num_classes else []
                continue
            used.add(name)
            mask = layers[segment.layer] == segment.value
            overlap += int(np.count_nonzero(mask & covered))
            covered |= mask
            target[mask] = value
        if overlap:
            problems.append(f"{path}: {overlap} voxels have two classes of task '{task.name}', expected one at most")
    names = f"the file has the segments {', '.join(segments)}"
    if missing:
        problems.append(f"{path}: no segment for {', '.join(missing)}; {names}")
    unknown = [name for name in segments if name not in used]
    if unknown:
        problems.append(f"{path}: segments {', '.join(unknown)} are no class of any task; {names}")
    if problems:
        raise BadCasesError(problems)
    return maps
