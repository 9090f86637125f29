"""A multi-task trainer that learns the weights of its tasks."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.losses import MultiTaskLoss, UncertaintyLoss
from nnunet_ext.multitask.task_log import LOG_VARIANCE, task_key
from nnunet_ext.trainers.multitask import MultiTaskMixin, nnUNetTrainerMTLearly
from nnunet_ext.trainers.task_sampling import StackedIgnoreSamplingLoader


class UncertaintyMixin(MultiTaskMixin):
    """Put in front of a multi-task trainer: the weights of the tasks are learned, see `UncertaintyLoss`.

    The variances are part of the log, one value per epoch, and a resumed training takes them from there.
    """

    def configure_optimizers(self) -> Any:
        """Let nnU-Net's optimiser also optimise the variances, without weight decay."""
        optimizer, lr_scheduler = super().configure_optimizers()
        self.log_variances = nn.Parameter(torch.zeros(len(self.joint.tasks), device=self.device))
        if self.is_ddp:
            # outside of the network, where DistributedDataParallel does not average gradients
            self.log_variances.register_hook(_averaged)  # type: ignore[no-untyped-call]
        optimizer.add_param_group({"params": [self.log_variances], "weight_decay": 0.0})
        return optimizer, lr_scheduler

    def _build_loss(self) -> MultiTaskLoss:
        return UncertaintyLoss(self._task_terms(), self.log_variances, touch_all_outputs=self._must_touch_all_outputs())

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Log the variances, too."""
        super().on_train_epoch_end(train_outputs)
        for name, value in zip(self.joint.names, self.log_variances.tolist(), strict=True):
            self.logger.log(task_key(LOG_VARIANCE, name), value, self.current_epoch)
            self.print_to_log_file(f"{name}: log of variance {value:.4f}")

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Load a checkpoint and the variances in its log.

        Raises
        ------
        InputError
            If they are not there, because a trainer of another kind wrote it.
        """
        super().load_checkpoint(filename_or_checkpoint)
        curves = [self.logger.get_value(task_key(LOG_VARIANCE, name), step=None) for name in self.joint.names]
        if not all(curves):
            message = (
                f"{filename_or_checkpoint}: no variances of the tasks there, so {type(self).__name__} did not write "
                "it; go on with the trainer that did (-tr), or begin with it as -pretrained_weights"
            )
            raise InputError(message)
        values = [curve[-1] for curve in curves]
        with torch.no_grad():
            self.log_variances.copy_(torch.tensor(values))


class nnUNetTrainerMTLearlyUncertainty(UncertaintyMixin, nnUNetTrainerMTLearly):
    """One decoder per task, and learned weights of the tasks."""


class nnUNetTrainerMTLearlyUncertainty_betterIgnoreSampling(nnUNetTrainerMTLearlyUncertainty):
    """`nnUNetTrainerMTLearlyUncertainty` with patches that show the annotation, at any place in the patch alike."""

    loader_class = StackedIgnoreSamplingLoader


def _averaged(gradient: torch.Tensor) -> torch.Tensor:
    total = gradient.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
