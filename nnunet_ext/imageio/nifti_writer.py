"""Encode NIfTI-1 files, plain or compressed, slab by slab."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import nibabel
import numpy as np
from isal import igzip_threaded

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.geometry import Geometry
    from nnunet_ext.imageio.writer import OutputSpec

_LONGEST_AXIS = 32767  # lengths are int16 in the header
_DATA_OFFSET = 352
_SCANNER = 1  # the code SimpleITK writes for both affines


@contextmanager
def encode_nifti(partial: Path, spec: OutputSpec) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write an uncompressed ``.nii`` file to ``partial``; gives the function that appends a slab."""
    header = nifti_header(spec)
    with partial.open("wb") as file:
        yield _appending(file, header)


@contextmanager
def encode_nifti_gz(partial: Path, spec: OutputSpec) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a ``.nii.gz`` file to ``partial``; gives the function that appends a slab."""
    header = nifti_header(spec)
    # Level 2 costs what level 1 does and never compresses less; level 3 takes 1.5 to 2 times as long.
    with igzip_threaded.open(partial, "wb", compresslevel=2, threads=2) as stream:
        yield _appending(stream, header)


def nifti_header(spec: OutputSpec) -> bytes:
    """Return the 352 bytes before the voxels.

    Raises
    ------
    InputError
        If an axis is longer than 32767 voxels.
    """
    if max(spec.shape) > _LONGEST_AXIS:
        message = f"{spec.path}: shape {spec.shape} given, NIfTI holds at most {_LONGEST_AXIS} voxels per axis"
        raise InputError(message)
    affine = _affine(spec.geometry)
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(spec.dtype)
    header.set_data_shape(spec.shape[::-1])
    header.set_qform(affine, code=_SCANNER)
    header.set_sform(affine, code=_SCANNER)
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"] = _DATA_OFFSET
    header["magic"] = b"n+1"
    block: bytes = header.binaryblock
    return block.ljust(_DATA_OFFSET, b"\0")


def _affine(geometry: Geometry) -> NDArray[np.float64]:
    """Return the affine of voxel (x, y, z) to millimetres in NIfTI's RAS convention."""
    spacing, origin, direction = geometry.to_itk()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * spacing
    affine[:3, 3] = origin
    # ITK's x points left and y to the back, NIfTI's right and front.
    affine[:2] *= -1
    return affine


def _appending(file: BinaryIO, header: bytes) -> Callable[[NDArray[Any]], None]:
    """Write the header, and return the function that appends a slab."""
    file.write(header)

    def append(slab: NDArray[Any]) -> None:
        file.write(slab.data.cast("B"))

    return append
