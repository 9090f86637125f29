"""The trainers for sparse annotations over nnU-Net's stronger augmentation, DA5."""

from __future__ import annotations

from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import (
    nnUNetTrainerDA5,
    nnUNetTrainerDA5ord0,
)

from nnunet_ext.trainers.ignore_sampling import IgnoreSamplingMixin
from nnunet_ext.trainers.no_smooth import NoSmoothMixin


class nnUNetTrainerDA5_betterIgnoreSampling(IgnoreSamplingMixin, nnUNetTrainerDA5):
    """nnU-Net's DA5 trainer with `IgnoreSamplingMixin`."""


class nnUNetTrainerDA5_betterIgnoreSampling_noSmooth(NoSmoothMixin, nnUNetTrainerDA5_betterIgnoreSampling):
    """The same with Dice smooth 0 and all deep-supervision outputs."""


class nnUNetTrainerDA5ord0_betterIgnoreSampling(IgnoreSamplingMixin, nnUNetTrainerDA5ord0):
    """nnU-Net's DA5 trainer with nearest-neighbour interpolation, with `IgnoreSamplingMixin`."""


class nnUNetTrainerDA5ord0_betterIgnoreSampling_noSmooth(NoSmoothMixin, nnUNetTrainerDA5ord0_betterIgnoreSampling):
    """The same with Dice smooth 0 and all deep-supervision outputs."""
