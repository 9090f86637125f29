from __future__ import annotations

import math
import tempfile
from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_ext.errors import InputError, OutputExistsError, UnsupportedFormatError
from nnunet_ext.imageio import (
    STACK_ENDINGS,
    Geometry,
    create_volume,
    open_volume,
    read_volume,
    write_volume,
)
from nnunet_ext.imageio.tiff_writer import pixels_per_mm

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
PLACED = (".nii.gz", ".nii", ".mha", ".nrrd")


def rotation(angle: float, tilt: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = math.cos(tilt), math.sin(tilt)
    return about_z @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def geometry_of(spacing, origin, matrix) -> Geometry:
    return Geometry(spacing, origin, tuple(tuple(float(value) for value in row) for row in matrix))


OBLIQUE = geometry_of((2.5, 0.31, 0.77), (-10.5, 3.25, 333.3), rotation(0.3, -0.7) @ np.diag([1, -1, 1]))
FLAT = Geometry((2.5, 0.019, 0.77))


def geometry_for(ending: str) -> Geometry:
    return OBLIQUE if ending in PLACED else FLAT


def random_array(dtype: str, shape=(7, 5, 3), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def assert_close(found: Geometry, expected: Geometry) -> None:
    np.testing.assert_allclose(found.spacing, expected.spacing, rtol=1e-6)
    np.testing.assert_allclose(found.origin, expected.origin, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.direction, expected.direction, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ending", STACK_ENDINGS)
def test_what_is_written_by_slab_is_read_whole_and_by_slab(tmp_path, ending, dtype):
    array, path = random_array(dtype), tmp_path / f"my scan{ending}"
    with create_volume(path, array.shape, dtype, geometry_for(ending)) as writer:
        for start in range(0, len(array), 3):
            writer.write(array[start : start + 3])
    found, geometry = read_volume(path)
    assert found.dtype == array.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, array)
    assert_close(geometry, geometry_for(ending))
    with open_volume(path) as volume:
        parts = dict(volume.slabs(2))
        np.testing.assert_array_equal(volume.slab(1, 3), array[1:3])
    assert list(parts) == [0, 2, 4, 6]
    np.testing.assert_array_equal(np.concatenate(list(parts.values())), array)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ending", PLACED)
def test_simpleitk_reads_the_same_voxels_and_place(tmp_path, ending, dtype):
    array, path = random_array(dtype), tmp_path / f"a{ending}"
    write_volume(path, array, OBLIQUE)
    image = SimpleITK.ReadImage(str(path))
    found = SimpleITK.GetArrayFromImage(image)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert_close(Geometry.from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection()), OBLIQUE)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nibabel_reads_the_affine_that_simpleitk_would_have_written(tmp_path, ending):
    array = random_array("int16")
    write_volume(tmp_path / f"ours{ending}", array, OBLIQUE)
    image = SimpleITK.GetImageFromArray(array)
    spacing, origin, direction = OBLIQUE.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(tmp_path / f"theirs{ending}"))
    ours, theirs = (nibabel.load(tmp_path / f"{name}{ending}") for name in ("ours", "theirs"))
    np.testing.assert_array_equal(np.asarray(ours.dataobj), array.T)
    np.testing.assert_allclose(ours.affine, theirs.affine, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours.header.get_qform(), theirs.header.get_qform(), rtol=1e-5, atol=1e-4)
    for field in ("qform_code", "sform_code", "xyzt_units", "dim", "datatype"):
        np.testing.assert_array_equal(ours.header[field], theirs.header[field])


