"""Predictions back to the ids and colours of the annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dataset_conversion.label_map import LabelMap
from dataset_conversion.raw_dataset import read_conversion
from dataset_conversion.scan_writer import write_range
from dataset_conversion.unstack_labels import find_dataset_json
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError
from nnunet_ext.files import refuse_existing
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


Colors = dict[int, tuple[int, int, int]]


def export_soil_ct(
    predictions: Path,
    output: Path,
    *,
    dataset: Path | None = None,
    file_format: str = "tif",
    processes: int = 2,
    overwrite: bool = False,
) -> list[Path]:
    """Write predictions with the annotation's ids, as volumes of the scans' shape and geometry.

    Parameters
    ----------
    predictions
        Folder that ``nnUNetv2_predict`` wrote.
    output
        Folder for the exported volumes, ``<case>.<format>``.
    dataset
        Folder of the dataset or the model; default: ``dataset.json`` beside the predictions, or up to two above.
    file_format
        ``tif`` (with the annotation's colours), ``mha``, ``nii.gz`` or ``nrrd``.
    processes
        Number of volumes that are worked on at the same time.
    overwrite
        Replace files of the same name.

    Returns
    -------
    list of Path
        The written files, by case name.

    Raises
    ------
    MissingInputError, InputError
        If there is no prediction, or no ``dataset.json`` that 'nnunet_ext convert soil_ct' wrote.
    BadCasesError
        If a prediction holds labels that the dataset does not have, or cannot be read; names all of them, and
        nothing is written.
    OutputExistsError
        If an output exists and ``overwrite`` is false.
    """
    if file_format not in ("tif", "mha", "nii.gz", "nrrd"):
        message = f"unknown format '{file_format}'; expected one of tif, mha, nii.gz, nrrd"
        raise InputError(message)
    if output.resolve() == predictions.resolve():
        message = f"{output}: is the folder of the predictions; choose another output (-o), or they would be replaced"
        raise InputError(message)
    content, conversion = read_conversion(find_dataset_json(predictions, dataset).parent, "soil_ct")
    label_map = LabelMap.from_json(conversion["label_map"])
    colors: Colors = {int(value): (c[0], c[1], c[2]) for value, c in conversion["colors"].items()}
    cases = _predicted_cases(predictions, content["file_ending"])
    targets = {case: output / f"{case}.{file_format}" for case in cases}
    refuse_existing(list(targets.values()), overwrite=overwrite)

    checks = run_jobs(
        {case: (path, label_map, file_format) for case, path in cases.items()}, check, processes, "Checking"
    )
    problems = [problem for found in checks.values() for problem in found]
    if problems:
        raise BadCasesError(problems)
    jobs = {case: (path, targets[case], label_map, colors, overwrite) for case, path in cases.items()}
    run_jobs(jobs, export_case, processes, "Exporting")
    return list(targets.values())


def check(path: Path, label_map: LabelMap, file_format: str) -> list[str]:
    """Return what stands in the way of exporting one prediction."""
    try:
        with open_with_sidecar(path) as labels:
            if file_format == "tif" and not labels.geometry.is_straight:
                return [f"{path}: TIFF cannot hold its direction; choose --format nii.gz, mha or nrrd"]
            for _, slab in labels.slabs():
                label_map.to_ids(slab)
    except NnunetExtError as error:
        text = str(error)
        return [text if str(path) in text else f"{path}: {text}"]
    return []


def export_case(
    path: Path,
    target: Path,
    label_map: LabelMap,
    colors: Mapping[int, tuple[int, int, int]],
    overwrite: bool,
) -> None:
    """Write one prediction with the annotation's ids."""
    with open_with_sidecar(path) as labels:
        dtype = label_map.to_ids(np.zeros(1, dtype=np.uint8)).dtype
        palette = colors if target.suffix == ".tif" and dtype == np.uint8 and colors else None
        write_range(
            labels,
            (0, labels.shape[0]),
            target,
            dtype,
            label_map.to_ids,
            labels.geometry,
            colors=palette,
            overwrite=overwrite,
        )


def _predicted_cases(folder: Path, ending: str) -> dict[str, Path]:
    """Return the label files of a prediction folder by case; nnU-Net's other files (json, npz, pkl) are no cases."""
    found = {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*{ending}")) if path.is_file()}
    found = {case: path for case, path in found.items() if not case.startswith(".")}
    if not found:
        message = f"{folder}: expected predictions ending in {ending}, found none"
        raise InputError(message)
    return found
