"""Read a volume from a Zarr store: one array, or the finest level of an OME-Zarr image."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, MissingInputError, UnsupportedFormatError
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.imageio.volume import NOT_GIVEN, Volume, VolumeInfo, library_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MILLIMETRES = {"meter": 1e3, "centimeter": 10.0, "millimeter": 1.0, "micrometer": 1e-3, "nanometer": 1e-6}
_AXES = ("z", "y", "x")


def open_zarr(path: Path) -> Volume:
    """Open a Zarr store of version 2 or 3; voxels are read chunk by chunk.

    A store that is one array has three axes, z, y, x, and no spacing. In an OME-Zarr image, axes for time and channel
    may have one entry each; its spacing and origin are those of the finest level, and lengths without unit are mm.

    Raises
    ------
    MissingInputError
        If zarr is not installed.
    InputError
        If the store is damaged.
    UnsupportedFormatError
        If it holds other axes, several channels, or numbers that are no grey values.
    """
    try:
        zarr: Any = importlib.import_module("zarr")
    except ImportError as error:
        message = f"{path}: reading it needs zarr; install it: pip install 'nnunet_ext[zarr]'"
        raise MissingInputError(message) from error
    with library_errors(path):
        node = zarr.open(str(path), mode="r")
        if hasattr(node, "shape"):
            last = range(max(0, len(node.shape) - 3), len(node.shape))
            return ZarrVolume(path, _info(path, node, last, Geometry(), NOT_GIVEN), node)
        image = _multiscale(path, dict(node.attrs))
        array = node[image["datasets"][0]["path"]]
        names = [axis["name"] if isinstance(axis, dict) else axis for axis in image.get("axes", _AXES)]
        spatial = [names.index(name) for name in _AXES if name in names]
        units = [axis.get("unit") if isinstance(axis, dict) else None for axis in image.get("axes", _AXES)]
        scale, origin, given = _placement(path, image, len(names), units)
        geometry = Geometry(_triple(scale, spatial), _triple(origin, spatial))
        source = "OME-Zarr metadata" if given else NOT_GIVEN
        return ZarrVolume(path, _info(path, array, spatial, geometry, source), array)


class ZarrVolume(Volume):
    """A volume in chunks on disk.

    Parameters
    ----------
    path, info
        As for ``Volume``.
    array
        zarr's array; axes before the last three have one entry.
    """

    def __init__(self, path: Path, info: VolumeInfo, array: Any) -> None:
        super().__init__(path, info)
        self._array = array

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        first = (0,) * (len(self._array.shape) - 3)
        return np.asarray(self._array[(*first, slice(start, stop))])


def _info(path: Path, array: Any, spatial: range | list[int], geometry: Geometry, source: str) -> VolumeInfo:
    axes = len(array.shape)
    if len(spatial) != 3 or list(spatial) != list(range(axes - 3, axes)):
        message = f"{path}: array of shape {array.shape}, expected axes z, y, x, behind others of one entry at most"
        raise UnsupportedFormatError(message)
    if any(size != 1 for size in array.shape[: axes - 3]):
        message = f"{path}: array of shape {array.shape}, expected one time and one channel"
        raise UnsupportedFormatError(message)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    if dtype.kind not in "uif" or 0 in array.shape:
        message = f"{path}: array of shape {array.shape} and {dtype}, expected voxels with real numbers"
        raise UnsupportedFormatError(message)
    depth, height, width = array.shape[axes - 3 :]
    return VolumeInfo((int(depth), int(height), int(width)), dtype, geometry, source)


def _multiscale(path: Path, attributes: dict[str, Any]) -> dict[str, Any]:
    images = attributes.get("ome", attributes).get("multiscales")
    if not images:
        message = f"{path}: a Zarr group without OME-Zarr metadata (multiscales), expected an image or one array"
        raise UnsupportedFormatError(message)
    if len(images) > 1:
        message = f"{path}: {len(images)} images in one store, expected 1"
        raise UnsupportedFormatError(message)
    found: dict[str, Any] = images[0]
    return found


def _placement(
    path: Path, image: dict[str, Any], count: int, units: list[str | None]
) -> tuple[list[float], list[float], bool]:
    """Return spacing and origin in mm along all axes, and whether there is a spacing at all."""
    scale, origin, given = [1.0] * count, [0.0] * count, False
    # First what holds for the level, then what holds for all levels.
    for step in (
        *image["datasets"][0].get("coordinateTransformations", ()),
        *image.get("coordinateTransformations", ()),
    ):
        if step.get("type") == "scale":
            scale = [old * float(new) for old, new in zip(scale, step["scale"], strict=True)]
            origin = [old * float(new) for old, new in zip(origin, step["scale"], strict=True)]
            given = True
        elif step.get("type") == "translation":
            origin = [old + float(new) for old, new in zip(origin, step["translation"], strict=True)]
    factors = [_MILLIMETRES.get(unit or "millimeter", math.nan) for unit in units]
    spatial = [factor for factor in factors[-3:] if not math.isfinite(factor)]
    if spatial and given:
        message = f"{path}: units {units[-3:]} of z, y, x, expected one of {', '.join(_MILLIMETRES)}"
        raise InputError(message)
    return (
        [value * factor for value, factor in zip(scale, factors, strict=True)],
        [value * factor for value, factor in zip(origin, factors, strict=True)],
        given,
    )


def _triple(values: list[float], spatial: list[int]) -> tuple[float, float, float]:
    if len(spatial) != 3:
        return (1.0, 1.0, 1.0)
    z, y, x = (values[axis] for axis in spatial)
    return z, y, x
