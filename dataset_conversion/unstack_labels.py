"""Joint labels back to one label map per task."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.stack_case import slabs_of
from dataset_conversion.task_options import free_value
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, NnunetExtError
from nnunet_ext.files import read_json, refuse_existing
from nnunet_ext.imageio import OUTPUT_ENDINGS, create_volume, ending_of
from nnunet_ext.imageio.case_files import find_cases
from nnunet_ext.imageio.names import PNG_ENDING, TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.jobs import run_jobs
from nnunet_ext.multitask.joint_labels import JointLabels, from_dataset_json

if TYPE_CHECKING:
    from pathlib import Path


ORIGINAL = "original"
INDICES = "indices"
_DTYPES = ("uint8", "uint16", "int8", "int16", "int32", "uint32")


@dataclass(frozen=True)
class Unstacked:
    """What was written.

    Parameters
    ----------
    folders
        ``OUT/<task>`` of each task, in order.
    cases
        Names of the cases.
    values
        Per task the value of each class in the files, and that of voxels that are not annotated, if there are any.
    """

    folders: list[Path]
    cases: list[str]
    values: dict[str, tuple[int, ...]]


def unstack_labels(
    predictions: Path,
    output: Path,
    *,
    dataset: Path | None = None,
    file_format: str | None = None,
    values: str = ORIGINAL,
    processes: int = 2,
    overwrite: bool = False,
) -> Unstacked:
    """Write ``OUT/<task>/<case><ending>`` for each task.

    Parameters
    ----------
    predictions
        Folder of joint labels: predictions, ``fold_X/validation`` or ``labelsTr``.
    output
        Where to make a folder per task.
    dataset
        Folder of the dataset or the model; default: ``dataset.json`` beside the predictions, or up to two folders
        above.
    file_format
        Ending of the label maps; default: that of the predictions.
    values
        ``original``: the values that the classes had in the files of the dataset, if it says so, else ``indices``:
        0, 1, … in the order of the classes. Voxels that are not annotated get the value of ``ignore``.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace files of the same name.

    Returns
    -------
    Unstacked
        Folders, cases and values.

    Raises
    ------
    MissingInputError, InputError
        If there is no prediction, or no ``dataset.json`` with tasks, or an argument is not usable.
    BadCasesError
        If a prediction holds values that are no joint labels of the dataset, cannot be read, or does not fit into the
        format; names all of them, and nothing is written.
    OutputExistsError
        If an output exists and ``overwrite`` is false.
    """
    if values not in (ORIGINAL, INDICES):
        message = f"--values {values}: expected {ORIGINAL} or {INDICES}"
        raise InputError(message)
    source = find_dataset_json(predictions, dataset)
    content = read_json(source)
    joint = from_dataset_json(content, str(source))
    of_task = _file_values(joint, content if values == ORIGINAL else {}, source)
    paths = find_predictions(predictions, content.get("file_ending"))
    ending_of_case = {case: _ending(path, file_format) for case, path in paths.items()}
    folders = [output / task for task in joint.names]
    targets = {case: [folder / f"{case}{ending_of_case[case]}" for folder in folders] for case in paths}
    own = {path.resolve() for path in paths.values()}
    replaced = [path for of_case in targets.values() for path in of_case if path.resolve() in own]
    if replaced:
        message = f"{replaced[0]}: is one of the predictions; choose another output (-o), or it would be replaced"
        raise InputError(message)
    refuse_existing([path for of_case in targets.values() for path in of_case], overwrite=overwrite)

    checks = run_jobs(
        {case: (path, joint, of_task, ending_of_case[case]) for case, path in paths.items()},
        check,
        processes,
        "Checking",
    )
    problems = [problem for found in checks.values() for problem in found]
    if problems:
        raise BadCasesError(problems)
    jobs = {case: (path, targets[case], joint, of_task, overwrite) for case, path in paths.items()}
    run_jobs(jobs, unstack_case, processes, "Unstacking")
    return Unstacked(folders, list(paths), dict(zip(joint.names, of_task, strict=True)))


def find_dataset_json(predictions: Path, dataset: Path | None) -> Path:
    """Return the dataset.json of predictions.

    Parameters
    ----------
    predictions
        Folder of predictions.
    dataset
        Folder of the dataset or the model, or the file itself; default: the folder of predictions. It may also stand
        up to two folders above.

    Raises
    ------
    MissingInputError
        If there is no such folder, or no dataset.json.
    """
    if not predictions.is_dir():
        message = f"{predictions}: no such folder of predictions"
        raise MissingInputError(message)
    if dataset is not None and dataset.is_file():
        return dataset
    start = (dataset or predictions).absolute()
    candidates = [folder / "dataset.json" for folder in (start, *list(start.parents)[:2])]
    found = [path for path in candidates if path.is_file()]
    if not found:
        message = (
            f"{dataset or predictions}: no dataset.json there or in the two folders above; give the folder of the "
            "dataset or the model (--dataset)"
        )
        raise MissingInputError(message)
    return found[0]


def find_predictions(folder: Path, ending: object) -> dict[str, Path]:
    """Return the files with the dataset's ending by case, or all volumes if there are none."""
    if isinstance(ending, str):
        paths = [path for path in folder.glob(f"*{ending}") if path.is_file() and not path.name.startswith(".")]
        if paths:
            return {path.name.removesuffix(ending): path for path in sorted(paths)}
    return find_cases(folder)


