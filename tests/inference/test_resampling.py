"""Resampling slab by slab gives the numbers of nnU-Net's resampling of whole volumes."""

from __future__ import annotations

import inspect
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from scipy.ndimage import map_coordinates, zoom

from nnunet_ext.errors import InputError
from nnunet_ext.inference.interpolation import PlaneAxis, interpolation_blocks, nearest_samples
from nnunet_ext.inference.resampling import (
    Limits,
    ResamplingPlan,
    SlabResampler,
    plan_resampling,
    supported_resampling,
)

ISOTROPIC = (1.0, 1.0, 1.0)
# Spacing before, and the axis that nnU-Net then resamples separately (None: no axis).
SPACINGS = [(ISOTROPIC, None), ((5, 1, 1), 0), ((1, 5, 1), 1), ((1, 1, 5), 2), ((1, 5, 5), None)]
SHAPES = [
    ((20, 31, 17), (33, 25, 28)),
    ((40, 18, 17), (13, 36, 8)),
    ((18, 20, 16), (18, 10, 48)),
    ((30, 20, 12), (10, 20, 12)),
    ((6, 7, 9), (6, 14, 4)),
    ((1, 12, 10), (1, 9, 15)),
    ((1, 5, 6), (3, 1, 9)),
    ((9, 6, 5), (1, 8, 1)),
]


def noise(shape: tuple[int, ...], channels: int = 2, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 2, (channels, *shape)).astype(dtype)


def stock(volume: np.ndarray, plan: ResamplingPlan, spacing: tuple[float, ...], order: int, order_z: int) -> np.ndarray:
    return resample_data_or_seg_to_shape(
        volume, plan.out_shape, spacing, ISOTROPIC, is_seg=False, order=order, order_z=order_z, force_separate_z=None
    )


def planned(in_shape, out_shape, spacing=ISOTROPIC, order=3, order_z=0) -> ResamplingPlan:
    plan = plan_resampling(in_shape, out_shape, spacing, ISOTROPIC, order=order, order_z=order_z, force_separate_z=None)
    assert plan is not None
    return plan


def collected(plan: ResamplingPlan, volume: np.ndarray, step: int = 7) -> Limits:
    limits = Limits(plan, len(volume))
    for start in range(0, volume.shape[1], step):
        limits.push(volume[:, start : start + step])
    return limits


def in_slabs(plan: ResamplingPlan, volume: np.ndarray, cuts: list[int], first: int = 0, last: int | None = None):
    """Resample with slabs of the given sizes, over and over, until all needed planes are pushed."""
    resampler = SlabResampler(
        plan, channels=len(volume), first=first, last=last, limits=collected(plan, volume), dtype=volume.dtype
    )
    start, stop = resampler.needed
    parts = []
    while start < stop:
        size = cuts[len(parts) % len(cuts)]
        parts.append(resampler.push(volume[:, start : min(start + size, stop)]))
        start += size
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("spacing", "separate_axis"), SPACINGS)
def test_the_numbers_are_those_of_stock_nnunet(spacing, separate_axis, order):
    order_zs = (0,) if separate_axis is None else (0, 1, 3)
    for (in_shape, out_shape), order_z in itertools.product(SHAPES, order_zs):
        volume = noise(in_shape)
        plan = planned(in_shape, out_shape, spacing, order, order_z)
        assert plan.separate_axis == separate_axis
        expected = stock(volume, plan, spacing, order, order_z)
        result = in_slabs(plan, volume, [4])
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, rtol=0, atol=3e-7 * np.abs(volume).max())


def test_values_far_from_zero_keep_their_digits():
    volume = noise((30, 20, 20), dtype=np.float64) + 1e4
    plan = planned((30, 20, 20), (45, 33, 14))
    np.testing.assert_allclose(in_slabs(plan, volume, [5]), stock(volume, plan, ISOTROPIC, 3, 0), rtol=2e-9)


def test_float16_logits_are_within_one_rounding_and_give_the_same_classes():
    rng = np.random.default_rng(1)
    logits = np.cumsum(rng.normal(size=(4, 24, 40, 36)), axis=3).astype(np.float16)
    plan = planned((24, 40, 36), (37, 61, 50), order=1)
    expected = stock(logits, plan, ISOTROPIC, 1, 0)
    result = in_slabs(plan, logits, [3])
    assert result.dtype == np.float16
    # The spacing of a number is that upwards, twice that of its lower neighbours at a power of two.
    assert (np.abs(result.astype(float) - expected) <= np.spacing(np.abs(expected)).astype(float)).all()
    assert (result != expected).mean() < 1e-3
    assert (result.argmax(0) == expected.argmax(0)).mean() >= 0.9999


