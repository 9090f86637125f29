"""The images of 3D Slicer users: files that have a place in space, or DICOM series; found, paired and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataset_conversion.dicom_series import Series, find_series, modality_of, open_series
from dataset_conversion.normalization import refuse_non_finite
from dataset_conversion.slicer_segments import ENDINGS, names_of_segments
from dataset_conversion.stack_case import grid_problems
from nnunet_ext.errors import InputError, MissingInputError, NnunetExtError, UnsupportedFormatError, listed
from nnunet_ext.imageio import ending_of, natural_key, open_volume
from nnunet_ext.imageio.case_files import find_cases, find_images
from nnunet_ext.imageio.grid import Grid, grid_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.imageio import Volume

_WRITABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


@dataclass(frozen=True)
class CaseImages:
    """The channels of a case.

    Parameters
    ----------
    paths
        One file per channel; or the folder of the series.
    series
        The DICOM series, where it is one.
    """

    paths: tuple[Path, ...]
    series: Series | None = None

    @property
    def name(self) -> str:
        """The first of them, for messages."""
        return str(self.paths[0])

    def open(self, channel: int) -> Volume:
        """Open a channel for reading."""
        return open_volume(self.paths[channel]) if self.series is None else open_series(self.series)


@dataclass
class ImageCheck:
    """What the images of a case hold.

    Parameters
    ----------
    problems
        One message each.
    grid
        Of all channels; None if none could be read.
    modality
        As DICOM says it, else empty.
    """

    problems: list[str] = field(default_factory=list)
    grid: Grid | None = None
    modality: str = ""


def find_files(where: str | Path) -> dict[str, CaseImages]:
    """Return the images of each case, see ``case_files.find_images``."""
    return {case: CaseImages(paths) for case, paths in find_images(where).items()}


def find_dicom(where: Path, uids: Sequence[str]) -> tuple[dict[str, CaseImages], dict[str, str]]:
    """Return the DICOM series of each case, and by case a message on a folder without one.

    Parameters
    ----------
    where
        Folder with a folder per case, which bears its name.
    uids
        Which series to take, where a folder holds several.

    Raises
    ------
    MissingInputError, InputError
        If there is no such folder, or none in it, or a UID is in no folder.
    """
    if not where.is_dir():
        message = f"{where}: no such folder"
        raise MissingInputError(message)
    folders = [path for path in where.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        message = f"{where}: expected one folder of DICOM files per case (--dicom), found no folder"
        raise InputError(message)
    found, problems = {}, {}
    for folder in sorted(folders, key=lambda path: natural_key(path.name)):
        try:
            found[folder.name] = CaseImages((folder,), find_series(folder, uids))
        except NnunetExtError as error:
            problems[folder.name] = str(error)
    taken = {images.series.uid for images in found.values() if images.series}
    strange = [uid for uid in uids if uid not in taken]
    if strange and not problems:
        message = f"--series {' '.join(strange)}: in no folder of {where}"
        raise InputError(message)
    return found, problems


def find_segmentations(where: str | Path) -> dict[str, Path]:
    """Return the segmentation of each case, see ``case_files.find_cases``."""
    return find_cases(where)


def unpaired(
    images: Mapping[str, CaseImages], segmentations: Mapping[str, Path], may_lack: Collection[str]
) -> list[str]:
    """Return one message per file without partner; names that differ in case or padding only are pointed out.

    Parameters
    ----------
    images, segmentations
        By case.
    may_lack
        Cases that need no segmentation.
    """
    problems = [
        f"{found.name}: no segmentation of case '{case}'; {_near(case, segmentations, 'segmentations')}"
        for case, found in images.items()
        if case not in segmentations and case not in may_lack
    ]
    problems += [
        f"{path}: no image of case '{case}'; {_near(case, images, 'images')}"
        for case, path in segmentations.items()
        if case not in images
    ]
    return problems


def check_images(images: CaseImages, case: str) -> ImageCheck:
    """Read all voxels of a case's images; collect problems instead of raising them."""
    check = ImageCheck()
    for channel, path in enumerate(images.paths):
        try:
            if images.series is None:
                _refuse_segmentation(path)
            else:
                check.modality = modality_of(images.series)
            with images.open(channel) as volume:
                if volume.dtype.name not in _WRITABLE:
                    message = f"{path}: voxels of {volume.dtype.name}, expected one of {', '.join(_WRITABLE)}"
                    raise UnsupportedFormatError(message)
                grid = grid_of_image(volume)
                check.problems += [] if check.grid is None else grid_problems(grid, check.grid)
                check.grid = check.grid or grid
                for _, slab in volume.slabs():
                    refuse_non_finite(slab)
        except NnunetExtError as error:
            text = str(error)
            check.problems.append(text if str(path) in text else f"{path} (case '{case}'): {text}")
    return check


def grid_of_image(volume: Volume) -> Grid:
    """Return the grid of an image, which has a place in space even if it is a folder of DICOM files."""
    grid = grid_of(volume)
    return Grid(grid.path, grid.shape, grid.geometry, grid.has_spacing, is_placed=True)


def _refuse_segmentation(path: Path) -> None:
    if ending_of(path) not in ENDINGS:
        message = f"{path}: does not say where voxels lie in space, expected an image ending in {', '.join(ENDINGS)}"
        raise UnsupportedFormatError(message)
    names = names_of_segments(path)
    if names:
        message = f"{path}: a segmentation (segments {listed(names)}), expected an image; are -i and -l swapped?"
        raise InputError(message)


def _near(case: str, others: Mapping[str, object], kind: str) -> str:
    """Point at a name that differs in case, blanks, padding or a channel number only."""
    similar = [other for other in others if _bare(other) == _bare(case)]
    if similar:
        return f"{kind} have '{similar[0]}', expected exactly the same name: rename one of the files"
    return f"{kind} are there for {listed(others)}"


def _bare(case: str) -> str:
    name = re.sub(r"_0000$", "", case.strip().casefold())
    return re.sub(r"\d+", lambda digits: str(int(digits[0])), re.sub(r"[\s_-]+", "", name))
