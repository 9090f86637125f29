"""Write one scan, or a range of its slices, as nnU-Net wants it: normalised, slab by slab."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.normalization import NO_NORM, Normalization, normalization_of, refuse_non_finite
from nnunet_ext.errors import InputError
from nnunet_ext.imageio import create_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from dataset_conversion.z_ranges import Range
    from nnunet_ext.imageio import Geometry, Volume

# Looking a voxel up in a table takes an index of 8 bytes, and most results are float32: slabs as large as the reader's
# own would need half a gigabyte. Small ones also stay in the processor's cache.
SLAB_VOXELS = 2**21


def scan_normalization(volume: Volume, scheme: str) -> Normalization:
    """Compute a scan's normalisation in one pass, and see that its voxels are usable; errors name the file."""
    try:
        if scheme == NO_NORM and np.issubdtype(volume.dtype, np.floating):
            for _, slab in volume.slabs():
                refuse_non_finite(slab)
        return normalization_of(scheme, (slab for _, slab in volume.slabs()))
    except InputError as error:
        text = str(error)
        message = text if str(volume.path) in text else f"{volume.path}: {text}"
        raise InputError(message) from error


def scan_record(volume: Volume, normalization: Normalization) -> dict[str, Any]:
    """Return what ``conversion.json`` says of a scan: where it is, what it holds, how it was normalised."""
    return {
        "image": str(volume.path.absolute()),
        "source_shape": list(volume.shape),
        "source_dtype": str(volume.dtype),
        "source_spacing": list(volume.geometry.spacing),
        "source_origin": list(volume.geometry.origin),
        "source_direction": [list(row) for row in volume.geometry.direction],
        "spacing_source": volume.spacing_source,
        "normalization": asdict(normalization),
    }


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


def _slabs_of_range(volume: Volume, z_range: Range) -> Iterator[NDArray[Any]]:
    """Yield the slices of a range in order, a few at a time, each read once."""
    start, stop = z_range
    step = max(1, SLAB_VOXELS // prod(volume.shape[1:]))
    for first in range(start, stop, step):
        yield volume.slab(first, min(stop, first + step))
