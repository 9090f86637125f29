"""Arguments that the commands of the evaluation share: which predictions, which labels, which classes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_MODEL = "prediction"


def parse_predictions(values: Sequence[str]) -> dict[str, Path]:
    """Read ``[NAME=]FOLDER`` arguments.

    Parameters
    ----------
    values
        The text before the first ``=`` is a name unless it holds a path separator, or the whole is a folder.

    Returns
    -------
    dict
        Folder of each model. Without a name, a single model is called ``prediction``, and several are called
        as their folders.

    Raises
    ------
    InputError
        If a name is empty or occurs twice.
    """
    models: dict[str, Path] = {}
    for value in values:
        given, folder = split_name(value, "-p")
        name = given or (DEFAULT_MODEL if len(values) == 1 else folder.resolve().name)
        if name in models:
            message = f"-p: {models[name]} and {folder} both are model {name!r}; name them, as in -p NAME=FOLDER"
            raise InputError(message)
        models[name] = folder
    return models


def split_name(value: str, flag: str) -> tuple[str, Path]:
    """Split ``[NAME=]FOLDER`` into the name, empty if there is none, and the folder.

    Parameters
    ----------
    value
        The text before the first ``=`` is a name unless it holds a path separator, or the whole is a folder.
    flag
        Whose argument this is, for messages.

    Raises
    ------
    InputError
        If there is nothing before or behind the ``=``.
    """
    name, equals, folder = value.partition("=")
    if not equals or "/" in name or os.sep in name or Path(value).is_dir():
        name, folder = "", value
    if (equals and not name and folder != value) or not folder:
        message = f"{flag} {value}: expected a name before and a folder after '='"
        raise InputError(message)
    return name, Path(folder)


def add_prediction_flag(parser: argparse.ArgumentParser) -> None:
    """Declare ``-p``, to be read by ``parse_predictions``."""
    parser.add_argument(
        "-p",
        nargs="+",
        action="extend",
        required=True,
        metavar="[NAME=]PREDICTIONS",
        help="folder of predictions, or of a trained model for the validation of its folds; several compare models",
    )


def add_folder_flags(parser: argparse.ArgumentParser) -> None:
    """Declare ``-p``, ``-g``, ``-o`` and ``--subset``."""
    add_prediction_flag(parser)
    parser.add_argument("-g", type=Path, required=True, metavar="LABELS", help="folder of references")
    parser.add_argument("-o", type=Path, required=True, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--subset",
        action="store_true",
        help="leave out labels without prediction (always so for fold_X/validation)",
    )


def add_class_flags(parser: argparse.ArgumentParser) -> None:
    """Declare ``--labels``, ``--classes``, ``--background`` and ``--ignore-label``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--labels", type=int, nargs="+", metavar="N", help="labels to look at; every other value is background"
    )
    which.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="JSON file that names labels and regions, instead of the dataset.json of predictions or labels",
    )
    parser.add_argument("--background", action="store_true", help="class 0 as well")
    parser.add_argument(
        "--ignore-label",
        type=int,
        metavar="N",
        help="leave out voxels with this reference value, not the declared one",
    )


def add_process_flag(parser: argparse.ArgumentParser) -> None:
    """Declare ``-np``."""
    parser.add_argument(
        "-np", type=_positive, default=min(4, os.cpu_count() or 1), metavar="N", help="number of processes"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        message = f"expected a number of at least 1, found {text}"
        raise argparse.ArgumentTypeError(message)
    return value
