"""What commands over folders of label maps share: files by case, value checks and the output folder."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import refuse_existing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from evaluation.labels import LabelSet

LISTED_VALUES = 10
"""Undeclared values that a message names; an image taken for a label map has thousands."""


def volumes_by_case(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Find the volumes in a folder; single slices that lie in it are cases, and not together one volume.

    Parameters
    ----------
    folder
        Folder to look into.

    Returns
    -------
    dict of str to Path
        The first file of each name without ending, in natural order.
    list of str
        One message per name with several files, and one for a folder without any volume.

    Raises
    ------
    MissingInputError
        If there is no such folder.
    """
    from nnunet_ext.imageio import SUPPORTED_ENDINGS, find_volumes, is_supported, natural_key, volume_name

    if not folder.is_dir():
        message = f"no such folder: {folder}"
        raise MissingInputError(message)
    volumes = find_volumes(folder)
    if volumes == [folder]:
        slices = (path for path in folder.iterdir() if is_supported(path) and not path.name.startswith("."))
        volumes = sorted(slices, key=lambda path: natural_key(path.name))
    files = defaultdict(list)
    for path in volumes:
        files[volume_name(path)].append(path)
    if not files:
        return {}, [f"{folder}: no volume found, expected files ending with {', '.join(SUPPORTED_ENDINGS)}"]
    problems = [
        f"case {case!r} has several files: {', '.join(str(path) for path in paths)}"
        for case, paths in files.items()
        if len(paths) > 1
    ]
    return {case: paths[0] for case, paths in files.items()}, problems


def undeclared_values(path: Path, voxels: Mapping[int, int], label_set: LabelSet) -> list[str]:
    """Check the values of a label map.

    Parameters
    ----------
    path
        The label map, for the message.
    voxels
        Its values and how many voxels have them.
    label_set
        What is declared.

    Returns
    -------
    list of str
        One message if there are undeclared values, else none.
    """
    if label_set.declared is None:
        return []
    unknown = sorted(value for value, count in voxels.items() if count and value not in label_set.declared)
    if not unknown:
        return []
    listed = ", ".join(f"{value} ({voxels[value]} voxels)" for value in unknown[:LISTED_VALUES])
    more = f" and {len(unknown) - LISTED_VALUES} more" if len(unknown) > LISTED_VALUES else ""
    expected = f"expected labels {_listed(label_set.declared)} as in {label_set.source}"
    return [f"{path}: values {listed}{more} found, {expected}"]


def raise_problems(problems: Sequence[str]) -> None:
    """Raise ``BadCasesError`` with all problems, each told once, if there are any."""
    if problems:
        # A reference is read once per model.
        raise BadCasesError(list(dict.fromkeys(problems)))


def check_output_folder(
    output: Path, inputs: Sequence[Path], is_own: Callable[[Path], bool], *, overwrite: bool
) -> None:
    """Refuse an output folder that exists, or whose replacement would remove more than an earlier output.

    Parameters
    ----------
    output
        Folder to write.
    inputs
        Folders that are read.
    is_own
        Whether a file, given relative to ``output``, is one that the command writes.
    overwrite
        Whether an earlier output there may be replaced.

    Raises
    ------
    InputError
        If an input is, or lies in, the output.
    OutputExistsError
        If the output exists and ``overwrite`` is false, or holds other files.
    """
    for folder in inputs:
        if folder.resolve().is_relative_to(output.resolve()):
            message = f"{output}: the output would replace the input {folder}; choose another folder"
            raise InputError(message)
    refuse_existing([output], overwrite=overwrite)
    if not os.path.lexists(output):
        return
    files = _files(output) if output.is_dir() else [output]
    others = [path for path in files if path == output or not is_own(path.relative_to(output))]
    if others:
        message = f"{others[0]} was not written by this command and is not replaced; choose another output"
        raise OutputExistsError(message)


def _listed(values: Collection[int]) -> str:
    """List values; joint labels of several tasks may be thousands in a row."""
    in_order = sorted(values)
    in_a_row = len(in_order) > LISTED_VALUES and in_order[-1] - in_order[0] == len(in_order) - 1
    return f"{in_order[0]} to {in_order[-1]}" if in_a_row else str(in_order)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
