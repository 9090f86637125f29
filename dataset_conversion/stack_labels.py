"""Images and several label maps per case to an nnU-Net dataset with joint labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataset_conversion.raw_dataset import dataset_folder, write_record
from dataset_conversion.sparse_dataset import NEEDED_CASES, Converted
from dataset_conversion.stack_case import CaseFiles, Inspection, inspect_case, target_problems, write_case
from dataset_conversion.task_options import TaskOption, option_from_values, read_options, with_ignore
from nnunet_ext.errors import BadCasesError, InputError, listed
from nnunet_ext.files import write_json, written_when_complete
from nnunet_ext.imageio import ending_of
from nnunet_ext.imageio.case_files import find_cases, find_images, spacing_notes
from nnunet_ext.imageio.names import TIFF_ENDINGS
from nnunet_ext.jobs import run_jobs
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import loss_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dataset_conversion.task_options import Branching

SOURCE = "stack"
ENDINGS = (".nii.gz", ".nrrd", ".mha", ".tif", ".tiff", ".png")
"""Endings that nnU-Net reads, and writes with more than 8 bits."""


def stack_labels(
    images: str | Path,
    *,
    task: Sequence[str] = (),
    layers: str | Path | None = None,
    tasks: Path | None = None,
    dataset_id: int | None = None,
    name: str | None = None,
    output: Path | None = None,
    missing_as_ignore: bool = False,
    channels: Sequence[str] | None = None,
    file_format: str | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> Converted:
    """Make a dataset with one joint label per case out of several label maps.

    All inputs are checked before anything is written, and the dataset appears under its name only when it is
    complete.

    Parameters
    ----------
    images
        Folder with one image per case, or with nnU-Net's names (``<case>_0000.ext``, one file per channel); or a
        pattern in which ``*`` stands for the name of the case, see ``case_files.find_images``.
    task
        ``NAME=LABELS`` or ``NAME=LABELS:class0,class1=value,…`` per task, see ``task_options.parse_task``. Without
        classes and ``tasks``, the values in the files are the classes.
    layers
        Folder or pattern of files with one layer per task, in the order of ``tasks``; instead of ``task``.
    tasks
        File that says what the tasks are, see ``task_options.read_tasks_file``.
    dataset_id, name
        Of the dataset.
    output
        Folder of raw datasets; default: ``$nnUNet_raw``.
    missing_as_ignore
        Where a task has no file for a case, count all its voxels as not annotated, instead of refusing the case.
    channels
        Names of the channels, by which nnU-Net chooses the normalisation; default: ``image``, or ``image0``, ….
    file_format
        Ending of the files in the dataset; default: that of the images, which are copied then.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace a dataset of the same name.

    Returns
    -------
    Converted
        The folder, the cases, and notes for the user.

    Raises
    ------
    BadCasesError
        If files do not pair, cannot be read, or have another shape, geometry or values than expected, or the tasks
        make more joint labels than nnU-Net can store or have weights that leave nothing to others; names all of it.
    InputError
        If an argument is not usable.
    MissingInputError
        If a folder or file is not there.
    OutputExistsError
        If the dataset exists and ``overwrite`` is false.
    """
    _check_arguments(task, layers, tasks)
    options, branching = read_options(task, tasks)
    wanted = None if file_format is None else _checked_ending(file_format)
    folder = dataset_folder(output, dataset_id, name, overwrite=overwrite)

    cases, problems = _paired(find_images(images), options, layers, missing_as_ignore=missing_as_ignore)
    found = run_jobs({files.case: (files, options) for files in cases}, inspect_case, processes, "Checking")
    problems += [problem for inspection in found.values() for problem in inspection.problems]
    options, notes, value_problems = _completed(options, list(found.values()))
    problems += value_problems
    ending, ending_problems = _ending(list(found.values()), wanted)
    problems += ending_problems
    names, channel_problems = _channel_names(list(found.values()), channels)
    problems += channel_problems
    joint = None
    try:
        joint = JointLabels(tuple(option.task for option in options if option.task is not None))
        loss_weights(joint.tasks)
    except InputError as error:
        problems += [] if value_problems else [str(error)]
    if problems or joint is None:
        raise BadCasesError(problems)

    flat = all(inspection.grid is not None and inspection.grid.shape[0] == 1 for inspection in found.values())
    conversion = {"source": SOURCE, "tasks": {option.name: {"values": list(option.values)} for option in options}}
    with written_when_complete(folder, overwrite=overwrite) as unfinished:
        jobs = {case: (unfinished, inspection, options, joint, ending, flat) for case, inspection in found.items()}
        unfinished.mkdir()
        records = run_jobs(jobs, write_case, processes, "Writing")
        content: dict[str, Any] = {
            "channel_names": {str(number): channel for number, channel in enumerate(names)},
            **joint.to_dataset_json(),
            "numTraining": len(records),
            "file_ending": ending,
        }
        if ending in TIFF_ENDINGS:
            # Two readers of nnU-Net claim .tif: one for 2D images, the other for volumes.
            content["overwrite_image_reader_writer"] = "NaturalImage2DIO" if flat else "Tiff3DIO"
        if branching is not None:
            content["branching"] = branching
        write_json(unfinished / "dataset.json", content | {"conversion": conversion})
        command = _command(images, task, layers, tasks, branching, file_format)
        write_record(unfinished, command, records, conversion=conversion)
    return Converted(folder, list(records), notes + _notes(found))


def _check_arguments(task: Sequence[str], layers: str | Path | None, tasks: Path | None) -> None:
    if layers is None and not task:
        message = "no label maps: give --task NAME=LABELS for each task, or --layers LABELS with --tasks TASKS.json"
        raise InputError(message)
    if layers is not None and (task or tasks is None):
        message = "--layers: the tasks of the layers come from --tasks TASKS.json, in its order, and not from --task"
        raise InputError(message)


def _checked_ending(file_format: str) -> str:
    ending = f".{file_format.removeprefix('.')}".lower()
    if ending not in ENDINGS:
        message = f"--format {file_format}: expected one of {', '.join(ENDINGS)}"
        raise InputError(message)
    return ending


def _paired(
    images: Mapping[str, tuple[Path, ...]],
    options: Sequence[TaskOption],
    layers: str | Path | None,
    *,
    missing_as_ignore: bool,
) -> tuple[list[CaseFiles], list[str]]:
    """Return the cases that have all files, and one message per file without partner."""
    labels = [find_cases(layers)] if layers is not None else [find_cases(option.labels or "") for option in options]
    titles = ["file of layers"] if layers is not None else [f"file for task '{option.name}'" for option in options]
    problems, complete = [], []
    for files in labels:
        problems += [
            f"{path}: no image of case '{case}'; images are there for {listed(images)}"
            for case, path in files.items()
            if case not in images
        ]
    for case, channels in images.items():
        missing = [title for title, files in zip(titles, labels, strict=True) if case not in files]
        if layers is not None and not missing:
            complete.append(CaseFiles(case, channels, labels[0][case]))
        elif not missing or (missing_as_ignore and layers is None and len(missing) < len(titles)):
            complete.append(CaseFiles(case, channels, tuple(files.get(case) for files in labels)))
        else:
            way_out = "; give --missing-as-ignore to count its voxels as not annotated"
            hint = way_out if layers is None and len(missing) < len(titles) else ""
            problems += [f"{channels[0]}: no {title} of case '{case}'{hint}" for title in missing]
    return complete, problems


def _completed(
    options: Sequence[TaskOption], found: Sequence[Inspection]
) -> tuple[list[TaskOption], list[str], list[str]]:
    """Return the tasks with classes and ignore, notes, and messages on values that no class has."""
    completed, notes, problems = [], [], []
    for number, option in enumerate(options):
        per_case = [(case, case.values[number]) for case in found if case.values]
        complete = option
        if option.task is None:
            try:
                complete = option_from_values(option, {v for _, values in per_case for v in values or []})
            except InputError as error:
                problems.append(str(error))
                continue
            named = zip(complete.task.classes if complete.task else (), complete.values, strict=False)
            shown = ", ".join(f"{name}={value}" for name, value in named)
            notes.append(f"classes of task '{option.name}' by the values in its files: {shown}")
        for case, values in per_case:
            known = set(range(len(complete.values)) if case.by_name else complete.values)
            unknown = [value for value in values or [] if value not in known]
            if unknown:
                problems.append(f"{case.names[number]}: values {_shown(unknown)} found, expected {_expected(complete)}")
        missing = [case.files.case for case, values in per_case if values is None]
        if missing:
            complete = with_ignore(complete)
            notes.append(f"task '{option.name}' has no file and counts as not annotated in {listed(missing)}")
        completed.append(complete)
    return completed, notes, problems


def _expected(option: TaskOption) -> str:
    task = option.task
    names = [*(task.classes if task else ()), *(["ignore"] if task and task.ignore else [])]
    pairs = ", ".join(f"{value} ({name})" for name, value in zip(names, option.values, strict=True))
    return f"those of task '{option.name}': {pairs}"


def _shown(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:10])) + (f", … ({len(values)} in all)" if len(values) > 10 else "")


def _ending(found: Sequence[Inspection], wanted: str | None) -> tuple[str, list[str]]:
    """Return the ending of the dataset's files, and why it is not usable."""
    endings: dict[str, Path] = {}
    for inspection in found:
        for path in inspection.files.images:
            endings.setdefault(ending_of(path) if path.is_file() else "folder of slices", path)
    if wanted is None and endings and (len(endings) > 1 or not set(endings) <= set(ENDINGS)):
        shown = ", ".join(f"{ending} ({path})" for ending, path in endings.items())
        message = f"images of {shown}: expected one of {', '.join(ENDINGS)} for all; choose --format, as .nii.gz"
        return ENDINGS[0], [message]
    ending = wanted or next(iter(endings), ENDINGS[0])
    problems = [problem for inspection in found for problem in target_problems(inspection, ending)]
    shapes = {i.files.images[0]: i.grid.shape[0] for i in found if i.grid is not None}
    slices = [path for path, depth in shapes.items() if depth == 1]
    if ending in TIFF_ENDINGS and slices and len(slices) < len(shapes):
        problems.append(
            f"{listed(map(str, slices))}: one slice, while other images have several, and nnU-Net reads TIFF "
            "either as 2D images or as volumes; choose --format .nii.gz, .nrrd or .mha"
        )
    return ending, problems


