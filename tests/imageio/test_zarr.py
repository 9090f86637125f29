"""Volumes in Zarr stores: plain arrays and OME-Zarr images."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from nnunet_ext.errors import InputError, MissingInputError, UnsupportedFormatError
from nnunet_ext.imageio import find_volumes, open_volume, read_volume, volume_name

zarr = pytest.importorskip("zarr")

THIRD_FORM = pytest.mark.skipif(zarr.__version__.startswith("2."), reason="zarr 2 writes the second form only")
VOXELS = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]


def write_array(path, array=VOXELS, **more):
    stored = zarr.open(str(path), mode="w", shape=array.shape, chunks=(2, *array.shape[1:]), dtype=array.dtype, **more)
    stored[:] = array
    return path


def write_image(path, array, axes, scale, translation=None, *, wrapped=False, **more):
    group = zarr.open_group(str(path), mode="w", **more)
    write_array(path / "0", array, **more)
    write_array(path / "1", array[..., ::2, ::2], **more)
    steps = [{"type": "scale", "scale": scale}]
    if translation:
        steps.append({"type": "translation", "translation": translation})
    levels = [
        {"path": "0", "coordinateTransformations": steps},
        {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [2 * size for size in scale]}]},
    ]
    content = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": levels}]}
    group.attrs.update({"ome": content} if wrapped else content)
    return path


@pytest.mark.parametrize("form", [2, 3])
def test_an_array_is_read_in_slabs(tmp_path, form):
    path = write_array(tmp_path / "scan_0000.zarr", zarr_format=form)
    with open_volume(path) as volume:
        assert volume.shape == (5, 6, 7)
        assert volume.dtype == np.uint16
        assert not volume.has_spacing
        np.testing.assert_array_equal(volume.slab(1, 4), VOXELS[1:4])
    assert volume_name(path) == "scan_0000"


def test_an_image_has_the_spacing_and_origin_of_its_finest_level(tmp_path):
    path = write_image(tmp_path / "a.ome.zarr", VOXELS, AXES, [20.0, 5.0, 6.0], [100.0, 0.0, -12.0])
    with open_volume(path) as volume:
        assert volume.geometry.spacing == pytest.approx((0.02, 0.005, 0.006))
        assert volume.geometry.origin == pytest.approx((0.1, 0.0, -0.012))
        assert volume.has_spacing
        np.testing.assert_array_equal(volume.slab(0, 5), VOXELS)
    assert volume_name(path) == "a"


@THIRD_FORM
def test_time_and_channel_of_one_entry_are_left_out(tmp_path):
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *AXES]
    path = write_image(
        tmp_path / "a.zarr", VOXELS[None, None], axes, [1.0, 1.0, 2.0, 3.0, 4.0], wrapped=True, zarr_format=3
    )
    np.testing.assert_array_equal(read_volume(path)[0], VOXELS)
    with open_volume(path) as volume:
        assert volume.geometry.spacing == pytest.approx((0.002, 0.003, 0.004))


def test_a_store_is_a_volume_of_its_folder(tmp_path):
    second, first = write_array(tmp_path / "b10.zarr"), write_array(tmp_path / "b2.zarr")
    assert find_volumes(tmp_path) == [first, second]
    assert find_volumes(first) == [first]


def test_what_is_no_volume_is_refused(tmp_path):
    two_channels = write_array(tmp_path / "channels.zarr", np.zeros((2, 3, 4, 5), np.uint8))
    with pytest.raises(UnsupportedFormatError, match="one time and one channel"):
        open_volume(two_channels)
    with pytest.raises(UnsupportedFormatError, match="expected axes z, y, x"):
        open_volume(write_array(tmp_path / "flat.zarr", np.zeros((4, 5), np.uint8)))
    with pytest.raises(UnsupportedFormatError, match="real numbers"):
        open_volume(write_array(tmp_path / "complex.zarr", np.zeros((3, 4, 5), np.complex64)))
    zarr.open_group(str(tmp_path / "group.zarr"), mode="w")
    with pytest.raises(UnsupportedFormatError, match="multiscales"):
        open_volume(tmp_path / "group.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match=r"empty\.zarr"):
        open_volume(tmp_path / "empty.zarr")


def test_an_unknown_unit_is_refused(tmp_path):
    axes = [{"name": name, "type": "space", "unit": "parsec"} for name in "zyx"]
    with pytest.raises(InputError, match="parsec"):
        open_volume(write_image(tmp_path / "a.zarr", VOXELS, axes, [1.0, 1.0, 1.0]))


def test_a_missing_chunk_file_that_is_damaged_is_named(tmp_path):
    path = write_array(tmp_path / "scan.zarr", zarr_format=2)
    (path / "1.0.0").write_bytes(b"no chunk")
    with open_volume(path) as volume:
        np.testing.assert_array_equal(volume.slab(0, 2), VOXELS[:2])
        with pytest.raises(InputError, match=r"scan\.zarr: cannot be read"):
            volume.slab(2, 4)


def test_without_zarr_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = write_array(tmp_path / "scan.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingInputError, match=r"nnunet_ext\[zarr\]"):
        open_volume(path)
