"""End a training when the validation loss has stopped improving."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import InputError
from nnunet_ext.trainers.nnunet_internals import AnyTrainer

if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE_VARIABLE = "NNUNET_EXT_EARLY_STOPPING_PATIENCE"
MIN_DELTA_VARIABLE = "NNUNET_EXT_EARLY_STOPPING_MIN_DELTA"


class EarlyStoppingMixin(AnyTrainer):
    """Put in front of a trainer: it ends once the validation loss has not improved for `patience` epochs.

    The count comes from the logged losses alone, so a training that is continued goes on counting, and one
    that was stopped stops again at once. It ends as a full training does, with ``checkpoint_final.pth``.
    """

    patience = 50
    """Epochs without improvement; the environment's ``NNUNET_EXT_EARLY_STOPPING_PATIENCE`` goes before."""

    min_delta = 1e-3
    """By more than this, the loss must fall; the environment's ``…_MIN_DELTA`` goes before."""

    def run_training(self) -> None:
        """Train until the last epoch or until the validation loss no longer improves."""
        try:
            super().run_training()
        except _ValidationLossStalledError as stalled:
            self.print_to_log_file(str(stalled))
        else:
            return
        self.on_train_end()

    def on_train_start(self) -> None:
        """Read the settings before anything expensive begins, then start as the trainer does."""
        self.patience = patience_from_environment(self.patience)
        self.min_delta = min_delta_from_environment(self.min_delta)
        super().on_train_start()
        self.print_to_log_file(
            f"Early stopping on the validation loss: patience {self.patience} epochs, min_delta {self.min_delta}"
        )

    def on_epoch_start(self) -> None:
        """Leave the training here, between two epochs, if the loss has stalled."""
        losses = self.logger.get_value("val_losses", step=None)[: self.current_epoch]
        stalled = epochs_since_improvement(losses, self.min_delta)
        if stalled >= self.patience:
            message = (
                f"Early stopping before epoch {self.current_epoch}: the validation loss has not improved by "
                f"more than {self.min_delta} for {stalled} epochs."
            )
            raise _ValidationLossStalledError(message)
        super().on_epoch_start()


class nnUNetTrainer_earlyStopValLoss(EarlyStoppingMixin, nnUNetTrainer):
    """nnU-Net's trainer with `EarlyStoppingMixin`."""


def epochs_since_improvement(losses: Iterable[float], min_delta: float) -> int:
    """Count the epochs since a loss was lower than every one before by more than ``min_delta``.

    Parameters
    ----------
    losses
        One loss per epoch. NaN is no improvement.
    min_delta
        Smaller steps than this, from the last improvement, do not count.

    Returns
    -------
    int
        0 if the last epoch improved, or if there is none; the number of epochs if none ever improved.
    """
    best, epochs = math.inf, 0
    for loss in losses:
        if loss < best - min_delta:
            best, epochs = loss, 0
        else:
            epochs += 1
    return epochs


def patience_from_environment(default: int) -> int:
    """Read the patience in epochs, at least 1, from the environment."""
    text = os.environ.get(PATIENCE_VARIABLE, str(default))
    if not text.strip().isdecimal() or int(text) < 1:
        message = f"{PATIENCE_VARIABLE} must be a number of epochs, at least 1, but is {text!r}."
        raise InputError(message)
    return int(text)


def min_delta_from_environment(default: float) -> float:
    """Read the smallest step that counts as improvement, at least 0, from the environment."""
    text = os.environ.get(MIN_DELTA_VARIABLE, str(default))
    try:
        min_delta = float(text)
    except ValueError:
        min_delta = math.nan
    if not (math.isfinite(min_delta) and min_delta >= 0):
        message = f"{MIN_DELTA_VARIABLE} must be a finite number, at least 0, but is {text!r}."
        raise InputError(message)
    return min_delta


class _ValidationLossStalledError(Exception):
    """Carries the decision out of nnU-Net's loop over epochs."""
