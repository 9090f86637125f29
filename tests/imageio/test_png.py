from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import io

from nnunet_ext.errors import InputError, OutputExistsError, UnsupportedFormatError
from nnunet_ext.imageio import (
    OUTPUT_ENDINGS,
    STACK_ENDINGS,
    Geometry,
    create_volume,
    find_volumes,
    open_volume,
    read_volume,
    write_volume,
)

TURNED = Geometry(direction=((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)))


def pixels(dtype: str, shape=(5, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def raw_png(path: Path, bits: int, color_type: int, rows: list[bytes], width: int) -> Path:
    """Write a PNG byte by byte: Pillow writes no grey of 2 or 4 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_png_of_any_program_is_a_volume_of_one_slice(tmp_path, dtype):
    Image.fromarray(pixels(dtype)).save(tmp_path / "a.png", dpi=(300, 300))
    with open_volume(tmp_path / "a.png") as volume:
        assert volume.shape == (1, 5, 3)
        assert volume.dtype == dtype
        assert volume.geometry == Geometry()
        assert not volume.has_spacing
        np.testing.assert_array_equal(volume.slab(0, 1)[0], pixels(dtype))


def test_the_spacing_of_the_caller_counts(tmp_path):
    write_volume(tmp_path / "a.png", pixels("uint8")[None], Geometry())
    with open_volume(tmp_path / "a.png", (1.0, 7.0, 6.0)) as volume:
        assert volume.geometry.spacing == (1.0, 7.0, 6.0)
        assert volume.has_spacing


def test_a_palette_gives_the_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50, 7, 7, 7])
    image.save(tmp_path / "a.png")
    assert read_volume(tmp_path / "a.png")[0].tolist() == [[[0, 1], [2, 1]]]


def test_few_bits_are_not_spread_over_the_greys(tmp_path):
    four = raw_png(tmp_path / "four.png", 4, 0, [bytes([0x01, 0x2F])], width=4)
    two = raw_png(tmp_path / "two.png", 2, 0, [bytes([0b00011011])], width=4)
    one = raw_png(tmp_path / "one.png", 1, 0, [bytes([0b01100000])], width=4)
    assert read_volume(four)[0].tolist() == [[[0, 1, 2, 15]]]
    assert read_volume(two)[0].tolist() == [[[0, 1, 2, 3]]]
    assert read_volume(one)[0].tolist() == [[[0, 1, 1, 0]]]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_and_transparency_are_refused(tmp_path, channels):
    Image.fromarray(np.zeros((4, 4, channels), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UnsupportedFormatError, match=rf"a\.png: {channels} channels.*expected one value per pixel"):
        open_volume(tmp_path / "a.png")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (1, 2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(UnsupportedFormatError, match=r"a\.png: 2 pictures"):
        open_volume(tmp_path / "a.png")


@pytest.mark.parametrize("kept", [0.1, 0.6, 0.95])
def test_a_damaged_file_is_named(tmp_path, kept):
    write_volume(tmp_path / "a.png", pixels("uint16", (200, 200))[None], Geometry())
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"a\.png"):
        read_volume(tmp_path / "a.png")


def test_what_is_no_png_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"JFIF" * 20)
    with pytest.raises(InputError, match=r"a\.png: no PNG header"):
        open_volume(tmp_path / "a.png")


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "uint16"]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 1000),
)
def test_any_slice_survives_writing_and_reading(dtype, shape, seed):
    array = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (1, *shape), dtype=dtype, endpoint=True)
    with tempfile.TemporaryDirectory() as folder:
        write_volume(Path(folder) / "a.png", array, Geometry((3.0, 2.0, 1.0)))
        found, _ = read_volume(Path(folder) / "a.png")
        by_nnunet = io.imread(Path(folder) / "a.png")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(by_nnunet, array[0])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 4, 4), "uint8"), ((1, 4, 4), "int16"), ((1, 4, 4), "float32"), ((1, 4, 4), "uint32")]
)
def test_what_png_cannot_hold_is_refused_and_other_formats_are_named(tmp_path, shape, dtype):
    with pytest.raises(InputError, match=r"a\.png: .*PNG holds one slice of uint8 or uint16.*\.nii\.gz"):
        write_volume(tmp_path / "a.png", np.zeros(shape, dtype), Geometry())
    assert list(tmp_path.iterdir()) == []


def test_a_direction_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"PNG can hold identity only; formats for this volume are .*\.nrrd$"):
        write_volume(tmp_path / "a.png", pixels("uint8")[None], TURNED)


def test_colors_are_refused(tmp_path):
    with pytest.raises(InputError, match="colour"):
        write_volume(tmp_path / "a.png", pixels("uint8")[None], Geometry(), colors={1: (1, 2, 3)})


def test_a_file_that_is_there_stays_unless_told(tmp_path):
    write_volume(tmp_path / "a.png", pixels("uint8")[None], Geometry())
    with pytest.raises(OutputExistsError):
        write_volume(tmp_path / "a.png", pixels("uint8")[None] + 1, Geometry())
    write_volume(tmp_path / "a.png", pixels("uint8")[None] + 1, Geometry(), overwrite=True)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png")[0][0], pixels("uint8") + 1)


@pytest.mark.parametrize("slices", [0, 2])
def test_wrong_number_of_slices_leaves_no_file(tmp_path, slices):
    with (
        pytest.raises(InputError, match=rf"{slices} slices.*expected 1"),
        create_volume(tmp_path / "a.png", (1, 5, 3), "uint8", Geometry()) as writer,
    ):
        writer.write(np.zeros((slices, 5, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_png_is_the_only_output_that_holds_one_slice_only():
    assert set(OUTPUT_ENDINGS) - set(STACK_ENDINGS) == {".png"}


def test_png_files_are_volumes_where_nothing_else_is(tmp_path):
    for name in ("b.png", "a10.PNG", "a9.png"):
        write_volume(tmp_path / name.replace("PNG", "png"), pixels("uint8")[None], Geometry())
    (tmp_path / "a10.png").rename(tmp_path / "a10.PNG")
    assert [path.name for path in find_volumes(tmp_path)] == ["a9.png", "a10.PNG", "b.png"]


def test_pictures_beside_volumes_are_no_volumes(tmp_path):
    for name in ("scan.png", "scan.tif", "other.nii.gz"):
        write_volume(tmp_path / name, pixels("uint8")[None], Geometry())
    assert [path.name for path in find_volumes(tmp_path)] == ["other.nii.gz", "scan.tif"]


def test_a_picture_in_a_folder_of_slices_changes_nothing(tmp_path):
    for name in ("1.tif", "2.tif", "overview.png"):
        write_volume(tmp_path / name, pixels("uint8")[None], Geometry())
    assert find_volumes(tmp_path) == [tmp_path]
