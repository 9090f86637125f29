"""Paired comparison of models: answers by hand, the exact test by counting signs, Holm's correction twice."""

from __future__ import annotations

import math
import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from evaluation.comparison import Comparison, compare, holm
from nnunet_ext.errors import InputError

SCORES = st.integers(0, 20).map(lambda value: value / 20)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=9)


def split(pairs):
    return [first for first, _ in pairs], [second for _, second in pairs]


def p_by_counting_signs(differences):
    """Two-sided p from the rank sums of all 2^n ways to give the ranks a sign."""
    differences = np.round(differences, 9)
    differences = differences[differences != 0]
    ranks = rankdata(np.abs(differences))
    observed = ranks[differences > 0].sum()
    sums = np.array([ranks[np.array(signs)].sum() for signs in product([False, True], repeat=len(ranks))])
    return min(1.0, 2 * min(np.mean(sums <= observed), np.mean(sums >= observed)))


def naive_holm(p_values):
    """The definition: the largest, over all p not above this one, of p times the number of p not below it."""
    tested = [p for p in p_values if not math.isnan(p)]
    return [
        max(min(1.0, other * sum(p >= other for p in tested)) for other in tested if other <= value)
        if not math.isnan(value)
        else math.nan
        for value in p_values
    ]


def test_a_model_that_is_better_in_five_of_six_cases():
    # Differences 6, 5, 4, 3, 2, -1 (hundredths): ranks for the first model sum to 20, against it to 1. Of the 64
    # ways to give signs, two (no rank, rank 1) have a sum against of at most 1: p = 2 · 2/64. Effect (20 - 1)/21.
    found = compare([0.86, 0.85, 0.84, 0.83, 0.82, 0.79], [0.8] * 6, better="higher")
    assert found == Comparison(
        n=6,
        mean_difference=pytest.approx(0.19 / 6),
        p=pytest.approx(4 / 64),
        effect_size=pytest.approx(19 / 21),
        wins=5,
        ties=0,
        losses=1,
    )


def test_of_distances_the_lower_are_better():
    found = compare([1.0, 2.0, 9.0], [2.0, 4.0, 6.0], better="lower")
    # Gains 1, 2, -3 with ranks 1, 2, 3: effect 0; the difference keeps its own sign.
    assert (found.wins, found.losses, found.effect_size, found.mean_difference) == (2, 1, 0.0, 0.0)
    shorter = compare([1.0, 2.0], [2.0, 4.0], better="lower")
    assert (shorter.effect_size, shorter.mean_difference) == (1.0, -1.5)


def test_equal_cases_count_as_ties_but_not_in_the_test():
    with_ties = compare([0.9, 0.8, 0.7, 0.5, 0.5], [0.8, 0.6, 0.4, 0.5, 0.5], better="higher")
    without = compare([0.9, 0.8, 0.7], [0.8, 0.6, 0.4], better="higher")
    assert (with_ties.wins, with_ties.ties, with_ties.losses, with_ties.n) == (3, 2, 0, 5)
    # All three in favour: p = 2 · 1/8.
    assert with_ties.p == without.p == pytest.approx(0.25)
    assert with_ties.effect_size == without.effect_size == 1.0
    assert with_ties.mean_difference == pytest.approx(0.12)


def test_models_that_are_the_same_do_not_differ():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compare([0.5, 0.7, 0], [0.5, 0.7, 0], better="higher") == Comparison(3, 0.0, 1.0, 0.0, 0, 3, 0)
        assert compare([0.0], [0.0], better="lower") == Comparison(1, 0.0, 1.0, 0.0, 0, 1, 0)


def test_one_pair_says_nothing():
    found = compare([0.9], [0.8], better="higher")
    assert (found.n, found.p, found.effect_size, found.wins) == (1, 1.0, 1.0, 1)


@pytest.mark.parametrize(("first", "second"), [([], []), ([math.nan, 1.0], [0.5, math.nan])])
def test_without_pairs_there_is_no_comparison(first, second):
    found = compare(first, second, better="higher")
    assert (found.n, found.wins, found.ties, found.losses) == (0, 0, 0, 0)
    assert all(math.isnan(value) for value in (found.mean_difference, found.p, found.effect_size))


def test_a_pair_with_a_missing_value_is_left_out():
    found = compare([0.9, math.nan, 0.8, 0.7], [0.8, 0.1, math.nan, 0.6], better="higher")
    assert (found.n, found.wins) == (2, 2)
    assert found.mean_difference == pytest.approx(0.1)


def test_rounding_breaks_no_ties():
    # 0.9 - 0.8 and 0.8 - 0.7 differ in the last bit, and 0.1 + 0.2 is not 0.3. Ranks 1.5, 1.5, 3: (3 - 3)/6.
    found = compare([0.9, 0.8, 0.3, 0.1 + 0.2], [0.8, 0.7, 0.6, 0.3], better="higher")
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.effect_size == 0.0


def test_small_volumes_are_no_ties():
    assert compare([3e-15, 5e-15], [1e-15, 2e-15], better="higher").wins == 2


