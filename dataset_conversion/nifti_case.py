"""One case of a dataset of images and label maps in any layout: its files, and what they hold."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dataset_conversion.gzip_nifti import GZIP, check_gzip, keeps_bytes
from dataset_conversion.label_map import count_values
from dataset_conversion.merged_masks import ERROR, LAST, open_masks, overlay_slab
from dataset_conversion.stack_case import (
    CaseFiles,
    Inspection,
    grid_problems,
    inspect_case,
    slabs_of,
    target_problems,
)
from dataset_conversion.task_labels import whole_numbers
from nnunet_ext.errors import InputError, NnunetExtError
from nnunet_ext.imageio.grid import Grid, grid_of
from nnunet_ext.imageio.itk import header_reader
from nnunet_ext.imageio.names import has_ending
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio import Volume

MOST_VALUES = 128
"""More different values than this in a label map look like an image."""

MANY_VALUES = 32
"""More than this do so, too, if the image has fewer."""


@dataclass(frozen=True)
class NiftiCase:
    """The files of a case.

    Parameters
    ----------
    case
        Its name.
    images
        One per channel.
    label
        Label map, if there is one.
    masks
        Masks of one class each, by name; None where there is none.
    is_test
        Whether it goes to ``imagesTs``.
    """

    case: str
    images: tuple[Path, ...]
    label: Path | None = None
    masks: dict[str, Path | None] = field(default_factory=dict)
    is_test: bool = False

    @property
    def has_labels(self) -> bool:
        """Whether there is anything to make a label map of."""
        return self.label is not None or bool(self.masks)


@dataclass
class CheckedCase:
    """What a case holds, and what is wrong with it.

    Parameters
    ----------
    files
        Of the case.
    images
        What was found in its images.
    problems
        One message each; the rest is only complete if there are none.
    values
        Values of the label map, ascending.
    label_dimension
        Of the label map's file.
    overlaps
        Number of voxels by names: ``kept over lost``.
    empty
        Masks without any voxel.
    resampled
        Lost and all voxels of masks on another grid, by name.
    """

    files: NiftiCase
    images: Inspection
    problems: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    label_dimension: int = 3
    overlaps: dict[str, int] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    resampled: dict[str, tuple[int, int]] = field(default_factory=dict)

    def problems_with(self, ending: str) -> list[str]:
        """Return why the images cannot be written with an ending."""
        path = self.files.images[0]
        if self.images.channels > len(self.files.images):
            return [f"{path}: a colour image, expected one value per voxel"]
        if all(keeps_bytes(image, ending, self.images.dimension) for image in self.files.images):
            return []
        return target_problems(self.images, ending)


def check_case(files: NiftiCase, overlap: str = LAST) -> CheckedCase:
    """Read all of a case; collect problems instead of raising them.

    Parameters
    ----------
    files
        The case.
    overlap
        ``last``, ``first`` or ``error``: what to do where masks overlap.
    """
    damaged: list[str] = []
    everything = (*files.images, *([files.label] if files.label else []), *filter(None, files.masks.values()))
    for path in everything:
        try:
            if path.name.lower().endswith(".gz"):
                check_gzip(path)
        except NnunetExtError as error:
            damaged.append(str(error))
    if damaged:
        return CheckedCase(files, Inspection(CaseFiles(files.case, files.images, ())), damaged)
    images = inspect_case(CaseFiles(files.case, files.images, ()), ())
    checked = CheckedCase(files, images, [_with_hint(problem) for problem in images.problems])
    if images.grid is None:
        return checked
    try:
        if files.label is not None:
            _check_label(checked, files.label, images.grid)
        # Without a usable label map, overlaps with it would be nonsense.
        if files.masks and not checked.problems:
            _check_masks(checked, images.grid, overlap)
    except NnunetExtError as error:
        checked.problems.append(str(error))
    return checked


@contextmanager
def open_label(path: Path | None) -> Iterator[Volume | None]:
    """Open a label map, if there is one."""
    if path is None:
        yield None
        return
    with open_with_sidecar(path) as volume:
        yield volume


def label_slab(volume: Volume | None, start: int, stop: int, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Return slices of a label map as whole numbers, (n, y, x); zeros of a volume of ``shape`` without one."""
    if volume is None:
        return np.zeros((stop - start, *shape[1:]), np.int64)
    return whole_numbers(volume.slab(start, stop), str(volume.path)).astype(np.int64)


def _check_label(checked: CheckedCase, path: Path, image: Grid) -> None:
    values: set[int] = set()
    with open_with_sidecar(path) as volume:
        checked.problems += grid_problems(grid_of(volume), image)
        if has_ending(path, (".nii", GZIP, ".mha", ".mhd", ".nrrd")):
            checked.label_dimension = int(header_reader(path).GetDimension())
        for _, slab in volume.slabs():
            try:
                values.update(count_values(whole_numbers(slab, str(path))))
            except InputError as error:
                checked.problems.append(f"{error}; {_suspicion(checked)}")
                return
    swapped = len(values) > MANY_VALUES and _fewer_values(checked, len(values)) > 0
    if swapped or len(values) > MOST_VALUES or min(values) < 0:
        what = f"{len(values)} different values from {min(values)} to {max(values)}"
        checked.problems.append(f"{path}: {what} found, expected a label map; {_suspicion(checked)}")
    checked.values = sorted(values)


def _suspicion(checked: CheckedCase) -> str:
    """Say whether image and label map look swapped."""
    count = _fewer_values(checked, MANY_VALUES)
    if not count:
        return "is it an image?"
    path = checked.files.images[0]
    return f"is it an image? {path} has only {count} different values: image and label map look swapped"


def _fewer_values(checked: CheckedCase, limit: int) -> int:
    """Return how many values the first image has, or 0 if it has ``limit`` or more."""
    found: set[float] = set()
    with open_with_sidecar(checked.files.images[0], checked.files.case) as volume:
        for _, slab in volume.slabs():
            found.update(np.unique(slab).tolist())
            if len(found) >= limit:
                return 0
    return len(found)


def _check_masks(checked: CheckedCase, image: Grid, overlap: str) -> None:
    files = checked.files
    # Masks have negative numbers here, so that they meet no value of the label map.
    labels = [-number for number, _ in enumerate(files.masks, 1)]
    name_of = {label: f"mask {name}" for label, name in zip(labels, files.masks, strict=True)}
    filled: set[str] = set()
    with open_masks(files.masks, image) as masks, open_label(files.label) as label:
        for start, stop in slabs_of(image.shape):
            base = label_slab(label, start, stop, image.shape)
            overlaps, found = overlay_slab(base, masks, labels, start, stop, keep=overlap)
            filled |= found
            for (kept, lost), count in overlaps.items():
                pair = " over ".join(name_of.get(label, f"value {label}") for label in (kept, lost))
                checked.overlaps[pair] = checked.overlaps.get(pair, 0) + count
        checked.resampled = masks.resampled
    checked.empty = [name for name, path in files.masks.items() if path is not None and name not in filled]
    if checked.overlaps and overlap == ERROR:
        shown = ", ".join(f"{pair}: {count}" for pair, count in checked.overlaps.items())
        checked.problems.append(
            f"case '{files.case}': masks overlap (voxels: {shown}); expected none, or choose --overlap last or first"
        )


def _with_hint(problem: str) -> str:
    if "dimensions (x, y, z" not in problem:
        return problem
    return (
        f"{problem}; give each channel as a file of its own (nnunet_ext convert nifti, --image once per channel). A "
        "task of the Medical Segmentation Decathlon with 4D images is split by nnU-Net's own "
        "nnUNetv2_convert_MSD_dataset"
    )
