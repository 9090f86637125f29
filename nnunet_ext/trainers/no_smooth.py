"""A loss for small structures: Dice without smoothing, and every deep-supervision output counts."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.trainers.nnunet_internals import AnyTrainer, NnunetChangedError


class NoSmoothMixin(AnyTrainer):
    """Put in front of a trainer: its Dice loss gets smooth 0, its deep supervision weighs all outputs."""

    def _build_loss(self) -> Any:
        return without_smoothing(super()._build_loss())


class nnUNetTrainer_noSmooth(NoSmoothMixin, nnUNetTrainer):
    """nnU-Net's trainer with `NoSmoothMixin`."""


def without_smoothing(loss: Any) -> Any:
    """Set the smoothing term of a compound loss to 0, and its deep supervision to all outputs.

    Parameters
    ----------
    loss
        nnU-Net's Dice and cross entropy loss, alone or in a ``DeepSupervisionWrapper``. Its Dice part is
        changed.

    Returns
    -------
    torch.nn.Module
        The loss, in a new wrapper if there was one.

    Raises
    ------
    NnunetChangedError
        If there is no Dice loss with a smoothing term.
    """
    if isinstance(loss, DeepSupervisionWrapper):
        return DeepSupervisionWrapper(without_smoothing(loss.loss), deep_supervision_weights(len(loss.weight_factors)))
    dice: Any = getattr(loss, "dc", None)
    dice = getattr(dice, "_orig_mod", dice)  # torch.compile wraps the module
    if not hasattr(dice, "smooth"):
        message = (
            f"Expected a loss with a Dice part 'dc' that has a 'smooth' term, but got {type(loss).__name__} "
            f"with {'no dc' if dice is None else type(dice).__name__}. Use a trainer with nnU-Net's loss."
        )
        raise NnunetChangedError(message)
    dice.smooth = 0
    return loss


def deep_supervision_weights(outputs: int) -> tuple[float, ...]:
    """Give weights that halve from one resolution to the next lower one and add up to 1.

    nnU-Net's own set the lowest resolution's weight to 0.
    """
    weights = [0.5**level for level in range(outputs)]
    return tuple(weight / sum(weights) for weight in weights)
