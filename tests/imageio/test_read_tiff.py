from __future__ import annotations

import numpy as np
import pytest
import tifffile

from nnunet_ext.errors import InputError, MissingInputError, UnsupportedFormatError
from nnunet_ext.imageio import open_volume, read_volume
from nnunet_ext.imageio.raw import RawVolume
from nnunet_ext.imageio.tiff import PagesVolume

STACK = np.random.default_rng(0).integers(0, 4000, (9, 20, 30)).astype(np.uint16)


def assert_reads(path, expected: np.ndarray) -> None:
    with open_volume(path) as volume:
        assert volume.shape == expected.shape
        assert volume.dtype == expected.dtype
        parts = [slab for _, slab in volume.slabs(3)]
        assert all(part.dtype == expected.dtype and part.dtype.isnative for part in parts)
        assert all(part.flags.c_contiguous and part.flags.writeable for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), expected)
        np.testing.assert_array_equal(volume.slab(2, 4), expected[2:4])
    np.testing.assert_array_equal(read_volume(path)[0], expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "byteorder": ">"},
        {"compression": "zstd", "bigtiff": True},
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "zlib"},
        {"tile": (16, 16, 16), "volumetric": True},
        {"rowsperstrip": 3},
        {"imagej": True},
        {"imagej": True, "truncate": True},
        {"ome": True},
        {"ome": True, "compression": "lzw"},
        {"metadata": None},
        {"photometric": "miniswhite"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["a.tif", "A B.TIF", "a.Tiff"])
def test_stacks_of_every_layout_are_read_alike(tmp_path, options, name):
    if options.get("ome"):
        name = f"{name.split('.')[0]}.ome.{name.split('.')[1]}"
    tifffile.imwrite(tmp_path / name, STACK, **{"photometric": "minisblack", **options})
    assert_reads(tmp_path / name, STACK)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "int32", "float32", "float64", "float16"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_dtype_of_the_file_is_kept(tmp_path, dtype, byteorder, compression):
    stack = STACK.astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", byteorder=byteorder, compression=compression)
    assert_reads(path, stack)


def test_pages_written_one_by_one_are_one_volume(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page in STACK:
            tif.write(page, photometric="minisblack", contiguous=False, metadata=None)
    assert_reads(tmp_path / "a.tif", STACK)


def test_a_single_page_is_a_volume_of_one_slice(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif")[0], STACK[:1])


def test_a_stack_one_voxel_wide_keeps_its_axes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[:, :, :1], photometric="minisblack", metadata=None)
    assert_reads(tmp_path / "a.tif", STACK[:, :, :1])


def test_frames_of_imagej_are_slices(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    assert_reads(tmp_path / "a.tif", STACK)


def test_imagej_stack_above_4_gib_with_a_single_header_is_read_in_place(tmp_path):
    path, shape = tmp_path / "a.tif", (5000, 1000, 1000)
    description = "ImageJ=1.54f\nimages=5000\nslices=5000\n"
    page = np.ones(shape[1:], np.uint8)
    tifffile.imwrite(path, page, byteorder=">", description=description, metadata=None)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        # A hole of nearly 5 GB that takes no space on the disk, and one slice behind it.
        file.seek(offset + 4999 * page.size)
        file.write((page * 7).tobytes())
    with open_volume(path) as volume:
        assert volume.shape == shape
        assert [int(volume.slab(z, z + 1).max()) for z in (0, 4998, 4999)] == [1, 0, 7]


def test_more_channels_than_imagej_shows_are_slices(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[:8], imagej=True, metadata={"axes": "CYX"})
    assert_reads(tmp_path / "a.tif", STACK[:8])
    tifffile.imwrite(tmp_path / "b.tif", STACK[:7], imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(UnsupportedFormatError, match="channels"):
        open_volume(tmp_path / "b.tif")


def test_bilevel_images_become_zero_and_one(tmp_path):
    mask = STACK > 2000
    tifffile.imwrite(tmp_path / "a.tif", mask, photometric="minisblack")
    assert_reads(tmp_path / "a.tif", mask.astype(np.uint8))


def test_palette_images_give_their_indices(tmp_path):
    labels = (STACK % 5).astype(np.uint8)
    colormap = np.random.default_rng(1).integers(0, 2**16, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="palette", colormap=colormap)
    assert_reads(tmp_path / "a.tif", labels)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((9, 8, 3), np.uint8), {"photometric": "rgb"}, "colours"),
        (np.zeros((4, 9, 8, 3), np.uint8), {"photometric": "rgb"}, "colours"),
        (np.zeros((3, 9, 8), np.uint8), {"photometric": "rgb", "planarconfig": "separate"}, "colours"),
        (np.zeros((4, 2, 9, 8), np.uint8), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "channels"),
        (np.zeros((2, 4, 9, 8), np.uint8), {"imagej": True, "metadata": {"axes": "TZYX"}}, "axes TZYX"),
        (np.zeros((2, 4, 9, 8), np.uint8), {"photometric": "minisblack"}, "expected one stack"),
        (np.zeros((4, 9, 8), np.complex64), {"photometric": "minisblack"}, "complex64"),
    ],
)
def test_colours_channels_and_four_dimensions_are_refused(tmp_path, array, options, message):
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    with pytest.raises(UnsupportedFormatError, match=rf"a\.tif.*{message}"):
        open_volume(tmp_path / "a.tif")


