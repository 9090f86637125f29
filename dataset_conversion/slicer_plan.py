"""Plan the conversion of a folder of segments: find, pair and check all of it, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dataset_conversion.case_split import draw_test_cases, read_test_cases
from dataset_conversion.label_grids import FIRST, LAST
from dataset_conversion.slicer_case import CaseJob, Inspection, Target, inspect_case
from dataset_conversion.slicer_classes import Classes, assign, groups_without_overlap, listed_classes, union_of_names
from dataset_conversion.slicer_images import find_dicom, find_files, find_segmentations, unpaired
from dataset_conversion.slicer_notes import overlap_text
from dataset_conversion.slicer_segments import load_slicerio, read_segments
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError
from nnunet_ext.imageio import ending_of
from nnunet_ext.jobs import run_jobs
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dataset_conversion.slicer_segments import Segment

FORMATS = ("nrrd", "nii.gz")
ERROR = "error"
OVERLAPS = (ERROR, FIRST, LAST)


@dataclass(frozen=True)
class Options:
    """What the user wants, see ``slicer_dataset.convert_slicer_nrrd``."""

    classes: tuple[str, ...] | None = None
    classes_file: Path | None = None
    missing_ok: bool = False
    drop_unlisted: bool = False
    overlap: str = ERROR
    as_tasks: bool = False
    test_fraction: float = 0.0
    test_cases: Path | None = None
    seed: int = 0
    channels: tuple[str, ...] | None = None
    file_format: str = "nrrd"
    dicom: bool = False
    series: tuple[str, ...] = ()
    processes: int = 2

    def check(self) -> None:
        """Refuse options that cannot be.

        Raises
        ------
        InputError
            Names the flag.
        """
        if self.overlap not in OVERLAPS:
            message = f"--overlap {self.overlap}: expected one of {', '.join(OVERLAPS)}"
            raise InputError(message)
        if self.as_tasks and self.overlap != ERROR:
            message = f"--as-tasks keeps all overlapping segments: leave out --overlap {self.overlap}"
            raise InputError(message)
        if self.file_format not in FORMATS:
            message = f"--format {self.file_format}: expected one of {', '.join(FORMATS)}"
            raise InputError(message)
        if self.series and not self.dicom:
            message = "--series chooses among DICOM series: give --dicom with it"
            raise InputError(message)
        if self.test_fraction and self.test_cases is not None:
            message = "--test-fraction and --test-cases: expected one of them"
            raise InputError(message)


@dataclass(frozen=True)
class Plan:
    """What is to be written.

    Parameters
    ----------
    jobs
        All cases.
    found
        What they hold.
    classes
        In the order of their labels.
    target
        How labels are written.
    channels
        Names of the channels.
    test
        Cases for ``imagesTs``.
    """

    jobs: dict[str, CaseJob]
    found: dict[str, Inspection]
    classes: Classes
    target: Target
    channels: tuple[str, ...]
    test: frozenset[str]


def plan_conversion(images: Path, segmentations: Path, options: Options) -> Plan:
    """Find all files and check them.

    Parameters
    ----------
    images, segmentations
        Folders, or patterns with ``*`` for the case.
    options
        What the user wants.

    Raises
    ------
    BadCasesError
        If anything is wrong with any case; names all of it.
    InputError, MissingInputError
        If an option is not usable, or a file or folder is not there.
    """
    options.check()
    wanted = listed_classes(options.classes, options.classes_file)
    files, without = find_dicom(images, options.series) if options.dicom else (find_files(images), {})
    paths = find_segmentations(segmentations)
    if any(ending_of(path) == ".nrrd" for path in paths.values()):
        load_slicerio()
    everything = {*files, *without}
    if options.test_cases is not None:
        test = read_test_cases(options.test_cases, everything)
    else:
        test = draw_test_cases(everything, options.test_fraction, options.seed)
    problems = [*without.values()]
    # A case whose image cannot be found is reported once.
    may_lack = test if options.test_cases is not None else set()
    problems += unpaired(files, {case: path for case, path in paths.items() if case not in without}, may_lack)

    shared = {case: paths[case] for case in files if case in paths}
    read = run_jobs({case: (path,) for case, path in shared.items()}, try_segments, options.processes, "Reading")
    problems += [result for result in read.values() if isinstance(result, str)]
    jobs = {case: CaseJob(case, found) for case, found in files.items()}
    for case, result in read.items():
        if not isinstance(result, str):
            segments, is_named = result
            jobs[case] = replace(jobs[case], segmentation=paths[case], segments=tuple(segments), is_named=is_named)
    classes = wanted
    if classes is None:
        try:
            classes = union_of_names(segment.name for job in jobs.values() for segment in job.segments)
        except InputError as error:
            # Nothing is to be said of classes where no file could be read.
            problems += [] if problems and not any(job.segments for job in jobs.values()) else [str(error)]
    if classes is not None:
        jobs, unassigned = _assigned(jobs, classes, options)
        problems += unassigned
    found = run_jobs(
        {case: (job, options.drop_unlisted) for case, job in jobs.items()}, inspect_case, options.processes, "Checking"
    )
    problems += [problem for inspection in found.values() for problem in inspection.problems]
    if classes is None:
        raise BadCasesError(problems)
    if options.overlap == ERROR and not options.as_tasks:
        problems += _overlap_problems(jobs, found, classes)
    channels, channel_problems = _channels(jobs, found, options)
    problems += channel_problems
    try:
        target = _target(found, classes, options)
    except InputError as error:
        raise BadCasesError([*problems, str(error)]) from error
    if problems:
        raise BadCasesError(problems)
    return Plan(jobs, found, classes, target, channels, frozenset(test))


def try_segments(path: Path) -> tuple[list[Segment], bool] | str:
    """Return what ``read_segments`` does, or a message on what is wrong."""
    try:
        return read_segments(path)
    except NnunetExtError as error:
        text = str(error)
        return text if str(path) in text else f"{path}: {text}"


def _assigned(jobs: Mapping[str, CaseJob], classes: Classes, options: Options) -> tuple[dict[str, CaseJob], list[str]]:
    complete, problems = dict(jobs), []
    for case, job in jobs.items():
        if job.segmentation is None:
            continue
        assignment, wrong = assign(
            job.segmentation,
            job.segments,
            classes,
            missing_ok=options.missing_ok,
            drop_unlisted=options.drop_unlisted,
        )
        complete[case] = replace(job, assignment=assignment)
        problems += wrong
    return complete, problems


def _overlap_problems(jobs: Mapping[str, CaseJob], found: Mapping[str, Inspection], classes: Classes) -> list[str]:
    return [
        f"{jobs[case].segmentation}: {overlap_text(inspection, classes.names)}; give --overlap first or last (in the "
        "order of the classes), or --as-tasks"
        for case, inspection in found.items()
        if inspection.overlap_voxels
    ]


def _channels(
    jobs: Mapping[str, CaseJob], found: Mapping[str, Inspection], options: Options
) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of the channels, and why the given ones do not fit."""
    count = max(len(job.images.paths) for job in jobs.values())
    given = options.channels
    if given is None:
        modalities = {inspection.modality for inspection in found.values()}
        if modalities == {"CT"}:
            return ("CT",), []
        return (("image",) if count == 1 else tuple(f"image{number}" for number in range(count))), []
    if len(given) != count:
        return given, [f"--channels: {len(given)} names given ({', '.join(given)}), expected {count} as images have"]
    return given, []


def _target(found: Mapping[str, Inspection], classes: Classes, options: Options) -> Target:
    """Say how labels are written; with tasks where classes overlap and tasks are wanted.

    Raises
    ------
    InputError
        If tasks make more joint labels than nnU-Net can store.
    """
    ending = f".{options.file_format}"
    labels = range(1, len(classes.names) + 1)
    overlaps = {pair for inspection in found.values() for pair in inspection.overlaps}
    groups = groups_without_overlap(labels, overlaps) if options.as_tasks else []
    if len(groups) < 2:
        return Target(ending, LAST if options.overlap == ERROR else options.overlap, len(labels))
    tasks = [
        Task(f"layer{number}", ("background", *(classes.names[label - 1] for label in group)))
        for number, group in enumerate(groups, 1)
    ]
    joint = JointLabels(tuple(tasks))
    return Target(ending, LAST, joint.num_codes - 1, tuple(groups), joint)
