"""Places on a map: world files without any library, GeoTIFF with rasterio."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from nnunet_ext.errors import InputError, MissingInputError
from nnunet_ext.front_lines.georeference import Georeference, read_georeference, read_world_file

NORTH_UP = "20\n0\n0\n-20\n500010\n7999990\n"
needs_rasterio = pytest.mark.skipif(importlib.util.find_spec("rasterio") is None, reason="rasterio is not there")


def png_with(folder, world, name="a_0000.png", world_name="a.pgw"):
    path = folder / name
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
    (folder / world_name).write_text(world)
    return path


def geotiff(path, *, keys=True):
    """A GeoTIFF of 20 m pixels whose upper left corner lies at (500000, 8000000)."""
    tags = [(33550, "d", 3, (20.0, 20.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 8000000.0, 0.0), True)]
    if keys:
        # Projected, pixel is area, EPSG:3413.
        tags.append((34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 3413), True))
    tifffile.imwrite(path, np.zeros((4, 6), np.uint8), extratags=tags, photometric="minisblack")
    return path


def test_a_world_file_places_the_centre_of_the_upper_left_pixel(tmp_path):
    place = read_georeference(png_with(tmp_path, NORTH_UP), "EPSG:3413")
    assert place.coordinates([[0, 0], [0, 1], [3, 0]]).tolist() == [
        [500010, 7999990],
        [500030, 7999990],
        [500010, 7999930],
    ]
    assert (place.metres, place.crs) == (20, "EPSG:3413")


def test_a_rotated_world_file_has_its_lines_in_the_order_a_d_b_e_c_f(tmp_path):
    place = read_georeference(png_with(tmp_path, "6 8 -8 6 100 200"))
    # Column steps go (6, 8), row steps (-8, 6).
    assert place.coordinates([[0, 1], [1, 0]]).tolist() == [[106, 208], [92, 206]]
    assert place.metres == 10


@pytest.mark.parametrize(
    ("name", "world"), [("a.png", "a.wld"), ("a.png", "A.PGW"), ("a_0000.png", "a_0000.pgw"), ("a.tif", "a.tfw")]
)
def test_world_files_go_by_several_names(tmp_path, name, world):
    assert read_georeference(png_with(tmp_path, NORTH_UP, name, world)).metres == 20


def test_an_image_alone_has_no_place(tmp_path):
    path = png_with(tmp_path, NORTH_UP, world_name="other.pgw")
    assert read_georeference(path) is None


def test_two_world_files_are_refused(tmp_path):
    path = png_with(tmp_path, NORTH_UP)
    (tmp_path / "a.wld").write_text(NORTH_UP)
    with pytest.raises(InputError, match=r"several world files a\.pgw, a\.wld"):
        read_georeference(path)


@pytest.mark.parametrize("text", ["1 2 3", "a b c d e f", "1 0 0 nan 0 0", "1 2 2 4 0 0", ""])
def test_a_damaged_world_file_is_named(tmp_path, text):
    path = tmp_path / "a.pgw"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.pgw"):
        read_world_file(path)


def test_steps_of_a_world_file_that_can_only_be_degrees_are_no_metres(tmp_path):
    assert read_georeference(png_with(tmp_path, "0.0002 0 0 -0.0002 -50 69")).metres is None


def test_pixels_that_are_not_square_are_refused():
    place = Georeference((20, 0, 0, 0, -30, 0), 1.0, "", "", "a.pgw")
    with pytest.raises(InputError, match=r"20 × 30 m"):
        _ = place.metres


def test_feet_become_metres():
    assert Georeference((10, 0, 0, 0, -10, 0), 0.3048, "", "", "a.tif").metres == pytest.approx(3.048)


@pytest.mark.parametrize("keys", [True, False])
def test_a_geotiff_without_rasterio_says_what_to_install_and_how_to_do_without(tmp_path, monkeypatch, keys):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingInputError, match=r"nnunet_ext\[geo\].*--pixel-coordinates"):
        read_georeference(geotiff(tmp_path / "a.tif", keys=keys))


@needs_rasterio
def test_a_geotiff_is_shifted_by_half_a_pixel_to_the_centres(tmp_path):
    place = read_georeference(geotiff(tmp_path / "a.tif"))
    assert place.coordinates([[0, 0], [1, 2]]).tolist() == [[500010, 7999990], [500050, 7999970]]
    assert (place.metres, place.crs) == (20, "EPSG:3413")


def test_a_plain_tif_needs_no_rasterio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "a.tif")
    assert read_georeference(tmp_path / "a.tif") is None
