"""A learning rate that rises linearly and then falls along a half cosine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def learning_rate(epoch: int, epochs: int, *, peak: float, warmup: float, lowest: float = 0.0) -> float:
    """Return the learning rate of an epoch.

    It is what a rate that changes with every step has in the middle of that epoch, so it is never 0, and a warm-up of
    one epoch halves the rate of the first.

    Parameters
    ----------
    epoch
        From 0.
    epochs
        Length of the training.
    peak
        Learning rate at the end of the warm-up.
    warmup
        Its length in epochs, also in parts of one; from 0 to ``epochs``.
    lowest
        Learning rate that the training ends with.
    """
    time = epoch + 0.5
    if time < warmup:
        return peak * time / warmup
    share = (time - warmup) / (epochs - warmup)
    return lowest + (peak - lowest) * (1 + math.cos(math.pi * share)) / 2


@dataclass
class WarmupCosineSchedule:
    """Sets the learning rate of an optimiser, epoch by epoch, as nnU-Net calls for it.

    It has no state: the epoch, which nnU-Net keeps in its checkpoints, says all.

    Parameters
    ----------
    optimizer
        Whose parameter groups get the rate.
    epochs, peak, warmup, lowest
        As for `learning_rate`.
    """

    optimizer: torch.optim.Optimizer
    epochs: int
    peak: float
    warmup: float
    lowest: float = 0.0

    def step(self, epoch: int) -> None:
        """Set the rate of ``epoch``."""
        rate = learning_rate(epoch, self.epochs, peak=self.peak, warmup=self.warmup, lowest=self.lowest)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
