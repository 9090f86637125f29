from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nnunet_ext.errors import InputError, MissingInputError, UnsupportedFormatError
from nnunet_ext.imageio import find_volumes, open_volume, read_volume

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NNUNET_EXT_TEST_DATA", ROOT.parent / "shared" / "data"))
SOIL = DATA / "soil_ct" / "slices"

STACK = np.random.default_rng(0).integers(0, 255, (12, 5, 6)).astype(np.uint8)


def write_slices(folder: Path, stack: np.ndarray = STACK, **options) -> Path:
    folder.mkdir()
    for index, page in enumerate(stack):
        tifffile.imwrite(folder / f"Bean Bucket {index}.tif", page, **options)
    return folder


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "lzw"}, {"imagej": True}], ids=str)
def test_slices_are_stacked_in_numeric_order(tmp_path, options):
    folder = write_slices(tmp_path / "my scan", **options)
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.tif").write_bytes(b"x")
    with open_volume(folder) as volume:
        assert (volume.path, volume.shape, volume.dtype) == (folder, (12, 5, 6), np.uint8)
        np.testing.assert_array_equal(volume.slab(0, 12), STACK)
        np.testing.assert_array_equal(np.concatenate([slab for _, slab in volume.slabs(5)]), STACK)


def test_spacing_of_slices_is_that_of_the_first(tmp_path):
    folder = write_slices(tmp_path / "a", imagej=True, resolution=(4.0, 2.0), metadata={"unit": "mm"})
    with open_volume(folder) as volume:
        assert volume.geometry.spacing == (0.25, 0.5, 0.25)
        assert volume.spacing_source == "ImageJ metadata, z assumed equal to x"
    with open_volume(folder, (3.0, 0.5, 0.25)) as volume:
        assert volume.geometry.spacing == (3.0, 0.5, 0.25)


@pytest.mark.parametrize("page", [STACK[0, 1:], STACK[0].astype(np.uint16)])
def test_a_slice_that_differs_is_named_before_anything_is_read(tmp_path, page):
    folder = write_slices(tmp_path / "a")
    tifffile.imwrite(folder / "Bean Bucket 7.tif", page)
    with pytest.raises(InputError, match=r"Bean Bucket 7\.tif.*\(5, 6\) uint8"):
        open_volume(folder)


def test_a_stack_among_the_slices_is_named(tmp_path):
    folder = write_slices(tmp_path / "a")
    tifffile.imwrite(folder / "Bean Bucket 7.tif", STACK, photometric="minisblack")
    with pytest.raises(InputError, match=r"Bean Bucket 7\.tif: 12 slices"):
        open_volume(folder)


def test_a_coloured_or_damaged_slice_is_named(tmp_path):
    folder = write_slices(tmp_path / "a")
    tifffile.imwrite(folder / "Bean Bucket 7.tif", np.zeros((5, 6, 3), np.uint8), photometric="rgb")
    with pytest.raises(UnsupportedFormatError, match=r"Bean Bucket 7\.tif"):
        open_volume(folder)
    (folder / "Bean Bucket 7.tif").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"Bean Bucket 7\.tif"):
        open_volume(folder)


def test_a_folder_without_slices_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(MissingInputError, match="no TIFF files"):
        open_volume(tmp_path)


@pytest.mark.skipif(not SOIL.is_dir(), reason="no real data here")
def test_real_soil_slices_are_one_volume():
    assert find_volumes(SOIL) == [SOIL]
    array, _ = read_volume(SOIL)
    assert array.shape == (48, 500, 500)
    assert array.dtype == np.uint8
    files = sorted(SOIL.glob("*.tif"))
    np.testing.assert_array_equal(array[17], tifffile.imread(files[17]))
