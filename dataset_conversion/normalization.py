"""Grey value normalisation of whole scans, computed slab by slab in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

NO_NORM, ZSCORE, RESCALE, RGB = "noNorm", "zscore", "rescale_to_0_1", "rgb_to_0_1"


@dataclass(frozen=True)
class Normalization:
    """The map ``(value − offset) / divisor`` of one scan.

    Parameters
    ----------
    scheme
        ``noNorm``, ``zscore``, ``rescale_to_0_1`` or ``rgb_to_0_1``.
    offset, divisor
        In grey values. A divisor of 0 stands for a constant image, which becomes zero everywhere.
    """

    scheme: str
    offset: float = 0.0
    divisor: float = 1.0

    def output_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Return the type of normalised voxels: the scan's own for ``noNorm``, else float32."""
        return dtype if self.scheme == NO_NORM else np.dtype(np.float32)

    def apply(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Normalise an array of any shape; the result depends on each value alone.

        Raises
        ------
        InputError
            If a floating-point array holds NaN or infinite values; says how many.
        """
        refuse_non_finite(voxels)
        if self.scheme == NO_NORM:
            return voxels
        if voxels.dtype in (np.uint8, np.uint16):
            # A table: every value is computed once, in double precision, which is also the fastest way.
            return np.take(self._compute(np.arange(np.iinfo(voxels.dtype).max + 1)), voxels)
        return self._compute(voxels)

    def _compute(self, voxels: NDArray[Any]) -> NDArray[np.float32]:
        if self.divisor == 0:
            return np.zeros(voxels.shape, dtype=np.float32)
        return ((voxels.astype(np.float64) - self.offset) / self.divisor).astype(np.float32)


IDENTITY = Normalization(NO_NORM)


def normalization_of(scheme: str, slabs: Iterable[NDArray[Any]]) -> Normalization:
    """Compute a scan's normalisation from all its voxels.

    Parameters
    ----------
    scheme
        ``noNorm`` (identity), ``zscore`` (mean 0, standard deviation 1), ``rescale_to_0_1`` (minimum 0, maximum 1)
        or ``rgb_to_0_1`` (divides by 255).
    slabs
        Arrays that together hold every voxel of the scan once. They are not read for ``noNorm``.

    Raises
    ------
    InputError
        If the scheme is unknown, voxels are NaN or infinite, or ``rgb_to_0_1`` meets values outside 0…255.
    """
    if scheme == NO_NORM:
        return IDENTITY
    if scheme not in (ZSCORE, RESCALE, RGB):
        message = f"unknown normalisation '{scheme}'; expected one of {NO_NORM}, {ZSCORE}, {RESCALE}, {RGB}"
        raise InputError(message)
    total = Statistics()
    for slab in slabs:
        total = total.merged(Statistics.of(slab))
    if scheme == ZSCORE:
        return Normalization(ZSCORE, total.mean, total.standard_deviation)
    if scheme == RESCALE:
        return Normalization(RESCALE, total.minimum, total.maximum - total.minimum)
    if total.minimum < 0 or total.maximum > 255:
        message = f"{RGB} needs grey values 0…255, found {total.minimum:g}…{total.maximum:g}"
        raise InputError(message)
    return Normalization(RGB, 0.0, 255.0)


@dataclass(frozen=True)
class Statistics:
    """Count, mean, sum of squared deviations, minimum and maximum of voxels; parts merge exactly enough.

    References
    ----------
    Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances, 1982.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = np.inf
    maximum: float = -np.inf

    @property
    def standard_deviation(self) -> float:
        """Standard deviation of the population."""
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0

    @classmethod
    def of(cls, voxels: NDArray[Any]) -> Statistics:
        """Compute the statistics of an array; 8 and 16 bit ones through their histogram."""
        refuse_non_finite(voxels)
        if voxels.size == 0:
            return cls()
        if voxels.dtype in (np.uint8, np.uint16):
            counts = np.zeros(np.iinfo(voxels.dtype).max + 1, dtype=np.int64)
            for part in np.array_split(voxels.reshape(-1), max(1, voxels.size >> 20)):
                counts += np.bincount(part, minlength=counts.size)  # copies its argument as 8-byte integers
            values = np.flatnonzero(counts)
            weights = counts[values]
            mean = float((values * weights).sum() / voxels.size)
            squares = float(((values - mean) ** 2 * weights).sum())
            return cls(voxels.size, mean, squares, float(values[0]), float(values[-1]))
        mean = float(voxels.mean(dtype=np.float64))
        deviations = voxels.reshape(-1).astype(np.float64) - mean
        return cls(voxels.size, mean, float(deviations @ deviations), float(voxels.min()), float(voxels.max()))

    def merged(self, other: Statistics) -> Statistics:
        """Return the statistics of both sets of voxels together."""
        count = self.count + other.count
        if count == 0:
            return self
        difference = other.mean - self.mean
        return Statistics(
            count,
            self.mean + difference * other.count / count,
            self.squares + other.squares + difference**2 * self.count * other.count / count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )


def refuse_non_finite(voxels: NDArray[Any]) -> None:
    """Raise ``InputError`` if a floating-point array holds NaN or infinite values."""
    if np.issubdtype(voxels.dtype, np.floating):
        bad = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
        if bad:
            message = f"{bad} voxels are NaN or infinite; expected finite grey values"
            raise InputError(message)
