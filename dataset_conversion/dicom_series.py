"""Read DICOM series: a folder per case, one series of it picked by its UID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, UnsupportedFormatError, listed
from nnunet_ext.imageio import Geometry, natural_key
from nnunet_ext.imageio.volume import VolumeInfo, WholeVolume, library_errors

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio import Volume

SPACING_SOURCE = "DICOM header"
_UNEVEN = 0.25
"""Largest accepted difference of a slice distance from the usual one; positions are often rounded to 0.1 mm."""

_TILT = 0.01
"""Largest accepted shift within the slices per mm along their normal; a tilted gantry has more than 0.05."""

_MODALITY, _DESCRIPTION = "0008|0060", "0008|103e"


@dataclass(frozen=True)
class Series:
    """A DICOM series.

    Parameters
    ----------
    folder
        The folder of the case.
    uid
        Its Series Instance UID.
    files
        In the order of the slices.
    """

    folder: Path
    uid: str
    files: tuple[Path, ...]


def find_series(folder: Path, wanted: Collection[str] = ()) -> Series:
    """Find the series of a case in a folder and the folders in it.

    Parameters
    ----------
    folder
        The folder of the case.
    wanted
        UIDs to choose from, where there are several series.

    Raises
    ------
    InputError
        If there is no series, or not one that is wanted; names those that are there.
    """
    found = _series_in(folder)
    if not found:
        message = f"{folder}: no DICOM series found, expected one folder of DICOM files per case"
        raise InputError(message)
    chosen = [uid for uid in found if uid in wanted] if len(found) > 1 else list(found)
    if len(chosen) != 1:
        texts = [f"{uid} ({_description(files)}, {len(files)} files)" for uid, files in found.items()]
        which = "several of them are given" if chosen else "choose one with --series UID"
        message = f"{folder}: {len(found)} DICOM series found, expected one; {which}: {listed(texts, 20)}"
        raise InputError(message)
    uid = chosen[0]
    return Series(folder, uid, tuple(found[uid]))


def open_series(series: Series) -> Volume:
    """Read a series; the whole volume is held.

    Raises
    ------
    InputError
        If a file is damaged, a slice is missing or there twice, or the slices do not stand upright on each other.
    UnsupportedFormatError
        If it is a colour image or no volume.
    """
    import SimpleITK

    _check_positions(series)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(path) for path in series.files])
    with library_errors(series.folder):
        image = reader.Execute()
    if image.GetNumberOfComponentsPerPixel() != 1 or image.GetDimension() != 3:
        message = f"{series.folder}: series {series.uid} is no volume of one grey value per voxel, expected one"
        raise UnsupportedFormatError(message)
    voxels: NDArray[Any] = SimpleITK.GetArrayFromImage(image)
    z, y, x = voxels.shape
    geometry = Geometry.from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    info = VolumeInfo((z, y, x), voxels.dtype, geometry, SPACING_SOURCE)
    return WholeVolume(series.folder, info, lambda: voxels)


def modality_of(series: Series) -> str:
    """Return the modality that the first file says, such as ``CT``; empty if it does not."""
    return _tag(series.files[0], _MODALITY)


def _series_in(folder: Path) -> dict[str, list[Path]]:
    import SimpleITK

    found: dict[str, list[Path]] = {}
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for place in sorted(folders, key=lambda path: natural_key(str(path))):
        with library_errors(place):
            uids = SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(place))
        for uid in uids:
            with library_errors(place):
                files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), uid)
            if uid in found:
                message = f"{place}: series {uid} is also in {found[uid][0].parent}, expected it in one folder"
                raise InputError(message)
            found[uid] = [place / name for name in files]
    return found


def _check_positions(series: Series) -> None:
    """See that slices stand evenly one behind the other; SimpleITK only warns."""
    if len(series.files) < 2:
        return
    headers = [_header(path) for path in series.files]
    origins = np.array([header.GetOrigin()[:3] for header in headers])
    directions = np.array([header.GetDirection() for header in headers])
    normal = np.reshape(directions[0], (3, 3))[:, 2]
    where = f"{series.folder}: series {series.uid}"
    if np.abs(directions - directions[0]).max() > 1e-3:
        message = f"{where}: slices of different directions, expected one; is a localizer among them?"
        raise InputError(message)
    along = (origins - origins[0]) @ normal
    steps = np.abs(np.diff(along))
    usual = float(np.median(steps))
    wrong = [
        f"{before.name} to {after.name}: {step:.3g} mm"
        for before, after, step in zip(series.files, series.files[1:], steps, strict=False)
        if usual == 0 or abs(step - usual) > _UNEVEN * usual
    ]
    if wrong:
        message = (
            f"{where}: slices {usual:.3g} mm apart, but {listed(wrong, 4)}; expected even distances. A slice is "
            "missing, or there twice, or the series holds several volumes"
        )
        raise InputError(message)
    length = float(along[-1] - along[0])
    shift = float(np.linalg.norm(origins[-1] - origins[0] - length * normal))
    if shift > _TILT * abs(length):
        message = (
            f"{where}: slices are shifted by {shift:.3g} mm over {abs(length):.3g} mm (tilted gantry), expected none"
        )
        raise InputError(message)


def _description(files: list[Path]) -> str:
    return _tag(files[0], _DESCRIPTION) or "no description"


def _tag(path: Path, key: str) -> str:
    header = _header(path)
    return str(header.GetMetaData(key)).strip() if header.HasMetaDataKey(key) else ""


def _header(path: Path) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    with library_errors(path):
        reader.ReadImageInformation()
    return reader
