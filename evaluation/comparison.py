"""Paired comparison of two models over the same cases, and correction for several comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

DIGITS = 12
"""Digits, after that of the largest value, in which differences differ; 0.9 − 0.8 and 0.8 − 0.7 then are a tie."""

EXACT = 50
"""Largest number of differences for which p is exact; SciPy's limit."""


@dataclass(frozen=True)
class Comparison:
    """How a first model compares with a second one.

    Parameters
    ----------
    n
        Number of pairs, that is, of cases in which both models have a value.
    mean_difference
        Mean of first minus second, in the unit of the values; its sign does not depend on which direction is better.
    p
        Two-sided p of the Wilcoxon signed-rank test, not corrected.
    effect_size
        Matched-pairs rank-biserial correlation from −1 to 1; positive if the first model is better.
    wins, ties, losses
        Number of pairs in which the first model is better, equal, worse.
    """

    n: int
    mean_difference: float
    p: float
    effect_size: float
    wins: int
    ties: int
    losses: int


def compare(first: Sequence[float], second: Sequence[float], *, better: Literal["higher", "lower"]) -> Comparison:
    """Compare two models case by case.

    Pairs without difference are left out of the test (Wilcoxon's way, not Pratt's), so that p and effect size come
    from the same ranks; they are counted in ``ties``. Up to ``EXACT`` differences p is exact, given the ranks found,
    be some of them shared or not; beyond, it is from the normal approximation.

    Parameters
    ----------
    first, second
        A metric of each model, in the same order of cases. Pairs in which one is NaN are left out.
    better
        Whether ``higher`` or ``lower`` values are better.

    Returns
    -------
    Comparison
        With p 1 and effect 0 if no pair differs; with NaN if there is no pair.

    Raises
    ------
    InputError
        If the models have different numbers of values, a value is infinite, or ``better`` is neither of the two.

    References
    ----------
    Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1, 1945. Kerby, The simple difference
    formula: an approach to teaching nonparametric correlation, Comprehensive Psychology 3, 2014.
    """
    one, other = _pairs(first, second)
    if better not in ("higher", "lower"):
        message = f"better is {better!r}; expected higher or lower"
        raise InputError(message)
    if not one.size:
        return Comparison(0, math.nan, math.nan, math.nan, 0, 0, 0)
    # Ranks do not change if all differences are divided by the same number.
    scale = max(float(np.abs(one).max()), float(np.abs(other).max())) or 1.0
    gains = np.round((one - other) / scale, DIGITS) * (1 if better == "higher" else -1)
    wins, losses = int(np.count_nonzero(gains > 0)), int(np.count_nonzero(gains < 0))
    p, effect = _signed_rank(gains[gains != 0])
    return Comparison(
        one.size, float(np.mean(one - other)), p, effect, wins=wins, ties=one.size - wins - losses, losses=losses
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several tests, so that the chance of any false discovery is at most the level of each.

    Parameters
    ----------
    p_values
        From 0 to 1; NaN where there was no test.

    Returns
    -------
    list of float
        Corrected values in the same order, at most 1; NaN stays NaN and does not count as a test.

    Raises
    ------
    InputError
        If a value lies outside of 0 to 1.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6, 1979.
    """
    wrong = [value for value in p_values if not (0 <= value <= 1 or math.isnan(value))]
    if wrong:
        message = f"{wrong[0]} is no p-value; expected numbers from 0 to 1, or NaN"
        raise InputError(message)
    corrected = [math.nan] * len(p_values)
    tested = sorted((value, index) for index, value in enumerate(p_values) if not math.isnan(value))
    largest = 0.0
    for rank, (value, index) in enumerate(tested):
        largest = max(largest, min(1.0, value * (len(tested) - rank)))
        corrected[index] = largest
    return corrected


def _pairs(first: Sequence[float], second: Sequence[float]) -> tuple[Floats, Floats]:
    if len(first) != len(second):
        message = f"the models have {len(first)} and {len(second)} values; expected one each per case"
        raise InputError(message)
    values = np.array([first, second], dtype=np.float64).reshape(2, -1)
    if np.isinf(values).any():
        message = "a value is infinite; expected numbers, or NaN where there is none"
        raise InputError(message)
    one, other = values[:, ~np.isnan(values).any(axis=0)]
    return one, other


def _signed_rank(gains: Floats) -> tuple[float, float]:
    """Return p and effect size of differences other than zero, positive where the first model is better."""
    if not gains.size:
        return 1.0, 0.0
    from scipy.stats import rankdata, wilcoxon

    ranks = rankdata(np.abs(gains))
    effect = float((ranks * np.sign(gains)).sum() / ranks.sum())
    p = _exact_p(ranks, gains > 0) if gains.size <= EXACT else float(wilcoxon(gains, zero_method="wilcox").pvalue)
    return p, effect


def _exact_p(ranks: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Return the two-sided p of the sum of positive ranks if every sign is as likely as the other.

    SciPy's is exact without shared ranks alone; with them it depends on SciPy's version and is slow.
    """
    doubled = np.rint(2 * ranks).astype(np.int64)
    chances = np.zeros(int(doubled.sum()) + 1)
    chances[0] = 1
    for rank in doubled:
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[:-rank]
        chances = (chances + shifted) / 2
    observed = int(doubled[positive].sum())
    return min(1.0, 2 * float(min(chances[: observed + 1].sum(), chances[observed:].sum())))
