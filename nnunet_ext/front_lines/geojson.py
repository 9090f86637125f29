"""The lines of a front as GeoJSON.

RFC 7946 knows longitude and latitude (WGS84) only. These files hold pixel or map coordinates instead, as GeoJSON did
before (2008), since degrees say little about a front in a polar map. What they hold stands in each of them: in the
member ``crs`` of that older format, which GDAL and QGIS read, and in the properties.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nnunet_ext.front_lines.vectorize import path_length

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from nnunet_ext.front_lines.georeference import Georeference

RECORD = "calving_front"
"""Member with what is known of the image as a whole; RFC 7946 forbids properties there."""

PIXELS = "pixels: x = column, y = row from the centre of the upper left pixel, y down"
MILLIMETRES = 3


def front_geojson(
    parts: Sequence[Sequence[npt.NDArray[np.intp]]],
    record: Mapping[str, Any],
    *,
    resolution: float,
    place: Georeference | None,
) -> dict[str, Any]:
    """Return a feature collection with a LineString per line; of a single pixel, a Point.

    Parameters
    ----------
    parts
        Lines of pixels (row, column) by part of the front, as of ``vectorize``.
    record
        What is known of the image; becomes the member ``calving_front``. ``stem`` is its name.
    resolution
        Metres per pixel.
    place
        Where the image lies on a map; None for pixel coordinates.
    """
    content: dict[str, Any] = {"type": "FeatureCollection", "name": record["stem"]}
    if place is not None and place.crs:
        content["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{place.crs.replace(':', '::')}"}}
    coordinates = _coordinates_note(place)
    content[RECORD] = {**record, "coordinates": coordinates} | (
        {"crs_wkt": place.wkt} if place is not None and place.wkt else {}
    )
    content["features"] = [
        {
            "type": "Feature",
            "properties": {
                "stem": record["stem"],
                "part": number,
                "line": index,
                "length_m": round(path_length(line) * resolution, MILLIMETRES),
                "coordinates": coordinates,
            },
            "geometry": _geometry(line, place),
        }
        for number, lines in enumerate(parts, start=1)
        for index, line in enumerate(lines, start=1)
    ]
    return content


def geojson_text(content: Mapping[str, Any]) -> str:
    """Return the text of a file: indented, but for the features, which have a line each."""
    head = json.dumps({**content, "features": []}, indent=1, ensure_ascii=False)
    features = ",\n".join(f"  {json.dumps(feature, ensure_ascii=False)}" for feature in content["features"])
    return head.removesuffix("[]\n}") + (f"[\n{features}\n ]" if features else "[]") + "\n}\n"


def _geometry(line: npt.NDArray[np.intp], place: Georeference | None) -> dict[str, Any]:
    points = line[:, ::-1].tolist() if place is None else place.coordinates(line).tolist()
    if len(points) == 1:
        return {"type": "Point", "coordinates": points[0]}
    return {"type": "LineString", "coordinates": points}


def _coordinates_note(place: Georeference | None) -> str:
    if place is None:
        return PIXELS
    system = place.crs or ("see crs_wkt" if place.wkt else "a coordinate system that is not known")
    return f"map: x, y in {system}, not WGS84; pixel centres"
