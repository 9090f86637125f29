"""AdamW with a warm-up and a cosine schedule, set by environment variables."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import InputError
from nnunet_ext.trainers.environment import Setting, number, read_settings
from nnunet_ext.trainers.nnunet_internals import AnyTrainer
from nnunet_ext.trainers.warmup_cosine import WarmupCosineSchedule

LEARNING_RATE_VARIABLE = "NNUNET_EXT_ADAM_LEARNING_RATE"
WEIGHT_DECAY_VARIABLE = "NNUNET_EXT_ADAM_WEIGHT_DECAY"
WARMUP_VARIABLE = "NNUNET_EXT_ADAM_WARMUP_EPOCHS"
GRADIENT_CLIP_VARIABLE = "NNUNET_EXT_ADAM_GRADIENT_CLIP"

NNUNETS_CLIP = 12.0
"""Norm to which nnU-Net's training step clips gradients, whatever the optimiser."""

KEY_IN_CHECKPOINT = "nnunet_ext_settings"


@dataclass(frozen=True)
class AdamSettings:
    """What can be set.

    Parameters
    ----------
    learning_rate
        Highest one, at the end of the warm-up.
    weight_decay
        Decoupled from the gradient.
    warmup_epochs
        Length of the linear rise, also in parts of an epoch.
    gradient_clip
        Highest norm of all gradients together.
    """

    learning_rate: float = 8e-4
    weight_decay: float = 1e-4
    warmup_epochs: float = 1.0
    gradient_clip: float = NNUNETS_CLIP


class AdamCosineWarmupMixin(AnyTrainer):
    """Put in front of a trainer: AdamW takes the place of its optimiser, see `nnUNetTrainerAdamCosineWarmup`."""

    settings = AdamSettings()

    def initialize(self) -> None:
        """Read the settings before anything expensive begins, then initialise as the trainer does."""
        self._use(settings_from_environment(self.settings, self.num_epochs))
        super().initialize()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, WarmupCosineSchedule]:
        """Build AdamW, which carries the settings into the checkpoint, and the schedule."""
        optimizer = torch.optim.AdamW(
            [{"params": list(self.network.parameters()), KEY_IN_CHECKPOINT: asdict(self.settings)}],
            lr=self.initial_lr,
            weight_decay=self.weight_decay,
        )
        optimizer.register_step_pre_hook(self._clip_gradients)
        optimizer.register_load_state_dict_pre_hook(_refuse_other_optimizer)
        return optimizer, self._schedule(optimizer)

    def on_train_start(self) -> None:
        """Start as the trainer does, and log the settings."""
        super().on_train_start()
        named = ", ".join(f"{name} {value:g}" for name, value in asdict(self.settings).items())
        self.print_to_log_file(f"AdamW with warm-up and cosine schedule: {named}")

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Load a checkpoint and the settings in it; variables that are set now go before those.

        Raises
        ------
        InputError
            If there are none, because a trainer of another kind wrote it.
        """
        try:
            super().load_checkpoint(filename_or_checkpoint)
        except _OtherOptimizerError:
            message = (
                f"{filename_or_checkpoint}: no settings of AdamW there, so {type(self).__name__} did not write it; "
                "go on with the trainer that did (-tr), or begin with it as -pretrained_weights"
            )
            raise InputError(message) from None
        group = self.optimizer.param_groups[0]
        saved = AdamSettings(**group[KEY_IN_CHECKPOINT])
        self._use(settings_from_environment(saved, self.num_epochs))
        if self.settings != saved:
            self.print_to_log_file(f"The environment changes the settings of the checkpoint, {saved}")
        group |= {"weight_decay": self.weight_decay, KEY_IN_CHECKPOINT: asdict(self.settings)}
        self.lr_scheduler = self._schedule(self.optimizer)

    def _use(self, settings: AdamSettings) -> None:
        # The names of nnU-Net's trainer, so that its log of hyperparameters is right, too.
        self.settings, self.initial_lr, self.weight_decay = settings, settings.learning_rate, settings.weight_decay

    def _schedule(self, optimizer: torch.optim.Optimizer) -> WarmupCosineSchedule:
        return WarmupCosineSchedule(
            optimizer, self.num_epochs, peak=self.initial_lr, warmup=self.settings.warmup_epochs
        )

    def _clip_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Clip what nnU-Net has clipped to its own, larger norm: the result is that of clipping once."""
        if self.settings.gradient_clip < NNUNETS_CLIP:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.gradient_clip)


class nnUNetTrainerAdamCosineWarmup(AdamCosineWarmupMixin, nnUNetTrainer):
    """nnU-Net's trainer with AdamW, a linear warm-up and a cosine schedule down to 0, epoch by epoch.

    AdamW, because the FusedAdam of apex, which NVIDIA's adaptation calls adam, decouples the weight decay by default.

    Read from the environment at the start of the training:

    ``NNUNET_EXT_ADAM_LEARNING_RATE`` (0.0008)
        Highest one, at the end of the warm-up.
    ``NNUNET_EXT_ADAM_WEIGHT_DECAY`` (0.0001)
        At least 0.
    ``NNUNET_EXT_ADAM_WARMUP_EPOCHS`` (1)
        Length of the warm-up, also in parts of an epoch, at most the length of the training.
    ``NNUNET_EXT_ADAM_GRADIENT_CLIP`` (12)
        Highest norm of the gradient, at most 12, to which nnU-Net clips in any case.

    A training that is continued takes them from its checkpoint, where the environment does not set others.
    """


def settings_from_environment(defaults: AdamSettings, epochs: int) -> AdamSettings:
    """Read the settings.

    Parameters
    ----------
    defaults
        Used where a variable is not set.
    epochs
        Length of the training.

    Raises
    ------
    BadCasesError
        If values cannot be used; names all of them.
    """
    settings = {
        "learning_rate": Setting(LEARNING_RATE_VARIABLE, "a number above 0", number(lambda value: value > 0)),
        "weight_decay": Setting(WEIGHT_DECAY_VARIABLE, "a number, at least 0", number(lambda value: value >= 0)),
        "warmup_epochs": Setting(
            WARMUP_VARIABLE,
            f"a number of epochs from 0 to {epochs}, the length of the training",
            number(lambda value: 0 <= value <= epochs),
        ),
        "gradient_clip": Setting(
            GRADIENT_CLIP_VARIABLE,
            f"a number above 0 and at most {NNUNETS_CLIP:g}, to which nnU-Net clips in any case",
            number(lambda value: 0 < value <= NNUNETS_CLIP),
        ),
    }
    values = dict(zip(settings, read_settings(list(settings.values())), strict=True))
    return replace(defaults, **{name: value for name, value in values.items() if value is not None})


class _OtherOptimizerError(Exception):
    """The state of an optimiser without our settings; AdamW itself would fail over it without saying why."""


def _refuse_other_optimizer(_: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    if any(KEY_IN_CHECKPOINT not in group for group in state["param_groups"]):
        raise _OtherOptimizerError
