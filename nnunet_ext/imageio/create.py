"""Write a volume to any supported format, slab by slab or at once."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, UnsupportedFormatError
from nnunet_ext.files import refuse_existing, written_when_complete
from nnunet_ext.imageio.names import OUTPUT_ENDINGS, PNG_ENDING, TIFF_ENDINGS, ending_of
from nnunet_ext.imageio.writer import OutputSpec, VolumeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from nnunet_ext.imageio.geometry import Geometry

    Encoder = Callable[[Path, OutputSpec], AbstractContextManager[Callable[[NDArray[Any]], None]]]

_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def create_volume(
    path: Path,
    shape: tuple[int, int, int],
    dtype: DTypeLike,
    geometry: Geometry,
    *,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    overwrite: bool = False,
) -> AbstractContextManager[VolumeWriter]:
    """Begin a volume that is written from its first slice to its last.

    The file appears under its name when the ``with`` block ends and every slice is written. After an
    exception in the block, nothing is left behind.

    Parameters
    ----------
    path
        Name ending in ``.nii.gz``, ``.nii``, ``.mha``, ``.nrrd``, ``.tif``, ``.tiff`` or ``.png``. All but
        ``.nii`` are compressed. Parent folders are created.
    shape
        Voxels along z, y, x.
    dtype
        uint8, int8, uint16, int16, uint32, int32, float32 or float64; uint8 or uint16 in PNG.
    geometry
        Position in space. TIFF holds the spacing only, and PNG, which is for one slice, not even that: what they
        do not hold is not stored, and a direction other than identity is refused. NIfTI holds it in float32.
    colors
        Colours (red, green, blue; 0 to 255) of voxel values, for uint8 TIFF files only; the other values keep
        their grey. Voxels stay what they are.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    context manager of VolumeWriter
        Its ``write`` takes slabs (n, y, x) in order.

    Raises
    ------
    UnsupportedFormatError
        If the ending is none of the above.
    InputError
        If the format cannot hold what is asked for, or slabs do not make up the volume.
    OutputExistsError
        If the file exists and ``overwrite`` is false.
    """
    ending = ending_of(path, OUTPUT_ENDINGS)
    if not ending:
        message = f"{path}: cannot be written, expected a name ending in one of {', '.join(OUTPUT_ENDINGS)}"
        raise UnsupportedFormatError(message)
    voxel_type = np.dtype(dtype)
    spec = OutputSpec(path, shape, voxel_type.newbyteorder("<"), geometry, colors)
    _check(spec)
    if ending == PNG_ENDING:
        _check_png(spec)
    if ending in (*TIFF_ENDINGS, PNG_ENDING):
        _check_direction(spec, "PNG" if ending == PNG_ENDING else "TIFF")
    if colors is not None:
        _check_colors(spec, colors)
    refuse_existing([path], overwrite=overwrite)
    return _writing(spec, _encoder(ending), overwrite=overwrite)


def write_volume(
    path: Path,
    array: NDArray[Any],
    geometry: Geometry,
    *,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a whole volume.

    Parameters
    ----------
    path, geometry, colors, overwrite
        As for ``create_volume``, whose exceptions it shares.
    array
        Voxels, shape (z, y, x), of a dtype that ``create_volume`` takes.
    """
    if array.ndim != 3:
        message = f"{path}: array of shape {array.shape} given, expected (z, y, x)"
        raise InputError(message)
    depth, height, width = array.shape
    with create_volume(
        path, (depth, height, width), array.dtype, geometry, colors=colors, overwrite=overwrite
    ) as writer:
        writer.write(array)


@contextmanager
def _writing(spec: OutputSpec, encoder: Encoder, *, overwrite: bool) -> Iterator[VolumeWriter]:
    with written_when_complete(spec.path, overwrite=overwrite) as partial, encoder(partial, spec) as append:
        writer = VolumeWriter(spec, append)
        yield writer
        writer.check_complete()


def _encoder(ending: str) -> Encoder:
    """Import only what the format needs."""
    if ending in TIFF_ENDINGS:
        from nnunet_ext.imageio.tiff_writer import encode_tiff

        return encode_tiff
    if ending == PNG_ENDING:
        from nnunet_ext.imageio.png_writer import encode_png

        return encode_png
    if ending == ".mha":
        from nnunet_ext.imageio.metaimage_writer import encode_metaimage

        return encode_metaimage
    if ending == ".nrrd":
        from nnunet_ext.imageio.nrrd_writer import encode_nrrd

        return encode_nrrd
    from nnunet_ext.imageio.nifti_writer import encode_nifti, encode_nifti_gz

    return encode_nifti if ending == ".nii" else encode_nifti_gz


def _check(spec: OutputSpec) -> None:
    if len(spec.shape) != 3 or min(spec.shape) < 1:
        message = f"{spec.path}: shape {spec.shape} given, expected three lengths (z, y, x) of at least 1"
        raise InputError(message)
    if spec.dtype.name not in _DTYPES:
        message = f"{spec.path}: voxels of {spec.dtype.name} given, expected one of {', '.join(_DTYPES)}"
        raise InputError(message)
    if not all(math.isfinite(value) and value > 0 for value in spec.geometry.spacing):
        message = f"{spec.path}: spacing {spec.geometry.spacing} given, expected positive numbers of mm"
        raise InputError(message)


def _check_png(spec: OutputSpec) -> None:
    if spec.shape[0] != 1 or spec.dtype.name not in ("uint8", "uint16"):
        message = (
            f"{spec.path}: {spec.shape[0]} slices of {spec.dtype.name} given, PNG holds one slice of uint8 or uint16; "
            f"formats for other volumes are {', '.join(e for e in OUTPUT_ENDINGS if e != PNG_ENDING)}"
        )
        raise InputError(message)


def _check_direction(spec: OutputSpec, form: str) -> None:
    if not spec.geometry.is_straight:
        others = ", ".join(ending for ending in OUTPUT_ENDINGS if ending not in (*TIFF_ENDINGS, PNG_ENDING))
        message = (
            f"{spec.path}: direction {spec.geometry.direction} given, {form} can hold identity only; "
            f"formats for this volume are {others}"
        )
        raise InputError(message)


def _check_colors(spec: OutputSpec, colors: Mapping[int, tuple[int, int, int]]) -> None:
    if not ending_of(spec.path, TIFF_ENDINGS) or spec.dtype.name != "uint8":
        message = (
            f"{spec.path}: colours given for {spec.dtype.name} voxels in this format, "
            f"expected uint8 in {' or '.join(TIFF_ENDINGS)}: no other holds a colour table"
        )
        raise InputError(message)
    for value, color in colors.items():
        if not 0 <= value <= 255 or len(color) != 3 or not all(0 <= part <= 255 for part in color):
            message = (
                f"{spec.path}: colour {color} of voxel value {value} given, "
                "expected a value and red, green, blue within 0 to 255"
            )
            raise InputError(message)
