"""Predictions to segmentations of 3D Slicer, with the names, colours and terminology of the training segmentations."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.slicer_segments import ENDINGS, LOOKS, load_slicerio
from dataset_conversion.task_labels import whole_numbers
from dataset_conversion.unstack_labels import find_dataset_json, find_predictions
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError
from nnunet_ext.files import read_json, refuse_existing, written_when_complete
from nnunet_ext.imageio import ending_of, open_volume, read_volume
from nnunet_ext.jobs import run_jobs
from nnunet_ext.multitask.joint_labels import JointLabels, from_dataset_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio import Geometry

FORMATS = ("seg.nrrd", "nrrd")
_NO_CLASS = ("background", "ignore")


@dataclass(frozen=True)
class Legend:
    """What the labels of predictions mean.

    Parameters
    ----------
    segments
        Per layer, the segment of each label, as slicerio writes it.
    joint
        How the layers became one label, where there are several tasks.
    others
        Labels that are no segment: background, and voxels that are not annotated.
    """

    segments: tuple[dict[int, dict[str, Any]], ...]
    joint: JointLabels | None = None
    others: tuple[int, ...] = (0,)


def export_slicer_nrrd(
    predictions: Path,
    output: Path,
    *,
    dataset: Path | None = None,
    file_format: str = "seg.nrrd",
    processes: int = 2,
    overwrite: bool = False,
) -> list[Path]:
    """Write each prediction as a segmentation that 3D Slicer opens over the image.

    Each task is a layer, so that segments of different tasks may overlap. A segment is written even if the prediction
    has none of it.

    Parameters
    ----------
    predictions
        Folder of predictions (or ``labelsTr``), best of a dataset from 'nnunet_ext convert slicer_nrrd'; of another
        dataset the segments get the names of its labels, and colours of their own.
    output
        Folder for ``<case>.seg.nrrd``.
    dataset
        Folder of the dataset or the model; default: ``dataset.json`` beside the predictions, or up to two folders
        above.
    file_format
        ``seg.nrrd``, or ``nrrd`` for files named ``<case>.nrrd``; the content is the same.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace files of the same name.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    MissingInputError, InputError
        If there is no prediction, or ``dataset.json`` is missing or does not say what labels mean.
    BadCasesError
        If a prediction cannot be read, or holds other values than the labels; names all of them, and nothing is
        written.
    OutputExistsError
        If an output exists and ``overwrite`` is false.
    UnsupportedFormatError
        If slicerio is not installed.
    """
    if file_format not in FORMATS:
        message = f"--format {file_format}: expected one of {', '.join(FORMATS)}"
        raise InputError(message)
    load_slicerio()
    source = find_dataset_json(predictions, dataset)
    content = read_json(source)
    legend = legend_of_dataset(content, source)
    paths = find_predictions(predictions, content.get("file_ending"))
    targets = {case: output / f"{case}.{file_format}" for case in paths}
    own = {path.resolve() for path in paths.values()}
    replaced = [path for path in targets.values() if path.resolve() in own]
    if replaced:
        message = f"{replaced[0]}: is one of the predictions; choose another output (-o), or it would be replaced"
        raise InputError(message)
    refuse_existing(list(targets.values()), overwrite=overwrite)

    checks = run_jobs({case: (path, legend) for case, path in paths.items()}, check, processes, "Checking")
    problems = [problem for found in checks.values() for problem in found]
    if problems:
        raise BadCasesError(problems)
    jobs = {case: (path, targets[case], legend, overwrite) for case, path in paths.items()}
    run_jobs(jobs, export_case, processes, "Exporting")
    return list(targets.values())


def legend_of_dataset(content: Mapping[str, Any], source: Path) -> Legend:
    """Read from dataset.json what its labels mean.

    Parameters
    ----------
    content
        Of dataset.json.
    source
        The file, for messages.

    Raises
    ------
    InputError
        If there are no labels, or labels that overlap (regions) without tasks.
    """
    looks = _looks(content)
    if "tasks" in content:
        joint = from_dataset_json(content, str(source))
        total = sum(task.num_classes - 1 for task in joint.tasks)
        layers: list[dict[int, dict[str, Any]]] = []
        number = 0
        for layer, task in enumerate(joint.tasks):
            layers.append({})
            for value, name in list(enumerate(task.classes))[1:]:
                layers[-1][value] = _segment(name, value, layer, looks, _color(number, total))
                number += 1
        return Legend(_with_ids(layers), joint)
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(type(value) is int for value in labels.values()):
        message = (
            f"{source}: expected 'labels' with one whole number per name, found {labels!r}; regions, which have lists "
            "of numbers, cannot be exported as segments"
        )
        raise InputError(message)
    names = {value: name for name, value in labels.items() if name not in _NO_CLASS and value != 0}
    if not names:
        message = f"{source}: 'labels' has no class besides the background, expected at least one"
        raise InputError(message)
    segments = {
        value: _segment(names[value], value, 0, looks, _color(number, len(names)))
        for number, value in enumerate(sorted(names))
    }
    return Legend(_with_ids([segments]), others=tuple(sorted(set(labels.values()) - set(names) | {0})))


def check(path: Path, legend: Legend) -> list[str]:
    """Return what stands in the way of exporting one prediction."""
    if ending_of(path) not in ENDINGS:
        return [f"{path}: does not say where voxels lie in space, expected a prediction ending in {', '.join(ENDINGS)}"]
    known = {*legend.others, *legend.segments[0]}
    wrong: set[int] = set()
    try:
        with open_volume(path) as volume:
            for _, slab in volume.slabs():
                values = whole_numbers(slab, str(path))
                if legend.joint is None:
                    wrong.update(set(np.unique(values).tolist()) - known)
                else:
                    legend.joint.decode(values)
    except NnunetExtError as error:
        text = str(error)
        return [text if str(path) in text else f"{path}: {text}"]
    shown = ", ".join(map(str, sorted(wrong)[:10]))
    return [f"{path}: values {shown} found, expected labels {sorted(known)}"] if wrong else []


def export_case(path: Path, target: Path, legend: Legend, overwrite: bool) -> None:
    """Write one prediction as a segmentation."""
    labels, geometry = read_volume(path)
    labels = whole_numbers(labels, str(path))
    layers = labels[None] if legend.joint is None else legend.joint.decode(labels)
    highest = max(value for of_layer in legend.segments for value in of_layer)
    voxels = np.zeros(layers.shape, np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)
    for layer, out, segments in zip(layers, voxels, legend.segments, strict=True):
        # What is no segment, such as voxels that are not annotated, is background here.
        keep = np.isin(layer, list(segments))
        out[keep] = layer[keep]
    segmentation = {
        "voxels": _as_slicerio(voxels),
        "ijkToLPS": _matrix(geometry),
        "encoding": "gzip",
        "containedRepresentationNames": ["Binary labelmap"],
        "masterRepresentation": "Binary labelmap",
        "referenceImageExtentOffset": [0, 0, 0],
        "segments": [segment for of_layer in legend.segments for segment in of_layer.values()],
    }
    with written_when_complete(target, overwrite=overwrite) as partial:
        load_slicerio().write_segmentation(str(partial), segmentation)


def _as_slicerio(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return layers with axes x, y, z, and without the axis of layers where there is one only."""
    turned = np.moveaxis(voxels, (-3, -1), (-1, -3))
    return turned if len(turned) > 1 else turned[0]