def check(path: Path, joint: JointLabels, values: list[tuple[int, ...]], ending: str) -> list[str]:
    """Return what stands in the way of taking one prediction apart."""
    dtypes = {_dtype(of_task).name for of_task in values}
    try:
        with open_with_sidecar(path) as codes:
            if ending in (*TIFF_ENDINGS, PNG_ENDING) and not codes.geometry.is_straight:
                return [f"{path}: {ending} cannot hold its direction; choose --format .nii.gz, .nrrd or .mha"]
            if ending == PNG_ENDING and (codes.shape[0] != 1 or not dtypes <= {"uint8", "uint16"}):
                what = f"{codes.shape[0]} slices of {', '.join(sorted(dtypes))}"
                return [f"{path}: {what}, PNG holds one slice of uint8 or uint16; choose --format .nii.gz or .tif"]
            for start, stop in slabs_of(codes.shape):
                joint.decode(codes.slab(start, stop))
    except NnunetExtError as error:
        text = str(error)
        return [text if str(path) in text else f"{path}: {text}"]
    return []


def unstack_case(
    path: Path, targets: list[Path], joint: JointLabels, values: list[tuple[int, ...]], overwrite: bool
) -> None:
    """Write the label maps of one case, one file per task."""
    tables = [np.array(of_task, _dtype(of_task)) for of_task in values]
    with open_with_sidecar(path) as codes, ExitStack() as stack:
        writers = [
            stack.enter_context(create_volume(target, codes.shape, table.dtype, codes.geometry, overwrite=overwrite))
            for target, table in zip(targets, tables, strict=True)
        ]
        for start, stop in slabs_of(codes.shape):
            for writer, table, channel in zip(writers, tables, joint.decode(codes.slab(start, stop)), strict=True):
                writer.write(table[channel])


def _file_values(joint: JointLabels, content: dict[str, Any], source: Path) -> list[tuple[int, ...]]:
    """Return the value in files of each class of each task, and of voxels that are not annotated."""
    conversion = content.get("conversion")
    recorded = conversion.get("tasks") if isinstance(conversion, dict) else None
    found = []
    for task in joint.tasks:
        entry = recorded.get(task.name) if isinstance(recorded, dict) else None
        values = entry.get("values") if isinstance(entry, dict) else None
        if values is None:
            values = list(range(task.num_values))
        if not isinstance(values, list) or not _are_values(values, task.num_values):
            message = (
                f"{source}: task '{task.name}' under 'conversion': expected {task.num_values} different whole numbers "
                f"as 'values', found {values!r}; give --values {INDICES} to do without"
            )
            raise InputError(message)
        if joint.all_ignored and not task.ignore:
            count = task.num_classes
            values = [*values, count if count not in values else free_value(values)]
        found.append(tuple(values))
    return found


def _are_values(values: list[Any], count: int) -> bool:
    whole = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
    return len(whole) == len(values) == len(set(whole)) == count


def _dtype(values: tuple[int, ...]) -> np.dtype[Any]:
    """Return the smallest type that holds the values of a task, whichever of them occur."""
    for name in _DTYPES:
        limits = np.iinfo(name)
        if limits.min <= min(values) and max(values) <= limits.max:
            return np.dtype(name)
    message = f"values {values}: expected numbers of 32 bits; give --values {INDICES} to do without them"
    raise InputError(message)


def _ending(path: Path, file_format: str | None) -> str:
    ending = ending_of(path) if file_format is None else f".{file_format.removeprefix('.')}".lower()
    if ending not in OUTPUT_ENDINGS:
        message = f"{path}: cannot be written as '{ending}', expected --format with one of {', '.join(OUTPUT_ENDINGS)}"
        raise InputError(message)
    return ending
