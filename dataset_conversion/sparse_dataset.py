"""Scans with sparse annotations to an nnU-Net dataset with an ignore label."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.annotation_check import Inspection, inspect_case
from dataset_conversion.label_map import UNANNOTATED, LabelMap, dataset_labels, sparse_label_map
from dataset_conversion.normalization import NO_NORM, RESCALE, RGB, ZSCORE
from dataset_conversion.pairing import named_volumes, pair
from dataset_conversion.raw_dataset import (
    FILE_ENDINGS,
    dataset_folder,
    image_name,
    write_dataset_json,
    write_record,
)
from dataset_conversion.scan_writer import scan_record, write_range
from dataset_conversion.z_ranges import Range, split_ranges
from nnunet_ext.class_table import ClassTable, read_class_table
from nnunet_ext.errors import BadCasesError, InputError, listed
from nnunet_ext.files import written_when_complete
from nnunet_ext.imageio import open_volume
from nnunet_ext.imageio.case_files import spacing_notes
from nnunet_ext.imageio.sidecar import write_sidecar
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "soil_ct"
SCHEMES = (NO_NORM, ZSCORE, RESCALE, RGB)
NEEDED_CASES = 5  # nnU-Net deals the cases out to five folds

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Converted:
    """The dataset that was written.

    Parameters
    ----------
    folder
        ``DatasetXXX_Name``.
    cases
        Names of the training cases.
    notes
        What the user should know: scans left out, spacing assumed, voxels ignored.
    """

    folder: Path
    cases: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ScanJob:
    """What is to be written of one scan: its training cases, each a range of slices."""

    found: Inspection
    cases: dict[str, Range]
    label_map: LabelMap
    spacing: Spacing | None
    ending: str


def convert_soil_ct(
    images: Path,
    annotations: Path,
    classes: Path,
    *,
    dataset_id: int | None = None,
    name: str | None = None,
    output: Path | None = None,
    normalization: str | None = None,
    context: int | None = 48,
    spacing: Spacing | None = None,
    image_suffix: str = "",
    annotation_suffix: str = "",
    file_format: str = "nii.gz",
    matrix_as_class: bool = False,
    unknown_as_ignore: bool = False,
    split_annotated: int = 1,
    allow_few_cases: bool = False,
    processes: int = 2,
    overwrite: bool = False,
) -> Converted:
    """Convert scans with sparse annotations to a dataset for nnU-Net.

    Volumes are read and written slab by slab. All inputs are checked before anything is written, and the dataset
    appears under its name only when it is complete.

    Parameters
    ----------
    images, annotations
        Folders of volumes (or of slice folders) that are paired by name.
    classes
        JSON file with ids, names and colours, see ``nnunet_ext.class_table.read_class_table``.
    dataset_id, name
        Of the dataset; default: what the class file says.
    output
        Folder of raw datasets; default: ``$nnUNet_raw``.
    normalization
        ``noNorm``, ``zscore``, ``rescale_to_0_1`` or ``rgb_to_0_1``, computed per scan over the whole scan; default:
        what the class file says, else ``zscore``.
    context
        Slices kept on each side of the annotated ones along z; None keeps the whole scan.
    spacing
        Voxel size in mm (z, y, x), instead of what the files say.
    image_suffix, annotation_suffix
        What stands between case name and ending.
    file_format
        ``nii.gz``, ``mha`` or ``tif``.
    matrix_as_class
        Keep class 1 as an ordinary foreground class instead of nnU-Net's background.
    unknown_as_ignore
        Treat ids that the class file does not have as not annotated, instead of refusing them.
    split_annotated
        Cut each volume into up to so many cases along z that share no slice.
    allow_few_cases
        Accept fewer than five cases, too few for nnU-Net's five folds.
    processes
        Number of scans that are worked on at the same time.
    overwrite
        Replace a dataset of the same name.

    Returns
    -------
    Converted
        The folder, the cases, and notes for the user.

    Raises
    ------
    BadCasesError
        If files do not pair, or a case has another shape, geometry or ids than expected; names all of them.
    InputError
        If an argument or the class file is not usable, nothing is annotated, or there are fewer than five cases.
    OutputExistsError
        If the dataset exists and ``overwrite`` is false.
    """
    table = read_class_table(classes)
    scheme = _one_of("normalisation", normalization or table.normalization or ZSCORE, SCHEMES)
    ending = _one_of("format", f".{file_format}", FILE_ENDINGS)
    _check_numbers(context=context, spacing=spacing, split_annotated=split_annotated)
    folder = dataset_folder(output, dataset_id or table.dataset_id, name or table.dataset_name, overwrite=overwrite)
    label_map = sparse_label_map(len(table.names), first_class_is_background=not matrix_as_class)

    files = pair(named_volumes(images, image_suffix), named_volumes(annotations, annotation_suffix))
    inspect = partial(
        inspect_case, label_map=label_map, scheme=scheme, spacing=spacing, unknown_as_ignore=unknown_as_ignore
    )
    inspections = run_jobs({case: files[case] for case in sorted(files)}, inspect, processes, "Checking")
    _refuse_bad_cases(inspections, ending)
    ranges = _training_cases(inspections, context, split_annotated)
    _refuse_too_few([case for cases in ranges.values() for case in cases], ranges, allow=allow_few_cases)

    conversion = _conversion(table, label_map, scheme, spacing)
    with written_when_complete(folder, overwrite=overwrite) as unfinished:
        jobs = {
            scan: (unfinished, ScanJob(inspections[scan], cases, label_map, spacing, ending))
            for scan, cases in ranges.items()
        }
        written = run_jobs(jobs, write_scan, processes, "Writing")
        records = {case: record for cases in written.values() for case, record in cases.items()}
        labels = dataset_labels(table, label_map)
        write_dataset_json(
            unfinished,
            channel=NO_NORM,
            labels=labels,
            cases=len(records),
            file_ending=ending,
            conversion=conversion,
        )
        arguments = {
            "images": str(images.absolute()),
            "annotations": str(annotations.absolute()),
            "classes": str(classes.absolute()),
            "context": context,
            "matrix_as_class": matrix_as_class,
            "unknown_as_ignore": unknown_as_ignore,
            "split_annotated": split_annotated,
        }
        not_annotated = sorted(set(inspections) - set(ranges))
        write_record(unfinished, arguments, records, conversion=conversion, not_annotated=not_annotated)
    return Converted(folder, sorted(records), _notes(inspections, label_map))


def write_scan(folder: Path, job: ScanJob) -> dict[str, dict[str, Any]]:
    """Write image and label of every training case of one scan.

    Parameters
    ----------
    folder
        The dataset's folder, still under its temporary name.
    job
        The scan and what to write of it.

    Returns
    -------
    dict
        What was done, by training case, for ``conversion.json``.
    """
    found, label_map = job.found, job.label_map
    records: dict[str, dict[str, Any]] = {}
    with open_volume(found.image, job.spacing) as scan, open_volume(found.annotation) as marks:
        normalization = found.normalization
        image_type = normalization.output_dtype(scan.dtype)
        label_type = label_map.to_labels(np.zeros(1, dtype=np.uint8)).dtype
        for case, z_range in job.cases.items():
            image = folder / "imagesTr" / image_name(case, job.ending)
            label = folder / "labelsTr" / f"{case}{job.ending}"
            write_range(scan, z_range, image, image_type, normalization.apply, scan.geometry)
            write_range(marks, z_range, label, label_type, label_map.to_labels, scan.geometry)
            if job.ending == ".tif":
                crop = scan.geometry.shifted((z_range[0], 0, 0))
                write_sidecar(image.parent, case, crop)
                write_sidecar(label.parent, case, crop)
            records[case] = scan_record(scan, normalization) | {
                "annotation": str(found.annotation.absolute()),
                "z_range": list(z_range),
                "annotated_slices": sum(z_range[0] <= z < z_range[1] for z in found.annotated),
                "voxels_of_id_in_scan": {str(value): count for value, count in found.voxels_of_id.items()},
            }
    return records


def _conversion(table: ClassTable, label_map: LabelMap, scheme: str, spacing: Spacing | None) -> dict[str, Any]:
    """Return what inference and the way back need, for the key ``conversion`` of dataset.json."""
    return {
        "source": SOURCE,
        "normalization": scheme,
        "spacing": list(spacing) if spacing else None,
        "label_map": label_map.to_json(),
        "classes": {str(UNANNOTATED): table.unannotated, **{str(v): name for v, name in table.names.items()}},
        "colors": {str(value): list(color) for value, color in table.colors.items()},
    }


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        message = f"unknown {what} '{value}'; expected one of {', '.join(allowed)}"
        raise InputError(message)
    return value


def _check_numbers(*, context: int | None, spacing: Spacing | None, split_annotated: int) -> None:
    if context is not None and context < 0:
        message = f"--context: expected 0 or more slices, found {context}"
        raise InputError(message)
    if spacing is not None and not all(0 < size < float("inf") for size in spacing):
        message = f"--spacing: expected three sizes above 0 mm, found {spacing}"
        raise InputError(message)
    if split_annotated < 1:
        message = f"--split-annotated: expected 1 or more, found {split_annotated}"
        raise InputError(message)


def _refuse_bad_cases(inspections: dict[str, Inspection], ending: str) -> None:
    problems = [problem for found in inspections.values() for problem in found.problems]
    for found in inspections.values():
        turned = found.geometry is not None and not found.geometry.is_straight
        if ending == ".tif" and turned:
            problems.append(f"{found.image}: TIFF cannot hold its direction; choose --format nii.gz or mha")
    if problems:
        raise BadCasesError(problems)


def _training_cases(inspections: dict[str, Inspection], context: int | None, parts: int) -> dict[str, dict[str, Range]]:
    """Return the training cases of every scan that is annotated, as ranges of slices."""
    cases: dict[str, dict[str, Range]] = {}
    for scan, found in inspections.items():
        if found.annotated:
            ranges = split_ranges(found.annotated, found.shape[0], context, parts)
            cut = len(ranges) > 1
            cases[scan] = {f"{scan}_z{r[0]:04d}" if cut else scan: r for r in ranges}
    if not cases:
        files = listed(str(found.annotation) for found in inspections.values())
        message = f"no annotation has an annotated voxel: {files}"
        raise InputError(message)
    names = [case for of_scan in cases.values() for case in of_scan]
    double = sorted({case for case in names if names.count(case) > 1})
    if double:
        message = f"cutting the scans makes these case names twice: {', '.join(double)}; rename the scans"
        raise InputError(message)
    return cases


def _refuse_too_few(cases: list[str], scans: dict[str, dict[str, Range]], *, allow: bool) -> None:
    if len(cases) < NEEDED_CASES and not allow:
        message = (
            f"{len(cases)} training cases from {len(scans)} annotated scans, but nnU-Net deals the cases out to "
            f"{NEEDED_CASES} folds and needs at least {NEEDED_CASES}. Annotate more scans, cut each into several cases "
            "along z with --split-annotated N (no slice is in two cases; each case needs annotated slices of its own), "
            "or give --allow-few-cases and train with fold 'all'."
        )
        raise InputError(message)


def _notes(inspections: dict[str, Inspection], label_map: LabelMap) -> list[str]:
    notes = []
    for case, found in inspections.items():
        unknown = label_map.unknown_ids(found.voxels_of_id)
        if not found.annotated:
            notes.append(f"{case}: nothing is annotated in {found.annotation}; the scan was left out")
        if unknown:
            notes.append(f"{case}: {sum(unknown.values())} voxels with ids {sorted(unknown)} count as not annotated")
    return notes + spacing_notes({case: found.spacing_source for case, found in inspections.items()})
