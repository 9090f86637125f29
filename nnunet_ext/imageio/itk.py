"""Read volumes through SimpleITK: MetaImage, NIfTI and NRRD headers, and regions of their voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

from nnunet_ext.errors import UnsupportedFormatError
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.imageio.names import ending_of
from nnunet_ext.imageio.volume import Volume, VolumeInfo, WholeVolume, library_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_IMAGE_IOS = {
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
}
_DTYPES = {
    SimpleITK.sitkUInt8: np.uint8,
    SimpleITK.sitkInt8: np.int8,
    SimpleITK.sitkUInt16: np.uint16,
    SimpleITK.sitkInt16: np.int16,
    SimpleITK.sitkUInt32: np.uint32,
    SimpleITK.sitkInt32: np.int32,
    SimpleITK.sitkUInt64: np.uint64,
    SimpleITK.sitkInt64: np.int64,
    SimpleITK.sitkFloat32: np.float32,
    SimpleITK.sitkFloat64: np.float64,
}


def read_info(path: Path, spacing_source: str) -> VolumeInfo:
    """Read what the header says, by SimpleITK's conventions; a 2D image is a volume of one slice.

    Parameters
    ----------
    path
        MetaImage, NIfTI or NRRD file.
    spacing_source
        What to call the header.

    Raises
    ------
    InputError
        If SimpleITK cannot read the header.
    UnsupportedFormatError
        If the image has several values per voxel, complex ones, or more than three dimensions.
    """
    return _info(path, header_reader(path), spacing_source)


def open_regions(path: Path, spacing_source: str) -> Volume:
    """Open an uncompressed MetaImage file; each slab is read as a region of the file.

    Parameters and exceptions are those of ``read_info``.
    """
    reader = header_reader(path)
    return RegionVolume(path, _info(path, reader, spacing_source), reader)


def open_whole(path: Path, spacing_source: str) -> Volume:
    """Open a file that SimpleITK can only load as a whole; the first slab does so.

    Parameters and exceptions are those of ``read_info``.
    """
    reader = header_reader(path)

    def load() -> NDArray[Any]:
        voxels: NDArray[Any] = SimpleITK.GetArrayFromImage(reader.Execute())
        return voxels

    return WholeVolume(path, _info(path, reader, spacing_source), load)


class RegionVolume(Volume):
    """A volume of which SimpleITK reads any region without loading the rest.

    Parameters
    ----------
    path, info
        As for ``Volume``.
    reader
        A ``SimpleITK.ImageFileReader`` that has read the header of ``path``.
    """

    def __init__(self, path: Path, info: VolumeInfo, reader: Any) -> None:
        super().__init__(path, info)
        self._reader = reader

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        dimension = self._reader.GetDimension()
        depth, height, width = stop - start, *self.shape[1:]
        # A size of 0 drops the axis; only axes of length 1 stand behind the third.
        index, size = [0, 0, start, *[0] * dimension], [width, height, depth, *[0] * dimension]
        self._reader.SetExtractIndex(index[:dimension])
        self._reader.SetExtractSize(size[:dimension])
        voxels: NDArray[Any] = SimpleITK.GetArrayFromImage(self._reader.Execute())
        return voxels.reshape(depth, height, width)


def header_reader(path: Path) -> Any:
    """Return a ``SimpleITK.ImageFileReader`` that has read the header of a MetaImage, NIfTI or NRRD file.

    Raises
    ------
    InputError
        If SimpleITK cannot read the header.
    """
    reader = SimpleITK.ImageFileReader()
    # SimpleITK itself does not know endings in capital letters.
    reader.SetImageIO(_IMAGE_IOS[ending_of(path)])
    reader.SetFileName(str(path))
    with library_errors(path):
        reader.ReadImageInformation()
    return reader


def _info(path: Path, reader: Any, spacing_source: str) -> VolumeInfo:
    size = tuple(int(count) for count in reader.GetSize())
    if reader.GetNumberOfComponents() != 1 or reader.GetPixelID() not in _DTYPES:
        kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
        values = reader.GetNumberOfComponents()
        message = f"{path}: {values} values per voxel ({kind}), expected one grey value or label per voxel"
        raise UnsupportedFormatError(message)
    if len(size) < 2 or any(count != 1 for count in size[3:]):
        message = f"{path}: an image of {len(size)} dimensions (x, y, z, …: {size}), expected 3"
        raise UnsupportedFormatError(message)
    width, height, depth = (*size, 1)[:3]
    return VolumeInfo(
        shape=(depth, height, width),
        dtype=np.dtype(_DTYPES[reader.GetPixelID()]),
        geometry=header_geometry(reader),
        spacing_source=spacing_source,
    )


def header_geometry(reader: Any) -> Geometry:
    """Return where the first three axes lie of what ``header_reader`` has read; a 2D image gets a third one."""
    spacing, origin, direction = reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()
    dimension = len(spacing)
    matrix = np.eye(3)
    axes = min(3, dimension)
    matrix[:axes, :axes] = np.reshape(direction, (dimension, dimension))[:axes, :axes]
    return Geometry.from_itk((*spacing, 1.0)[:3], (*origin, 0.0)[:3], tuple(matrix.ravel().tolist()))
