"""End a training when a score of the validation has stopped improving."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.trainers.environment import Setting, choice, number, read_settings
from nnunet_ext.trainers.nnunet_internals import AnyTrainer

if TYPE_CHECKING:
    from collections.abc import Iterable

METRIC_VARIABLE = "NNUNET_EXT_EARLY_STOPPING_METRIC"
PATIENCE_VARIABLE = "NNUNET_EXT_EARLY_STOPPING_PATIENCE"
MIN_DELTA_VARIABLE = "NNUNET_EXT_EARLY_STOPPING_MIN_DELTA"


class Metric(NamedTuple):
    """One value per epoch in nnU-Net's log.

    Parameters
    ----------
    key
        Its name there.
    words
        Its name for people.
    sign
        1 if lower is better, -1 if higher is.
    """

    key: str
    words: str
    sign: int


METRICS = {
    "val_loss": Metric("val_losses", "validation loss", 1),
    "ema_pseudo_dice": Metric("ema_fg_dice", "moving average of the pseudo Dice", -1),
    "pseudo_dice": Metric("mean_fg_dice", "pseudo Dice", -1),
}

METRIC = Setting(METRIC_VARIABLE, f"one of {', '.join(METRICS)}", choice(tuple(METRICS)))
PATIENCE = Setting(
    PATIENCE_VARIABLE, "a number of epochs, at least 1", number(lambda value: value >= 1 and value.is_integer())
)
MIN_DELTA = Setting(MIN_DELTA_VARIABLE, "a finite number, at least 0", number(lambda value: value >= 0))


class EarlyStoppingMixin(AnyTrainer):
    """Put in front of a trainer: it ends once the validation loss has not improved for `patience` epochs.

    The count comes from nnU-Net's log alone, which is part of every checkpoint, so a training that is continued goes on
    counting, and one that was stopped stops again at once. It ends as a full training does, with
    ``checkpoint_final.pth``.
    """

    metric = "val_loss"
    """What has to improve: one of `METRICS`."""

    patience = 50
    """Epochs without improvement; the environment's ``NNUNET_EXT_EARLY_STOPPING_PATIENCE`` goes before."""

    min_delta = 1e-3
    """By more than this, it must improve; the environment's ``…_MIN_DELTA`` goes before."""

    def run_training(self) -> None:
        """Train until the last epoch or until the validation no longer improves."""
        try:
            super().run_training()
        except _StalledError as stalled:
            self.print_to_log_file(str(stalled))
        else:
            return
        self.on_train_end()

    def on_train_start(self) -> None:
        """Read the settings before anything expensive begins, then start as the trainer does."""
        self._read_environment()
        super().on_train_start()
        self.print_to_log_file(
            f"Early stopping on the {METRICS[self.metric].words}: patience {self.patience} epochs, "
            f"min_delta {self.min_delta}"
        )

    def on_epoch_start(self) -> None:
        """Leave the training here, between two epochs, if the metric has stalled."""
        key, words, sign = METRICS[self.metric]
        values = self.logger.get_value(key, step=None)[: self.current_epoch]
        stalled = epochs_since_improvement([sign * value for value in values], self.min_delta)
        if stalled >= self.patience:
            message = (
                f"Early stopping before epoch {self.current_epoch}: the {words} has not improved by "
                f"more than {self.min_delta} for {stalled} epochs."
            )
            raise _StalledError(message)
        super().on_epoch_start()

    def _read_environment(self) -> None:
        patience, min_delta = read_settings([PATIENCE, MIN_DELTA])
        self.patience = self.patience if patience is None else int(patience)
        self.min_delta = self.min_delta if min_delta is None else min_delta


class nnUNetTrainer_earlyStopValLoss(EarlyStoppingMixin, nnUNetTrainer):
    """nnU-Net's trainer with `EarlyStoppingMixin`."""


class nnUNetTrainerEarlyStopping(EarlyStoppingMixin, nnUNetTrainer):
    """nnU-Net's trainer, ended once the validation has not improved for some epochs.

    Read from the environment at the start of the training, also of one that is continued:

    ``NNUNET_EXT_EARLY_STOPPING_METRIC`` (``ema_pseudo_dice``)
        What has to improve: ``ema_pseudo_dice``, by which nnU-Net chooses its best checkpoint; ``pseudo_dice``, the
        same without averaging over epochs; or ``val_loss``.
    ``NNUNET_EXT_EARLY_STOPPING_PATIENCE`` (100)
        Epochs without improvement, at least 1.
    ``NNUNET_EXT_EARLY_STOPPING_MIN_DELTA`` (0)
        By more than this, it must improve.
    """

    metric = "ema_pseudo_dice"
    patience = 100
    min_delta = 0.0

    def _read_environment(self) -> None:
        metric, *_ = read_settings([METRIC, PATIENCE, MIN_DELTA])
        self.metric = metric or self.metric
        super()._read_environment()


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


class _StalledError(Exception):
    """Carries the decision out of nnU-Net's loop over epochs."""
