"""Images and segmentations of 3D Slicer to an nnU-Net dataset; classes go by the names of segments."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_conversion.raw_dataset import dataset_folder, write_record
from dataset_conversion.slicer_case import write_case
from dataset_conversion.slicer_classes import looks_of_classes
from dataset_conversion.slicer_notes import notes_on_classes, notes_on_dataset, notes_on_grids
from dataset_conversion.slicer_plan import ERROR, Options, Plan, plan_conversion
from dataset_conversion.sparse_dataset import Converted
from nnunet_ext.files import write_json, written_when_complete
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = "slicer_nrrd"


@dataclass(frozen=True)
class ConvertedSlicer(Converted):
    """The dataset that was written.

    Parameters
    ----------
    classes
        Names in the order of their labels 1, 2, ….
    tasks
        Classes of each task by its name; empty without tasks.
    test_cases
        Names of the cases in ``imagesTs``.
    """

    classes: tuple[str, ...] = ()
    tasks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    test_cases: list[str] = field(default_factory=list)


def convert_slicer_nrrd(
    images: str | Path,
    segmentations: str | Path,
    *,
    dataset_id: int | None = None,
    name: str | None = None,
    output: Path | None = None,
    classes: Sequence[str] | None = None,
    classes_file: Path | None = None,
    missing_ok: bool = False,
    drop_unlisted: bool = False,
    overlap: str = ERROR,
    as_tasks: bool = False,
    test_fraction: float = 0.0,
    test_cases: Path | None = None,
    seed: int = 0,
    channels: Sequence[str] | None = None,
    file_format: str = "nrrd",
    dicom: bool = False,
    series: Sequence[str] = (),
    processes: int = 2,
    overwrite: bool = False,
) -> ConvertedSlicer:
    """Convert images and segmentations of 3D Slicer to a dataset for nnU-Net.

    All inputs are checked before anything is written, and the dataset appears under its name only when it is
    complete. The originals are only read.

    Parameters
    ----------
    images
        Folder with one image per case, or with nnU-Net's channel numbers, see ``case_files.find_images``; with
        ``dicom`` one folder per case.
    segmentations
        Folder of ``.seg.nrrd`` files; or of label maps, in which each value is a segment that is named like it.
    dataset_id, name
        Of the dataset.
    output
        Folder of raw datasets; default: ``$nnUNet_raw``.
    classes, classes_file
        Classes in the order of their labels, see ``slicer_classes.listed_classes``; default: all names of segments.
    missing_ok, drop_unlisted
        Accept cases without a class of the list, and leave out segments that are not in it.
    overlap
        ``error``; or ``first`` or ``last``: which class of the list gets a voxel that is in several.
    as_tasks
        Make one task per group of classes that do not overlap, where classes overlap.
    test_fraction, test_cases, seed
        Cases for ``imagesTs``: part of all cases, drawn at random; or a file with one name per line. A case of that
        file needs no segmentation.
    channels
        Names of the channels, by which nnU-Net normalises; default: ``CT`` where DICOM says so, else ``image``.
    file_format
        ``nrrd`` or ``nii.gz``.
    dicom, series
        Read DICOM series, and which UIDs to take where a folder holds several.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace a dataset of the same name.

    Returns
    -------
    ConvertedSlicer
        The folder, the cases, and notes for the user.

    Raises
    ------
    BadCasesError
        If files do not pair or cannot be read, classes are missing, unknown or overlap, or segments lie outside their
        image; names all of it.
    InputError
        If an argument is not usable.
    MissingInputError
        If a folder or file is not there.
    OutputExistsError
        If the dataset exists and ``overwrite`` is false.
    UnsupportedFormatError
        If slicerio is not installed.
    """
    options = Options(
        classes=None if classes is None else tuple(classes),
        classes_file=classes_file,
        missing_ok=missing_ok,
        drop_unlisted=drop_unlisted,
        overlap=overlap,
        as_tasks=as_tasks,
        test_fraction=test_fraction,
        test_cases=test_cases,
        seed=seed,
        channels=None if channels is None else tuple(channels),
        file_format=file_format,
        dicom=dicom,
        series=tuple(series),
        processes=processes,
    )
    options.check()
    folder = dataset_folder(output, dataset_id, name, overwrite=overwrite)
    plan = plan_conversion(Path(images), Path(segmentations), options)
    with written_when_complete(folder, overwrite=overwrite) as unfinished:
        _write(unfinished, plan, options, {"images": str(images), "segmentations": str(segmentations)})

    target, names = plan.target, plan.classes.names
    cases = [case for case in plan.jobs if case not in plan.test]
    notes = notes_on_classes(plan.jobs, plan.found, plan.classes, "in several tasks" if target.joint else overlap)
    notes += notes_on_grids(plan.found, names) + notes_on_dataset(len(cases), plan.channels)
    if as_tasks and target.joint is None:
        notes.append("no classes overlap: --as-tasks changes nothing, this is an ordinary dataset")
    tasks = {task.name: task.classes[1:] for task in target.joint.tasks} if target.joint else {}
    return ConvertedSlicer(folder, cases, notes, names, tasks, [case for case in plan.jobs if case in plan.test])


def _write(folder: Path, plan: Plan, options: Options, arguments: dict[str, Any]) -> None:
    """Write the dataset under its temporary name."""
    folder.mkdir()
    jobs = {case: (folder, "Ts" if case in plan.test else "Tr", job, plan.target) for case, job in plan.jobs.items()}
    records = run_jobs(jobs, write_case, options.processes, "Writing")
    segments = looks_of_classes(plan.classes, [job.assignment for job in plan.jobs.values() if job.assignment])
    conversion = {"source": SOURCE, "segments": segments}
    if plan.target.joint is None:
        classes = {"labels": {"background": 0} | {name: label for label, name in enumerate(plan.classes.names, 1)}}
    else:
        classes = plan.target.joint.to_dataset_json()
    content = {
        "channel_names": {str(number): channel for number, channel in enumerate(plan.channels)},
        **classes,
        "numTraining": len(plan.jobs) - len(plan.test),
        "file_ending": plan.target.ending,
        "conversion": conversion,
    }
    write_json(folder / "dataset.json", content)
    given = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()}
    cases = {case: records[case] | _record(plan, case) for case in records}
    write_record(folder, arguments | given, cases, conversion=conversion, test_cases=sorted(plan.test))


def _record(plan: Plan, case: str) -> dict[str, Any]:
    """Return what became of the segments of a case, for conversion.json."""
    job, found = plan.jobs[case], plan.found[case]
    if job.assignment is None:
        return {}
    names = plan.classes.names
    return {
        "segments": [
            {
                "name": segment.name,
                "class": names[label - 1],
                "layer": segment.layer,
                "value": segment.value,
                "voxels": found.voxels.get(segment.name, 0),
                **segment.look,
            }
            for label, segment in job.assignment.labels
        ],
        "missing": list(job.assignment.missing),
        "dropped": [segment.name for segment in job.assignment.dropped],
        "overlaps": {f"{names[a - 1]} | {names[b - 1]}": count for (a, b), count in found.overlaps.items()},
        "resampled": found.is_resampled,
        "lost_voxels": found.lost_voxels,
    }