@pytest.mark.parametrize(
    ("in_size", "out_size", "expected"),
    [
        (3, 6, [0, 0, 1, 1, 2, 2]),
        # Positions 0.5, 2.5, 4.5 lie in the middle of two samples: up.
        (6, 3, [1, 3, 5]),
        (6, 2, [1, 4]),
        (2, 6, [0, 0, 0, 1, 1, 1]),
        (5, 1, [2]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_order_0_takes_the_nearest_sample_and_of_two_the_upper_one(in_size, out_size, expected):
    assert nearest_samples(in_size, out_size).tolist() == expected


def test_order_0_rounds_as_scipy_at_all_sizes():
    for in_size in range(1, 40):
        samples = np.arange(float(in_size))
        for out_size in range(1, 90):
            position = float(in_size) / out_size * (np.mgrid[:out_size] + 0.5) - 0.5
            expected = map_coordinates(samples, [position], order=0, mode="nearest")
            assert (nearest_samples(in_size, out_size) == expected).all()


@pytest.mark.parametrize("order", [1, 3])
def test_weights_are_those_of_scipy_and_sum_to_one(order):
    for in_size, out_size in [(1, 4), (2, 3), (7, 50), (50, 7), (64, 65), (200, 123)]:
        # Resampling of the identity shows the weights.
        expected = np.stack(
            [zoom(row, out_size / in_size, order=order, mode="nearest", grid_mode=True) for row in np.eye(in_size)], 1
        )
        weights = np.zeros((out_size, in_size))
        for block in interpolation_blocks(in_size, out_size, order, rows=16):
            weights[block.start : block.stop, block.first : block.last] = block.weights
        np.testing.assert_allclose(weights, expected, atol=2e-9)
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-14)


def test_an_axis_of_the_plane_leaves_the_other_axes_alone():
    ramp = np.arange(4.0)[:, None] + np.zeros((2, 1, 3))
    assert PlaneAxis(-2, 4, 2, 1)(ramp).tolist() == [[[0.5] * 3, [2.5] * 3]] * 2
    assert PlaneAxis(-1, 4, 2, 1)(ramp.transpose(0, 2, 1)).tolist() == [[[0.5, 2.5]] * 3] * 2


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    ends=st.tuples(st.integers(0, 89), st.integers(0, 89)),
    deep=st.integers(1, 90),
    order=st.sampled_from([0, 1, 3]),
    spacing=st.sampled_from([spacing for spacing, _ in SPACINGS]),
)
def test_neither_slabs_nor_the_range_of_planes_change_a_bit(cuts, ends, deep, order, spacing):
    volume = noise((50, 13, 21), channels=1)
    plan = planned((50, 13, 21), (deep, 17, 12), spacing, order, order_z=order)
    first, last = min(min(ends), deep - 1), min(max(ends) + 1, deep)
    whole = in_slabs(plan, volume, [50])
    assert whole.shape == (1, deep, 17, 12)
    assert np.array_equal(in_slabs(plan, volume, cuts, first, last), whole[:, first:last])


def test_planes_are_given_as_soon_as_they_are_known():
    plan = planned((4, 3, 3), (8, 3, 3), order=1)
    volume = noise((4, 3, 3))
    resampler = SlabResampler(plan, channels=2)
    given_out = [resampler.push(volume[:, z : z + 1]).shape[1] for z in range(4)]
    # Positions of the outputs: -0.25, 0.25, 0.75, ..., 3.25; the first and the last lie beyond the ends.
    assert given_out == [1, 2, 2, 3]
    assert resampler.push(volume[:, :0]).shape == (2, 0, 3, 3)


@pytest.mark.parametrize(("order", "most"), [(0, 1), (1, 2), (3, 52)])
def test_few_planes_are_needed_for_few_planes(order, most):
    plan = planned((1000, 4, 4), (1001, 4, 4), order=order)
    limits = collected(plan, noise((1000, 4, 4), channels=1))
    start, stop = SlabResampler(plan, channels=1, first=500, last=501, limits=limits).needed
    assert start <= 500 <= stop
    assert stop - start <= most


def test_planes_between_the_nearest_ones_count_for_nothing():
    volume = noise((30, 6, 6))
    plan = planned((30, 6, 6), (10, 9, 9), (5, 1, 1), order=3)
    clean = in_slabs(plan, volume, [4])
    volume[:, 0::3] = np.nan
    volume[:, 2::3] = np.nan
    assert np.array_equal(in_slabs(plan, volume, [4]), clean)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(
    ("in_shape", "out_shape"),
    [((120, 60, 60), (150, 90, 80)), ((120, 90, 90), (150, 60, 50)), ((90, 60, 90), (30, 90, 60))],
)
def test_no_more_memory_is_held_than_stated(in_shape, out_shape, order):
    volume = noise(in_shape, channels=3)
    plan = planned(in_shape, out_shape, order=order)
    limits = collected(plan, volume)
    resampler = SlabResampler(plan, channels=3, limits=limits)
    peak = returned = 0
    tracemalloc.start()
    try:
        for z in range(*resampler.needed):
            tracemalloc.reset_peak()
            returned = resampler.push(volume[:, z : z + 1]).nbytes
            peak = max(peak, tracemalloc.get_traced_memory()[1] - returned)
    finally:
        tracemalloc.stop()
    stated = resampler.held_planes * volume[:, 0].nbytes
    assert 0.5 * stated < peak <= 1.02 * stated


def test_large_planes_are_held_as_float32_after_they_have_shrunk():
    logits = planned((1000, 2000, 2000), (1100, 2000, 2000), order=1)
    # In planes of 4 channels of float16: 2 planes and one of a channel, of float32; 3 of a channel, of float64.
    assert SlabResampler(logits, channels=4, dtype=np.float16).held_planes == np.ceil(2 * 2 + 2 / 4 + 3 * 4 / 4)
    image = planned((1000, 2000, 2000), (1000, 1000, 1000), (5, 1, 1), order=3)
    # A quarter of a plane twice, and 3 planes of float64.
    assert SlabResampler(image, channels=1).held_planes == np.ceil(2 / 4 + 3 * 2)


@pytest.mark.parametrize("spacing", [spacing for spacing, _ in SPACINGS])
def test_cubic_splines_do_not_leave_the_range_of_the_input(spacing):
    volume = np.zeros((1, 16, 16, 16), np.float32)
    volume[:, 8:, :, 8:] = 1
    volume[:, :, 12:, :] = 0.25
    plan = planned((16, 16, 16), (25, 26, 27), spacing)
    assert plan.clip
    result = in_slabs(plan, volume, [5])
    assert (result.min(), result.max()) == (0, 1)
    np.testing.assert_allclose(result, stock(volume, plan, spacing, 3, 0), atol=3e-7)
    free = ResamplingPlan(plan.in_shape, plan.out_shape, plan.orders, plan.separate_axis, clip=False)
    assert in_slabs(free, volume, [5]).max() > 1.01


@pytest.mark.parametrize(
    ("order", "shape", "clip"), [(3, (8, 8, 9), True), (1, (8, 8, 9), False), (3, (9, 8, 8), False)]
)
def test_only_cubic_splines_within_a_slice_are_clipped(order, shape, clip):
    assert planned((8, 8, 8), shape, (5, 1, 1), order=order, order_z=3).clip is clip


def test_limits_are_kept_per_channel_and_slice_of_the_separate_axis():
    volume = noise((6, 4, 5))
    whole = collected(planned((6, 4, 5), (8, 8, 8)), volume, step=4)
    assert np.array_equal(whole.lowest[:, 0, 0], volume.min(axis=(1, 2, 3)))
    assert np.array_equal(whole.highest[:, 0, 0], volume.max(axis=(1, 2, 3)))
    rows = collected(planned((6, 4, 5), (8, 8, 8), (1, 5, 1)), volume, step=4)
    assert np.array_equal(rows.lowest[:, :, 0], volume.min(axis=(1, 3)))
    columns = collected(planned((6, 4, 5), (8, 8, 8), (1, 1, 5)), volume, step=4)
    assert np.array_equal(columns.highest[:, 0, :], volume.max(axis=(1, 2)))


@pytest.mark.parametrize(
    ("spacing", "order", "needed"),
    [(ISOTROPIC, 3, True), (ISOTROPIC, 1, False), ((5, 1, 1), 3, False), ((1, 5, 1), 3, True)],
)
def test_limits_are_needed_where_a_plane_does_not_know_its_own(spacing, order, needed):
    assert planned((8, 8, 8), (9, 9, 9), spacing, order).needs_limits is needed


def test_equal_shapes_need_nothing():
    assert (
        plan_resampling((3, 4, 5), (3, 4, 5), (5, 1, 1), ISOTROPIC, order=3, order_z=0, force_separate_z=None) is None
    )


def test_plans_may_force_or_forbid_a_separate_axis_and_move_the_threshold():
    def separate_axis(force, threshold=None):
        plan = plan_resampling(
            (8, 8, 8),
            (9, 9, 9),
            (1, 1, 2),
            ISOTROPIC,
            order=3,
            order_z=0,
            force_separate_z=force,
            separate_z_anisotropy_threshold=threshold,
        )
        return plan.separate_axis, plan.orders

    assert separate_axis(None) == (None, (3, 3, 3))
    assert separate_axis(True) == (2, (3, 3, 0))
    assert separate_axis(None, threshold=1.5) == (2, (3, 3, 0))
    assert separate_axis(False, threshold=1.5) == (None, (3, 3, 3))


def test_keywords_that_plans_leave_out_have_the_values_of_the_function():
    signature = inspect.signature(resample_data_or_seg_to_shape).parameters
    keywords = supported_resampling("resample_data_or_seg_to_shape", {})
    assert keywords.pop("separate_z_anisotropy_threshold") is None
    assert keywords == {name: signature[name].default for name in ("order", "order_z", "force_separate_z")}


def test_keywords_of_plans_become_those_of_the_plan():
    keywords = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    asked = supported_resampling("resample_data_or_seg_to_shape", keywords)
    plan = plan_resampling((8, 8, 8), (9, 9, 9), (5, 1, 1), ISOTROPIC, **asked)
    assert plan == ResamplingPlan((8, 8, 8), (9, 9, 9), (0, 1, 1), 0, clip=False)


@pytest.mark.parametrize(
    ("function", "keywords", "named"),
    [
        ("resample_torch_fornnunet", {"is_seg": False}, ["resample_torch_fornnunet"]),
        ("resample_data_or_seg_to_shape", {"mode": "linear", "device": "cpu"}, ["mode='linear'", "device='cpu'"]),
        ("resample_data_or_seg_to_shape", {"order": 2, "order_z": 5}, ["order=2", "order_z=5", "0, 1, 3"]),
        ("resample_data_or_seg_to_shape", {"is_seg": True}, ["is_seg=True"]),
        ("resample_data_or_seg_to_shape", {"force_separate_z": "no"}, ["force_separate_z='no'"]),
    ],
)
def test_resampling_that_is_not_known_is_refused_by_name(function, keywords, named):
    with pytest.raises(InputError, match="predict with nnUNetv2_predict, which") as caught:
        supported_resampling(function, keywords)
    for name in named:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"in_shape": (8, 8)}, "in_shape: \\(8, 8\\)"),
        ({"out_shape": (8, 0, 8)}, "out_shape: \\(8, 0, 8\\)"),
        ({"new_spacing": (1, 1)}, "new_spacing: \\(1, 1\\)"),
        ({"current_spacing": (1, 0, 1)}, "current_spacing: \\(1, 0, 1\\)"),
        ({"order": 2}, "order: 2"),
        ({"order_z": 4}, "order_z: 4"),
    ],
)
def test_plans_for_no_volume_are_refused(changed, message):
    wanted = {
        "in_shape": (8, 8, 8),
        "out_shape": (9, 9, 9),
        "current_spacing": ISOTROPIC,
        "new_spacing": ISOTROPIC,
        "order": 3,
        "order_z": 0,
    }
    with pytest.raises(InputError, match=message):
        plan_resampling(**{**wanted, **changed}, force_separate_z=None)


