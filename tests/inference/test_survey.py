"""A survey finds nnU-Net's crop and float64 statistics in one forward pass, and refuses what is no image."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from acvl_utils.cropping_and_padding.bounding_boxes import get_bbox_from_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_ext.errors import InputError
from nnunet_ext.imageio import Geometry, open_volume, write_volume
from nnunet_ext.imageio.volume import Volume, VolumeInfo
from nnunet_ext.inference import survey as module
from nnunet_ext.inference.survey import ChannelStatistics, survey


class ArrayVolume(Volume):
    """Voxels in memory that can only be read forwards and once, as those of a compressed file."""

    def __init__(self, array: np.ndarray, path: str = "a.nii.gz", geometry: Geometry | None = None) -> None:
        super().__init__(Path(path), VolumeInfo(array.shape, array.dtype, geometry or Geometry(), "test"))
        self._array = array
        self.reads: list[tuple[int, int]] = []

    def _read(self, start: int, stop: int) -> np.ndarray:
        assert start == (self.reads[-1][1] if self.reads else 0), "read backwards, twice or with a gap"
        self.reads.append((start, stop))
        return self._array[start:stop].copy()


def slab_of(slices: int, *arrays: np.ndarray) -> int:
    """Return the bytes of a slab of so many slices."""
    return slices * sum(array[0].nbytes for array in arrays)


def box_in_zeros(shape: tuple[int, int, int], box: tuple[tuple[int, int], ...], dtype: str = "int16") -> np.ndarray:
    array = np.zeros(shape, dtype)
    array[tuple(slice(*side) for side in box)] = np.random.default_rng(0).integers(1, 200, [b - a for a, b in box])
    return array


def image(dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(1).integers(0, 100, (7, 5, 6)).astype(dtype)


sparse_images = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6).flatmap(
    lambda shape: st.lists(
        hnp.arrays(np.int16, shape, elements=st.integers(-3, 300), fill=st.just(0)), min_size=1, max_size=3
    )
)


@settings(deadline=None)
@given(channels=sparse_images, slices=st.integers(1, 4))
def test_crop_and_statistics_are_those_of_the_whole_arrays(channels: list[np.ndarray], slices: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLAB_BYTES", slab_of(slices, *channels))
        patch.setattr(module, "_BLOCK", 7)
        found = survey([ArrayVolume(channel) for channel in channels], statistics=True)
    expected = get_bbox_from_mask(np.any(channels, axis=0))
    assert [list(side) for side in found.crop] == expected
    assert found.statistics is not None
    for channel, statistics in zip(channels, found.statistics, strict=True):
        inside = channel[tuple(slice(*side) for side in expected)].astype(np.float64)
        assert statistics.mean == pytest.approx(inside.mean(), rel=1e-12, abs=1e-12)
        assert statistics.std == pytest.approx(inside.std(), rel=1e-12, abs=1e-12)
        assert (statistics.minimum, statistics.maximum) == (inside.min(), inside.max())


def test_statistics_by_hand_count_the_zeros_within_the_crop_only() -> None:
    array = np.zeros((4, 3, 4), np.uint8)
    array[1, 1, 1], array[2, 1, 2] = 4, 8
    found = survey([ArrayVolume(array)], statistics=True)
    assert found.crop == ((1, 3), (1, 2), (1, 3))
    # 4, 0, 0, 8: mean 3, squared deviations 1 + 9 + 9 + 25 = 44 over 4 voxels
    assert found.statistics == (ChannelStatistics(mean=3.0, std=11**0.5, minimum=0.0, maximum=8.0),)


def test_one_channel_widens_the_crop_of_the_other() -> None:
    first = box_in_zeros((6, 6, 6), ((1, 2), (1, 2), (4, 5)))
    second = -box_in_zeros((6, 6, 6), ((3, 4), (0, 1), (2, 3)))
    found = survey([ArrayVolume(first), ArrayVolume(second)], statistics=True)
    assert found.crop == ((1, 4), (0, 2), (2, 5))
    assert found.statistics is not None
    assert found.statistics[0].minimum == found.statistics[1].maximum == 0


def test_an_image_of_zeros_is_not_cropped() -> None:
    found = survey([ArrayVolume(np.zeros((2, 3, 4), np.int16))], statistics=True)
    assert found.crop == ((0, 2), (0, 3), (0, 4))
    assert found.statistics == (ChannelStatistics(0.0, 0.0, 0.0, 0.0),)


def test_a_constant_image_has_no_deviation() -> None:
    found = survey([ArrayVolume(np.full((5, 40, 40), 0.1, np.float32))], statistics=True)
    assert found.statistics is not None
    assert np.float32(found.statistics[0].mean) == np.float32(0.1)
    assert found.statistics[0].std < 1e-12


def test_what_float32_takes_for_zero_is_cropped() -> None:
    array = box_in_zeros((3, 4, 5), ((1, 2), (1, 3), (2, 4)), "float64")
    array[0, 0, 0] = 1e-60
    assert survey([ArrayVolume(array)], statistics=False).crop == ((1, 2), (1, 3), (2, 4))


def test_a_small_deviation_at_a_large_mean_keeps_its_digits() -> None:
    rng = np.random.default_rng(0)
    array = np.zeros((12, 1002, 1000), np.float32)
    array[1:11, 1:1001] = 1e4 + 0.1 * rng.standard_normal((10, 1000, 1000), np.float32)
    inside = array[1:11, 1:1001].astype(np.float64)
    found = survey([ArrayVolume(array)], statistics=True)
    assert found.crop == ((1, 11), (1, 1001), (0, 1000))
    assert found.statistics is not None
    # The mean of the squares less the square of the mean would be off by 1e-6, sums in float32 by much more.
    assert found.statistics[0].mean == pytest.approx(inside.mean(), rel=1e-14)
    assert found.statistics[0].std == pytest.approx(inside.std(), rel=1e-11)


def test_slabs_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    array = image("float32") * np.float32(0.37)
    whole = survey([ArrayVolume(array), ArrayVolume(-array)], statistics=True)
    monkeypatch.setattr(module, "SLAB_BYTES", slab_of(2, array, array))
    assert survey([ArrayVolume(array), ArrayVolume(-array)], statistics=True) == whole


def test_channels_share_the_memory_of_a_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = [image("uint8"), image("float64")]
    monkeypatch.setattr(module, "SLAB_BYTES", slab_of(3, *channels) + 1)
    volumes = [ArrayVolume(channel) for channel in channels]
    survey(volumes, statistics=True)
    assert volumes[0].reads == volumes[1].reads == [(0, 3), (3, 6), (6, 7)]


def test_a_slice_larger_than_a_slab_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLAB_BYTES", 1)
    volume = ArrayVolume(image())
    survey([volume], statistics=True)
    assert volume.reads == [(z, z + 1) for z in range(7)]


def test_progress_counts_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLAB_BYTES", slab_of(3, image()))
    counts: list[int] = []
    survey([ArrayVolume(image())], statistics=False, progress=counts.append)
    assert counts == [3, 3, 1]


def test_statistics_are_left_out_if_not_asked_for() -> None:
    found = survey([ArrayVolume(image())], statistics=False)
    assert found.statistics is None
    assert found.files == (Path("a.nii.gz"),)
    assert pickle.loads(pickle.dumps(found)) == found


def checksum(*channels: np.ndarray) -> str:
    return survey([ArrayVolume(channel) for channel in channels], statistics=False).checksum


def test_the_checksum_tells_images_apart() -> None:
    array = image()
    changed = array.copy()
    changed[-1, -1, -1] += 1
    different = [
        checksum(array),
        checksum(changed),
        checksum(array.reshape(7, 6, 5)),
        checksum(array.view(np.int8)),
        checksum(array, array),
        checksum(array, changed),
        checksum(changed, array),
    ]
    assert len(set(different)) == len(different)
    assert checksum(array.copy()) == different[0]


def test_formats_give_the_same_survey(tmp_path: Path) -> None:
    array = box_in_zeros((5, 9, 8), ((1, 4), (2, 8), (0, 7)), "uint16")
    for name in ("a.tif", "a.nii.gz", "a.nii", "a.mha", "a.nrrd"):
        write_volume(tmp_path / name, array, Geometry())
    for z, pixels in enumerate(array):
        write_volume(tmp_path / "slices" / f"{z:02}.tif", pixels[np.newaxis], Geometry())
    surveys = []
    for name in ("a.tif", "a.nii.gz", "a.nii", "a.mha", "a.nrrd", "slices"):
        with open_volume(tmp_path / name) as volume:
            surveys.append(survey([volume], statistics=True))
    assert surveys[0].crop == ((1, 4), (2, 8), (0, 7))
    assert all(found == surveys[0] for found in surveys)


@pytest.mark.parametrize(
    ("dtype", "value", "named"),
    [
        ("float32", np.nan, "2 voxels that are NaN"),
        ("float64", -np.inf, "2 voxels that are infinite"),
        ("float64", -1e39, r"2 voxels that are beyond float32 \(up to 1e\+39, above 3.4e\+38\)"),
    ],
)
def test_numbers_that_are_not_finite_are_named(dtype: str, value: float, named: str) -> None:
    array = image(dtype)
    array[4, 1, 2:4] = value
    array[6, 0, 0] = value
    with pytest.raises(InputError, match=rf"^b\.tif: slice 4 \(z, counted from 0\) holds {named}; expected finite"):
        survey([ArrayVolume(image()), ArrayVolume(array, "b.tif")], statistics=False)


def test_each_kind_of_bad_number_is_counted() -> None:
    array = image("float64")
    array[0, 0, :3] = np.nan, np.inf, 1e300
    named = "1 voxel that is NaN and 1 voxel that is infinite and 1 voxel that is beyond float32"
    with pytest.raises(InputError, match=named):
        survey([ArrayVolume(array)], statistics=True)


def test_the_largest_integers_are_fine() -> None:
    array = np.full((1, 2, 2), 2**32 - 1, np.uint32)
    found = survey([ArrayVolume(array)], statistics=True)
    assert found.statistics == (ChannelStatistics(2.0**32, 0.0, 2.0**32, 2.0**32),)


def test_channels_of_different_shapes_are_named() -> None:
    volumes = [ArrayVolume(np.ones((2, 3, z), np.uint8), f"{z}.tif") for z in (4, 5, 6)]
    with pytest.raises(InputError) as caught:
        survey(volumes, statistics=False)
    assert str(caught.value) == (
        "5.tif: shape (2, 3, 5) instead of (2, 3, 4); 6.tif: shape (2, 3, 6) instead of (2, 3, 4) as in 4.tif; "
        "expected one grid for all channels of a case"
    )
    assert not any(volume.reads for volume in volumes)


def test_channels_in_different_places_are_named() -> None:
    near, far = Geometry(origin=(0, 0, 1e-4)), Geometry(origin=(0, 0, 5))
    survey([ArrayVolume(image()), ArrayVolume(image(), geometry=near)], statistics=False)
    with pytest.raises(InputError, match=r"b\.nii: origin \(0, 0, 5\) instead of \(0, 0, 0\) as in a\.nii\.gz"):
        survey([ArrayVolume(image()), ArrayVolume(image(), "b.nii", far)], statistics=False)


def test_a_case_without_channels_is_refused() -> None:
    with pytest.raises(InputError, match="no volumes"):
        survey([], statistics=False)
