"""Write one scan, or a range of its slices, as nnU-Net wants it: normalised, slab by slab."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from dataset_conversion.normalization import Normalization, normalization_of
from nnunet_ext.errors import InputError
from nnunet_ext.files import write_json
from nnunet_ext.imageio import create_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dataset_conversion.z_ranges import Range
    from nnunet_ext.imageio import Geometry, Volume

# Looking a voxel up in a table takes an index of 8 bytes, and most results are float32: slabs as large as the reader's
# own would need half a gigabyte. Small ones also stay in the processor's cache.
SLAB_VOXELS = 2**21


def scan_normalization(volume: Volume, scheme: str) -> Normalization:
    """Compute a scan's normalisation in one pass; errors name the file."""
    try:
        return normalization_of(scheme, (slab for _, slab in volume.slabs()))
    except InputError as error:
        message = f"{volume.path}: {error}"
        raise InputError(message) from error


def write_range(
    volume: Volume,
    z_range: Range,
    path: Path,
    dtype: np.dtype[Any],
    convert: Callable[[NDArray[Any]], NDArray[Any]],
    geometry: Geometry,
    *,
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    overwrite: bool = False,
) -> None:
    """Write slices ``[start, stop)`` of a volume, voxels mapped by ``convert``, with the origin of the crop.

    Raises
    ------
    InputError
        If ``convert`` refuses a slab; names the file.
    """
    start, stop = z_range
    shape = (stop - start, *volume.shape[1:])
    crop = geometry.shifted((start, 0, 0))
    with create_volume(path, shape, dtype, crop, colors=colors, overwrite=overwrite) as writer:
        for slab in _slabs_of_range(volume, z_range):
            try:
                converted = convert(slab)
            except InputError as error:
                message = f"{volume.path}: {error}"
                raise InputError(message) from error
            writer.write(converted)


def write_spacing_file(folder: Path, case: str, geometry: Geometry) -> None:
    """Write the side-car ``<case>.json`` from which nnU-Net's TIFF reader takes the spacing (z, y, x)."""
    write_json(folder / f"{case}.json", {"spacing": list(geometry.spacing), "origin": list(geometry.origin)})


def _slabs_of_range(volume: Volume, z_range: Range) -> Iterator[NDArray[Any]]:
    """Yield the slices of a range in order, a few at a time, each read once."""
    start, stop = z_range
    step = max(1, SLAB_VOXELS // prod(volume.shape[1:]))
    for first in range(start, stop, step):
        yield volume.slab(first, min(stop, first + step))
