"""Joint histogram of two label maps: how often each pair of values occurs, from one pass over the voxels.

Histograms of the slabs of a volume add up to that of the volume, and every overlap score of every label and
region follows from it, so that no volume has to be in memory as a whole and no mask is made at all.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.overlap import Counts
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy.typing as npt

CHUNK_VOXELS = 2**18
"""Voxels counted at a time; small enough for the intermediate arrays to stay in the cache."""

MAX_PAIRS = 2**16
"""More pairs of values than any label map has; an image taken for one would fill the memory."""


def joint_histogram(reference: npt.NDArray[Any], prediction: npt.NDArray[Any]) -> Counter[tuple[int, int]]:
    """Count the pairs of values at the same voxel.

    Parameters
    ----------
    reference, prediction
        Label maps of the same shape; integers, or floating-point numbers that are whole.

    Returns
    -------
    Counter
        ``(reference value, predicted value)`` to number of voxels; pairs that do not occur are not in it.

    Raises
    ------
    InputError
        If the shapes differ, a value is not a whole number, or there are more pairs than label maps have.
    """
    if reference.shape != prediction.shape:
        message = f"reference and prediction differ in shape: {reference.shape} and {prediction.shape}"
        raise InputError(message)
    total: Counter[tuple[int, int]] = Counter()
    for ref, pred in zip(_chunks(reference, "reference"), _chunks(prediction, "prediction"), strict=True):
        total.update(_chunk_histogram(ref, pred))
        if len(total) > MAX_PAIRS:
            message = f"more than {MAX_PAIRS} pairs of values occur; these are images, not label maps"
            raise InputError(message)
    return total


def counts_of(
    histogram: Mapping[tuple[int, int], int], values: Collection[int], ignored: Collection[int] = ()
) -> Counts:
    """Count the voxels of a label or region.

    Parameters
    ----------
    histogram
        What ``joint_histogram`` returns.
    values
        Label values that make up the label (one) or region (several).
    ignored
        Reference values whose voxels are left out altogether.

    Returns
    -------
    Counts
        True and false positives and negatives.
    """
    cells = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for (ref, pred), voxels in histogram.items():
        if ref not in ignored:
            cells[ref in values, pred in values] += voxels
    return Counts(cells[True, True], cells[False, True], cells[True, False], cells[False, False])


def _chunks(array: npt.NDArray[Any], role: str) -> Iterator[npt.NDArray[Any]]:
    flat = array.ravel()
    for start in range(0, flat.size, CHUNK_VOXELS):
        yield _as_integers(flat[start : start + CHUNK_VOXELS], role)


def _as_integers(values: npt.NDArray[Any], role: str) -> npt.NDArray[Any]:
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "b":
        return values.view(np.uint8)
    whole = np.isfinite(values) & (values == np.rint(values))
    if not whole.all():
        message = f"the {role} holds {values[~whole][0]}, which is no label; labels are whole numbers"
        raise InputError(message)
    return values.astype(np.int64)


def _chunk_histogram(ref: npt.NDArray[Any], pred: npt.NDArray[Any]) -> dict[tuple[int, int], int]:
    ref_low, pred_low = int(ref.min()), int(pred.min())
    ref_range, pred_range = int(ref.max()) - ref_low + 1, int(pred.max()) - pred_low + 1
    if ref_range * pred_range > CHUNK_VOXELS:
        return _sparse_histogram(ref, pred)
    cells = (ref.astype(np.intp) - ref_low) * pred_range + (pred.astype(np.intp) - pred_low)
    voxels = np.bincount(cells, minlength=ref_range * pred_range)
    return {
        (int(cell) // pred_range + ref_low, int(cell) % pred_range + pred_low): int(voxels[cell])
        for cell in np.flatnonzero(voxels)
    }


def _sparse_histogram(ref: npt.NDArray[Any], pred: npt.NDArray[Any]) -> dict[tuple[int, int], int]:
    """Count pairs whose values lie too far apart for a table."""
    ref_values, ref_codes = np.unique(ref, return_inverse=True)
    pred_values, pred_codes = np.unique(pred, return_inverse=True)
    cells, voxels = np.unique(ref_codes * len(pred_values) + pred_codes, return_counts=True)
    return {
        (int(ref_values[cell // len(pred_values)]), int(pred_values[cell % len(pred_values)])): int(count)
        for cell, count in zip(cells.tolist(), voxels.tolist(), strict=True)
    }
