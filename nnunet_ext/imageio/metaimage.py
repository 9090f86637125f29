"""Read compressed MetaImage files in one pass; SimpleITK would start again for every region."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.imageio.itk import open_regions, read_info
from nnunet_ext.imageio.stream import InflatingReader, StreamVolume

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_ext.imageio.volume import Volume

_HEADER_LIMIT = 2**16


def open_metaimage(path: Path, spacing_source: str) -> Volume:
    """Open a ``.mha`` or ``.mhd`` file.

    Uncompressed voxels are read region by region, compressed ones in one file from front to back.

    Raises
    ------
    InputError
        If the file is damaged, or the file with the voxels of a ``.mhd`` is not there.
    UnsupportedFormatError
        If it holds several values per voxel or more than three dimensions.
    """
    fields, end = _header(path)
    source = fields.get("ElementDataFile", "")
    if source.upper() != "LOCAL" and not (path.parent / source).is_file() and "%" not in source:
        # ITK would name the missing file only in passing, or give out zeros.
        listed = source.split()[0].upper() == "LIST" if source else False
        if not listed:
            message = f"{path}: ElementDataFile is {source!r}, expected a file beside the header or LOCAL"
            raise InputError(message)
    if fields.get("CompressedData", "").lower() != "true":
        return open_regions(path, spacing_source)
    info = read_info(path, spacing_source)
    data, offset = (path, end) if source.upper() == "LOCAL" else (path.parent / source, 0)

    def open_stream() -> BinaryIO:
        return cast("BinaryIO", InflatingReader(data, offset, container="zlib"))

    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    stored = np.dtype(info.dtype).newbyteorder(">" if big else "<")
    return StreamVolume(path, info, open_stream=open_stream, stored=stored)


def _header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of the header, and the byte after it; the element file is its last field."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < _HEADER_LIMIT:
            line = file.readline(_HEADER_LIMIT).decode("latin-1")
            key, separator, value = line.partition("=")
            if not separator:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return fields, file.tell()
    message = f"{path}: no MetaImage header found, expected lines of 'key = value' up to ElementDataFile"
    raise InputError(message)