def test_slices_of_different_shapes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(STACK[0], photometric="minisblack", metadata=None)
        tif.write(STACK[0, :9], photometric="minisblack", metadata=None)
    with pytest.raises(UnsupportedFormatError, match="2 images"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("content", [b"II*\0", b"not an image", b"MM\0*\0\0\0\x08\0\xff", b"\0" * 1000])
def test_damaged_file_is_named(tmp_path, content):
    (tmp_path / "scan 1.tif").write_bytes(content)
    with pytest.raises(InputError, match=r"scan 1\.tif"):
        read_volume(tmp_path / "scan 1.tif")


def test_empty_file_is_named(tmp_path):
    (tmp_path / "scan 1.tif").touch()
    with pytest.raises(InputError, match=r"scan 1\.tif: the file is empty"):
        open_volume(tmp_path / "scan 1.tif")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"imagej": True},
        {"imagej": True, "truncate": True},
        {"compression": "zlib"},
        {"compression": "lzw"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_truncated_file_is_no_volume(tmp_path, options, kept):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"a\.tif"):
        read_volume(path)


def test_missing_and_unknown_files_are_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"nowhere\.tif"):
        open_volume(tmp_path / "nowhere.tif")
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(UnsupportedFormatError, match=r"a\.jpg.*\.tif"):
        open_volume(tmp_path / "a.jpg")


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 3), (2, 1), (5, 10)])
def test_slab_outside_the_volume_is_refused(tmp_path, start, stop):
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    with open_volume(tmp_path / "a.tif") as volume, pytest.raises(InputError, match="0 to 9"):
        volume.slab(start, stop)


def test_slabs_of_no_slices_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    with open_volume(tmp_path / "a.tif") as volume, pytest.raises(InputError, match="at least 1"):
        next(volume.slabs(0))


def test_default_slab_is_about_32_mib_and_at_least_a_slice(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 1024, 1024), np.uint8), compression="zlib")
    with open_volume(tmp_path / "a.tif") as volume:
        assert [(start, len(slab)) for start, slab in volume.slabs()] == [(0, 32), (32, 8)]


def test_uncompressed_stacks_are_read_in_place_and_compressed_ones_by_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", STACK, photometric="minisblack", compression="lzw")
    with open_volume(tmp_path / "a.tif") as plain, open_volume(tmp_path / "b.tif") as compressed:
        assert isinstance(plain, RawVolume)
        assert isinstance(compressed, PagesVolume)
