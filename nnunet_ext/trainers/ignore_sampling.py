"""Trainers for sparse annotations: patches that show the annotation, at any place in the patch alike."""

from __future__ import annotations

from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.trainers.early_stopping import EarlyStoppingMixin
from nnunet_ext.trainers.ignore_loader import IgnoreSamplingLoader
from nnunet_ext.trainers.nnunet_internals import AnyTrainer, replaced_loader_class
from nnunet_ext.trainers.no_smooth import NoSmoothMixin


class IgnoreSamplingMixin(AnyTrainer):
    """Put in front of a trainer: its batches come from `IgnoreSamplingLoader`."""

    def get_dataloaders(self) -> Any:
        """Build the trainer's loaders for training and validation with the other loader class."""
        with replaced_loader_class(type(self), IgnoreSamplingLoader):
            return super().get_dataloaders()


class nnUNetTrainer_betterIgnoreSampling(IgnoreSamplingMixin, nnUNetTrainer):
    """nnU-Net's trainer with `IgnoreSamplingMixin`."""


class nnUNetTrainer_betterIgnoreSampling_noSmooth(NoSmoothMixin, nnUNetTrainer_betterIgnoreSampling):
    """The same with Dice smooth 0 and all deep-supervision outputs."""


class nnUNetTrainer_betterIgnoreSampling_earlyStopValLoss(EarlyStoppingMixin, nnUNetTrainer_betterIgnoreSampling):
    """The same with early stopping on the validation loss."""
