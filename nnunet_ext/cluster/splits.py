"""nnU-Net's split of a dataset into folds, written before folds begin to train at the same moment.

nnU-Net's trainings write the file themselves if it is not there: several at once could read what another one has half
written. Run by a task: ``python -m nnunet_ext.cluster.splits DATASET PLANS CONFIGURATION``.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from nnunet_ext.cluster.dataset import SPLITS, find_dataset, read_configurations
from nnunet_ext.command import exit_with
from nnunet_ext.errors import InputError, OutputExistsError
from nnunet_ext.files import write_json

_FOLDS = 5
_SEED = 12345


def write_splits(dataset: str, plans: str, configuration: str) -> None:
    """Write the split that a stock training would write, unless there is one.

    Parameters
    ----------
    dataset
        Name or id.
    plans, configuration
        Whose preprocessed cases are split; all configurations have the same.

    Raises
    ------
    InputError
        If there is no preprocessed case, or fewer than folds.
    """
    found = find_dataset(dataset)
    path = found.preprocessed / SPLITS
    if path.is_file():
        return
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    known = read_configurations(found, plans) or {}
    folder = found.preprocessed / str(known.get(configuration, {}).get("data_identifier"))
    cases: list[str] = []
    if folder.is_dir():
        cases = sorted(infer_dataset_class(os.fspath(folder)).get_identifiers(os.fspath(folder)))
    if len(cases) < _FOLDS:
        message = f"{folder}: {len(cases)} preprocessed cases, expected at least {_FOLDS} to make as many folds"
        raise InputError(message)
    splits = generate_crossval_split(cases, seed=_SEED, n_splits=_FOLDS)
    content = [{name: list(map(str, keys)) for name, keys in split.items()} for split in splits]
    # Another submission may have been faster; its split is the same.
    with suppress(OutputExistsError):
        write_json(path, content, overwrite=False)


if __name__ == "__main__":
    exit_with("nnunet_ext.cluster.splits", lambda: write_splits(*sys.argv[1:]))
