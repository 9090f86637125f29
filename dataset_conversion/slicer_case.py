"""Check and write one case of segments: labels out of layers, on the grid of the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.label_grids import FIRST, loss_problem, resample_labels
from dataset_conversion.label_map import count_values
from dataset_conversion.scan_writer import write_range
from dataset_conversion.slicer_images import CaseImages, check_images, grid_of_image
from dataset_conversion.slicer_segments import read_layers
from nnunet_ext.errors import InputError, NnunetExtError
from nnunet_ext.imageio import write_volume
from nnunet_ext.imageio.grid import Grid, grid_differences

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dataset_conversion.slicer_classes import Assignment
    from dataset_conversion.slicer_segments import Layers, Segment
    from nnunet_ext.multitask.joint_labels import JointLabels


@dataclass(frozen=True)
class CaseJob:
    """A case: its files, and what becomes of its segments.

    Parameters
    ----------
    case
        Its name.
    images
        Its channels.
    segmentation
        The file; None for a test case without one.
    segments, is_named
        What is in it, see ``slicer_segments.read_segments``.
    assignment
        The class of each segment.
    """

    case: str
    images: CaseImages
    segmentation: Path | None = None
    segments: tuple[Segment, ...] = ()
    is_named: bool = True
    assignment: Assignment | None = None


@dataclass
class Inspection:
    """What a case holds, and what is wrong with it.

    Parameters
    ----------
    problems
        One message each.
    modality
        As DICOM says it, else empty.
    voxels
        Of each segment that has a class, in the segmentation's own grid.
    overlaps
        Voxels that two classes share, by their labels.
    overlap_voxels
        Voxels in more than one class.
    unnamed_voxels
        Voxels with values that no segment has.
    is_resampled
        Whether the segmentation has another grid than the image.
    lost_voxels, total_voxels
        Labelled voxels outside the image, and all.
    vanished
        Labels that have voxels, but none on the grid of the image.
    """

    problems: list[str] = field(default_factory=list)
    modality: str = ""
    voxels: dict[str, int] = field(default_factory=dict)
    overlaps: dict[tuple[int, int], int] = field(default_factory=dict)
    overlap_voxels: int = 0
    unnamed_voxels: int = 0
    is_resampled: bool = False
    lost_voxels: int = 0
    total_voxels: int = 0
    vanished: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """How the labels of a dataset are written.

    Parameters
    ----------
    ending
        Of all files.
    keep
        Which class gets a voxel that is in several: ``first`` or ``last`` in the order of the labels.
    highest
        Highest label of all cases.
    groups
        Labels of each task; empty without tasks.
    joint
        The tasks.
    """

    ending: str
    keep: str
    highest: int
    groups: tuple[tuple[int, ...], ...] = ()
    joint: JointLabels | None = None


def inspect_case(job: CaseJob, drop_unlisted: bool) -> Inspection:
    """Read all of a case; collect problems instead of raising them."""
    images = check_images(job.images, job.case)
    found = Inspection(images.problems, images.modality)
    if job.segmentation is None or images.grid is None:
        return found
    try:
        layers = _layers(job)
        labels = class_layers(layers.voxels, job)
        _count(found, layers, job)
        if found.unnamed_voxels and not drop_unlisted:
            found.problems.append(
                f"{job.segmentation}: {found.unnamed_voxels} voxels have values that no segment of the file has; "
                "give --drop-unlisted to leave them out"
            )
        _count_overlaps(found, labels)
        _compare_grids(found, layers.grid, images.grid, labels)
    except NnunetExtError as error:
        text = str(error)
        found.problems.append(text if str(job.segmentation) in text else f"{job.segmentation}: {text}")
    return found


def write_case(folder: Path, part: str, job: CaseJob, target: Target) -> dict[str, Any]:
    """Write images and label of a case.

    Parameters
    ----------
    folder
        The dataset's folder, still under its temporary name.
    part
        ``Tr`` or ``Ts``.
    job
        The case.
    target
        How to write it.

    Returns
    -------
    dict
        What was done, for ``conversion.json``.
    """
    record: dict[str, Any] = {"images": [str(path.absolute()) for path in job.images.paths]}
    if job.images.series is not None:
        record["series"] = job.images.series.uid
    grid: Grid | None = None
    for channel in range(len(job.images.paths)):
        path = folder / f"images{part}" / f"{job.case}_{channel:04d}{target.ending}"
        with job.images.open(channel) as volume:
            grid = grid or grid_of_image(volume)
            write_range(volume, (0, volume.shape[0]), path, volume.dtype, lambda slab: slab, grid.geometry)
    if grid is not None:
        record |= {
            "source_shape": list(grid.shape),
            "source_spacing": list(grid.geometry.spacing),
            "source_origin": list(grid.geometry.origin),
            "source_direction": [list(row) for row in grid.geometry.direction],
        }
    if job.segmentation is not None and grid is not None:
        layers = _layers(job)
        maps = label_maps(class_layers(layers.voxels, job), target)
        if _differs(layers.grid, grid):
            maps = [resample_labels(m, layers.grid.geometry, grid.shape, grid.geometry).array for m in maps]
        joined = maps[0] if target.joint is None else target.joint.encode(np.stack(maps))
        path = folder / f"labels{part}" / f"{job.case}{target.ending}"
        write_volume(path, joined.astype(np.uint8 if target.highest <= 255 else np.uint16), grid.geometry)
        record["segmentation"] = str(job.segmentation.absolute())
    return record


def class_layers(voxels: NDArray[Any], job: CaseJob) -> NDArray[Any]:
    """Return the labels of all layers, (layer, z, y, x): 0 where no segment of a class is."""
    assigned = job.assignment.labels if job.assignment else ()
    highest = max((label for label, _ in assigned), default=0)
    labels = np.zeros(voxels.shape, np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)
    for number, (source, layer) in enumerate(zip(voxels, labels, strict=True)):
        table = {segment.value: label for label, segment in assigned if segment.layer == number}
        if not table:
            continue
        size = max(table) + 1
        values = np.zeros(size + 1, labels.dtype)
        values[list(table)] = list(table.values())
        # One look-up per voxel, however many segments there are; what no class has goes to the last entry.
        for plane, out in zip(source, layer, strict=True):
            inside = (plane >= 0) & (plane < size)
            np.take(values, np.where(inside, plane, size).astype(np.intp), out=out)
    return labels


def label_maps(labels: NDArray[Any], target: Target) -> list[NDArray[Any]]:
    """Put layers of labels together to one map, or one per task in which classes count from 1."""
    if not target.groups:
        if target.keep == FIRST and len(labels) > 1:
            # The lowest label but 0: 0 - 1 is the highest number without sign.
            return [(labels - labels.dtype.type(1)).min(axis=0) + labels.dtype.type(1)]
        return [labels.max(axis=0)]
    maps = []
    for group in target.groups:
        values = np.zeros(int(max(labels.max(initial=0), *group)) + 1, np.uint8)
        values[list(group)] = np.arange(1, len(group) + 1)
        maps.append(values[labels].max(axis=0))
    return maps


def _layers(job: CaseJob) -> Layers:
    if job.segmentation is None:
        message = f"case '{job.case}': expected a segmentation"
        raise InputError(message)
    return read_layers(job.segmentation, list(job.segments), is_named=job.is_named)


def _count(found: Inspection, layers: Layers, job: CaseJob) -> None:
    """Count the voxels of each segment, and those of none."""
    classes = {segment.name for _, segment in job.assignment.labels} if job.assignment else set()
    for number, layer in enumerate(layers.voxels):
        counts = count_values(layer)
        here = [segment for segment in job.segments if segment.layer == number]
        for segment in here:
            if segment.name in classes:
                found.voxels[segment.name] = counts.get(segment.value, 0)
        known = {0, *(segment.value for segment in here)}
        found.unnamed_voxels += sum(count for value, count in counts.items() if value not in known)


def _count_overlaps(found: Inspection, labels: NDArray[Any]) -> None:
    """Count the voxels that two classes share; segments of one layer share none."""
    several = np.zeros(labels.shape[1:], bool)
    for first, second in combinations(labels, 2):
        both = (first != second) & (first != 0) & (second != 0)
        several |= both
        low, high = np.minimum(first[both], second[both]), np.maximum(first[both], second[both])
        pairs, counts = np.unique(np.stack([low, high]), axis=1, return_counts=True)
        for (one, other), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            found.overlaps[one, other] = found.overlaps.get((one, other), 0) + count
    found.overlap_voxels = int(np.count_nonzero(several))


def _compare_grids(found: Inspection, own: Grid, image: Grid, labels: NDArray[Any]) -> None:
    merged = labels.max(axis=0)
    if not _differs(own, image):
        return
    found.is_resampled = True
    resampled = resample_labels(merged, own.geometry, image.shape, image.geometry)
    found.lost_voxels, found.total_voxels = resampled.lost_voxels, resampled.total_voxels
    problem = loss_problem(own.path, *resampled[1:])
    if problem:
        differences = ", ".join(grid_differences(own, image))
        found.problems.append(f"{problem} Image {image.path}; {differences} (z, y, x)")
        return
    found.vanished = sorted(set(count_values(merged)) - set(count_values(resampled.array)))


def _differs(own: Grid, image: Grid) -> bool:
    return bool(grid_differences(own, image))
