"""Dice and focal loss in the place of Dice and cross entropy."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_ext.trainers.focal_loss import SigmoidFocalLoss, SoftmaxFocalLoss
from nnunet_ext.trainers.nnunet_internals import AnyTrainer, NnunetChangedError


class FocalLossMixin(AnyTrainer):
    """Put in front of a trainer: focal loss takes the place of the cross entropy beside Dice.

    Classes and regions, deep supervision and ignore label stay as the trainer has them. Trainers for several tasks
    build other losses and are refused.
    """

    focal_gamma = 2.0
    """How much less the voxels count that are classified well already; 0 is cross entropy."""

    def _build_loss(self) -> Any:
        return with_focal_loss(super()._build_loss(), self.focal_gamma)


class nnUNetTrainerFocalLoss(FocalLossMixin, nnUNetTrainer):
    """nnU-Net's trainer with Dice and focal loss, gamma 2, equally weighted, for classes, regions and ignore label."""


def with_focal_loss(loss: Any, gamma: float) -> Any:
    """Replace the cross entropy of a compound loss.

    Parameters
    ----------
    loss
        nnU-Net's loss of Dice and cross entropy, or binary cross entropy, alone or in a ``DeepSupervisionWrapper``.
        It is changed.
    gamma
        Of the focal loss.

    Returns
    -------
    torch.nn.Module
        The same object.

    Raises
    ------
    NnunetChangedError
        If there is no such cross entropy, or if it has weights or smoothed labels.
    """
    compound = loss.loss if isinstance(loss, DeepSupervisionWrapper) else loss
    cross_entropy: Any = getattr(compound, "ce", None)
    if type(cross_entropy) is RobustCrossEntropyLoss and _is_plain(cross_entropy):
        compound.ce = SoftmaxFocalLoss(gamma=gamma, ignore_label=getattr(compound, "ignore_label", None))
    elif type(cross_entropy) is nn.BCEWithLogitsLoss and cross_entropy.weight is cross_entropy.pos_weight is None:
        compound.ce = SigmoidFocalLoss(gamma=gamma, reduce=cross_entropy.reduction == "mean")
    else:
        message = (
            f"Expected a loss with a plain cross entropy 'ce' beside Dice, but got {type(compound).__name__} with "
            f"{'no ce' if cross_entropy is None else cross_entropy}. Use a trainer with nnU-Net's loss."
        )
        raise NnunetChangedError(message)
    return loss


def _is_plain(cross_entropy: Any) -> bool:
    return cross_entropy.weight is None and cross_entropy.label_smoothing == 0 and cross_entropy.reduction == "mean"
