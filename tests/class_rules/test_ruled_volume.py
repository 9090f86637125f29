"""Label maps after rules, slab by slab, with answers by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nnunet_ext.class_rules.rules import Rule
from nnunet_ext.class_rules.small_components import voxels_of_small_components
from nnunet_ext.class_rules.volume import RuledVolume, open_with_rules
from nnunet_ext.errors import InputError
from nnunet_ext.imageio import Geometry, write_volume
from nnunet_ext.imageio.volume import Volume, VolumeInfo

if TYPE_CHECKING:
    from pathlib import Path

GEOMETRY = Geometry((2.0, 0.5, 0.5))
"""Voxels of 0.5 mm³."""


class InMemory(Volume):
    """A label map, read in slabs of two slices."""

    def __init__(self, path: Path, labels: np.ndarray, spacing_source: str = "the header") -> None:
        super().__init__(path, VolumeInfo(labels.shape, labels.dtype, GEOMETRY, spacing_source))
        self.labels = labels

    def _read(self, start: int, stop: int) -> np.ndarray:
        return self.labels[start:stop].copy()

    def _default_thickness(self) -> int:
        return 2


def ruled(folder: Path, labels: np.ndarray, *rules: Rule) -> tuple[np.ndarray, list[int]]:
    volume = RuledVolume(InMemory(folder / "a.nii.gz", labels), rules)
    return np.concatenate([slab for _, slab in volume.slabs(2)]), volume.changed


def voxels(**counts: int) -> np.ndarray:
    """Return a label map (5, 6, 7) with so many voxels of each value, value 1 first."""
    flat = np.zeros(5 * 6 * 7, np.uint8)
    values = np.repeat([int(name[1:]) for name in counts], list(counts.values()))
    flat[: len(values)] = values
    return np.random.default_rng(0).permutation(flat).reshape(5, 6, 7)


@pytest.mark.parametrize(("count", "goes"), [(10, False), (9, True), (11, False), (1, True)])
def test_n_voxels_stay_and_one_less_goes(tmp_path, count, goes):
    labels = voxels(v1=20, v2=30, v3=count)
    found, changed = ruled(tmp_path, labels, Rule((3,), 1, below_voxels=10))
    np.testing.assert_array_equal(found, np.where(labels == 3, 1, labels) if goes else labels)
    assert changed == [count if goes else 0]


@pytest.mark.parametrize(("count", "goes"), [(10, False), (9, True)])
def test_a_volume_counts_voxels_by_their_size(tmp_path, count, goes):
    labels = voxels(v1=20, v3=count)
    _, changed = ruled(tmp_path, labels, Rule((3,), 1, below_mm3=5.0))
    assert changed == [count if goes else 0]


@pytest.mark.parametrize("sides", [(1, 1, 1), (3, 7, 7), (5, 5, 20), (9, 1, 7)])
def test_a_volume_that_voxels_fill_exactly_stays_whatever_the_rounding(sides):
    voxel = (sides[0] / 10) * (sides[1] / 10) * (sides[2] / 10)
    for size in range(1, 200):
        limit = Rule((1,), 0, below_mm3=size * sides[0] * sides[1] * sides[2] / 1000).limit(voxel)
        assert size - 1 < limit <= size, size


def test_a_class_that_is_not_there_and_a_threshold_of_0_change_nothing(tmp_path):
    labels = voxels(v1=20, v2=30)
    found, changed = ruled(tmp_path, labels, Rule((3,), 1, below_voxels=10), Rule((1,), 2, below_voxels=0))
    np.testing.assert_array_equal(found, labels)
    assert changed == [0, 0]


def test_rules_apply_one_after_the_other(tmp_path):
    labels = voxels(v1=8, v2=30, v3=4)
    first, second = Rule((3,), 1, below_voxels=5), Rule((1,), 2, below_voxels=12)
    # 4 voxels make 12 of class 1, which is enough for it to stay.
    found, changed = ruled(tmp_path, labels, first, second)
    np.testing.assert_array_equal(found, np.where(labels == 3, 1, labels))
    assert changed == [4, 0]
    # The other way round, 8 are too few.
    found, changed = ruled(tmp_path, labels, second, first)
    np.testing.assert_array_equal(found, np.where(labels == 1, 2, np.where(labels == 3, 1, labels)))
    assert changed == [8, 4]


def test_a_region_is_counted_as_a_whole(tmp_path):
    labels = voxels(v1=6, v2=30, v3=5)
    _, changed = ruled(tmp_path, labels, Rule((1, 3), 0, below_voxels=11))
    assert changed == [0]
    found, changed = ruled(tmp_path, labels, Rule((1, 3), 1, below_voxels=12))
    np.testing.assert_array_equal(found, np.where(labels == 3, 1, labels))
    assert changed == [5]


def test_components_are_compared_one_by_one(tmp_path):
    labels = np.zeros((6, 5, 9), np.uint8)
    labels[0:5, 0, 0] = 3  # five voxels through three slabs
    labels[1, 2, 2] = labels[2, 3, 3] = labels[3, 2, 4] = 3  # three, by their corners, from slab to slab
    labels[5, 4, 6:9] = 3  # three in one slice
    labels[5, 4, 5] = 2
    expected = labels.copy()
    expected[labels == 3] = 1
    expected[0:5, 0, 0] = 3
    rule = Rule((3,), 1, below_voxels=4, per_component=True)
    found, changed = ruled(tmp_path, labels, rule)
    np.testing.assert_array_equal(found, expected)
    assert changed == [6]
    # All eleven together are more than that.
    assert ruled(tmp_path, labels, Rule((3,), 1, below_voxels=4))[1] == [0]
    # Of exactly three voxels, none go below 3.
    assert ruled(tmp_path, labels, Rule((3,), 1, below_voxels=3, per_component=True))[1] == [0]


def test_a_rule_for_components_sees_what_the_rule_before_it_did(tmp_path):
    labels = np.zeros((4, 3, 3), np.uint8)
    labels[0, 0, 0] = 1
    labels[1, 0, 0] = 3
    one, two = Rule((3,), 1, below_voxels=2), Rule((1,), 2, below_voxels=2, per_component=True)
    assert ruled(tmp_path, labels, two)[1] == [1]
    assert ruled(tmp_path, labels, one, two)[1] == [1, 0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.02, 0.6),
    thickness=st.integers(1, 4),
    limit=st.integers(0, 12),
)
def test_components_are_the_same_whatever_the_slabs(seed, share, thickness, limit):
    mask = np.random.default_rng(seed).random((7, 5, 6)) < share
    slabs = [mask[start : start + thickness] for start in range(0, 7, thickness)]
    labels, number = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.reshape(-1), minlength=number + 1)
    expected = np.flatnonzero(mask.reshape(-1) & (sizes < limit)[labels.reshape(-1)])
    np.testing.assert_array_equal(voxels_of_small_components(slabs, limit), expected)


def test_any_part_of_the_volume_can_be_read(tmp_path):
    labels = voxels(v1=20, v2=30, v3=9)
    rules = [Rule((3,), 1, below_voxels=10), Rule((2,), 0, below_voxels=3, per_component=True)]
    whole, changed = ruled(tmp_path, labels, *rules)
    assert all(changed)
    volume = RuledVolume(InMemory(tmp_path / "a.nii.gz", labels), rules)
    np.testing.assert_array_equal(volume.slab(3, 5), whole[3:5])
    np.testing.assert_array_equal(volume.slab(1, 2), whole[1:2])


def test_a_value_that_the_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.nii\.gz: voxels of uint8 cannot be 300"):
        ruled(tmp_path, voxels(v3=1), Rule((3,), 300, below_voxels=10))


def test_mm3_needs_the_size_of_voxels(tmp_path):
    volume = InMemory(tmp_path / "a.tif", voxels(v3=1), "not given in the file, 1 mm assumed")
    with pytest.raises(InputError, match=r"a\.tif: no voxel size in the file, expected one for the rule"):
        RuledVolume(volume, [Rule((3,), 1, below_mm3=10.0)])
    assert RuledVolume(volume, [Rule((3,), 1, below_voxels=10)]).changed == [1]


def test_a_file_is_opened_as_it_is_after_the_rules(tmp_path):
    labels = voxels(v1=20, v3=9)
    write_volume(tmp_path / "a.nii.gz", labels, GEOMETRY)
    with open_with_rules(tmp_path / "a.nii.gz", [Rule((3,), 1, below_voxels=10)]) as volume:
        np.testing.assert_array_equal(volume.slab(0, 5), np.where(labels == 3, 1, labels))
        assert volume.geometry.spacing == GEOMETRY.spacing
    with open_with_rules(tmp_path / "a.nii.gz", []) as volume:
        np.testing.assert_array_equal(volume.slab(0, 5), labels)