@pytest.mark.parametrize(("first", "last"), [(0, 10), (-1, 3), (4, 4), (5, 3)])
def test_a_range_beyond_the_volume_is_refused(first, last):
    with pytest.raises(InputError, match=f"Output planes {first} to {last}"):
        SlabResampler(planned((8, 8, 8), (9, 9, 9), order=1), channels=1, first=first, last=last)


def test_limits_that_are_missing_incomplete_or_of_another_volume_are_refused():
    plan, volume = planned((8, 8, 8), (9, 9, 9)), noise((8, 8, 8))
    with pytest.raises(InputError, match="none were given"):
        SlabResampler(plan, channels=2)
    with pytest.raises(InputError, match="Limits of 5 planes, expected all 8"):
        SlabResampler(plan, channels=2, limits=collected(plan, volume[:, :5]))
    with pytest.raises(InputError, match=r"with 2 channels, expected .* with 3"):
        SlabResampler(plan, channels=3, limits=collected(plan, volume))
    other = planned((8, 8, 8), (9, 9, 9), (1, 5, 1))
    with pytest.raises(InputError, match="separate_axis=1"):
        SlabResampler(plan, channels=2, limits=collected(other, volume))


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 1, 8, 9), (1, 1, 9, 8), (1, 8, 8)])
def test_a_slab_of_another_volume_is_refused(shape):
    resampler = SlabResampler(planned((8, 8, 8), (9, 9, 9), order=1), channels=1)
    with pytest.raises(InputError, match="Slab of shape"):
        resampler.push(np.zeros(shape, np.float32))


def test_planes_after_the_last_one_are_refused():
    resampler = SlabResampler(planned((8, 8, 8), (9, 9, 9), order=1), channels=1)
    resampler.push(np.zeros((1, 6, 8, 8), np.float32))
    with pytest.raises(InputError, match="3 planes, only 2 are still needed"):
        resampler.push(np.zeros((1, 3, 8, 8), np.float32))
