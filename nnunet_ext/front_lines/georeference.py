"""Where pixels lie on a map: world files, which need no library, and GeoTIFF, which needs rasterio."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, MissingInputError
from nnunet_ext.imageio.names import PNG_ENDING, TIFF_ENDINGS, has_ending, volume_name
from nnunet_ext.imageio.volume import library_errors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

CHANNEL = "_0000"
WORLD_ENDINGS = {PNG_ENDING: (".pgw", ".pngw", ".wld"), **dict.fromkeys(TIFF_ENDINGS, (".tfw", ".tifw", ".wld"))}

MAX_DIFFERENCE = 0.01
"""Part by which the sides of a pixel may differ and still make a square."""

SMALLEST_PIXEL = 0.05
"""Metres; smaller steps of a world file, which names no unit, are taken for degrees."""

_WORLD_LINES = 6
_GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, keys


@dataclass(frozen=True)
class Georeference:
    """The place of an image on a map.

    Parameters
    ----------
    transform
        ``(a, b, c, d, e, f)``: the centre of the pixel in row r and column k lies at
        ``x = a k + b r + c`` and ``y = d k + e r + f``. In most images e is negative: y grows upward.
    metres_per_unit
        Length of the map's unit; None for degrees, and where it is not known.
    crs
        Such as ``EPSG:3413``; empty if it is not known.
    wkt
        Definition of a coordinate system without such a code, or empty.
    source
        Where this was found.
    """

    transform: tuple[float, float, float, float, float, float]
    metres_per_unit: float | None
    crs: str
    wkt: str
    source: str

    def coordinates(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return map coordinates (x, y) of the centres of pixels (row, column); both of shape (n, 2)."""
        a, b, c, d, e, f = self.transform
        rows, columns = np.asarray(pixels, np.float64).T
        return np.stack([a * columns + b * rows + c, d * columns + e * rows + f], axis=1)

    @property
    def metres(self) -> float | None:
        """Pixel size in metres; None if the map has degrees, or another unit that is not known.

        Raises
        ------
        InputError
            If pixels are not square.
        """
        if self.metres_per_unit is None:
            return None
        a, b, _, d, e, _ = self.transform
        width, height = (self.metres_per_unit * side for side in (math.hypot(a, d), math.hypot(b, e)))
        if abs(width - height) > MAX_DIFFERENCE * max(width, height):
            message = f"{self.source}: pixels of {width:g} × {height:g} m, expected squares; resample the image"
            raise InputError(message)
        return math.sqrt(width * height)


def read_georeference(image: Path, crs: str = "") -> Georeference | None:
    """Find out where an image lies: from GeoTIFF tags, or else from a world file beside it.

    Parameters
    ----------
    image
        PNG or TIFF file ``<stem>…`` or ``<stem>_0000…``. World files end with .pgw, .pngw or .wld for PNG, with
        .tfw, .tifw or .wld for TIFF, whatever their case, with or without ``_0000``.
    crs
        Coordinate system of a world file, which does not name it, such as ``EPSG:3413``.

    Returns
    -------
    Georeference or None
        None if there is neither.

    Raises
    ------
    InputError
        If a world file is damaged, or an image is georeferenced in a way that this cannot follow.
    MissingInputError
        If a GeoTIFF needs rasterio, which is not installed.
    """
    if has_ending(image, TIFF_ENDINGS) and _has_geo_tags(image):
        return _read_geotiff(image)
    path = find_world_file(image)
    return None if path is None else read_world_file(path, crs)


def find_world_file(image: Path) -> Path | None:
    """Return the world file beside an image, or None.

    Raises
    ------
    InputError
        If there are several.
    """
    name = volume_name(image)
    ending = image.name[len(name) :].lower()
    names = {f"{stem}{end}".lower() for stem in (name, name.removesuffix(CHANNEL)) for end in WORLD_ENDINGS[ending]}
    found = sorted(path for path in image.parent.iterdir() if path.name.lower() in names)
    if len(found) > 1:
        message = f"{image}: several world files {', '.join(path.name for path in found)}, expected one"
        raise InputError(message)
    return found[0] if found else None


def read_world_file(path: Path, crs: str = "") -> Georeference:
    """Read a world file: six lines a, d, b, e, c, f that place the centre of the upper left pixel.

    Raises
    ------
    InputError
        If it holds something else.
    """
    words = path.read_text(encoding="utf-8-sig", errors="replace").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != _WORLD_LINES or not all(map(math.isfinite, numbers)):
        message = f"{path}: expected six numbers, one per line, found {words[:8]}"
        raise InputError(message)
    a, d, b, e, c, f = numbers
    if a * e == b * d:
        message = f"{path}: its pixels {a, d} × {b, e} have no area"
        raise InputError(message)
    in_metres = min(math.hypot(a, d), math.hypot(b, e)) >= SMALLEST_PIXEL
    return Georeference((a, b, c, d, e, f), 1.0 if in_metres else None, crs, "", str(path))


def _has_geo_tags(path: Path) -> bool:
    import tifffile

    with library_errors(path), tifffile.TiffFile(path) as tif:
        return any(tag in tif.pages.first.tags for tag in _GEO_TAGS)


def _read_geotiff(path: Path) -> Georeference:
    try:
        rasterio: Any = importlib.import_module("rasterio")
    except ImportError as error:
        message = (
            f"{path}: is georeferenced (GeoTIFF), which needs rasterio; run pip install 'nnunet_ext[geo]', "
            "or give --pixel-coordinates to do without"
        )
        raise MissingInputError(message) from error
    with library_errors(path), rasterio.open(path) as dataset:
        affine, crs, has_points = dataset.transform, dataset.crs, bool(dataset.gcps[0])
    if affine.is_identity:
        how = "by ground control points; rectify it first (gdalwarp)" if has_points else "by tags that give no place"
        message = f"{path}: is georeferenced {how}, or give --pixel-coordinates to do without"
        raise InputError(message)
    a, b, c, d, e, f = tuple(affine)[:6]
    # rasterio places the upper left corner of the upper left pixel.
    transform = (a, b, c + (a + b) / 2, d, e, f + (d + e) / 2)
    if crs is None:
        return Georeference(transform, None, "", "", str(path))
    authority = crs.to_authority()
    metres = None if crs.is_geographic else float(crs.linear_units_factor[1])
    return Georeference(transform, metres, ":".join(authority or ()), "" if authority else crs.to_wkt(), str(path))