def test_many_cases_have_the_p_of_the_normal_approximation():
    # 60 differences of different size, all in favour: the sum of ranks is 1830, expected 915, variance 60·61·121/24.
    found = compare(list(range(1, 61)), [0] * 60, better="higher")
    z = 915 / math.sqrt(60 * 61 * 121 / 24)
    assert found.p == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-6)


def test_models_need_the_same_cases_and_a_direction():
    with pytest.raises(InputError, match="2 and 1 values"):
        compare([0.5, 0.6], [0.5], better="higher")
    with pytest.raises(InputError, match="expected higher or lower"):
        compare([0.5], [0.5], better="more")
    with pytest.raises(InputError, match="infinite"):
        compare([0.5], [math.inf], better="lower")


def test_p_is_that_of_scipy_up_to_50_differences_and_beyond():
    for n in (20, 50, 51, 70):
        differences = np.random.default_rng(n).permutation(np.arange(1, n + 1)) * np.where(np.arange(n) % 3, 1, -1)
        assert compare(differences, [0] * n, better="lower").p == pytest.approx(wilcoxon(differences).pvalue, rel=1e-9)


def test_shared_ranks_have_an_exact_p():
    # Sizes 1, 1, 1, 2, all in favour: 2 · 1/16; the single 2 against: ranks 2, 2, 2 for, 4 against, of which the
    # 16 sign patterns have a sum of at most 4 in 1 + 3 + 1 cases ({}, {2} three times, {4}) and {2, 2} three times.
    assert compare([1, 1, 1, 2], [0] * 4, better="higher").p == pytest.approx(2 / 16)
    assert compare([1, 1, 1, -2], [0] * 4, better="higher").p == pytest.approx(min(1, 2 * 8 / 16))


@given(st.lists(st.integers(-12, 12), min_size=1, max_size=9))
@settings(deadline=None)
def test_p_is_that_of_all_signs(differences):
    found = compare(differences, [0] * len(differences), better="higher")
    expected = p_by_counting_signs(differences) if any(differences) else 1.0
    assert found.p == pytest.approx(expected)


@given(PAIRS)
@settings(deadline=None)
def test_swapping_the_models_turns_everything_around(pairs):
    first, second = split(pairs)
    there, back = compare(first, second, better="higher"), compare(second, first, better="higher")
    assert (there.n, there.wins, there.ties, there.losses) == (back.n, back.losses, back.ties, back.wins)
    assert there.mean_difference == pytest.approx(-back.mean_difference)
    assert there.effect_size == pytest.approx(-back.effect_size)
    assert there.p == pytest.approx(back.p)


@given(PAIRS)
@settings(deadline=None)
def test_lower_is_better_turns_wins_but_not_the_difference(pairs):
    first, second = split(pairs)
    high, low = compare(first, second, better="higher"), compare(first, second, better="lower")
    assert (high.wins, high.losses, high.mean_difference) == (low.losses, low.wins, low.mean_difference)
    assert high.effect_size == pytest.approx(-low.effect_size)


@given(PAIRS, st.sampled_from([1e-6, 3.0, 1e6]))
@settings(deadline=None)
def test_the_unit_does_not_matter(pairs, scale):
    first, second = split(pairs)
    found = compare(first, second, better="higher")
    scaled = compare([scale * value for value in first], [scale * value for value in second], better="higher")
    assert (scaled.wins, scaled.ties, scaled.losses) == (found.wins, found.ties, found.losses)
    assert (scaled.p, scaled.effect_size) == pytest.approx((found.p, found.effect_size))


@given(PAIRS)
@settings(deadline=None)
def test_counts_add_up_and_scores_stay_in_range(pairs):
    found = compare(*split(pairs), better="higher")
    assert found.wins + found.ties + found.losses == found.n == len(pairs)
    assert -1 <= found.effect_size <= 1
    assert 0 < found.p <= 1


# Holm


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, and the last is lifted to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_one_test_as_it_is_and_stops_at_1():
    assert holm([0.04]) == [0.04]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_no_test_does_not_count_in_holm():
    first, absent, second = holm([0.01, math.nan, 0.04])
    assert (first, second) == pytest.approx((0.02, 0.04))
    assert math.isnan(absent)


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(InputError, match=r"1\.2 is no p-value"):
        holm([0.5, 1.2])
    with pytest.raises(InputError, match=r"-0\.1 is no p-value"):
        holm([-0.1])


P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.05]) | st.just(math.nan), max_size=12)


@given(P_VALUES)
def test_holm_is_the_naive_one(p_values):
    np.testing.assert_allclose(holm(p_values), naive_holm(p_values), rtol=1e-12)


@given(P_VALUES)
def test_holm_never_lowers_and_keeps_the_order(p_values):
    pairs = [(p, q) for p, q in zip(p_values, holm(p_values), strict=True) if not math.isnan(p)]
    assert all(p <= q <= 1 for p, q in pairs)
    corrected = [q for _, q in sorted(pairs)]
    assert corrected == sorted(corrected)
