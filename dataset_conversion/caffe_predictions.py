"""Read predictions of calving fronts, whatever label maps they hold and however these are put into a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.caffe_labels import predicted_maps
from dataset_conversion.caffe_tasks import PARTS, SOURCE, TASKS, CaffeTask, task_by_classes, task_by_name
from dataset_conversion.layered_labels import read_layers
from nnunet_ext.errors import InputError
from nnunet_ext.imageio import ending_of
from nnunet_ext.imageio.grid import Grid
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.imageio.volume import library_errors
from nnunet_ext.multitask.joint_labels import JointLabels, from_dataset_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio import Geometry
    from nnunet_ext.multitask.tasks import Task

NIFTI_ENDINGS = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Encoding:
    """How a file holds label maps.

    Parameters
    ----------
    task
        Which they are.
    joint
        How several became one label; default: as the task does it.
    is_layered
        Whether there is one layer per label map instead.
    """

    task: CaffeTask
    joint: JointLabels | None = None
    is_layered: bool = False


@dataclass(frozen=True)
class Predicted:
    """The label maps of a case.

    Parameters
    ----------
    maps
        Class indices (y, x) of each part, uint8.
    geometry
        Of the file.
    """

    maps: Mapping[str, NDArray[np.uint8]]
    geometry: Geometry


def encoding_of_dataset(content: Mapping[str, Any], source: Path) -> Encoding:
    """Find out from dataset.json what its labels are.

    Parameters
    ----------
    content
        Of a dataset from 'nnunet_ext convert caffe', or from 'nnunet_ext stack' with tasks front, zones and possibly
        boundary; or of an older one with one object per label map under ``labels``, whose files have layers.
    source
        The file, for messages.

    Raises
    ------
    InputError
        If it is of another dataset.
    """
    conversion = content.get("conversion")
    labels = content.get("labels")
    if isinstance(conversion, dict) and conversion.get("source") == SOURCE:
        task = task_by_name(conversion.get("task"))
        return Encoding(task, from_dataset_json(content, str(source)) if task.joint else None)
    if "tasks" in content:
        joint = from_dataset_json(content, str(source))
        return Encoding(_task_of(joint.tasks, source), joint)
    if isinstance(labels, dict) and labels and all(isinstance(entry, dict) for entry in labels.values()):
        counts = tuple(len(entry) for entry in labels.values())
        return Encoding(_known(task_by_classes(counts), counts, source), is_layered=True)
    message = (
        f"{source}: expected a dataset made by 'nnunet_ext convert caffe', by 'nnunet_ext stack' with tasks "
        f"{', '.join(PARTS)}, or an older one with 'label0', 'label1', … under 'labels'"
    )
    raise InputError(message)


def encoding_of_file(path: Path) -> Encoding:
    """Find out from the number of its layers what a file holds: front and zones, or these and the boundary.

    Raises
    ------
    InputError
        If it has another number of layers.
    """
    layers = _count_layers(path)
    if layers not in (2, 3):
        message = (
            f"{path}: {layers} layer{'s' if layers != 1 else ''} found and no dataset.json that says what they are, "
            "expected 2 (front, zones) or 3 (front, zones, boundary); give --dataset"
        )
        raise InputError(message)
    return Encoding(TASKS["mtl" if layers == 2 else "mtl_boundary"], is_layered=True)


def read_prediction(path: Path, encoding: Encoding) -> Predicted:
    """Read one prediction.

    Raises
    ------
    InputError
        If it cannot be read, or its values are none of its classes.
    """
    task = encoding.task
    if encoding.is_layered:
        # Only the grid of an image says that slices are label maps, and there is no image here.
        layers = read_layers(path, task.layers, Grid(path, (1, 1, 1)))
        maps, geometry = layers.maps, layers.grid.geometry
    else:
        with open_with_sidecar(path) as volume:
            maps, geometry = volume.slab(0, min(2, volume.shape[0]))[None], volume.geometry
    if maps.shape[1] != 1:
        message = f"{path}: several slices found, expected an image"
        raise InputError(message)
    whole = [_whole_numbers(layer[0]) for layer in maps]
    single = not encoding.is_layered or len(whole) == 1
    parts = (
        predicted_maps(task, whole[0], joint=encoding.joint) if single else dict(zip(task.parts, whole, strict=True))
    )
    for part, indices in parts.items():
        _check_classes(part, indices)
    return Predicted({part: indices.astype(np.uint8) for part, indices in parts.items()}, geometry)


def _task_of(tasks: Sequence[Task], source: Path) -> CaffeTask:
    """Return the row of the table for tasks that somebody else named; in their order, if they have our names."""
    counts = tuple(task.num_classes for task in tasks)
    names = tuple(task.name for task in tasks)
    if set(names) <= set(PARTS) and counts == tuple(len(PARTS[name].levels) for name in names):
        return replace(TASKS["mtl_boundary"], parts=names)
    return _known(task_by_classes(counts), counts, source)


def _known(task: CaffeTask | None, counts: tuple[int, ...], source: Path) -> CaffeTask:
    if task is None:
        expected = "; ".join(
            f"{', '.join(str(layer.num_classes) for layer in known.layers)} ({known.name})"
            for known in TASKS.values()
            if known.parts
        )
        message = f"{source}: label maps of {', '.join(map(str, counts))} classes found, expected one of {expected}"
        raise InputError(message)
    return task


def _count_layers(path: Path) -> int:
    if ending_of(path) not in NIFTI_ENDINGS:
        return 1
    import nibabel

    with library_errors(path):
        shape: tuple[int, ...] = nibabel.load(path).shape
    # (x, y, layers), or (x, y, z, layers) with or without an axis of length 1 before the layers.
    return shape[-1] if len(shape) > 2 else 1


def _whole_numbers(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iub":
        return values
    with np.errstate(invalid="ignore"):  # NaN differs from whatever it becomes
        whole = values.astype(np.int32)
    if (whole != values).any():
        wrong = np.unique(values[whole != values])[:5].tolist()
        message = f"the values {wrong} found, expected whole numbers"
        raise InputError(message)
    return whole


def _check_classes(part: str, indices: NDArray[Any]) -> None:
    levels = PARTS[part].levels
    if int(indices.min(initial=0)) < 0 or int(indices.max(initial=0)) >= len(levels):
        wrong = sorted(set(np.unique(indices).tolist()) - set(range(len(levels))))[:10]
        message = f"{part}: the values {wrong} found, expected {', '.join(f'{i} ({n})' for i, n in enumerate(levels))}"
        raise InputError(message)
