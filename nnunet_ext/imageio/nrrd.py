"""Read NRRD files slab by slab; SimpleITK would load them whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from nnunet_ext.errors import InputError
from nnunet_ext.imageio.itk import open_whole, read_info
from nnunet_ext.imageio.raw import RawVolume
from nnunet_ext.imageio.stream import InflatingReader, StreamVolume

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_ext.imageio.volume import Volume

_HEADER_LIMIT = 2**20  # segmentations of 3D Slicer have long headers
# Voxels elsewhere than right behind the header are left to SimpleITK.
_ELSEWHERE = ("data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip")


def open_nrrd(path: Path, spacing_source: str) -> Volume:
    """Open a ``.nrrd`` file.

    Raw and gzip-compressed voxels behind the header are read in parts; of any other kind of file the first
    slab loads the whole.

    Raises
    ------
    InputError
        If the file is damaged.
    UnsupportedFormatError
        If it holds several values per voxel or more than three dimensions.
    """
    fields, end = _header(path)
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz") or any(field in fields for field in _ELSEWHERE):
        return open_whole(path, spacing_source)
    info = read_info(path, spacing_source)
    stored = info.dtype.newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<")
    if encoding == "raw":
        return RawVolume(path, info, offset=end, stored=stored)

    def open_stream() -> BinaryIO:
        return cast("BinaryIO", InflatingReader(path, end, container="gzip"))

    return StreamVolume(path, info, open_stream=open_stream, stored=stored)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of the header, names in lower case, and the byte after its empty last line."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(_HEADER_LIMIT).startswith(b"NRRD"):
            message = f"{path}: no NRRD header found, expected 'NRRD' at the beginning"
            raise InputError(message)
        while file.tell() < _HEADER_LIMIT:
            line = file.readline(_HEADER_LIMIT).decode("utf-8", "replace").rstrip("\r\n")
            if not line:
                break
            # Keys of users are set off by := and mean nothing here.
            if not line.startswith("#") and ":=" not in line:
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
        return fields, file.tell()
