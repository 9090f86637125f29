"""Focal loss, which lets voxels that are classified well already count less.

Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017. With p the probability that the network gives to
the right answer, a voxel counts ``(1 - p)^gamma`` times its cross entropy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence


def softmax_focal_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    gamma: float = 2.0,
    alpha: Sequence[float] | torch.Tensor | None = None,
    ignore_label: int | None = None,
) -> torch.Tensor:
    """Compute the focal loss of classes that exclude each other.

    Parameters
    ----------
    logits
        Shape (B, C, …), of any floating type; computed in float32.
    target
        Class of each voxel, shape (B, …) or (B, 1, …).
    gamma
        0 is cross entropy; the larger, the less the easy voxels count.
    alpha
        One factor per class, or None for 1. The mean is over voxels, not over factors.
    ignore_label
        Value of voxels that do not count, or None.

    Returns
    -------
    Tensor
        Mean over all voxels that count, a float32 scalar; 0 if none does.
    """
    if target.ndim == logits.ndim:
        target = target[:, 0]
    target = target.long()
    annotated = torch.ones_like(target, dtype=torch.bool) if ignore_label is None else target != ignore_label
    target = torch.where(annotated, target, 0)
    cross_entropy = functional.cross_entropy(logits.float(), target, reduction="none")
    loss = _focused(cross_entropy, gamma)
    if alpha is not None:
        loss = loss * torch.as_tensor(alpha, dtype=loss.dtype, device=loss.device)[target]
    return torch.where(annotated, loss, 0).sum() / annotated.sum().clamp_min(1)


def sigmoid_focal_loss(
    logits: torch.Tensor, target: torch.Tensor, *, gamma: float = 2.0, alpha: float | None = None
) -> torch.Tensor:
    """Compute the focal loss of each voxel of regions, which may overlap.

    Parameters
    ----------
    logits
        One channel per region, shape (B, C, …), of any floating type; computed in float32.
    target
        0 or 1, or False or True, of the same shape.
    gamma
        0 is binary cross entropy; the larger, the less the easy voxels count.
    alpha
        Factor of the voxels inside of a region; those outside get 1 - alpha. None is 1 for both.

    Returns
    -------
    Tensor
        Shape (B, C, …), float32, not yet averaged.
    """
    inside = target.float()
    loss = _focused(functional.binary_cross_entropy_with_logits(logits.float(), inside, reduction="none"), gamma)
    return loss if alpha is None else loss * (alpha * inside + (1 - alpha) * (1 - inside))


class SoftmaxFocalLoss(nn.Module):
    """`softmax_focal_loss` in the place of nnU-Net's cross entropy.

    Parameters
    ----------
    gamma, alpha, ignore_label
        As there.
    """

    def __init__(
        self, *, gamma: float = 2.0, alpha: Sequence[float] | None = None, ignore_label: int | None = None
    ) -> None:
        super().__init__()
        self.gamma, self.alpha, self.ignore_label = gamma, alpha, ignore_label

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over the annotated voxels."""
        return softmax_focal_loss(logits, target, gamma=self.gamma, alpha=self.alpha, ignore_label=self.ignore_label)


class SigmoidFocalLoss(nn.Module):
    """`sigmoid_focal_loss` in the place of nnU-Net's binary cross entropy.

    Parameters
    ----------
    gamma, alpha
        As there.
    reduce
        Return the mean over voxels and regions. False for one value per voxel and region, where the caller leaves out
        voxels without annotation.
    """

    def __init__(self, *, gamma: float = 2.0, alpha: float | None = None, reduce: bool = True) -> None:
        super().__init__()
        self.gamma, self.alpha, self.reduce = gamma, alpha, reduce

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean, or one value per voxel and region."""
        loss = sigmoid_focal_loss(logits, target, gamma=self.gamma, alpha=self.alpha)
        return loss.mean() if self.reduce else loss


def _focused(cross_entropy: torch.Tensor, gamma: float) -> torch.Tensor:
    """Multiply -log(p) by (1 - p)^gamma."""
    if gamma == 0:
        return cross_entropy
    # expm1 keeps what 1 - exp would lose where p is close to 1; below the limit, gamma < 1 has an infinite slope.
    missing = (-torch.expm1(-cross_entropy)).clamp_min(torch.finfo(cross_entropy.dtype).tiny)
    return missing**gamma * cross_entropy