def _matrix(geometry: Geometry) -> NDArray[np.float64]:
    """Return the matrix from voxel (x, y, z) to millimetres in LPS."""
    spacing, origin, direction = geometry.to_itk()
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(direction, (3, 3)) * spacing
    matrix[:3, 3] = origin
    return matrix


def _looks(content: Mapping[str, Any]) -> dict[str, Any]:
    conversion = content.get("conversion")
    segments = conversion.get("segments") if isinstance(conversion, dict) else None
    return segments if isinstance(segments, dict) else {}


def _segment(
    name: str, value: int, layer: int, looks: Mapping[str, Any], color: tuple[float, float, float]
) -> dict[str, Any]:
    look = looks.get(name)
    look = look if isinstance(look, dict) else {}
    kept = {key: look[key] for key in LOOKS if key in look}
    # The way the segments were spelled, unless a class was made of several.
    names = look.get("names")
    shown = names[0] if isinstance(names, list) and len(names) == 1 else name
    return {"name": str(shown), "labelValue": value, "layer": layer, "color": list(color)} | kept


def _with_ids(layers: list[dict[int, dict[str, Any]]]) -> tuple[dict[int, dict[str, Any]], ...]:
    """Give each segment an id, as 3D Slicer does."""
    number = 0
    for layer in layers:
        for segment in layer.values():
            number += 1
            segment["id"] = f"Segment_{number}"
    return tuple(layers)


def _color(number: int, count: int) -> tuple[float, float, float]:
    """Return a colour for a segment without one, unlike those of the others."""
    red, green, blue = colorsys.hsv_to_rgb(number / count, 0.7, 0.9)
    return round(red, 6), round(green, 6), round(blue, 6)
