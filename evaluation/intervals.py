"""Bootstrap interval of a mean over cases."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

BATCH_VALUES = 2**16
"""Values drawn at a time; few enough for the cache, and they bound the memory however many cases there are."""


@dataclass(frozen=True)
class Interval:
    """Confidence interval ``[low, high]``; both NaN where there is none."""

    low: float
    high: float


def bootstrap_interval(
    values: Iterable[float], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the bias-corrected and accelerated (BCa) bootstrap interval of the mean.

    Where BCa is not defined, as for values that differ by less than their rounding, the interval is that of the
    percentiles of the resampled means. The same values in the same order with the same seed give the same interval.

    Parameters
    ----------
    values
        One finite number per case. Cases without a value must have been left out.
    level
        Confidence level, between 0 and 1.
    resamples
        Number of resamples, at least 1.
    seed
        Of the resampling.

    Returns
    -------
    Interval
        NaN at both ends for fewer than two values; the value itself, twice, if all are equal.

    Raises
    ------
    InputError
        If a value is NaN or infinite, or the level or the number of resamples is out of range.

    References
    ----------
    Efron, Better bootstrap confidence intervals, J. Am. Stat. Assoc. 82, 1987.
    """
    array = np.fromiter(values, dtype=np.float64)
    _check(array, level, resamples)
    if array.size < 2:
        return Interval(math.nan, math.nan)
    if (array == array[0]).all():
        return Interval(float(array[0]), float(array[0]))
    return _bca(array, level, resamples, seed)


def _bca(values: npt.NDArray[np.float64], level: float, resamples: int, seed: int) -> Interval:
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        # SciPy warns where it returns NaN, which is dealt with below.
        warnings.simplefilter("ignore")
        result = bootstrap(
            (values,),
            np.mean,
            axis=-1,
            vectorized=True,
            n_resamples=resamples,
            batch=max(1, BATCH_VALUES // values.size),
            confidence_level=level,
            method="BCa",
            random_state=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in result.confidence_interval)
    if math.isnan(low) or math.isnan(high):
        tail = (1 - level) / 2
        low, high = (float(end) for end in np.quantile(result.bootstrap_distribution, [tail, 1 - tail]))
    return Interval(low, high)


def _check(values: npt.NDArray[np.float64], level: float, resamples: int) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        message = f"value {values[~finite][0]} at position {int(np.argmin(finite))}; expected finite numbers"
        raise InputError(message)
    if not 0 < level < 1:
        message = f"the confidence level is {level}; expected a number between 0 and 1, such as 0.95"
        raise InputError(message)
    if resamples < 1:
        message = f"{resamples} resamples; expected at least 1"
        raise InputError(message)
