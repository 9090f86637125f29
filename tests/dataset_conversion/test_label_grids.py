"""Label maps on other grids come to the image's by their place in space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataset_conversion.label_grids import FIRST, LAST, loss_problem, merge_masks, resample_labels
from nnunet_ext.imageio import Geometry

GRID = Geometry((2.0, 1.0, 0.5), (5.0, -3.0, 10.0))


def random_labels(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, shape, dtype=np.uint8)


def test_the_same_grid_changes_nothing():
    labels = random_labels((3, 4, 5))
    found = resample_labels(labels, GRID, (3, 4, 5), GRID)
    assert found.array is labels
    assert (found.lost_voxels, found.total_voxels) == (0, np.count_nonzero(labels))


@settings(max_examples=40, deadline=None)
@given(shift=st.tuples(*[st.integers(-4, 4)] * 3), seed=st.integers(0, 99))
def test_a_shift_by_whole_voxels_moves_and_crops(shift, seed):
    labels, shape = random_labels((3, 4, 5), seed), (4, 4, 4)
    found = resample_labels(labels, GRID.shifted(shift), shape, GRID)
    expected, inside = np.zeros(shape, np.uint8), 0
    for index in np.argwhere(labels):
        target = index + shift
        if (target >= 0).all() and (target < shape).all():
            expected[tuple(target)] = labels[tuple(index)]
            inside += 1
    np.testing.assert_array_equal(found.array, expected)
    assert found.total_voxels == np.count_nonzero(labels)
    assert found.total_voxels - found.lost_voxels == inside


@settings(max_examples=25, deadline=None)
@example(angle=5e-324, spacing=(1.0, 1.0, 1.875), shift=(0.0, 0.0, 0.0), seed=0)  # ITK fails at such numbers
@given(
    angle=st.floats(-3, 3),
    spacing=st.tuples(*[st.floats(0.4, 2.5)] * 3),
    shift=st.tuples(*[st.floats(-3, 3)] * 3),
    seed=st.integers(0, 99),
)
def test_every_voxel_gets_the_nearest_label_in_space(angle, spacing, shift, seed):
    labels, shape = random_labels((4, 5, 6), seed), (5, 4, 6)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    own = Geometry(spacing, shift, ((1.0, 0.0, 0.0), (0.0, cos, -sin), (0.0, sin, cos)))
    grid = Geometry((1.0, 1.0, 1.0))
    found = resample_labels(labels, own, shape, grid)
    to_index = np.linalg.inv(np.array(own.direction) * own.spacing)
    for voxel in np.ndindex(shape):
        index = to_index @ (np.array(voxel, float) - own.origin)
        rounded = np.rint(index).astype(int)
        if (np.abs(np.abs(index - rounded) - 0.5) < 1e-3).any():
            continue  # as near to one voxel as to another
        inside = (rounded >= 0).all() and (rounded < labels.shape).all()
        assert found.array[voxel] == (labels[tuple(rounded)] if inside else 0)
    centre = (np.array(shape) - 1) / 2
    points = [np.array(own.direction) * own.spacing @ index + own.origin for index in np.argwhere(labels)]
    beyond = np.array([(np.abs(point - centre) - np.array(shape) / 2).max() for point in points])
    assert np.count_nonzero(beyond > 1e-3) <= found.lost_voxels <= np.count_nonzero(beyond > -1e-3)


def test_masks_and_wide_labels_keep_their_type():
    for labels in (random_labels((3, 4, 5)) > 1, random_labels((3, 4, 5)).astype(np.uint16) * 300):
        found = resample_labels(labels, GRID.shifted((1, 0, 0)), (3, 4, 5), GRID)
        assert found.array.dtype == labels.dtype
        np.testing.assert_array_equal(found.array[1:], labels[:-1])


def test_an_empty_map_loses_nothing():
    found = resample_labels(np.zeros((2, 2, 2), np.uint8), GRID.shifted((99, 0, 0)), (3, 4, 5), GRID)
    assert found.array.shape == (3, 4, 5)
    assert not found.array.any()
    assert (found.lost_voxels, found.total_voxels) == (0, 0)
    assert loss_problem(Path("x"), 0, 0) is None


@pytest.mark.parametrize(("lost", "is_problem"), [(0, False), (1, False), (2, True)])
def test_a_thousandth_may_be_lost(lost, is_problem):
    problem = loss_problem(Path("a.nrrd"), lost, 1000)
    assert (problem is not None) is is_problem
    if problem:
        assert "a.nrrd: 2 of 1000 labelled voxels (0.20%)" in problem


def test_masks_become_labels_and_overlap_is_counted():
    one, two, three = (np.array([[row]], bool) for row in ([1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 1, 1]))
    masks = [(1, one), (2, two), (3, three)]
    last = merge_masks(masks, (1, 1, 4), keep=LAST)
    assert last.array.tolist() == [[[1, 2, 3, 3]]]
    assert last.overlap_voxels == 2
    first = merge_masks(masks, (1, 1, 4), keep=FIRST)
    assert first.array.tolist() == [[[1, 1, 1, 3]]]
    assert merge_masks([(300, one)], (1, 1, 4)).array.tolist() == [[[300, 300, 300, 0]]]
