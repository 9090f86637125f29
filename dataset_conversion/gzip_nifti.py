"""NIfTI files as bytes: check compressed ones to their end, and compress plain ones without touching what they hold."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import nibabel
import numpy as np
from isal import igzip, igzip_threaded, isal_zlib

from nnunet_ext.errors import InputError
from nnunet_ext.imageio.names import ending_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GZIP = ".nii.gz"
_BLOCK = 2**20
_GZIP_MAGIC = b"\x1f\x8b"
_LEVEL = 2  # as in imageio: smaller for nothing than level 1, and much faster than level 3
_EXTENSION_FLAG = 4  # bytes behind the header that say whether extensions follow
_LAYOUTS = {
    # Bytes of the header; magic, its place, and the one of single files; place, type of the offset of the voxels.
    348: (344, b"ni1\0", b"n+1\0", nibabel.Nifti1Header),
    540: (4, b"ni2\0\r\n\032\n", b"n+2\0\r\n\032\n", nibabel.Nifti2Header),
}


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file as it lies there.

    Parameters
    ----------
    path
        The ``.nii`` file, or the ``.hdr`` of a pair.
    header
        The bytes that come before the voxels in a single file.
    voxels
        The file with the voxels, and the byte at which they begin; from there on it is taken whole.
    """

    path: Path
    header: bytes
    voxels: tuple[Path, int]


def check_gzip(path: Path) -> None:
    """Read a gzip file to its end, checksum included.

    Raises
    ------
    InputError
        If it is no gzip file, ends too early, or is damaged.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if not start.startswith(_GZIP_MAGIC):
        plain = {int.from_bytes(start, "little"), int.from_bytes(start, "big")} & set(_LAYOUTS)
        hint = "it is a plain NIfTI file, rename it to .nii" if plain else f"it begins with {start!r}"
        message = f"{path}: expected gzip, as its name says; {hint}"
        raise InputError(message)
    try:
        with igzip.open(path, "rb") as stream:
            while stream.read(_BLOCK):
                pass
    except EOFError as error:
        message = f"{path}: the gzip stream is truncated, expected an intact file; copy or download it again"
        raise InputError(message) from error
    except (OSError, ValueError, isal_zlib.error) as error:  # type: ignore[misc]  # the stubs call it an instance
        message = f"{path}: the gzip stream is damaged ({error}), expected an intact file; copy or download it again"
        raise InputError(message) from error


def read_nifti_file(path: Path, image: Path | None = None) -> NiftiFile:
    """Read the header of a plain NIfTI file, and see that all voxels are there.

    Parameters
    ----------
    path
        ``.nii``, or ``.hdr`` of a pair. NIfTI-1 or NIfTI-2 of either byte order and any number of dimensions.
    image
        The ``.img`` of a pair.

    Raises
    ------
    InputError
        If the file is no NIfTI file or ends before its last voxel.
    """
    with path.open("rb") as file:
        start = file.read(540)
        size = int.from_bytes(start[:4], "little")
        size = size if size in _LAYOUTS else int.from_bytes(start[:4], "big")
        if size not in _LAYOUTS or len(start) < size:
            message = f"{path}: expected the header of a NIfTI file, found {len(start)} bytes that begin {start[:4]!r}"
            raise InputError(message)
        place, pair_magic, single_magic, kind = _LAYOUTS[size]
        expected = single_magic if image is None else pair_magic
        magic = start[place : place + len(expected)]
        if magic != expected:
            analyze = image is not None and not magic.startswith(b"n")
            what = ": an Analyze file, which does not say how its image lies in space" if analyze else ""
            message = f"{path}: expected a NIfTI header with the mark {expected[:3]!r}, found {magic[:3]!r}{what}"
            raise InputError(message)
        header = kind.from_fileobj(_rewound(file), check=False)
        offset = int(header["vox_offset"])
        if image is None:
            # Some writers leave the offset at 0: the voxels follow the header then.
            offset = max(offset, size)
            file.seek(0)
            block = file.read(offset)
        else:
            file.seek(0)
            whole = file.read()
            # Without extensions, nothing behind the header is part of it.
            has_extensions = whole[size : size + 1] not in (b"", b"\0")
            block = _single_header(header, whole if has_extensions else whole[:size], single_magic, place)
    voxels = path if image is None else image
    needed = offset + prod(int(n) for n in header.get_data_shape()) * header.get_data_dtype().itemsize
    found = voxels.stat().st_size
    if found < needed:
        message = f"{voxels}: holds {found} bytes, expected {needed} for {header.get_data_shape()} voxels (x, y, z, …)"
        raise InputError(message)
    return NiftiFile(path, block, (voxels, offset))


def write_gzip(nifti: NiftiFile, target: Path) -> None:
    """Write a NIfTI file as ``.nii.gz``; the bytes within are those of the file."""
    with igzip_threaded.open(target, "wb", compresslevel=_LEVEL, threads=1) as stream:
        stream.write(nifti.header)
        for block in _blocks(*nifti.voxels):
            stream.write(block)


def keeps_bytes(path: Path, ending: str, dimension: int) -> bool:
    """Return whether a file can be given an ending by copying or compressing it, and nnU-Net reads it then.

    Parameters
    ----------
    path
        Of any format.
    ending
        The one that is wanted.
    dimension
        Of the file; nnU-Net reads 2 and 3.
    """
    found = ending_of(path)
    return path.is_file() and dimension in (2, 3) and (found == ending or (found, ending) == (".nii", GZIP))


def transfer(path: Path, target: Path) -> None:
    """Copy a file, or compress it, as ``keeps_bytes`` allows."""
    if ending_of(path) == ending_of(target):
        shutil.copyfile(path, target)
    else:
        write_gzip(read_nifti_file(path), target)


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _single_header(header: Any, block: bytes, magic: bytes, place: int) -> bytes:
    """Return the header of a pair with the mark and the offset of a single file, padded to where the voxels begin."""
    size = header.template_dtype.itemsize
    block = block.ljust(size + _EXTENSION_FLAG, b"\0")
    offset = -(-len(block) // 16) * 16
    field = header.template_dtype.fields["vox_offset"]
    dtype, at = field[0].newbyteorder(header.endianness), field[1]
    changed = bytearray(block.ljust(offset, b"\0"))
    changed[at : at + dtype.itemsize] = np.asarray(offset, dtype).tobytes()
    changed[place : place + len(magic)] = magic
    return bytes(changed)


def _blocks(path: Path, offset: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while block := file.read(_BLOCK):
            yield block
