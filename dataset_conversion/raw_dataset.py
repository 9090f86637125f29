"""nnU-Net's raw dataset folder: its name, its place, and what a converter records in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext import __version__
from nnunet_ext.errors import InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json, refuse_existing, write_json
from nnunet_ext.multitask.joint_labels import JointLabels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RECORD = "conversion.json"
FILE_ENDINGS = (".nii.gz", ".mha", ".tif")


def dataset_folder(raw: Path | None, dataset_id: int | None, name: str | None, *, overwrite: bool) -> Path:
    """Return the folder ``DatasetXXX_Name`` for a new dataset, after checking that it may be written.

    Parameters
    ----------
    raw
        Folder of raw datasets; default: the environment variable ``nnUNet_raw``.
    dataset_id
        1…999.
    name
        Letters, digits and ``_ - .``; nnU-Net uses it in file names.
    overwrite
        Whether an existing dataset of the same id and name may be replaced.

    Raises
    ------
    InputError
        If id, name or ``raw`` is missing or not usable.
    OutputExistsError
        If the dataset, or another one with this id, exists.
    """
    raw = raw or default_raw()
    if dataset_id is None or not 1 <= dataset_id <= 999:
        message = f"dataset id (-d): expected 1…999, found {dataset_id}"
        raise InputError(message)
    if not name or not re.fullmatch(r"[\w.-]+", name):
        message = f"dataset name (-n): expected letters, digits, '_', '-' and '.', found {name!r}"
        raise InputError(message)
    folder = raw / f"Dataset{dataset_id:03d}_{name}"
    same_id = [path for path in raw.glob(f"Dataset{dataset_id:03d}_*") if path.is_dir() and path != folder]
    if same_id:
        message = f"id {dataset_id} is taken by {same_id[0]}; nnU-Net wants each id once. Choose another -d."
        raise OutputExistsError(message)
    refuse_existing([folder], overwrite=overwrite)
    return folder


def default_raw() -> Path:
    """Return the folder of raw datasets that nnU-Net uses.

    Raises
    ------
    InputError
        If ``nnUNet_raw`` is not set.
    """
    if not os.environ.get("nnUNet_raw"):  # noqa: SIM112 - nnU-Net's spelling
        message = "no output folder: give -o or set nnUNet_raw"
        raise InputError(message)
    return Path(os.environ["nnUNet_raw"])  # noqa: SIM112


def image_name(case: str, file_ending: str) -> str:
    """Return nnU-Net's file name of a case's only channel."""
    return f"{case}_0000{file_ending}"


def write_dataset_json(
    folder: Path,
    *,
    channel: str | Sequence[str],
    labels: Mapping[str, int | list[int]] | Mapping[str, int] | JointLabels,
    cases: int,
    file_ending: str,
    conversion: dict[str, Any],
    regions_class_order: Sequence[int] | None = None,
) -> None:
    """Write ``dataset.json``.

    Parameters
    ----------
    folder
        The dataset's folder.
    channel
        Name of the only channel, or of all; nnU-Net chooses its own normalisation by it (``noNorm``: none).
    labels
        Names to labels, with ``background`` and ``ignore``, or to the labels of a region; or the tasks of joint labels.
    cases
        Number of training cases.
    file_ending
        Ending of images and labels.
    conversion
        What inference and the way back need; nnU-Net carries it into the model folder and beside predictions.
    regions_class_order
        For labels with regions: which label each region is written with.
    """
    channels = [channel] if isinstance(channel, str) else channel
    regions = {} if regions_class_order is None else {"regions_class_order": list(regions_class_order)}
    content: dict[str, Any] = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        **(labels.to_dataset_json() if isinstance(labels, JointLabels) else {"labels": dict(labels)}),
        **regions,
        "numTraining": cases,
        "file_ending": file_ending,
        "conversion": conversion,
    }
    if file_ending == ".tif":
        # Two readers of nnU-Net claim .tif; the first, for 2D images, fails with a traceback before the other is tried.
        content["overwrite_image_reader_writer"] = "Tiff3DIO"
    write_json(folder / "dataset.json", content)


def write_record(folder: Path, command: dict[str, Any], cases: dict[str, dict[str, Any]], **more: object) -> None:
    """Write ``conversion.json``: tool version, arguments, and what was done to each case."""
    write_json(
        folder / RECORD,
        {"tool": "nnunet_ext", "version": __version__, "arguments": command, **more, "cases": cases},
    )


def read_conversion(folder: Path, source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``dataset.json`` of a dataset, model or prediction folder, and its key ``conversion``.

    Parameters
    ----------
    folder
        A folder with ``dataset.json``, or a ``fold_X`` folder inside such a folder.
    source
        Which converter must have made the dataset.

    Raises
    ------
    MissingInputError
        If there is no ``dataset.json``.
    InputError
        If another tool made the dataset.
    """
    found = [path for path in (folder / "dataset.json", folder.parent / "dataset.json") if path.is_file()]
    if not found:
        message = f"{folder}: no dataset.json there; give the folder of the dataset or the model (--dataset or -m)"
        raise MissingInputError(message)
    content = read_json(found[0])
    conversion = content.get("conversion")
    if not isinstance(conversion, dict) or conversion.get("source") != source:
        origin = conversion.get("source") if isinstance(conversion, dict) else "another tool"
        message = f"{found[0]}: expected a dataset made by 'nnunet_ext convert {source}', this one is from {origin}"
        raise InputError(message)
    return content, conversion