def _channel_names(found: Sequence[Inspection], given: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the names of the channels, and messages on images that have others."""
    readable = [inspection for inspection in found if inspection.grid is not None and not inspection.problems]
    if not readable:
        return [], []
    count = readable[0].channels
    first = readable[0].files.images[0]
    problems = [
        f"{inspection.files.images[0]}: {inspection.channels} channels, expected {count} as in {first}"
        for inspection in readable
        if inspection.channels != count
    ]
    if given is None:
        return ["image"] if count == 1 else [f"image{number}" for number in range(count)], problems
    if len(given) != count:
        problems.append(f"--channels: {len(given)} names given ({', '.join(given)}), expected {count} as in {first}")
    return list(given), problems


def _command(
    images: str | Path,
    task: Sequence[str],
    layers: str | Path | None,
    tasks: Path | None,
    branching: Branching | None,
    file_format: str | None,
) -> dict[str, Any]:
    return {
        "images": str(images),
        "task": list(task),
        "layers": None if layers is None else str(layers),
        "tasks": None if tasks is None else str(tasks.absolute()),
        "branching": branching,
        "format": file_format,
    }


def _notes(found: Mapping[str, Inspection]) -> list[str]:
    sources = {
        case: i.spacing_source for case, i in found.items() if i.spacing_source and i.grid and i.grid.shape[0] > 1
    }
    notes = spacing_notes(sources)
    if len(found) < NEEDED_CASES:
        notes.append(
            f"{len(found)} cases are too few for the {NEEDED_CASES} folds of nnU-Net: train with fold 'all', or write "
            "your own splits_final.json"
        )
    return notes
