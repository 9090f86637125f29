"""Find the spacing of a TIFF volume in its ImageJ data, its OME data or its resolution tags."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from nnunet_ext.imageio.volume import NOT_GIVEN

if TYPE_CHECKING:
    from tifffile import TiffFile

Spacing = tuple[float, float, float]

_Z_ASSUMED = ", z assumed equal to x"
_INCH, _CENTIMETER = 2, 3
_INCH_NAMES = ("inch", "inches", "in")
# What image programs write without anybody having measured anything.
_TYPICAL_DPI = (72, 96, 100, 150, 200, 300, 600)
_MILLIMETERS = {
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre"), 1e-6),
    **dict.fromkeys(("um", "µm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre"), 1000.0),
    **dict.fromkeys(_INCH_NAMES, 25.4),
}


def find_spacing(tif: TiffFile) -> tuple[Spacing, str]:
    """Return the spacing (z, y, x) in mm and in words where it comes from.

    OME data come before ImageJ data, and those before resolution tags. A unit that is not a length, and the
    usual 72 or 300 dpi of image programs, count as not given; then the spacing is 1 mm. Where only the pixel
    size is known, the slice distance is taken to be equal to x, and the words say so.

    Parameters
    ----------
    tif
        An open ``tifffile.TiffFile``.
    """
    for find in (_from_ome, _from_imagej, _from_resolution):
        found = find(tif)
        if found is not None:
            return found
    return (1.0, 1.0, 1.0), NOT_GIVEN


def _from_ome(tif: TiffFile) -> tuple[Spacing, str] | None:
    if not tif.ome_metadata:
        return None
    try:
        root = ElementTree.fromstring(tif.ome_metadata)
    except ElementTree.ParseError:
        return None
    pixels = next((node.attrib for node in root.iter() if node.tag.endswith("}Pixels")), {})
    sizes = {}
    for axis in "ZYX":
        unit = _unit(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = _positive(pixels.get(f"PhysicalSize{axis}"))
        sizes[axis] = None if unit is None or size is None else size * unit
    return _completed(sizes["Z"], sizes["Y"], sizes["X"], "OME metadata")


def _from_imagej(tif: TiffFile) -> tuple[Spacing, str] | None:
    metadata = tif.imagej_metadata or {}
    unit = _unit(str(metadata.get("unit", "")))
    if unit is None:
        return None
    distance = _positive(metadata.get("spacing"))
    per_y, per_x = _pixels_per_unit(tif)
    # ImageJ takes over the 72 dpi of other programs as its scale; a real one has a slice distance too.
    in_inches = str(metadata["unit"]).lower() in _INCH_NAMES
    if per_x is None or per_y is None or (in_inches and distance is None and _is_typical(per_y, per_x)):
        return None
    return _completed(None if distance is None else distance * unit, unit / per_y, unit / per_x, "ImageJ metadata")


def _from_resolution(tif: TiffFile) -> tuple[Spacing, str] | None:
    per_y, per_x = _pixels_per_unit(tif)
    tag = tif.pages.first.tags.get("ResolutionUnit")
    unit = {_INCH: 25.4, _CENTIMETER: 10.0}.get(_INCH if tag is None else int(tag.value))
    if per_y is None or per_x is None or unit is None or (unit == 25.4 and _is_typical(per_y, per_x)):
        return None
    return _completed(None, unit / per_y, unit / per_x, "resolution tags")


def _pixels_per_unit(tif: TiffFile) -> tuple[float | None, float | None]:
    """Return the resolution tags of the first page (y, x)."""
    found = []
    for name in ("YResolution", "XResolution"):
        tag = tif.pages.first.tags.get(name)
        numerator, denominator = (0, 1) if tag is None else tag.value
        found.append(_positive(numerator / denominator if denominator else None))
    return found[0], found[1]


def _completed(z: float | None, y: float | None, x: float | None, source: str) -> tuple[Spacing, str] | None:
    if x is None or y is None:
        return None
    return ((x, y, x), source + _Z_ASSUMED) if z is None else ((z, y, x), source)


def _unit(name: str) -> float | None:
    """Return the length of a unit in mm; µ may be an ImageJ escape, or the Greek letter."""
    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), name)
    return _MILLIMETERS.get(unescaped.strip().lower().replace("\u03bc", "µ"))


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _is_typical(per_y: float, per_x: float) -> bool:
    return per_x == per_y and any(math.isclose(per_x, dpi, rel_tol=1e-4) for dpi in _TYPICAL_DPI)
