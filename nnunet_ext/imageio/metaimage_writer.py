"""Encode compressed MetaImage files (``.mha``) slab by slab."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.writer import OutputSpec

_ELEMENT_TYPES = {
    "uint8": "MET_UCHAR",
    "int8": "MET_CHAR",
    "uint16": "MET_USHORT",
    "int16": "MET_SHORT",
    "uint32": "MET_UINT",
    "int32": "MET_INT",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}
_SIZE_DIGITS = 20


@contextmanager
def encode_metaimage(partial: Path, spec: OutputSpec) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a ``.mha`` file to ``partial``; gives the function that appends a slab."""
    before, after = _header(spec)
    with partial.open("wb") as file:
        file.write(before + b"0" * _SIZE_DIGITS + after)
        compressor = isal_zlib.compressobj(level=2)

        def append(slab: NDArray[Any]) -> None:
            file.write(compressor.compress(slab.data.cast("B")))

        yield append
        file.write(compressor.flush())
        compressed = file.tell() - len(before) - _SIZE_DIGITS - len(after)
        # The size stands in the header and is known only now; leading zeros keep its place.
        file.seek(len(before))
        file.write(str(compressed).zfill(_SIZE_DIGITS).encode())


def _header(spec: OutputSpec) -> tuple[bytes, bytes]:
    """Return the header before and after the digits of the compressed size."""
    spacing, origin, direction = spec.geometry.to_itk()
    # MetaImage lists the direction axis by axis: the columns of ITK's matrix.
    matrix = np.reshape(direction, (3, 3)).T.ravel().tolist()
    before = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        "CompressedData = True\nCompressedDataSize = "
    )
    after = (
        f"\nTransformMatrix = {_numbers(matrix)}\nOffset = {_numbers(origin)}\nCenterOfRotation = 0 0 0\n"
        f"ElementSpacing = {_numbers(spacing)}\nDimSize = {' '.join(map(str, spec.shape[::-1]))}\n"
        f"ElementType = {_ELEMENT_TYPES[spec.dtype.name]}\nElementDataFile = LOCAL\n"
    )
    return before.encode(), after.encode()


def _numbers(values: tuple[float, ...] | list[float]) -> str:
    return " ".join(repr(float(value)) for value in values)
