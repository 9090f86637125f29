"""Interpolation along one axis as a banded matrix, applied block by block with matrix products.

Positions, edges and rounding are those of ``scipy.ndimage.zoom(..., grid_mode=True, mode="nearest")``, which is what
nnU-Net's resampling comes down to. A cubic spline is written as one matrix: the filter that turns samples into spline
coefficients has the impulse response ``sqrt(3) (sqrt(3) - 2)^|k|``, so that its product with the four spline weights of
a position fades within a few samples [1]_. No sample then depends on how the volume is cut.

References
----------
.. [1] M. Unser, A. Aldroubi, M. Eden, "B-spline signal processing: Part II", IEEE Trans. Signal Process. 41(2), 1993.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The spline filter is cut after this many samples, where it has fallen below 1e-9 of its centre.
REACH = 16
# Outputs that are computed in one matrix product: enough to be worth a product, few enough to keep the band narrow.
ROWS_PER_BLOCK = {1: 16, 3: 32}


@dataclass(frozen=True)
class Block:
    """Consecutive output samples ``[start, stop)`` of one axis and the input samples ``[first, last)`` they come from.

    ``weights`` has one row per output sample and one column per input sample.
    """

    start: int
    stop: int
    first: int
    last: int
    weights: NDArray[np.float64]


def nearest_samples(n_in: int, n_out: int) -> NDArray[np.intp]:
    """Return the input sample that order 0 takes for each of ``n_out`` output samples; halves go up, as in scipy."""
    return np.asarray(np.floor(_positions(n_in, n_out).clip(0, n_in - 1) + 0.5), dtype=np.intp)


def interpolation_blocks(n_in: int, n_out: int, order: int, *, rows: int) -> list[Block]:
    """Interpolate ``n_in`` samples at ``n_out`` positions, as matrices over blocks of ``rows`` output samples.

    Parameters
    ----------
    n_in, n_out
        Number of samples along the axis before and after.
    order
        0 (nearest), 1 (linear) or 3 (cubic B-spline through the samples).
    rows
        Output samples per block; block ``k`` begins at output sample ``k * rows``, whoever asks for it.

    Returns
    -------
    list of Block
        In order, together all output samples. Each row of weights sums to one.
    """
    columns, weights = _taps(n_in, n_out, order)
    blocks = []
    for start in range(0, n_out, rows):
        stop = min(start + rows, n_out)
        # A sample of weight zero, as beside a position right on another one, need not be waited for.
        row, tap = np.nonzero(weights[start:stop])
        sample, weight = columns[start + row, tap], weights[start + row, tap]
        first, last = int(sample.min()), int(sample.max()) + 1
        dense = np.zeros((stop - start, last - first))
        np.add.at(dense, (row, sample - first), weight)
        blocks.append(Block(start, stop, first, last, dense))
    return blocks


class PlaneAxis:
    """Interpolate along one of the two last axes of an array.

    Parameters
    ----------
    axis
        -2 or -1.
    n_in, n_out
        Number of samples along the axis before and after.
    order
        0, 1 or 3.
    """

    def __init__(self, axis: int, n_in: int, n_out: int, order: int) -> None:
        self.axis = axis
        self.n_out = n_out
        self._samples = nearest_samples(n_in, n_out) if order == 0 else None
        self._blocks = [] if order == 0 else interpolation_blocks(n_in, n_out, order, rows=ROWS_PER_BLOCK[order])

    def __call__(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``array`` (..., Y, X) with ``n_out`` samples along the axis."""
        if self._samples is not None:
            return np.take(array, self._samples, axis=self.axis)
        shape = list(array.shape)
        shape[self.axis] = self.n_out
        result = np.empty(shape)
        for block in self._blocks:
            if self.axis == -2:
                np.matmul(
                    block.weights, array[..., block.first : block.last, :], out=result[..., block.start : block.stop, :]
                )
            else:
                np.matmul(
                    array[..., block.first : block.last], block.weights.T, out=result[..., block.start : block.stop]
                )
        return result


def _positions(n_in: int, n_out: int) -> NDArray[np.float64]:
    """Return where the centres of the output samples lie among the input samples."""
    return np.asarray((n_in / n_out) * (np.arange(n_out) + 0.5) - 0.5)


def _taps(n_in: int, n_out: int, order: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the input samples that each output sample is made of, and their weights, both (n_out, taps)."""
    if order == 0 or n_in == n_out:
        samples = nearest_samples(n_in, n_out)[:, None]
        return samples, np.ones(samples.shape)
    position = _positions(n_in, n_out)
    below = np.floor(position)
    part = position - below
    if order == 1:
        weights = np.stack([1 - part, part], axis=1)
        offsets = np.arange(2)
    else:
        weights = _through_the_samples(_cubic_spline(part))
        offsets = np.arange(-1 - REACH, 3 + REACH)
    columns = below.astype(np.intp)[:, None] + offsets
    # The first and the last sample go on for ever beyond the ends.
    return columns.clip(0, n_in - 1), weights


def _cubic_spline(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights of the coefficients at -1, 0, 1, 2 for positions ``part`` in [0, 1)."""
    rest = 1 - part
    return np.stack(
        [
            rest**3 / 6,
            2 / 3 - part**2 * (2 - part) / 2,
            2 / 3 - rest**2 * (2 - rest) / 2,
            part**3 / 6,
        ],
        axis=1,
    )


def _through_the_samples(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn weights of spline coefficients (n, 4) into weights of samples (n, 4 + 2 REACH)."""
    response = (np.sqrt(3) - 2) ** np.abs(np.arange(-REACH, REACH + 1))
    response /= response.sum()
    result = np.zeros((len(weights), 4 + 2 * REACH))
    for tap in range(4):
        result[:, tap : tap + len(response)] += weights[:, tap : tap + 1] * response
    return result
