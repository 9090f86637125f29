"""Overlap of two masks, from the four counts of their voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Counts:
    """Voxel counts of a reference mask and a predicted mask.

    Parameters
    ----------
    tp
        Voxels in both masks.
    fp
        Voxels in the prediction alone.
    fn
        Voxels in the reference alone.
    tn
        Voxels in neither.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def n_ref(self) -> int:
        """Voxels of the reference mask."""
        return self.tp + self.fn

    @property
    def n_pred(self) -> int:
        """Voxels of the predicted mask."""
        return self.tp + self.fp

    @property
    def empty(self) -> str:
        """Which mask has no voxel: ``none``, ``ref``, ``pred`` or ``both``."""
        if self.n_ref == 0:
            return "both" if self.n_pred == 0 else "ref"
        return "pred" if self.n_pred == 0 else "none"


def dice(counts: Counts) -> float:
    """Return 2 TP / (2 TP + FP + FN): NaN if both masks are empty, 0 if one is.

    References
    ----------
    Dice, Measures of the amount of ecologic association between species, Ecology 26, 1945.
    """
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def iou(counts: Counts) -> float:
    """Return TP / (TP + FP + FN): NaN if both masks are empty, 0 if one is.

    References
    ----------
    Jaccard, The distribution of the flora in the alpine zone, New Phytologist 11, 1912.
    """
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def precision(counts: Counts) -> float:
    """Return TP / (TP + FP), the part of the prediction that is right: NaN if both masks are empty, 0 if one is."""
    return _ratio_unless_empty(counts, counts.n_pred)


def recall(counts: Counts) -> float:
    """Return TP / (TP + FN), the part of the reference that is found: NaN if both masks are empty, 0 if one is."""
    return _ratio_unless_empty(counts, counts.n_ref)


def specificity(counts: Counts) -> float:
    """Return TN / (TN + FP): NaN if the reference mask has no voxel outside it.

    Whether a mask is empty says nothing about the voxels outside it, and does not matter here.
    """
    return _ratio(counts.tn, counts.tn + counts.fp)


OVERLAP_METRICS: dict[str, Callable[[Counts], float]] = {
    "Dice": dice,
    "IoU": iou,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
}


def volume_ref(counts: Counts, voxel_volume: float) -> float:
    """Return the volume of the reference mask, in the unit of the volume of a voxel."""
    return counts.n_ref * voxel_volume


def volume_pred(counts: Counts, voxel_volume: float) -> float:
    """Return the volume of the predicted mask, in the unit of the volume of a voxel."""
    return counts.n_pred * voxel_volume


def relative_volume_difference(counts: Counts, voxel_volume: float) -> float:
    """Return (prediction - reference) / reference, by volume: NaN if the reference is empty."""
    return _ratio(counts.n_pred - counts.n_ref, counts.n_ref)


VOLUME_METRICS: dict[str, Callable[[Counts, float], float]] = {
    "volume_ref": volume_ref,
    "volume_pred": volume_pred,
    "relative_volume_difference": relative_volume_difference,
}


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _ratio_unless_empty(counts: Counts, whole: int) -> float:
    """Return TP / whole, with 0 in place of 0 / 0 where one mask is empty."""
    return counts.tp / whole if whole else (math.nan if counts.empty == "both" else 0.0)
