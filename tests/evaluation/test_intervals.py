"""Bootstrap intervals: known answers, what has none, and what must not change them."""

from __future__ import annotations

import math
import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from evaluation import intervals
from evaluation.intervals import Interval, bootstrap_interval
from nnunet_ext.errors import InputError

# Multiples of an eighth, so that sums are exact and a shift changes no rounding.
VALUES = st.lists(st.integers(-800, 800).map(lambda eighths: eighths / 8), min_size=2, max_size=12)


def exact_bca(values, level):
    """BCa from all n^n resamples and Efron's formulas, in the plain form of the paper."""
    values = np.array(values, dtype=float)
    means = np.sort([np.mean(resample) for resample in product(values, repeat=len(values))])
    mean = values.mean()
    bias = ndtri((np.mean(means < mean) + np.mean(means <= mean)) / 2)
    leave_one_out = np.array([np.delete(values, index).mean() for index in range(len(values))])
    deviations = leave_one_out.mean() - leave_one_out
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    tails = [
        ndtr(bias + (bias + z) / (1 - acceleration * (bias + z))) for z in ndtri([(1 - level) / 2, (1 + level) / 2])
    ]
    return np.quantile(means, tails)


def test_the_interval_is_that_of_all_resamples():
    values = [0.1, 0.2, 0.4, 0.8, 3.0]
    found = bootstrap_interval(values, resamples=20000)
    np.testing.assert_allclose([found.low, found.high], exact_bca(values, 0.95), atol=0.05)


def test_the_interval_is_not_that_of_percentiles():
    # The long tail upwards moves both ends up.
    values = [0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.5, 0.6, 0.9, 4.0]
    means = np.random.default_rng(2).choice(values, (20000, 10)).mean(axis=1)
    found = bootstrap_interval(values, resamples=20000)
    assert found.low > np.quantile(means, 0.025) + 0.02
    assert found.high > np.quantile(means, 0.975) + 0.05


def test_two_values_span_the_interval():
    # Means of two draws are 1, 1.5 and 2 with a quarter, a half and a quarter of the weight.
    assert bootstrap_interval([1, 2]) == Interval(1.0, 2.0)


@pytest.mark.parametrize("values", [[], [0.7]])
def test_fewer_than_two_values_have_no_interval(values):
    found = bootstrap_interval(values)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("values", [[0.3, 0.3], [0.1] * 7, [0.0, -0.0], [1e300] * 3])
def test_equal_values_are_their_interval_without_a_warning(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_interval(values) == Interval(values[0], values[0])


def test_where_bca_is_not_defined_the_percentiles_are_taken():
    # The squares of these deviations are below the smallest number there is.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_interval([1e-300, 2e-300]) == Interval(1e-300, 2e-300)
        found = bootstrap_interval([number * 2.0**-1000 for number in range(12)], level=0.8)
    means = np.random.default_rng(0).choice(12, (20000, 12)).mean(axis=1)
    low, high = np.quantile(means, [0.1, 0.9])
    np.testing.assert_allclose([found.low * 2.0**1000, found.high * 2.0**1000], [low, high], atol=0.15)


def test_one_resample_that_misses_the_mean_on_one_side_has_percentiles():
    found = bootstrap_interval([0.0, 1.0, 5.0], resamples=1, seed=0)
    assert found.low == found.high
    assert math.isfinite(found.low)


def test_the_same_seed_gives_the_same_interval_and_another_another():
    values = [0.3, 0.5, 0.9, 0.95]
    state = np.random.get_state()[1].copy()
    first = bootstrap_interval(iter(values))
    assert first == bootstrap_interval(values) == bootstrap_interval(np.array(values))
    assert np.array_equal(np.random.get_state()[1], state)
    values = list(np.random.default_rng(3).normal(size=20))
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_many_values_are_resampled_in_batches(monkeypatch):
    values = np.random.default_rng(3).normal(size=50)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(intervals, "BATCH_VALUES", 500)
    assert bootstrap_interval(values) == whole


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    draws = np.random.default_rng(4).normal(size=(400, 30))
    found = [bootstrap_interval(values, resamples=400, level=0.9) for values in draws]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert 0.84 < covered < 0.94


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_refused(wrong):
    with pytest.raises(InputError, match=r"position 1; expected finite"):
        bootstrap_interval([0.5, wrong, 0.7])


@pytest.mark.parametrize("options", [{"level": 0}, {"level": 95}, {"level": math.nan}, {"resamples": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        bootstrap_interval([0.5, 0.7], **options)


@given(VALUES)
@settings(deadline=None, max_examples=40)
def test_the_interval_lies_within_the_values(values):
    found = bootstrap_interval(values, resamples=200)
    assert min(values) <= found.low <= found.high <= max(values)


def test_the_level_is_that_of_the_interval():
    values = np.random.default_rng(5).normal(size=40)
    found = bootstrap_interval(values, level=0.5, resamples=20000)
    # Half of a normal distribution lies within 0.674 standard errors.
    assert found.high - found.low == pytest.approx(2 * 0.6745 * values.std() / math.sqrt(40), rel=0.05)


@given(VALUES)
@settings(deadline=None, max_examples=40)
def test_a_higher_level_is_wider(values):
    narrow, wide = (bootstrap_interval(values, resamples=200, level=level) for level in (0.8, 0.99))
    assert wide.low <= narrow.low <= narrow.high <= wide.high


@given(VALUES, st.integers(-50, 50), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
@settings(deadline=None, max_examples=40)
def test_the_interval_moves_and_scales_with_the_values(values, shift, scale):
    # Means of 1, 2, 4 or 8 values are exact, so that no tie between means is broken by rounding.
    assume(len(values) in (2, 4, 8))
    found = bootstrap_interval(values, resamples=200)
    moved = bootstrap_interval([scale * value + shift for value in values], resamples=200)
    np.testing.assert_allclose(
        [moved.low, moved.high], [scale * found.low + shift, scale * found.high + shift], atol=1e-9, rtol=1e-9
    )
