"""Open a volume of any supported format for reading."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError, MissingInputError, UnsupportedFormatError
from nnunet_ext.imageio.names import PNG_ENDING, SUPPORTED_ENDINGS, TIFF_ENDINGS, ending_of, is_zarr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.geometry import Geometry
    from nnunet_ext.imageio.volume import Volume


def open_volume(path: Path, spacing: tuple[float, float, float] | None = None) -> Volume:
    """Open a volume; its voxels are read slab by slab.

    Parameters
    ----------
    path
        A ``.tif``, ``.tiff``, ``.mha``, ``.mhd``, ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.png`` file (upper or
        lower case), a ``.zarr`` store (an array, or an OME-Zarr image), or a folder with one TIFF file per slice. A 2D
        image is a volume of one slice. All are read
        in parts, except PNG, NRRD with a data file of its own or an unusual encoding, and TIFF with the whole
        volume in one compressed page: these the first slab loads whole.
    spacing
        Distance of voxel centres in mm along z, y, x; replaces what the file says.

    Returns
    -------
    Volume
        To be closed, or used in ``with``. TIFF and PNG volumes have origin 0 and identity direction.

    Raises
    ------
    MissingInputError
        If there is no such file or folder, or no slice in the folder.
    InputError
        If the file is damaged or empty, slices differ, or ``spacing`` is not three positive numbers.
    UnsupportedFormatError
        If the ending is unknown, or the image has colours, channels or more than three dimensions.
    """
    if spacing is not None:
        _check_spacing(path, spacing)
    volume = _open(path)
    if spacing is not None:
        geometry = replace(volume.geometry, spacing=spacing)
        volume.info = replace(volume.info, geometry=geometry, spacing_source="--spacing")
    return volume


def read_volume(path: Path) -> tuple[NDArray[Any], Geometry]:
    """Read a whole volume.

    Parameters
    ----------
    path
        As for ``open_volume``, whose exceptions it shares.

    Returns
    -------
    tuple of numpy.ndarray and Geometry
        Voxels (z, y, x) of the file's own type in native byte order, and their place in space.
    """
    with open_volume(path) as volume:
        return volume.slab(0, volume.shape[0]), volume.geometry


def _open(path: Path) -> Volume:
    """Import only what the format needs, and open the volume."""
    if is_zarr(path):
        from nnunet_ext.imageio.zarr_store import open_zarr

        return open_zarr(path)
    if path.is_dir():
        from nnunet_ext.imageio.slices import open_slices

        return open_slices(path)
    ending = _checked_ending(path)
    if ending in TIFF_ENDINGS:
        from nnunet_ext.imageio.tiff import open_tiff

        return open_tiff(path)
    if ending == PNG_ENDING:
        from nnunet_ext.imageio.png import open_png

        return open_png(path)
    if ending in (".mha", ".mhd"):
        from nnunet_ext.imageio.metaimage import open_metaimage

        return open_metaimage(path, "MetaImage header")
    if ending == ".nrrd":
        from nnunet_ext.imageio.nrrd import open_nrrd

        return open_nrrd(path, "NRRD header")
    from nnunet_ext.imageio.nifti import open_nifti

    return open_nifti(path, "NIfTI header", compressed=ending == ".nii.gz")


def _checked_ending(path: Path) -> str:
    if not path.exists():
        message = f"{path}: no such file or folder"
        raise MissingInputError(message)
    ending = ending_of(path)
    if not ending:
        message = f"{path}: unknown ending, expected one of {', '.join(SUPPORTED_ENDINGS)}"
        raise UnsupportedFormatError(message)
    if path.stat().st_size == 0:
        message = f"{path}: the file is empty, expected a volume"
        raise InputError(message)
    return ending


def _check_spacing(path: Path, spacing: tuple[float, float, float]) -> None:
    if len(spacing) != 3 or not all(math.isfinite(value) and value > 0 for value in spacing):
        message = f"{path}: spacing {spacing} given, expected three positive numbers of mm (z, y, x)"
        raise InputError(message)