@settings(max_examples=25, deadline=None)
@given(
    ending=st.sampled_from(STACK_ENDINGS),
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(1e-3, 1e3)] * 3),
    origin=st.tuples(*[st.floats(-1e3, 1e3)] * 3),
    angles=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    seed=st.integers(0, 1000),
)
def test_any_volume_survives_writing_and_reading(ending, dtype, shape, spacing, origin, angles, seed):
    placed = ending in PLACED
    geometry = geometry_of(spacing, origin, rotation(*angles)) if placed else Geometry(spacing)
    array = random_array(dtype, shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        write_volume(path, array, geometry)
        found, read = read_volume(path)
    np.testing.assert_array_equal(found, array)
    np.testing.assert_allclose(read.spacing, geometry.spacing, rtol=1e-5)
    np.testing.assert_allclose(read.origin, geometry.origin, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(read.direction, geometry.direction, atol=1e-5)


@given(st.floats(1e-4, 1e3))
def test_resolution_tag_holds_the_spacing_within_a_millionth(spacing):
    numerator, denominator = pixels_per_mm(spacing)
    assert 0 < numerator < 2**32
    assert 0 < denominator < 2**32
    assert abs(float(Fraction(denominator, numerator)) / spacing - 1) < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_tifffile_reads_tiff_as_a_plain_stack(tmp_path, dtype):
    array = random_array(dtype)
    write_volume(tmp_path / "a.tif", array, FLAT)
    found = tifffile.imread(tmp_path / "a.tif")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.imagej_metadata["slices"] == 7
        assert tif.imagej_metadata["spacing"] == 2.5
        assert len(tif.pages) == 7


@pytest.mark.parametrize(("limit", "expected"), [(209, True), (210, False)])
def test_large_tiff_is_a_bigtiff(tmp_path, monkeypatch, limit, expected):
    monkeypatch.setattr("nnunet_ext.imageio.tiff_writer._CLASSIC_BYTES", limit)
    write_volume(tmp_path / "a.tif", random_array("uint16"), FLAT)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff is expected
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif")[0], random_array("uint16"))


def test_only_the_first_page_of_a_tiff_written_by_slab_bears_the_imagej_text(tmp_path):
    with create_volume(tmp_path / "a.tif", (7, 5, 3), "uint8", FLAT) as writer:
        for row in random_array("uint8"):
            writer.write(row[None])
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert [bool(page.description) for page in tif.pages] == [True] + [False] * 6


def test_colors_are_stored_beside_the_unchanged_ids(tmp_path):
    labels = random_array("uint8") % 3
    write_volume(tmp_path / "a.tif", labels, FLAT, colors={1: (255, 0, 0), 2: (1, 2, 128)})
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), labels)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif")[0], labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for page in tif.pages:
            assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
            assert (page.colormap[:, :3] // 257).T.tolist() == [[0, 0, 0], [255, 0, 0], [1, 2, 128]]


@pytest.mark.parametrize(("name", "dtype"), [("a.nii.gz", "uint8"), ("a.nrrd", "uint8"), ("a.tif", "uint16")])
def test_colors_are_refused_where_they_cannot_be_stored(tmp_path, name, dtype):
    with pytest.raises(InputError, match="colour"):
        write_volume(tmp_path / name, random_array(dtype), FLAT, colors={1: (1, 2, 3)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("colors", [{256: (0, 0, 0)}, {-1: (0, 0, 0)}, {1: (0, 0, 256)}])
def test_colors_outside_the_table_are_refused(tmp_path, colors):
    with pytest.raises(InputError, match="0 to 255"):
        write_volume(tmp_path / "a.tif", random_array("uint8"), FLAT, colors=colors)


def test_tiff_refuses_a_direction_and_names_the_formats_that_hold_it(tmp_path):
    with pytest.raises(InputError, match=r"identity only.*\.nii\.gz"):
        write_volume(tmp_path / "a.tif", random_array("uint8"), OBLIQUE)


@pytest.mark.parametrize("ending", STACK_ENDINGS)
@pytest.mark.parametrize("slices", [0, 6, 8])
def test_wrong_number_of_slices_leaves_no_file(tmp_path, ending, slices):
    slab = random_array("uint8", (slices, 5, 3))
    with (
        pytest.raises(InputError, match=rf"{slices} slices.*expected 7"),
        create_volume(tmp_path / f"a{ending}", (7, 5, 3), "uint8", FLAT) as writer,
    ):
        writer.write(slab)
    assert list(tmp_path.iterdir()) == []


def write_and_fail(writer) -> None:
    writer.write(random_array("uint8"))
    raise KeyError


@pytest.mark.parametrize("ending", STACK_ENDINGS)
def test_an_interrupted_block_leaves_what_was_there_before(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"older")
    with (
        pytest.raises(KeyError),
        create_volume(path, (7, 5, 3), "uint8", FLAT, overwrite=True) as writer,
    ):
        write_and_fail(writer)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"older"


def test_existing_file_is_kept_unless_overwrite_is_given(tmp_path):
    path, array = tmp_path / "new" / "a.mha", random_array("uint8")
    write_volume(path, array, FLAT)
    with pytest.raises(OutputExistsError):
        create_volume(path, array.shape, array.dtype, FLAT)
    write_volume(path, array + 1, FLAT, overwrite=True)
    np.testing.assert_array_equal(read_volume(path)[0], array + 1)


@pytest.mark.parametrize("slab", [np.zeros((2, 3, 5)), np.zeros((5, 3)), np.zeros((2, 5, 3), np.int64)])
def test_slab_of_another_shape_or_type_is_refused(tmp_path, slab):
    with (
        pytest.raises(InputError, match="slab of"),
        create_volume(tmp_path / "a.mha", (7, 5, 3), "int16", FLAT) as writer,
    ):
        writer.write(slab)


def test_slab_that_converts_without_loss_is_taken(tmp_path):
    with create_volume(tmp_path / "a.mha", (7, 5, 3), "int16", FLAT) as writer:
        writer.write(random_array("uint8"))
    found, _ = read_volume(tmp_path / "a.mha")
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, random_array("uint8"))


def test_big_endian_and_strided_arrays_are_written_by_value(tmp_path):
    array = random_array("int16").astype(">i2")[::-1, :, ::-1]
    write_volume(tmp_path / "a.nii.gz", array, FLAT)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz")[0], array)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("a.mha", (1, 2, 3), "int64", "int64"),
        ("a.mha", (1, 2, 3), "bool", "bool"),
        ("a.mha", (0, 2, 3), "uint8", "at least 1"),
        ("a.nii.gz", (1, 2, 40000), "uint8", "32767"),
    ],
)
def test_what_no_file_can_hold_is_refused(tmp_path, name, shape, dtype, message):
    with pytest.raises(InputError, match=message):
        write_volume(tmp_path / name, np.zeros(shape, dtype), FLAT)
    assert list(tmp_path.iterdir()) == []


def test_unknown_output_ending_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UnsupportedFormatError, match=r"a\.mhd.*\.mha"):
        create_volume(tmp_path / "a.mhd", (1, 2, 3), "uint8", FLAT)
