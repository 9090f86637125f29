"""What is known of a dataset before anything runs: its name, plans, folds, and the trainers there are."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.errors import InputError, MissingInputError, listed
from nnunet_ext.files import read_json

RAW, PREPROCESSED, RESULTS = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"
CASCADE = "3d_cascade_fullres"
ALL = "all"
SPLITS = "splits_final.json"
_NAME = re.compile(r"Dataset\d{3}_[A-Za-z0-9_.+-]+")
_ID = re.compile(r"\d{1,3}")
_FOLDS = 5


@dataclass(frozen=True)
class Dataset:
    """A dataset of nnU-Net.

    Parameters
    ----------
    name
        ``DatasetNNN_name``.
    raw, preprocessed, results
        Its folders, which need not exist.
    """

    name: str
    raw: Path
    preprocessed: Path
    results: Path

    @property
    def number(self) -> int:
        """The id."""
        return int(self.name[7:10])

    def model_folder(self, trainer: str, plans: str, configuration: str) -> Path:
        """Return where nnU-Net puts a model."""
        return self.results / f"{trainer}__{plans}__{configuration}"


def find_dataset(name_or_id: str) -> Dataset:
    """Find a dataset by name or id.

    Raises
    ------
    InputError
        If the name is not of nnU-Net's form, an id belongs to several names, or a variable with nnU-Net's folders is
        not set.
    MissingInputError
        If there is no such dataset.
    """
    unset = [variable for variable in (RAW, PREPROCESSED, RESULTS) if not os.environ.get(variable)]
    if unset:
        message = f"{', '.join(unset)}: not set; nnU-Net needs the folders of raw data, preprocessed data and results"
        raise InputError(message)
    folders = {variable: Path(os.environ[variable]).absolute() for variable in (RAW, PREPROCESSED, RESULTS)}
    if _ID.fullmatch(name_or_id):
        pattern = f"Dataset{int(name_or_id):03}_*"
        names = sorted({path.name for root in folders.values() for path in root.glob(pattern) if path.is_dir()})
        if len(names) > 1:
            message = f"-d {name_or_id}: belongs to several datasets: {listed(names)}; give the name"
            raise InputError(message)
        name = names[0] if names else ""
    else:
        name = name_or_id
    if name and not _NAME.fullmatch(name):
        message = f"-d {name!r}: expected an id or Dataset<three digits>_<name>, of letters, digits and _ . + -"
        raise InputError(message)
    if not name or not any((folders[variable] / name).is_dir() for variable in (RAW, PREPROCESSED)):
        message = f"-d {name_or_id}: no such dataset in {folders[RAW]} or {folders[PREPROCESSED]}"
        raise MissingInputError(message)
    return Dataset(name, folders[RAW] / name, folders[PREPROCESSED] / name, folders[RESULTS] / name)


def read_configurations(dataset: Dataset, plans: str) -> dict[str, dict[str, Any]] | None:
    """Return the configurations of plans, with what they inherit; None if there are no plans yet.

    Raises
    ------
    InputError
        If the plans cannot be read.
    """
    path = dataset.preprocessed / f"{plans}.json"
    return read_plans(path) if path.is_file() else None


def read_plans(path: Path) -> dict[str, dict[str, Any]]:
    """Return the configurations of a plans file, with what they inherit.

    Raises
    ------
    MissingInputError, InputError
        If the file is not there, or not plans of nnU-Net.
    """
    own = read_json(path).get("configurations")
    if not isinstance(own, dict):
        message = f"{path}: no 'configurations' in it, expected plans of nnU-Net"
        raise InputError(message)
    return {name: _with_inherited(name, own, path) for name in own}


def previous_stage(configuration: str, configurations: dict[str, dict[str, Any]] | None) -> str | None:
    """Return the configuration that a cascade takes its input from, or None."""
    if configurations is None:
        return "3d_lowres" if configuration == CASCADE else None
    found = configurations.get(configuration, {}).get("previous_stage")
    return str(found) if found else None


def number_of_folds(dataset: Dataset) -> int:
    """Return the number of folds of the cross-validation: that of splits_final.json, or nnU-Net's five.

    Planning copies the file from the folder of raw data.
    """
    path = next(
        (folder / SPLITS for folder in (dataset.preprocessed, dataset.raw) if (folder / SPLITS).is_file()), None
    )
    if path is None:
        return _FOLDS
    try:
        return len(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        message = f"{path}: not a list of folds: {error}"
        raise InputError(message) from error


def trainer_problem(name: str) -> str | None:
    """Return what is wrong with the name of a trainer, or None; nothing heavy is imported."""
    from nnunet_ext.plugins.lengths import split_length
    from nnunet_ext.plugins.lookup import EXTERNAL_TRAINERS, defined_names, names_of_nnunet
    from nnunet_ext.plugins.registry import TRAINERS, closest_names, registrations

    if not name.isidentifier() or not name.isascii():
        return f"-tr {name!r}: expected the name of a trainer, of letters, digits and _"
    known = names_of_nnunet(TRAINERS) | {found.name for found in registrations(TRAINERS)}
    for folder in filter(None, os.environ.get(EXTERNAL_TRAINERS, "").split(os.pathsep)):
        known |= defined_names(Path(folder))
    length = split_length(name)
    if name in known or (length is not None and length[0] in known):
        return None
    closest = closest_names(name, [found for found in known if "Trainer" in found])
    return f"-tr {name}: no such trainer; closest: {listed(closest)}"


def _with_inherited(name: str, own: dict[str, Any], path: Path) -> dict[str, Any]:
    chain, found = [name], dict(own[name])
    while parent := found.pop("inherits_from", None):
        if parent not in own or parent in chain:
            message = f"{path}: configuration '{name}' inherits from '{parent}', which is not there or goes in circles"
            raise InputError(message)
        chain.append(parent)
        found = {**own[parent], **found}
    return found
