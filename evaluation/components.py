"""Connected components (lesions) of two masks, and how many of them find each other.

Components are 26-connected (8-connected in an image of one slice). A reference component and a predicted one match if
the IoU of the two exceeds a threshold; at the default of 0 a common voxel is enough. A reference component is detected
if any predicted component matches it; a predicted component is correct if it matches any reference component. One
component may match several: at 0, a prediction that runs through three lesions detects all three and is one correct
component. From a threshold of 0.5 on no component can match two, and the matching is one to one by itself.

References
----------
Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 21, 2024 (detection with IoU as localisation criterion).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from evaluation.masks import check_masks, union_box
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

ROUNDING = 1e-6
"""Part of the smallest volume that a component may lack: 3 × 0.1 × 0.1 × 0.1 mm³ and 0.003 differ by rounding."""

TABLE_CELLS = 2**20
"""Pairs of components for which a table is small; above, and with fewer voxels than pairs, voxels are sorted."""


@dataclass(frozen=True)
class ComponentCounts:
    """Numbers of components of a reference mask and a predicted mask.

    Parameters
    ----------
    n_ref
        Components of the reference.
    n_pred
        Components of the prediction.
    detected
        Components of the reference that a predicted one matches.
    correct
        Components of the prediction that match one of the reference.
    """

    n_ref: int = 0
    n_pred: int = 0
    detected: int = 0
    correct: int = 0

    def __add__(self, other: ComponentCounts) -> ComponentCounts:
        return ComponentCounts(
            self.n_ref + other.n_ref,
            self.n_pred + other.n_pred,
            self.detected + other.detected,
            self.correct + other.correct,
        )

    @property
    def empty(self) -> str:
        """Which mask has no component: ``none``, ``ref``, ``pred`` or ``both``."""
        if self.n_ref == 0:
            return "both" if self.n_pred == 0 else "ref"
        return "pred" if self.n_pred == 0 else "none"


def count_components(
    prediction: npt.NDArray[np.bool_],
    reference: npt.NDArray[np.bool_],
    spacing: Sequence[float],
    *,
    min_volume: float = 0.0,
    threshold: float = 0.0,
) -> ComponentCounts:
    """Count the components of two masks and those that match.

    Parameters
    ----------
    prediction, reference
        Boolean masks (z, y, x) of the same shape; (1, y, x) is a plane.
    spacing
        Voxel size (z, y, x) in mm.
    min_volume
        Components of less than so many mm³ are taken out of both masks before anything is compared.
    threshold
        IoU that a reference component and a predicted one must exceed to match, from 0 to below 1.

    Returns
    -------
    ComponentCounts
        Numbers of components, of those detected and of those correct.

    Raises
    ------
    InputError
        If the masks are no boolean volumes of one shape, the spacing is not three positive numbers, the volume is
        negative or the threshold outside its range.
    """
    check_masks(prediction, reference, spacing)
    if not (math.isfinite(min_volume) and min_volume >= 0):
        message = f"the smallest volume is {min_volume}; expected a number of mm³ from 0"
        raise InputError(message)
    if not 0 <= threshold < 1:
        message = f"the IoU threshold is {threshold}; expected a number from 0 to below 1"
        raise InputError(message)
    box = union_box(prediction, reference)
    min_voxels = min_volume * (1 - ROUNDING) / math.prod(spacing)
    pred, pred_sizes = _components(prediction[box], min_voxels)
    ref, ref_sizes = _components(reference[box], min_voxels)
    pairs, overlap = _overlaps(ref, pred, len(pred_sizes))
    matched = overlap / (ref_sizes[pairs[0]] + pred_sizes[pairs[1]] - overlap) > threshold
    return ComponentCounts(
        n_ref=int(np.count_nonzero(ref_sizes)),
        n_pred=int(np.count_nonzero(pred_sizes)),
        detected=len(np.unique(pairs[0][matched])),
        correct=len(np.unique(pairs[1][matched])),
    )


def component_precision(counts: ComponentCounts) -> float:
    """Return the part of the predicted components that is correct: NaN if both masks are empty, 0 if one is."""
    if counts.empty != "none":
        return _of_empty(counts)
    return counts.correct / counts.n_pred


def component_recall(counts: ComponentCounts) -> float:
    """Return the part of the reference components that is detected: NaN if both masks are empty, 0 if one is."""
    if counts.empty != "none":
        return _of_empty(counts)
    return counts.detected / counts.n_ref


def component_f1(counts: ComponentCounts) -> float:
    """Return the harmonic mean of precision and recall: NaN if both masks are empty, 0 if one is or none matches."""
    precision, recall = component_precision(counts), component_recall(counts)
    return 2 * precision * recall / (precision + recall) if precision + recall != 0 else 0.0


COMPONENT_METRICS: dict[str, Callable[[ComponentCounts], float]] = {
    "component_precision": component_precision,
    "component_recall": component_recall,
    "component_F1": component_f1,
}


def _components(mask: npt.NDArray[np.bool_], min_voxels: float) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Label the components of a mask; return the labels, and the size of each, 0 if it is too small."""
    # cc3d 4.1 is faster but fails on images that are one voxel wide: "cannot be mapped to union-find array".
    labels, number = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels[mask], minlength=number + 1)
    small = sizes < min_voxels
    sizes[small] = 0
    small[0] = False
    if small.any():
        labels[small[labels]] = 0
    return labels, sizes


def _overlaps(
    ref: npt.NDArray[np.int32], pred: npt.NDArray[np.int32], n_pred: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of components that share voxels, shape (2, n), and how many each pair shares, shape (n,)."""
    both = (pred > 0) & (ref > 0)
    codes = ref[both].astype(np.int64) * n_pred + pred[both]
    if not codes.size:
        return np.zeros((2, 0), np.int64), np.zeros(0, np.int64)
    if codes.max() < max(codes.size, TABLE_CELLS):
        table = np.bincount(codes)
        found = np.flatnonzero(table)
        voxels = table[found]
    else:
        found, voxels = np.unique(codes, return_counts=True)
    return np.stack([found // n_pred, found % n_pred]), voxels


def _of_empty(counts: ComponentCounts) -> float:
    return math.nan if counts.empty == "both" else 0.0
