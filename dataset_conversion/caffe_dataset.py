"""The CaFFe benchmark, or data in its layout, to an nnU-Net dataset of any of the tasks in ``caffe_tasks``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from dataset_conversion.caffe_case import Output, check_scene, write_image, write_scene
from dataset_conversion.caffe_files import TEST, choose_fraction, find_scenes
from dataset_conversion.caffe_folds import SPLITS, fold_notes, folds_by_glacier, trainer_splits
from dataset_conversion.caffe_tasks import CHANNEL, INFERENCE, PARTS, SOURCE, task_by_name
from dataset_conversion.raw_dataset import (
    RECORD,
    dataset_folder,
    default_raw,
    image_name,
    write_dataset_json,
    write_record,
)
from dataset_conversion.sparse_dataset import Converted
from nnunet_ext.caffe.names import parse_caffe_name
from nnunet_ext.errors import BadCasesError, InputError, listed
from nnunet_ext.files import refuse_existing, write_json, written_when_complete
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dataset_conversion.caffe_case import Checked
    from dataset_conversion.caffe_files import Scene

FORMATS = ("png", "nii.gz")
BY_GLACIER = "glacier"
INFERENCE_FOLDER = "CaFFe_inference"


@dataclass(frozen=True)
class ConvertedCaffe(Converted):
    """What was written.

    Parameters
    ----------
    test_cases
        Names of the cases in ``imagesTs``; or of all images, where there are images only.
    """

    test_cases: list[str] = field(default_factory=list)


def convert_caffe(
    root: Path,
    task: str,
    *,
    dataset_id: int | None = None,
    name: str | None = None,
    output: Path | None = None,
    front_width: int = 5,
    file_format: str = "png",
    pixel_size_as_spacing: bool = False,
    tolerance: int = 0,
    fraction: float = 1.0,
    seed: int = 0,
    folds_by: str | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> ConvertedCaffe:
    """Convert images, fronts and zones to a dataset for nnU-Net.

    All inputs are checked before anything is written, and the dataset appears under its name only when it is
    complete. Label maps of training and test images are made in the same way.

    Parameters
    ----------
    root
        Folder ``data_raw`` of the benchmark, see ``caffe_files.find_scenes``.
    task
        ``fused``, ``front``, ``zones``, ``mtl``, ``mtl_recon``, ``mtl_boundary`` or ``inference``.
    dataset_id, name
        Of the dataset; default: those of the task. None for ``inference``.
    output
        Folder of raw datasets; default: ``$nnUNet_raw``. For ``inference`` the folder of the images itself; default:
        ``CaFFe_inference`` there.
    front_width
        Width of dilated fronts and boundaries in pixels, odd; 1 leaves them as they are.
    file_format
        ``png`` or ``nii.gz``.
    pixel_size_as_spacing
        Write the metres per pixel of the name as spacing (one unit is a metre); with ``nii.gz`` only.
    tolerance
        Distance within which another grey value counts as the nearest level.
    fraction, seed
        Part of the images of each split to take, see ``caffe_files.choose_fraction``.
    folds_by
        ``glacier``: write folds that keep the images of a glacier together.
    processes
        Number of images that are worked on at the same time.
    overwrite
        Replace a dataset of the same name.

    Returns
    -------
    ConvertedCaffe
        The folder, the cases, and notes for the user.

    Raises
    ------
    BadCasesError
        If a partner is missing, a stem is there twice, a name says nothing, or a file has another size or other grey
        levels than expected; names all of it.
    InputError
        If an argument is not usable, or there is no training image.
    MissingInputError
        If a folder is not there.
    OutputExistsError
        If the output exists and ``overwrite`` is false.
    """
    what = task_by_name(task)
    options = Output(what, f".{file_format}", front_width, tolerance, pixel_size_as_spacing)
    _check_options(options, file_format, folds_by)
    arguments = {
        "root": str(root.absolute()),
        "task": task,
        "front_width": front_width,
        "format": file_format,
        "pixel_size_as_spacing": pixel_size_as_spacing,
        "tolerance": tolerance,
        "fraction": fraction,
        "seed": seed,
        "folds_by": folds_by,
    }
    if task == INFERENCE:
        if (dataset_id, name, folds_by) != (None, None, None):
            message = "--task inference writes images only: leave out -d, -n and --folds-by; -o is their folder"
            raise InputError(message)
        folder = output or default_raw() / INFERENCE_FOLDER
    else:
        folder = dataset_folder(
            output,
            what.dataset_id if dataset_id is None else dataset_id,
            name or what.dataset_name,
            overwrite=overwrite,
        )

    found, problems = find_scenes(root, what.label_folders)
    scenes = {scene.stem: scene for scene in choose_fraction(found, fraction, seed)}
    checked = run_jobs({stem: (scene, options) for stem, scene in scenes.items()}, check_scene, processes, "Checking")
    problems += [problem for result in checked.values() for problem in result.problems]
    if pixel_size_as_spacing and task == INFERENCE:
        problems += _without_pixel_size(scenes)
    if problems:
        raise BadCasesError(problems)
    if task == INFERENCE:
        return _write_images(folder, scenes, options, arguments, processes, overwrite=overwrite)
    return _write_dataset(folder, scenes, checked, options, arguments, processes, overwrite=overwrite)


def _check_options(options: Output, file_format: str, folds_by: str | None) -> None:
    if file_format not in FORMATS:
        message = f"--format {file_format}: expected one of {', '.join(FORMATS)}"
        raise InputError(message)
    if options.front_width < 1 or options.front_width % 2 == 0:
        message = f"--front-width {options.front_width}: expected an odd number of pixels from 1"
        raise InputError(message)
    if options.tolerance < 0:
        message = f"--tolerance {options.tolerance}: expected 0 or more grey levels"
        raise InputError(message)
    if options.has_pixel_size and file_format == "png":
        message = "--pixel-size-as-spacing: PNG holds no spacing; give --format nii.gz with it"
        raise InputError(message)
    if folds_by not in (None, BY_GLACIER):
        message = f"--folds-by {folds_by}: expected {BY_GLACIER}"
        raise InputError(message)


def _without_pixel_size(scenes: Mapping[str, Scene]) -> list[str]:
    problems = []
    for scene in scenes.values():
        try:
            parse_caffe_name(scene.stem)
        except InputError as error:
            problems.append(f"{scene.image}: {error}; without --pixel-size-as-spacing any name is fine")
    return problems


def _write_images(
    folder: Path,
    scenes: Mapping[str, Scene],
    options: Output,
    arguments: dict[str, Any],
    processes: int,
    *,
    overwrite: bool,
) -> ConvertedCaffe:
    targets = [folder / image_name(stem, options.ending) for stem in scenes]
    sources = {scene.image.parent.resolve() for scene in scenes.values()}
    if folder.resolve() in sources:
        message = f"{folder}: is a folder of the images; choose another output (-o)"
        raise InputError(message)
    refuse_existing([*targets, folder / RECORD], overwrite=overwrite)
    jobs = {stem: (folder, scene, options) for stem, scene in scenes.items()}
    records = run_jobs(jobs, partial(write_image, overwrite=overwrite), processes, "Writing")
    write_record(folder, arguments, records, conversion={"source": SOURCE, "task": INFERENCE})
    return ConvertedCaffe(folder, [], test_cases=list(scenes))


def _write_dataset(
    folder: Path,
    scenes: Mapping[str, Scene],
    checked: Mapping[str, Checked],
    options: Output,
    arguments: dict[str, Any],
    processes: int,
    *,
    overwrite: bool,
) -> ConvertedCaffe:
    test = [stem for stem, scene in scenes.items() if scene.split == TEST]
    train = [stem for stem, scene in scenes.items() if scene.split != TEST]
    if not train:
        message = f"{arguments['root']}: no training image, only {len(test)} in sar_images/{TEST}"
        raise InputError(message)
    splits = folds_by_glacier(train) if arguments["folds_by"] == BY_GLACIER else None
    trainer_file = trainer_splits(folder, splits, overwrite=overwrite)

    conversion = {
        "source": SOURCE,
        "task": options.task.name,
        "front_width": options.front_width,
        "pixel_size_as_spacing": options.has_pixel_size,
        # What `nnunet_ext unstack` asks for, too.
        "tasks": {part: {"values": list(PARTS[part].levels.values())} for part in options.task.parts},
    }
    with written_when_complete(folder, overwrite=overwrite) as unfinished:
        jobs = {stem: (unfinished, scene, options) for stem, scene in scenes.items()}
        records = run_jobs(jobs, write_scene, processes, "Writing")
        write_dataset_json(
            unfinished,
            channel=CHANNEL,
            labels=options.task.labels,
            cases=len(train),
            file_ending=options.ending,
            conversion=conversion,
        )
        if splits:
            write_json(unfinished / SPLITS, splits)
        write_record(unfinished, arguments, records, conversion=conversion)
    if splits and trainer_file:
        write_json(trainer_file, splits)
    notes = _notes(scenes, checked) + fold_notes(folder, train, splits, trainer_file)
    return ConvertedCaffe(folder, train, notes, test)


def _notes(scenes: Mapping[str, Scene], checked: Mapping[str, Checked]) -> list[str]:
    notes = []
    for folder in sorted({name for scene in scenes.values() for name in scene.labels}):
        inexact = {stem: result.inexact[folder] for stem, result in checked.items() if result.inexact[folder]}
        if inexact:
            pixels = sum(inexact.values())
            notes.append(f"{folder}: {pixels} pixels counted as the nearest grey level, in {listed(inexact)}")
    without = [stem for stem, result in checked.items() if not result.has_front]
    return notes + ([f"no pixel of a front in {listed(without)}"] if without else [])
