"""Give the ignore label to every voxel that nnU-Net's training pipeline adds to a label.

nnU-Net pads labels with -1, and turns -1 into background before the loss. But -1 also marks voxels inside a
volume, those that its crop to non-zero values left over, and they *are* background. So padding gets a mark of
its own.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, SegOnlyTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

from nnunet_ext.trainers.nnunet_internals import NnunetChangedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

PADDING_MARK = -2
"""Stands for padding up to where nnU-Net turns -1 into background.

Negative, because nnU-Net's masking of the image outside of the non-zero region looks for negative labels.
"""

_OUTSIDE = -1


@dataclass
class Margins:
    """Number of voxels that the current patch has outside of its volume, per axis, in front and behind.

    A loader writes it for every sample, its first transform reads it.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def update(self, lower: Sequence[int], upper: Sequence[int], shape: Sequence[int]) -> None:
        """Take the margins of the half-open box from ``lower`` to ``upper`` in a volume of that ``shape``."""
        self.before = tuple(max(0, -low) for low in lower)
        self.after = tuple(max(0, high - size) for high, size in zip(upper, shape, strict=True))


class MarkMargins(SegOnlyTransform):
    """Set the target in a patch's margins to a value; a previous stage's segmentation stays as it is.

    Parameters
    ----------
    margins
        Margins of the sample at hand, kept up to date by the loader.
    values
        Label to write into each channel of the target; channels after them are left alone.
    """

    def __init__(self, margins: Margins, values: Sequence[int]) -> None:
        super().__init__()
        self.margins = margins
        self.values = tuple(values)

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **_: Any) -> torch.Tensor:
        for target, value in zip(segmentation, self.values, strict=False):
            # 2D loaders drop the first of three axes
            before, after = self.margins.before[-target.ndim :], self.margins.after[-target.ndim :]
            for axis, (front, back) in enumerate(zip(before, after, strict=True)):
                target.narrow(axis, 0, front).fill_(value)
                target.narrow(axis, target.shape[axis] - back, back).fill_(value)
        return segmentation


class ResolveNegativeLabels(BasicTransform):
    """Turn `PADDING_MARK` in the target into the ignore label, and -1 into background by nnU-Net's own step.

    Most patches have neither: finding that out takes a fraction of the time that nnU-Net's step takes.

    Parameters
    ----------
    ignore_values
        Value for "not annotated" in each channel of the target.
    to_background
        nnU-Net's transform from -1 to background.
    """

    def __init__(self, ignore_values: Sequence[int], to_background: BasicTransform) -> None:
        super().__init__()
        self.ignore_values = tuple(ignore_values)
        self.to_background = to_background

    def apply(self, data_dict: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Change the segmentation where it has negative labels."""
        lowest = data_dict["segmentation"].min()
        if lowest >= 0:
            return data_dict
        if lowest <= PADDING_MARK:
            for target, value in zip(data_dict["segmentation"], self.ignore_values, strict=False):
                target.masked_fill_(target == PADDING_MARK, value)
        resolved: dict[str, Any] = self.to_background(**data_dict)
        return resolved


def with_ignored_padding(transforms: Any, ignore_values: Sequence[int], margins: Margins) -> Any:
    """Extend a pipeline so that padding ends as "not annotated" in the target.

    Parameters
    ----------
    transforms
        nnU-Net's transforms for one sample, or None. Neither it nor a transform in it is changed.
    ignore_values
        Value for "not annotated" in each channel of the target: the ignore label, or one per task.
    margins
        What the loader's crop has outside of the volume.

    Returns
    -------
    ComposeTransforms
        The same transforms, with margins marked before the first one. Where ``transforms`` has nnU-Net's step
        from -1 to background, padding is `PADDING_MARK` up to there, else it has its value from the beginning.

    Raises
    ------
    NnunetChangedError
        If a transform pads all channels with one value, they need different ones, and that step is not there.
    """
    steps = _steps(transforms)
    to_background = next((i for i, step in enumerate(steps) if _makes_background(step)), None)
    if to_background is None:
        if len(set(ignore_values)) > 1 and any(_padding_labels(step, PADDING_MARK) is not step for step in steps):
            message = (
                "The transforms pad labels but have no step from -1 to background, after which each channel could "
                "get its own ignore value. This package was tested with nnunetv2 2.8.1."
            )
            raise NnunetChangedError(message)
        return ComposeTransforms(
            [MarkMargins(margins, ignore_values), *(_padding_labels(step, ignore_values[0]) for step in steps)]
        )
    return ComposeTransforms(
        [
            MarkMargins(margins, [PADDING_MARK] * len(ignore_values)),
            *(_padding_labels(step, PADDING_MARK) for step in steps[:to_background]),
            ResolveNegativeLabels(ignore_values, steps[to_background]),
            *(_padding_labels(step, ignore_values[0]) for step in steps[to_background + 1 :]),
        ]
    )


def _steps(transforms: Any) -> list[Any]:
    if transforms is None:
        return []
    return list(transforms.transforms) if type(transforms) is ComposeTransforms else [transforms]


def _makes_background(step: Any) -> bool:
    return isinstance(step, RemoveLabelTansform) and step.label_value == _OUTSIDE


def _padding_labels(transform: Any, value: int) -> Any:
    """Give the transform itself, or a copy if it, or one that it holds, is to pad labels with ``value``.

    The one value goes for a previous stage's channel too: only foreground labels of that channel are read.
    """
    changes: dict[str, Any] = {}
    if isinstance(transform, SpatialTransform) and transform.border_mode_seg in ("constant", "zeros"):
        changes |= {"border_mode_seg": "constant", "padding_value_seg": value}
    for name, part in vars(transform).items():
        new_part = _padding_parts(part, value)
        if new_part is not part:
            changes[name] = new_part
    if not changes:
        return transform
    changed = copy.copy(transform)
    vars(changed).update(changes)
    return changed


def _padding_parts(part: Any, value: int) -> Any:
    if isinstance(part, BasicTransform):
        return _padding_labels(part, value)
    if isinstance(part, list | tuple):
        parts = [_padding_parts(inner, value) for inner in part]
        if any(new is not old for new, old in zip(parts, part, strict=True)):
            return parts if isinstance(part, list) else tuple(parts)
    return part
