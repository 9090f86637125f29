from __future__ import annotations

import numpy as np
import pytest
import tifffile

from nnunet_ext.errors import InputError
from nnunet_ext.imageio import Geometry, open_volume

STACK = np.zeros((9, 5, 6), np.uint16)
ONE_MM = ((1, 1, 1), "not given in the file, 1 mm assumed")


def spacing_of(path):
    with open_volume(path) as volume:
        assert volume.geometry == Geometry(volume.geometry.spacing)
        return pytest.approx(volume.geometry.spacing, rel=1e-6), volume.spacing_source


@pytest.mark.parametrize(
    ("unit", "millimeters"),
    [
        ("mm", 1),
        ("cm", 10),
        ("micron", 1e-3),
        ("um", 1e-3),
        ("µm", 1e-3),
        ("\u03bcm", 1e-3),
        ("\\u00B5m", 1e-3),
        ("nm", 1e-6),
        ("inch", 25.4),
        ("m", 1000),
    ],
)
def test_imagej_units_become_millimeters(tmp_path, unit, millimeters):
    text = unit.encode("ascii", "backslashreplace").decode().replace("\\xb5", "\\u00B5")
    description = f"ImageJ=1.54f\nimages=9\nslices=9\nunit={text}\nspacing=2.5\n"
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        photometric="minisblack",
        description=description,
        metadata=None,
        resolution=(2.0, 4.0),
        resolutionunit="NONE",
    )
    expected = (2.5 * millimeters, 0.25 * millimeters, 0.5 * millimeters)
    assert spacing_of(tmp_path / "a.tif") == (expected, "ImageJ metadata")


def test_imagej_data_as_tifffile_writes_them(tmp_path):
    metadata = {"unit": "um", "spacing": 40.0}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(1 / 19, 1 / 20), metadata=metadata)
    assert spacing_of(tmp_path / "a.tif") == ((0.04, 0.020, 0.019), "ImageJ metadata")


def test_missing_slice_distance_is_taken_from_x(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(1 / 19, 1 / 20), metadata={"unit": "um"})
    expected = ((0.019, 0.020, 0.019), "ImageJ metadata, z assumed equal to x")
    assert spacing_of(tmp_path / "a.tif") == expected


@pytest.mark.parametrize("metadata", [{"unit": "pixel", "spacing": 3.0}, {"unit": "bean"}, {"spacing": 3.0}, {}])
def test_imagej_data_without_a_length_unit_give_no_spacing(tmp_path, metadata):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(2.0, 2.0), metadata=metadata)
    assert spacing_of(tmp_path / "a.tif") == ONE_MM


def test_imagej_data_with_a_unit_and_no_scale_give_no_spacing(tmp_path):
    description = "ImageJ=1.54f\nimages=9\nslices=9\nunit=mm\nspacing=0\n"
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        photometric="minisblack",
        description=description,
        metadata=None,
        resolution=((0, 1), (0, 1)),
    )
    assert spacing_of(tmp_path / "a.tif") == ONE_MM


def test_72_dpi_taken_over_by_imagej_is_no_spacing(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        imagej=True,
        resolution=(72, 72),
        resolutionunit="INCH",
        metadata={"unit": "inch"},
    )
    assert spacing_of(tmp_path / "a.tif") == ONE_MM


def test_ome_sizes_become_millimeters(tmp_path):
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 19.0,
        "PhysicalSizeY": 0.02,
        "PhysicalSizeYUnit": "mm",
        "PhysicalSizeZ": 40_000.0,
        "PhysicalSizeZUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    assert spacing_of(tmp_path / "a.ome.tif") == ((0.04, 0.02, 0.019), "OME metadata")


def test_ome_data_without_z_take_it_from_x(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 19.0, "PhysicalSizeY": 20.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    expected = ((0.019, 0.02, 0.019), "OME metadata, z assumed equal to x")
    assert spacing_of(tmp_path / "a.ome.tif") == expected


def test_ome_data_in_a_unit_without_length_give_no_spacing(tmp_path):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 19.0, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 20.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    assert spacing_of(tmp_path / "a.ome.tif") == ONE_MM


@pytest.mark.parametrize(("unit", "millimeters"), [("INCH", 25.4), ("CENTIMETER", 10)])
def test_resolution_tags_give_x_and_y_and_z_is_assumed(tmp_path, unit, millimeters):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", resolution=(500, 250), resolutionunit=unit)
    expected = (millimeters / 500, millimeters / 250, millimeters / 500)
    assert spacing_of(tmp_path / "a.tif") == (expected, "resolution tags, z assumed equal to x")


@pytest.mark.parametrize("dpi", [72, 96, 100, 150, 200, 300, 600])
def test_dpi_of_image_programs_is_no_spacing(tmp_path, dpi):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", resolution=(dpi, dpi), resolutionunit="INCH")
    assert spacing_of(tmp_path / "a.tif") == ONE_MM


def test_resolution_without_unit_is_no_spacing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", resolution=(5, 5), resolutionunit="NONE")
    assert spacing_of(tmp_path / "a.tif") == ONE_MM


def test_given_spacing_replaces_that_of_the_file(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(2, 2), metadata={"unit": "mm"})
    with open_volume(tmp_path / "a.tif", (3.0, 2.0, 1.5)) as volume:
        assert volume.geometry == Geometry((3.0, 2.0, 1.5))
        assert volume.spacing_source == "--spacing"


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 0.0), (1.0, -1.0, 1.0), (1.0, 1.0), (1.0, float("nan"), 1.0)])
def test_impossible_given_spacing_is_refused(tmp_path, spacing):
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    with pytest.raises(InputError, match="three positive numbers"):
        open_volume(tmp_path / "a.tif", spacing)
