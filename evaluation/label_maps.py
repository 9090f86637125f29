"""Read the label maps of a prediction and its reference: their histogram slab by slab, or all voxels as well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.folders import undeclared_values
from evaluation.histogram import joint_histogram
from nnunet_ext.class_rules.volume import open_with_rules
from nnunet_ext.errors import InputError
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from evaluation.labels import LabelSet
    from evaluation.pairs import Pair
    from nnunet_ext.class_rules.rules import Rule
    from nnunet_ext.imageio import Volume

SLAB_VOXELS = 2**23
"""Voxels of a slab, about; without the arrays, the memory of a process is a few times this."""


@dataclass(frozen=True)
class LabelMaps:
    """The label maps of a case.

    Parameters
    ----------
    histogram
        ``(reference value, predicted value)`` to number of voxels.
    spacing
        Voxel size (z, y, x) in mm, of the reference.
    shape
        Voxels (z, y, x).
    reference, prediction
        All voxels as integers, (z, y, x); ``None`` if they were not asked for.
    """

    histogram: Counter[tuple[int, int]]
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    reference: npt.NDArray[Any] | None = None
    prediction: npt.NDArray[Any] | None = None


def read_label_maps(reference: Path, prediction: Path, *, keep_voxels: bool, rules: Sequence[Rule] = ()) -> LabelMaps:
    """Read two label maps of the same grid in one pass.

    Parameters
    ----------
    reference, prediction
        Files whose grids have been compared.
    keep_voxels
        Whether to return the voxels as well; otherwise one slab of each is in memory at a time.
    rules
        What to make of the prediction first.

    Raises
    ------
    InputError
        If a value is not a whole number, or the shapes differ.
    """
    total: Counter[tuple[int, int]] = Counter()
    with open_with_sidecar(reference) as ref, open_with_rules(prediction, rules) as pred:
        if ref.shape != pred.shape:
            message = f"reference and prediction differ in shape: {ref.shape} and {pred.shape}"
            raise InputError(message)
        arrays = [np.empty(volume.shape, _integer_type(volume)) for volume in (ref, pred)] if keep_voxels else []
        _, height, width = ref.shape
        thickness = max(1, SLAB_VOXELS // (height * width))
        for (start, ref_slab), (_, pred_slab) in zip(ref.slabs(thickness), pred.slabs(thickness), strict=True):
            total.update(joint_histogram(ref_slab, pred_slab))
            for array, slab in zip(arrays, (ref_slab, pred_slab), strict=False):
                array[start : start + len(slab)] = slab
        spacing = ref.geometry.spacing
        return LabelMaps(total, spacing, ref.shape, *arrays)


def undeclared_values_of_pair(pair: Pair, histogram: Mapping[tuple[int, int], int], label_set: LabelSet) -> list[str]:
    """Check the values of a reference and its prediction, from their joint histogram; see ``undeclared_values``."""
    problems = []
    for role, path in enumerate((pair.reference, pair.prediction)):
        voxels: Counter[int] = Counter()
        for values, count in histogram.items():
            voxels[values[role]] += count
        problems += undeclared_values(path, voxels, label_set)
    return problems


def _integer_type(volume: Volume) -> np.dtype[Any]:
    """Return the type in which the whole numbers of a volume have room."""
    if volume.dtype.kind in "iu":
        return volume.dtype.newbyteorder("=")
    return np.dtype(np.uint8 if volume.dtype.kind == "b" else np.int64)
