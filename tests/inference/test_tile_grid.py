from __future__ import annotations

import itertools

import pytest
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_ext.inference.tile_grid import TileGrid, tile_grid

SIZES = st.integers(1, 60)
STEPS = st.sampled_from((0.1, 0.25, 0.3, 0.5, 0.7, 1.0))


def stock_windows(
    shape: tuple[int, ...], patch: tuple[int, ...], step_size: float
) -> tuple[tuple[int, ...], tuple[int, ...], list[tuple[tuple[int, int], ...]]]:
    """Return the padded shape, the padding before, and (first, last) along each axis of nnU-Net's windows in order."""
    predictor = nnUNetPredictor(tile_step_size=step_size, device=torch.device("cpu"), allow_tqdm=False)
    predictor.configuration_manager = type("Configuration", (), {"patch_size": patch})
    padded, inside = pad_nd_image(torch.zeros((1, *shape)), patch, "constant", {"value": 0}, True, None)
    windows = [
        tuple((part, part + 1) if isinstance(part, int) else (part.start, part.stop) for part in slicer[1:])
        for slicer in predictor._internal_get_sliding_window_slicers(padded.shape[1:])
    ]
    return tuple(padded.shape[1:]), tuple(part.start for part in inside[1:]), windows


def windows_of(grid: TileGrid) -> list[tuple[tuple[int, int], ...]]:
    return [
        tuple((start, start + size) for start, size in zip(starts, grid.patch, strict=True))
        for starts in itertools.product(*grid.starts)
    ]


@settings(deadline=None, max_examples=150)
@given(shape=st.tuples(SIZES, SIZES, SIZES), patch=st.tuples(SIZES, SIZES, SIZES), step=STEPS)
def test_windows_are_those_of_nnunet_in_its_order(shape, patch, step):
    grid = tile_grid(shape, patch, step)
    assert (grid.padded, grid.padding, windows_of(grid)) == stock_windows(shape, patch, step)
    assert grid.tiles_per_row * len(grid.starts[0]) == len(windows_of(grid))


@settings(deadline=None, max_examples=100)
@given(shape=st.tuples(st.integers(1, 8), SIZES, SIZES), patch=st.tuples(SIZES, SIZES), step=STEPS)
def test_two_dimensional_windows_are_those_of_nnunet_slice_by_slice(shape, patch, step):
    grid = tile_grid(shape, patch, step)
    assert (grid.padded, grid.padding, windows_of(grid)) == stock_windows(shape, patch, step)
    assert grid.patch == (1, *patch)


def test_windows_of_a_shape_counted_by_hand():
    grid = tile_grid((10, 3, 8), (4, 6, 8), 0.5)
    # Along z 6 voxels are left for steps of 2 at most; y is smaller than the window, with 1 of 3 voxels before.
    assert grid.starts == ((0, 2, 4, 6), (0,), (0,))
    assert grid.padding == (0, 1, 0)
    assert grid.padded == (10, 6, 8)


@pytest.mark.parametrize(
    ("planes", "rows"),
    [((0, 1), (0,)), ((0, 10), (0, 2, 4, 6)), ((3, 5), (0, 2, 4)), ((4, 5), (2, 4)), ((9, 10), (6,))],
)
def test_rows_over_planes_are_those_that_touch_them(planes, rows):
    assert tile_grid((10, 8, 8), (4, 8, 8), 0.5).rows_over(*planes) == rows


@given(depth=SIZES, patch=SIZES, step=STEPS, data=st.data())
def test_rows_over_planes_are_found_in_padded_coordinates(depth, patch, step, data):
    grid = tile_grid((depth, 5, 5), (patch, 5, 5), step)
    first = data.draw(st.integers(0, depth - 1))
    last = data.draw(st.integers(first + 1, depth))
    before = grid.padding[0]
    touched = set(range(first + before, last + before))
    expected = tuple(start for start in grid.starts[0] if touched & set(range(start, start + patch)))
    assert grid.rows_over(first, last) == expected != ()
