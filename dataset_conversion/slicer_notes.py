"""What the user should know after a conversion of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataset_conversion.slicer_segments import key_of
from dataset_conversion.sparse_dataset import NEEDED_CASES
from nnunet_ext.errors import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataset_conversion.slicer_case import CaseJob, Inspection
    from dataset_conversion.slicer_classes import Classes


def overlap_text(found: Inspection, names: Sequence[str]) -> str:
    """Say how many voxels of a case are in several classes, and in which."""
    pairs = [
        f"'{names[one - 1]}' and '{names[other - 1]}' share {count}"
        for (one, other), count in sorted(found.overlaps.items(), key=lambda item: -item[1])
    ]
    return f"{found.overlap_voxels} voxels are in several segments, expected one at most: {listed(pairs)}"


def notes_on_classes(
    jobs: Mapping[str, CaseJob], found: Mapping[str, Inspection], classes: Classes, overlap: str
) -> list[str]:
    """Return notes on classes that are missing, empty, dropped, or overlap."""
    notes = []
    if not classes.are_listed:
        shown = ", ".join(f"{name} {label}" for label, name in enumerate(classes.names, 1))
        notes.append(f"classes by the names of the segments: {shown}")
    unnamed = [case for case, job in jobs.items() if job.segments and not job.is_named]
    if unnamed:
        notes.append(f"label maps without names, whose values count as names: {listed(unnamed)}")
    for name in classes.names:
        without = [case for case, job in jobs.items() if job.assignment and name in job.assignment.missing]
        empty = [case for case, job in jobs.items() if _is_empty(name, job, found[case], classes)]
        if without:
            notes.append(f"no segment for '{name}' in {listed(without)}")
        if empty:
            notes.append(f"segment for '{name}' without a voxel in {listed(empty)}")
    dropped = sorted({s.name for job in jobs.values() if job.assignment for s in job.assignment.dropped})
    if dropped:
        notes.append(f"segments left out: {listed(dropped)}")
    unnamed_voxels = {case: i.unnamed_voxels for case, i in found.items() if i.unnamed_voxels and jobs[case].is_named}
    if unnamed_voxels:
        count = sum(unnamed_voxels.values())
        notes.append(f"{count} voxels of no segment left out in {listed(unnamed_voxels)}")
    overlapping = {case: i for case, i in found.items() if i.overlap_voxels}
    if overlapping:
        count = sum(inspection.overlap_voxels for inspection in overlapping.values())
        notes.append(f"{count} voxels in several classes, {overlap}, in {listed(overlapping)}")
    return notes


def notes_on_grids(found: Mapping[str, Inspection], names: Sequence[str]) -> list[str]:
    """Return notes on segmentations that were brought to the grid of their image."""
    notes = []
    resampled = {case: inspection for case, inspection in found.items() if inspection.is_resampled}
    if resampled:
        lost = sum(inspection.lost_voxels for inspection in resampled.values())
        total = sum(inspection.total_voxels for inspection in resampled.values())
        share = lost / total if total else 0.0
        notes.append(
            f"segmentations on another grid, brought to that of their image (nearest neighbour): {listed(resampled)}; "
            f"{lost} of {total} labelled voxels ({share:.3%}) lie outside the image"
        )
    for case, inspection in found.items():
        if inspection.vanished:
            gone = ", ".join(f"'{names[label - 1]}'" for label in inspection.vanished)
            notes.append(f"{case}: nothing is left of {gone} on the coarser grid of the image")
    return notes


def notes_on_dataset(train: int, channels: Sequence[str]) -> list[str]:
    """Return notes on what nnU-Net will make of the dataset."""
    notes = []
    if all(channel.startswith("image") for channel in channels):
        notes.append("nnU-Net normalises each image by its own mean and deviation; for CT give --channels CT")
    if train < NEEDED_CASES:
        notes.append(
            f"{train} training cases are too few for the {NEEDED_CASES} folds of nnU-Net: train with fold 'all', or "
            "write your own splits_final.json"
        )
    return notes


def _is_empty(name: str, job: CaseJob, found: Inspection, classes: Classes) -> bool:
    if job.assignment is None:
        return False
    label = classes.label_of[key_of(name)]
    counts = [found.voxels.get(segment.name, 0) for of, segment in job.assignment.labels if of == label]
    return bool(counts) and not any(counts)
