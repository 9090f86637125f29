"""Read NIfTI files in place, and compressed ones in one pass.

SimpleITK starts again for every region of a compressed file, gives zeros for what is missing in a truncated
one, and takes the voxels of ``a.nii.gz`` from an ``a.nii`` that lies beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import nibabel
import numpy as np
from isal import igzip_threaded

from nnunet_ext.imageio.itk import read_info
from nnunet_ext.imageio.raw import RawVolume
from nnunet_ext.imageio.stream import StreamVolume
from nnunet_ext.imageio.volume import Volume, library_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def open_nifti(path: Path, spacing_source: str, *, compressed: bool) -> Volume:
    """Open a ``.nii`` file, or a ``.nii.gz`` file for reading from front to back.

    Geometry and dtype are SimpleITK's, and so are the values: scaled ones where the header has a slope or
    intercept.

    Raises
    ------
    InputError
        If the file is damaged.
    UnsupportedFormatError
        If it holds several values per voxel or more than three dimensions.
    """
    info = read_info(path, spacing_source)
    with library_errors(path):
        header = _header(path, compressed=compressed)
        stored = header.get_data_dtype()
        # Some writers leave the offset at 0; like ITK, begin behind the header then.
        offset = max(int(header["vox_offset"]), int(header["sizeof_hdr"]))
        slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    convert = _scaling(slope, intercept, info.dtype)
    if not compressed:
        return RawVolume(path, info, offset=offset, stored=stored, convert=convert)

    def open_stream() -> BinaryIO:
        stream: BinaryIO = igzip_threaded.open(path, "rb")
        stream.read(offset)
        return stream

    return StreamVolume(path, info, open_stream=open_stream, stored=stored, convert=convert)


def _header(path: Path, *, compressed: bool) -> Any:
    """Return the header as it stands in the file; nibabel clears offset and scaling of an image's header."""
    kind = type(nibabel.load(path).header)
    with igzip_threaded.open(path, "rb") if compressed else path.open("rb") as stream:
        return kind.from_fileobj(stream, check=False)


def _scaling(slope: float, intercept: float, dtype: np.dtype[Any]) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """Return the header's scaling with ITK's reading of it: a slope of 0 or NaN means 1."""
    slope = slope if np.isfinite(slope) and slope != 0 else 1.0
    intercept = intercept if np.isfinite(intercept) else 0.0
    if (slope, intercept) == (1.0, 0.0) or dtype.kind != "f":
        return None

    def scale(voxels: NDArray[Any]) -> NDArray[Any]:
        scaled = np.empty(voxels.shape, dtype)
        # Slice by slice: the intermediate values are float64, as in ITK, and need not all exist at once.
        for target, source in zip(scaled, voxels, strict=True):
            target[...] = source.astype(np.float64) * slope + intercept
        return scaled

    return scale
