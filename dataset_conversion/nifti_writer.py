"""Check the cases of a dataset of images and label maps, and write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataset_conversion.caffe_folds import SPLITS, trainer_splits
from dataset_conversion.merged_masks import LAST
from dataset_conversion.nifti_case import CheckedCase, check_case
from dataset_conversion.nifti_case_writer import write_case
from dataset_conversion.nifti_classes import classes_from_values, region_labels
from dataset_conversion.raw_dataset import write_dataset_json, write_record
from dataset_conversion.sparse_dataset import NEEDED_CASES, Converted
from nnunet_ext.errors import BadCasesError, listed
from nnunet_ext.files import write_json, written_when_complete
from nnunet_ext.imageio import ending_of
from nnunet_ext.imageio.case_files import spacing_notes
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dataset_conversion.caffe_folds import Splits
    from dataset_conversion.nifti_case import NiftiCase
    from dataset_conversion.nifti_classes import Classes

ENDINGS = (".nii.gz", ".nrrd", ".mha")
"""Endings of a dataset's files; the first is the default."""


@dataclass(frozen=True)
class ConvertedNifti(Converted):
    """What was written.

    Parameters
    ----------
    test_cases
        Names of the cases in ``imagesTs``.
    """

    test_cases: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What the dataset is to be.

    Parameters
    ----------
    source
        Name of the converter.
    channels
        Names of the channels.
    classes
        None: by the values that the label maps have.
    regions
        Names of the classes of each region; none: the classes themselves.
    masks
        Names of the classes that have a mask each.
    overlap
        What to do where masks overlap: ``last`` or ``first`` wins, or ``error``.
    file_format
        Ending of the files in the dataset; None: that of the images, or ``.nii.gz``.
    splits
        Folds to write.
    """

    source: str
    channels: tuple[str, ...]
    classes: Classes | None = None
    regions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    overlap: str = LAST
    file_format: str | None = None
    splits: Splits | None = None


def write_nifti_dataset(
    target: Path,
    cases: Sequence[NiftiCase],
    problems: Sequence[str],
    wanted: Wanted,
    arguments: dict[str, Any],
    processes: int,
    *,
    overwrite: bool,
) -> ConvertedNifti:
    """Check the files of all cases, and write the dataset.

    Parameters
    ----------
    target
        ``DatasetXXX_Name``, see ``raw_dataset.dataset_folder``.
    cases
        Those that have all their files.
    problems
        What is wrong with others; raised together with what is found here.
    wanted
        What to make of them.
    arguments
        For ``conversion.json``.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace a dataset of the same name.

    Raises
    ------
    BadCasesError
        With all problems.
    OutputExistsError
        If folds of the dataset are in nnUNet_preprocessed, ``splits`` are wanted, and ``overwrite`` is false.
    """
    trainer_file = trainer_splits(target, wanted.splits, overwrite=overwrite)
    checked = run_jobs({files.case: (files, wanted.overlap) for files in cases}, check_case, processes, "Checking")
    problems = [*problems, *(problem for found in checked.values() for problem in found.problems)]
    sound = [found for found in checked.values() if not found.problems]
    classes, notes, value_problems = _classes(sound, wanted)
    ending = wanted.file_format or _ending(cases)
    problems += value_problems + [problem for found in sound for problem in found.problems_with(ending)]
    train = [files.case for files in cases if not files.is_test]
    test = [files.case for files in cases if files.is_test]
    if not problems and not train:
        problems.append(f"no training case, expected at least one with a label map; there are {len(test)} test cases")
    if problems:
        raise BadCasesError(problems)
    regions = wanted.regions
    labels, order = region_labels(classes, regions) if regions else (classes.labels, None)

    conversion: dict[str, Any] = {
        "source": wanted.source,
        "label_of_value": {str(value): label for value, label in classes.label_of_value.items()},
        "classes": classes.labels,
        "masks": list(classes.masks),
    }
    with written_when_complete(target, overwrite=overwrite) as unfinished:
        for split in ("Tr", "Ts") if test else ("Tr",):
            (unfinished / f"images{split}").mkdir(parents=True)
        (unfinished / "labelsTr").mkdir()
        if any(files.is_test and files.has_labels for files in cases):
            (unfinished / "labelsTs").mkdir()
        jobs = {case: (unfinished, found, classes, ending, wanted.overlap) for case, found in checked.items()}
        records = run_jobs(jobs, write_case, processes, "Writing")
        write_dataset_json(
            unfinished,
            channel=wanted.channels,
            labels=labels,
            cases=len(train),
            file_ending=ending,
            conversion=conversion,
            regions_class_order=order,
        )
        if wanted.splits:
            write_json(unfinished / SPLITS, wanted.splits)
        write_record(unfinished, arguments, records, conversion=conversion)
    if wanted.splits and trainer_file:
        write_json(trainer_file, wanted.splits)
    return ConvertedNifti(target, train, notes + _notes(checked, train), test)


def _ending(cases: Sequence[NiftiCase]) -> str:
    endings = {ending_of(path) for files in cases for path in files.images}
    return endings.pop() if len(endings) == 1 and endings <= set(ENDINGS) else ENDINGS[0]


def _classes(checked: Sequence[CheckedCase], wanted: Wanted) -> tuple[Classes, list[str], list[str]]:
    """Return the classes, notes, and messages on values that no class has."""
    if wanted.classes is None:
        found = classes_from_values((value for case in checked for value in case.values), wanted.masks)
        shown = ", ".join(f"{name}={value}" for name, value in found.values.items()) or "none"
        note = f"classes by the values in the label maps: {shown}"
        return found, [note], []
    known = wanted.classes.label_of_value
    names = {0: "background", **{value: name for name, value in wanted.classes.values.items()}}
    expected = ", ".join(f"{value} ({names.get(value, 'ignore')})" for value in sorted(known))
    problems = []
    for case in checked:
        unknown = [value for value in case.values if value not in known]
        if unknown:
            problems.append(f"{case.files.label}: values {listed(map(str, unknown))} found, expected {expected}")
    seen = {value for case in checked for value in case.values}
    never = [name for name, value in wanted.classes.values.items() if value not in seen]
    notes = [f"no voxel of {listed(never)} in any label map"] if never else []
    return wanted.classes, notes, problems


def _notes(checked: Mapping[str, CheckedCase], train: Sequence[str]) -> list[str]:
    sources = {
        case: found.images.spacing_source
        for case, found in checked.items()
        if found.images.spacing_source and "header" not in found.images.spacing_source
    }
    notes = spacing_notes(sources)
    overlaps: dict[str, dict[str, int]] = {}
    empty: dict[str, list[str]] = {}
    for case, found in checked.items():
        for pair, count in found.overlaps.items():
            overlaps.setdefault(pair, {})[case] = count
        for name in found.empty:
            empty.setdefault(name, []).append(case)
    for pair, counts in overlaps.items():
        notes.append(f"masks overlap, {pair}: {sum(counts.values())} voxels in {listed(counts)}")
    notes += [f"mask {name} is empty in {len(cases)} cases: {listed(cases)}" for name, cases in empty.items()]
    missing: dict[str, list[str]] = {}
    for case, found in checked.items():
        for name, path in found.files.masks.items():
            if path is None:
                missing.setdefault(name, []).append(case)
    notes += [f"mask {name} is missing in {len(cases)} cases: {listed(cases)}" for name, cases in missing.items()]
    resampled = [case for case, found in checked.items() if found.resampled]
    if resampled:
        notes.append(f"masks on another grid than the image were resampled in {listed(resampled)}")
    if len(train) < NEEDED_CASES:
        notes.append(
            f"{len(train)} cases are too few for the {NEEDED_CASES} folds of nnU-Net: train with fold 'all', or write "
            "your own splits_final.json"
        )
    return notes
