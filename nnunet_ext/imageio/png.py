"""Read PNG files with one channel: a volume of one slice."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, UnsupportedFormatError
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.imageio.volume import NOT_GIVEN, Volume, VolumeInfo, WholeVolume, library_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of the header
_PALETTE = 3
# Pillow spreads fewer than 8 bits of grey over 0 to 255.
_SPREAD = {2: 85, 4: 17}


@dataclass(frozen=True)
class PngHeader:
    """What a PNG file says about itself.

    Parameters
    ----------
    height, width
        In pixels.
    bits
        Per channel: 1, 2, 4, 8 or 16.
    channels
        1 (grey, or index into a palette), 2 (grey and alpha), 3 (colour) or 4 (colour and alpha).
    has_palette
        Whether pixels are indices into a table of colours.
    """

    height: int
    width: int
    bits: int
    channels: int
    has_palette: bool


def read_png_header(path: Path) -> PngHeader:
    """Read the header of a PNG file.

    Raises
    ------
    InputError
        If it is no PNG file.
    """
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(_SIGNATURE) or head[12:16] != b"IHDR" or head[25] not in _CHANNELS:
        message = f"{path}: no PNG header found, expected an intact PNG file"
        raise InputError(message)
    width, height = struct.unpack(">II", head[16:24])
    return PngHeader(height, width, head[24], _CHANNELS[head[25]], head[25] == _PALETTE)


def open_png(path: Path) -> Volume:
    """Open a PNG file; the first slab loads it.

    Values are given out as they are stored: 0 and 1 of bilevel images, indices of images with a palette. PNG has
    no unit of length that anybody measures in, so the spacing counts as not given.

    Raises
    ------
    InputError
        If the file is damaged.
    UnsupportedFormatError
        If it holds colours, transparency or several pictures.
    """
    from PIL import Image

    header = read_png_header(path)
    if header.channels != 1:
        message = f"{path}: {header.channels} channels (colour or transparency), expected one value per pixel"
        raise UnsupportedFormatError(message)
    with library_errors(path), Image.open(path, formats=["PNG"]) as image:
        frames = getattr(image, "n_frames", 1)
    if frames != 1:
        message = f"{path}: {frames} pictures (animated PNG), expected one"
        raise UnsupportedFormatError(message)
    dtype = np.dtype(np.uint16 if header.bits == 16 else np.uint8)
    info = VolumeInfo((1, header.height, header.width), dtype, Geometry(), NOT_GIVEN)

    def load() -> NDArray[Any]:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = np.asarray(image).astype(dtype)
        return pixels if header.has_palette else pixels // _SPREAD.get(header.bits, 1)

    return WholeVolume(path, info, load)
