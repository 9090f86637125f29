"""Read a volume from one TIFF file."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from nnunet_ext.errors import InputError, UnsupportedFormatError
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.imageio.raw import RawVolume
from nnunet_ext.imageio.tiff_spacing import find_spacing
from nnunet_ext.imageio.volume import Volume, VolumeInfo, WholeVolume, library_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# ImageJ shows no more channels than these. Many programs, tifffile's imagej=True among them, call the slices
# of a grey stack channels.
_MOST_CHANNELS = 7


def open_tiff(path: Path) -> Volume:
    """Open a TIFF file: BigTIFF, ImageJ stack, OME-TIFF, compressed or not, of either byte order.

    Uncompressed contiguous voxels are read at their place in the file, pages one by one. Only a single
    page that holds the whole volume compressed or in tiles is loaded as a whole. More than seven channels
    without slices are taken for slices.

    Raises
    ------
    InputError
        If the file is damaged.
    UnsupportedFormatError
        If it holds colours, channels, more than three dimensions or several images.
    """
    with library_errors(path):
        tif = tifffile.TiffFile(path)
        try:
            return _volume(path, tif)
        except BaseException:
            tif.close()
            raise


def read_slice_info(path: Path) -> VolumeInfo:
    """Return shape, dtype and spacing of a TIFF file without reading its voxels.

    Exceptions are those of ``open_tiff``.
    """
    with library_errors(path), tifffile.TiffFile(path) as tif:
        return _info(path, tif)


def is_single_slice(path: Path) -> bool | None:
    """Return whether a TIFF file holds one slice only, or None if it cannot be read."""
    try:
        with library_errors(path), tifffile.TiffFile(path) as tif:
            images = int((tif.imagej_metadata or {}).get("images", 1))
            return images == 1 and tif.pages.first.imagedepth == 1 and not _has_second_page(tif)
    except InputError:
        return None


class PagesVolume(Volume):
    """A volume with one TIFF page per slice.

    Parameters
    ----------
    path, info
        As for ``Volume``.
    tif
        The open file; closed with the volume.
    """

    def __init__(self, path: Path, info: VolumeInfo, tif: tifffile.TiffFile) -> None:
        super().__init__(path, info)
        self._tif = tif
        self._pages = tif.series[0].pages

    def close(self) -> None:
        """Close the file."""
        self._tif.close()

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        voxels = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for index, target in enumerate(voxels, start):
            page = self._pages[index]
            if page is None:
                message = f"{self.path}: slice {index} is missing, expected {self.shape[0]} slices"
                raise InputError(message)
            target[...] = page.asarray().reshape(target.shape)
        return voxels


def _volume(path: Path, tif: tifffile.TiffFile) -> Volume:
    info = _info(path, tif)
    series = tif.series[0]
    if series.dataoffset is not None and series.pages[0].dtype.kind != "b":
        stored = series.pages[0].dtype.newbyteorder(tif.byteorder)
        tif.close()
        return RawVolume(path, info, offset=series.dataoffset, stored=stored)
    if len(series.pages) == info.shape[0]:
        return PagesVolume(path, info, tif)
    tif.close()
    return WholeVolume(path, info, lambda: np.asarray(tifffile.imread(path, series=0)))


def _info(path: Path, tif: tifffile.TiffFile) -> VolumeInfo:
    _check_chain(path, tif)
    spacing, source = find_spacing(tif)
    return VolumeInfo(_shape(path, tif), _dtype(path, tif), Geometry(spacing=spacing), source)


def _shape(path: Path, tif: tifffile.TiffFile) -> tuple[int, int, int]:
    """Return the shape (z, y, x) of the only image in the file."""
    if len(tif.series) != 1:
        found = ", ".join(str(tuple(series.shape)) for series in tif.series[:5])
        message = f"{path}: {len(tif.series)} images of shapes {found}, expected one stack of equal slices"
        raise UnsupportedFormatError(message)
    series = tif.series[0]
    named = zip(series.axes, series.shape, strict=True)
    # Axes of length 1 carry nothing; Y and X stay, whatever their length.
    kept = [(name, int(length)) for name, length in named if length != 1 or name in "YX"]
    names = "".join(name for name, _ in kept)
    if names == "CYX" and kept[0][1] > _MOST_CHANNELS:
        names = "ZYX"
    if series.pages[0].samplesperpixel != 1 or "S" in names or "C" in names:
        message = (
            f"{path}: colours or channels (axes {names}, lengths {[length for _, length in kept]}), "
            "expected one grey value or label per voxel"
        )
        raise UnsupportedFormatError(message)
    if names[-2:] != "YX" or len(names) > 3:
        message = f"{path}: axes {names} of lengths {[length for _, length in kept]}, expected one stack (z, y, x)"
        raise UnsupportedFormatError(message)
    depth, height, width = (1, *(length for _, length in kept))[-3:]
    _check_count(path, tif, depth)
    return depth, height, width


def _check_chain(path: Path, tif: tifffile.TiffFile) -> None:
    """Refuse a file whose last pages are cut off: tifffile gives out the pages before, and no error."""
    layout, count = tif.tiff, len(tif.pages)
    with path.open("rb") as file:
        file.seek(tif.pages[count - 1].offset)
        (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
        file.seek(tags * layout.tagsize, os.SEEK_CUR)
        (following,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    if following != 0:
        message = f"{path}: no page after page {count}, expected one at byte {following}; is it truncated?"
        raise InputError(message)


def _check_count(path: Path, tif: tifffile.TiffFile, depth: int) -> None:
    """Refuse a truncated ImageJ stack: tifffile gives out its first slice and no error."""
    images = int((tif.imagej_metadata or {}).get("images", 1))
    if images > depth:
        message = f"{path}: holds {depth} slices, expected {images} by its ImageJ metadata; is it truncated?"
        raise InputError(message)


def _dtype(path: Path, tif: tifffile.TiffFile) -> np.dtype[Any]:
    dtype = tif.series[0].pages[0].dtype
    if dtype is None or dtype.kind not in "buif":
        message = f"{path}: voxels of type {dtype}, expected integers or real numbers"
        raise UnsupportedFormatError(message)
    # Bilevel images are masks of 0 and 1.
    return np.dtype(np.uint8 if dtype.kind == "b" else dtype.newbyteorder("="))


def _has_second_page(tif: tifffile.TiffFile) -> bool:
    try:
        tif.pages[1]
    except IndexError:
        return False
    return True
