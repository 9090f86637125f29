"""What stands in a GeoJSON file, and in which coordinates."""

from __future__ import annotations

import json

import numpy as np

from nnunet_ext.front_lines.geojson import front_geojson, geojson_text
from nnunet_ext.front_lines.georeference import Georeference

LINE = np.array([[2, 5], [3, 5], [4, 6]])
PLACE = Georeference((20, 0, 1000, 0, -20, 9000), 1.0, "EPSG:3413", "", "a.tif")


def content(parts, place=None):
    made = front_geojson(parts, {"stem": "a", "state": "front"}, resolution=20, place=place)
    assert json.loads(geojson_text(made)) == made
    return made


def test_pixels_are_x_y_with_y_down():
    made = content([[LINE]])
    [feature] = made["features"]
    assert feature["geometry"] == {"type": "LineString", "coordinates": [[5, 2], [5, 3], [6, 4]]}
    assert feature["properties"]["length_m"] == 48.284
    assert feature["properties"]["coordinates"].startswith("pixels")
    assert "crs" not in made


def test_map_coordinates_name_their_system():
    made = content([[LINE]], PLACE)
    assert made["features"][0]["geometry"]["coordinates"] == [[1100, 8960], [1100, 8940], [1120, 8920]]
    assert made["crs"] == {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3413"}}
    assert "EPSG:3413, not WGS84" in made["features"][0]["properties"]["coordinates"]


def test_a_system_without_code_is_written_out_and_an_unknown_one_said_to_be_unknown():
    with_wkt = content([[LINE]], Georeference(PLACE.transform, 1.0, "", "PROJCS[…]", "a.tif"))
    assert "crs" not in with_wkt
    assert with_wkt["calving_front"]["crs_wkt"] == "PROJCS[…]"
    unknown = content([[LINE]], Georeference(PLACE.transform, 1.0, "", "", "a.pgw"))
    assert "not known" in unknown["calving_front"]["coordinates"]


def test_lines_are_numbered_by_part_and_a_pixel_is_a_point():
    made = content([[LINE, LINE], [LINE[:1]]])
    numbers = [(feature["properties"]["part"], feature["properties"]["line"]) for feature in made["features"]]
    assert numbers == [(1, 1), (1, 2), (2, 1)]
    assert made["features"][2]["geometry"] == {"type": "Point", "coordinates": [5, 2]}


def test_no_front_is_a_collection_without_features_that_keeps_its_record():
    made = content([])
    assert made["features"] == []
    assert made["calving_front"]["stem"] == "a"
    # RFC 7946, section 7.1.
    assert "properties" not in made
