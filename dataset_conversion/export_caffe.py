"""Predictions of calving fronts back to pictures with the grey levels of the benchmark, or to layers of one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dataset_conversion.caffe_case import THICKNESS
from dataset_conversion.caffe_predictions import (
    NIFTI_ENDINGS,
    Encoding,
    encoding_of_dataset,
    encoding_of_file,
    read_prediction,
)
from dataset_conversion.caffe_tasks import PARTS
from dataset_conversion.unstack_labels import find_dataset_json, find_predictions
from nnunet_ext.caffe.grey_levels import to_grey
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, NnunetExtError
from nnunet_ext.files import read_json, refuse_existing, write_json
from nnunet_ext.imageio import Geometry, ending_of, write_volume
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PICTURES = "png"
LAYERS = "stacked.nii.gz"
FORMATS = (PICTURES, LAYERS)


def export_caffe(
    predictions: Path,
    output: Path,
    *,
    dataset: Path | None = None,
    file_format: str = PICTURES,
    processes: int = 2,
    overwrite: bool = False,
) -> list[Path]:
    """Write predictions of any task as grey pictures, or as one file per case with layers.

    Parameters
    ----------
    predictions
        Folder of predictions (or ``labelsTr``) of a dataset from 'nnunet_ext convert caffe' or 'nnunet_ext stack'; or
        of an older one, whose NIfTI files have a layer per label map: front, zones and possibly boundary.
    output
        Folder for ``<stem>_zone.png`` (0, 64, 127, 254), ``<stem>_front.png`` and ``<stem>_boundary.png`` (0, 255),
        those of them that were predicted; or for ``<stem>.nii.gz``.
    dataset
        Folder of the dataset or the model; default: ``dataset.json`` beside the predictions, or up to two folders
        above. Files with two or three layers do without.
    file_format
        ``png``; or ``stacked.nii.gz``: class indices of front, zones and boundary along z, and a ``dataset.json``
        that names the classes of each as ``label0``, ``label1``, ….
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace files of the same name.

    Returns
    -------
    list of Path
        The written files, by case.

    Raises
    ------
    MissingInputError, InputError
        If there is no prediction, nothing says what it holds, or an argument is not usable.
    BadCasesError
        If a prediction holds other values than its classes, or cannot be read; names all of them, and nothing is
        written.
    OutputExistsError
        If an output exists and ``overwrite`` is false.
    """
    if file_format not in FORMATS:
        message = f"unknown format '{file_format}'; expected one of {', '.join(FORMATS)}"
        raise InputError(message)
    if output.resolve() == predictions.resolve():
        message = f"{output}: is the folder of the predictions; choose another output (-o)"
        raise InputError(message)
    paths, encodings = _find(predictions, dataset)
    targets = {case: _targets(output, case, encodings[case], file_format) for case in paths}
    files = [path for of_case in targets.values() for path in of_case.values()]
    declaration = [output / "dataset.json"] if file_format == LAYERS else []
    refuse_existing(files + declaration, overwrite=overwrite)

    problems = _layer_problems(encodings) if file_format == LAYERS else []
    checks = run_jobs({case: (path, encodings[case]) for case, path in paths.items()}, check, processes, "Checking")
    problems += [problem for found in checks.values() for problem in found]
    if problems:
        raise BadCasesError(problems)
    jobs = {case: (path, encodings[case], targets[case], overwrite) for case, path in paths.items()}
    run_jobs(jobs, export_case, processes, "Exporting")
    for path in declaration:
        write_json(path, _declaration(next(iter(encodings.values()))))
    return files


def check(path: Path, encoding: Encoding) -> list[str]:
    """Return what stands in the way of exporting one prediction."""
    try:
        read_prediction(path, encoding)
    except NnunetExtError as error:
        text = str(error)
        return [text if str(path) in text else f"{path}: {text}"]
    return []


def export_case(path: Path, encoding: Encoding, targets: Mapping[str, Path], overwrite: bool) -> None:
    """Write one prediction.

    Parameters
    ----------
    path
        The prediction.
    encoding
        What it holds.
    targets
        Picture by part; or one file for all, under an empty name.
    overwrite
        Whether files may be replaced.
    """
    predicted = read_prediction(path, encoding)
    for part, target in targets.items():
        if part:
            picture = to_grey(predicted.maps[part], PARTS[part].levels)
            write_volume(target, picture[None], Geometry(), overwrite=overwrite)
        else:
            layers = np.stack([predicted.maps[name] for name in _order(encoding)])
            _, *in_plane = predicted.geometry.spacing
            geometry = Geometry((THICKNESS, in_plane[0], in_plane[1]))
            write_volume(target, layers, geometry, overwrite=overwrite)


def _find(predictions: Path, dataset: Path | None) -> tuple[dict[str, Path], dict[str, Encoding]]:
    """Return the file of each case and what it holds."""
    try:
        source = find_dataset_json(predictions, dataset)
    except MissingInputError:
        if dataset is not None or not predictions.is_dir():
            raise
        return _without_dataset(predictions)
    content = read_json(source)
    encoding = encoding_of_dataset(content, source)
    if not encoding.task.parts:
        message = f"{source}: no label map to export, only images"
        raise InputError(message)
    paths = find_predictions(predictions, ".nii.gz" if encoding.is_layered else content.get("file_ending"))
    return paths, dict.fromkeys(paths, encoding)


def _without_dataset(predictions: Path) -> tuple[dict[str, Path], dict[str, Encoding]]:
    paths = find_predictions(predictions, None)
    encodings, problems = {}, []
    for case, path in paths.items():
        try:
            encodings[case] = encoding_of_file(path)
        except NnunetExtError as error:
            problems.append(str(error))
    if len(problems) == len(paths) and not any(ending_of(path) in NIFTI_ENDINGS for path in paths.values()):
        message = (
            f"{predictions}: no dataset.json there or in the two folders above, which says what the predictions hold; "
            "give the folder of the dataset or the model (--dataset)"
        )
        raise MissingInputError(message)
    if problems:
        raise BadCasesError(problems)
    return paths, encodings


def _targets(output: Path, case: str, encoding: Encoding, file_format: str) -> dict[str, Path]:
    if file_format == LAYERS:
        return {"": output / f"{case}.nii.gz"}
    return {part: output / f"{case}{PARTS[part].suffix}.png" for part in encoding.task.parts}


def _order(encoding: Encoding) -> list[str]:
    """Return the parts as older datasets have them along z."""
    return [part for part in PARTS if part in encoding.task.parts]


def _layer_problems(encodings: Mapping[str, Encoding]) -> list[str]:
    """Return why predictions cannot be written as layers."""
    problems = [
        f"case '{case}': only {', '.join(_order(encoding))} predicted, expected front and zones for --format {LAYERS}"
        for case, encoding in encodings.items()
        if not {"front", "zones"} <= set(encoding.task.parts)
    ]
    if len({tuple(_order(encoding)) for encoding in encodings.values()}) > 1:
        problems.append("some cases have a boundary and others have not, expected the same label maps in all")
    return problems


def _declaration(encoding: Encoding) -> dict[str, object]:
    """Return dataset.json with one object per label map, from value to name, as older datasets have it."""
    labels = {
        f"label{number}": {str(value): name for value, name in enumerate(PARTS[part].levels)}
        for number, part in enumerate(_order(encoding))
    }
    return {"labels": labels, "file_ending": ".nii.gz"}
