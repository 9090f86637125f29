"""Trainers for several label maps per case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from nnunetv2.configuration import default_num_processes
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss, get_tp_fp_fn_tn
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.collate_outputs import collate_outputs
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.helpers import dummy_context
from torch import autocast, nn
from torch import distributed as dist

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.branching import EARLY, LATE
from nnunet_ext.multitask.joint_labels import JointLabels, from_dataset_json
from nnunet_ext.multitask.label_manager import StackedLabelManager
from nnunet_ext.multitask.losses import MultiTaskLoss, TaskTerm, UncertaintyLoss, level_weights
from nnunet_ext.multitask.task_log import DICE, TRAIN_LOSS, VAL_LOSS, TaskLogger, task_key
from nnunet_ext.multitask.task_scores import SUMMARY, score_folder
from nnunet_ext.multitask.tasks import TASKS_OF_NETWORK, loss_weights
from nnunet_ext.trainers.nnunet_internals import AnyTrainer, replaced_loader_class
from nnunet_ext.trainers.task_sampling import StackedIgnoreSamplingLoader, StackedLabelLoader

if TYPE_CHECKING:
    from collections.abc import Sequence


class MultiTaskMixin(AnyTrainer):
    """Put in front of a trainer: it trains a `MultiTaskUNet` on stacks of label maps.

    Attributes
    ----------
    branching
        Where the tasks part, "early" or "late"; None for what the dataset's plans say.
    loader_class
        Loader of its batches.
    """

    branching: ClassVar[str | None] = None
    loader_class: ClassVar[type] = StackedLabelLoader

    def initialize(self) -> None:
        """Check that the dataset has several label maps per case, then initialise as nnU-Net does."""
        self.joint = self._checked_tasks()
        super().initialize()
        self.logger.local_logger = TaskLogger(
            self.logger.get_checkpoint(),
            self.loss_names,
            self.joint.names,
            with_variances=isinstance(self.loss, UncertaintyLoss),
        )

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Build the network of the plans with this trainer's branching.

        Parameters
        ----------
        plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
            As nnU-Net's.
        """
        network: nn.Module = get_network_from_plans(
            configuration_manager.network_arch_class_name,
            {
                **configuration_manager.network_arch_init_kwargs,
                **tasks_of_network(configuration_manager),
                **cls.network_options(),
            },
            configuration_manager.network_arch_init_kwargs_req_import,
            num_input_channels,
            num_output_channels,
            allow_init=True,
            deep_supervision=enable_deep_supervision,
        )
        return network

    @classmethod
    def network_options(cls) -> dict[str, Any]:
        """Return the arguments of the network that this trainer, not the plans, decides on."""
        return {} if cls.branching is None else {"branching": cls.branching}

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of what has a loss of its own, in the order of ``self.loss.last``."""
        return self.joint.names

    def get_dataloaders(self) -> Any:
        """Build the trainer's loaders for training and validation with the other loader class."""
        with replaced_loader_class(type(self), self.loader_class):
            return super().get_dataloaders()

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Return nnU-Net's pipeline, without its conversion of label maps into regions."""
        return super().get_training_transforms(*args, **{**kwargs, "regions": None})

    def get_validation_transforms(self, *args: Any, **kwargs: Any) -> Any:
        """Return nnU-Net's pipeline, without its conversion of label maps into regions."""
        return super().get_validation_transforms(*args, **{**kwargs, "regions": None})

    def _build_loss(self) -> MultiTaskLoss:
        return MultiTaskLoss(self._task_terms(), touch_all_outputs=self._must_touch_all_outputs())

    def _must_touch_all_outputs(self) -> bool:
        return bool(self.is_ddp)

    def _task_terms(self) -> list[TaskTerm]:
        levels = len(self._get_deep_supervision_scales()) if self.enable_deep_supervision else 1
        rows = zip(
            self.joint.tasks,
            self.joint.head_slices,
            loss_weights(self.joint.tasks),
            self.joint.ignore_values,
            strict=True,
        )
        return [
            TaskTerm(
                self._loss_of_head(ignore_value),
                channels,
                level_weights(levels, deep_supervision=task.deep_supervision),
                weight,
                ignore_value,
            )
            for task, channels, weight, ignore_value in rows
        ]

    def _loss_of_head(self, ignore_value: int | None) -> nn.Module:
        """Build nnU-Net's loss of a network with one head, soft Dice and cross entropy."""
        loss: Any = DC_and_CE_loss(
            {"batch_dice": self.configuration_manager.batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": self.is_ddp},
            {},
            ignore_label=ignore_value,
            dice_class=MemoryEfficientSoftDiceLoss,
        )
        if self._do_i_compile():
            loss.dc = torch.compile(loss.dc)
        built: nn.Module = loss
        return built

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do nnU-Net's step, and add the losses of the tasks to its result."""
        return {**super().train_step(batch), "task_losses": self.loss.last.cpu().numpy()}

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Compute losses, and hits and errors of every class of every task.

        Parameters
        ----------
        batch
            ``data`` (B, C, …) and ``target``, stacks (B, T, …) per resolution.

        Returns
        -------
        dict
            ``loss``, ``task_losses`` and, per class in the order of tasks and without backgrounds, ``tp_hard``,
            ``fp_hard``, ``fn_hard``.
        """
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"]
        target = [
            part.to(self.device, non_blocking=True) for part in (target if isinstance(target, list) else [target])
        ]
        with autocast(self.device.type, enabled=True) if self.device.type == "cuda" else dummy_context():
            output = self.network(data)
            loss = self.loss(output, target)
        logits = output[0] if isinstance(output, list | tuple) else output
        counts = [
            _count(logits[:, head], target[0][:, channel : channel + 1], ignore_value)
            for channel, (head, ignore_value) in enumerate(
                zip(self.joint.head_slices, self.joint.ignore_values, strict=True)
            )
        ]
        hits, false_positives, false_negatives = (np.concatenate(parts) for parts in zip(*counts, strict=True))
        return {
            "loss": loss.detach().cpu().numpy(),
            "task_losses": self.loss.last.cpu().numpy(),
            "tp_hard": hits,
            "fp_hard": false_positives,
            "fn_hard": false_negatives,
        }

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """Log the training losses, also of every task."""
        super().on_train_epoch_end(train_outputs)
        self._log_task_losses(TRAIN_LOSS, train_outputs)

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """Log the validation losses and pseudo Dice, also of every task."""
        super().on_validation_epoch_end(val_outputs)
        self._log_task_losses(VAL_LOSS, val_outputs)
        dice = self.logger.get_value("dice_per_class_or_region", step=-1)
        for task, classes in zip(self.joint.tasks, self._foreground_of_tasks(dice), strict=True):
            self.logger.log(task_key(DICE, task.name), _nanmean(classes), self.current_epoch)

    def on_epoch_end(self) -> None:
        """Write the losses and pseudo Dice of every task into the log, then end the epoch as nnU-Net does."""
        for name in self.loss_names:
            train, val = (self.logger.get_value(task_key(curve, name), step=-1) for curve in (TRAIN_LOSS, VAL_LOSS))
            self.print_to_log_file(f"{name}: train_loss {train:.4f}, val_loss {val:.4f}")
        dice = self.logger.get_value("dice_per_class_or_region", step=-1)
        for task, classes in zip(self.joint.tasks, self._foreground_of_tasks(dice), strict=True):
            named = ", ".join(f"{name} {value:.4f}" for name, value in zip(task.classes[1:], classes, strict=True))
            self.print_to_log_file(f"{task.name}: pseudo Dice {named}")
        super().on_epoch_end()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate as nnU-Net does, and write the scores of every task and class into ``summary_tasks.json``."""
        super().perform_actual_validation(save_probabilities)
        if self.local_rank != 0:
            return
        folder = Path(self.output_folder) / "validation"
        summary = score_folder(
            folder,
            Path(self.preprocessed_dataset_folder_base) / "gt_segmentations",
            self.dataset_json["file_ending"],
            self.plans_manager.image_reader_writer_class(),
            self.joint,
            default_num_processes,
        )
        for task, scores in summary["mean"].items():
            named = ", ".join(f"{name} {_shown(values['Dice'])}" for name, values in scores["classes"].items())
            self.print_to_log_file(f"{task}: Mean Validation Dice {named}", also_print_to_console=True)
        self.print_to_log_file(f"Scores of all tasks: {folder / SUMMARY}", also_print_to_console=True)

    def _log_task_losses(self, curve: str, outputs: Sequence[dict[str, Any]]) -> None:
        losses = collate_outputs(outputs)["task_losses"]
        if self.is_ddp:
            gathered: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(gathered, losses)
            losses = np.vstack(gathered)
        for name, values in zip(self.loss_names, losses.T, strict=True):
            self.logger.log(task_key(curve, name), _nanmean(values), self.current_epoch)

    def _foreground_of_tasks(self, values: Sequence[float]) -> list[Sequence[float]]:
        """Cut a list of one value per class, without backgrounds, into one list per task."""
        ends = np.cumsum([head - 1 for head in self.joint.heads]).tolist()
        return [values[end - head + 1 : end] for end, head in zip(ends, self.joint.heads, strict=True)]

    def _checked_tasks(self) -> JointLabels:
        """Return the tasks of the dataset, after checking that the plans are made for them."""
        name = type(self).__name__
        try:
            joint = from_dataset_json(self.dataset_json, f"dataset.json of {self.plans_manager.dataset_name}")
        except InputError as error:
            message = f"{name} trains several tasks. {error}"
            raise InputError(message) from None
        planned = tasks_of_network(self.configuration_manager)
        if not isinstance(self.label_manager, StackedLabelManager) or (
            planned.get("tasks"),
            planned.get("heads"),
        ) != (list(joint.names), list(joint.heads)):
            message = (
                f"{name} needs plans for the tasks {', '.join(joint.names)}, which {self.plans_manager.plans_name} are "
                "not. Plan with `nnUNetv2_plan_and_preprocess -d … -pl StackedLabelPlanner` and train with "
                "`-p nnUNetStackedLabelPlans`."
            )
            raise InputError(message)
        if self.is_cascaded:
            message = f"{name} has no cascade: train {self.configuration_manager.previous_stage_name} or 3d_fullres."
            raise InputError(message)
        return joint


class nnUNetTrainerMTL(MultiTaskMixin, nnUNetTrainer):
    """One decoder per task or a shared one, as ``branching`` in dataset.json says for each task."""


class nnUNetTrainerMTLearly(MultiTaskMixin, nnUNetTrainer):
    """One decoder per task."""

    branching = EARLY


class nnUNetTrainerMTLlate(MultiTaskMixin, nnUNetTrainer):
    """One decoder for all tasks, with one head each."""

    branching = LATE


class nnUNetTrainerMTL_betterIgnoreSampling(nnUNetTrainerMTL):
    """`nnUNetTrainerMTL` with patches that show the annotation, at any place in the patch alike."""

    loader_class = StackedIgnoreSamplingLoader


class nnUNetTrainerMTLearly_betterIgnoreSampling(nnUNetTrainerMTLearly):
    """`nnUNetTrainerMTLearly` with patches that show the annotation, at any place in the patch alike."""

    loader_class = StackedIgnoreSamplingLoader


class nnUNetTrainerMTLlate_betterIgnoreSampling(nnUNetTrainerMTLlate):
    """`nnUNetTrainerMTLlate` with patches that show the annotation, at any place in the patch alike."""

    loader_class = StackedIgnoreSamplingLoader


def tasks_of_network(configuration_manager: Any) -> dict[str, Any]:
    """Return tasks, heads and branching of the network in a configuration of the plans; empty in other plans."""
    return dict(configuration_manager.configuration["architecture"].get(TASKS_OF_NETWORK, {}))


def _count(logits: torch.Tensor, label_map: torch.Tensor, ignore_value: int | None) -> tuple[Any, Any, Any]:
    """Count true and false positives and false negatives of a task's classes without background.

    Parameters
    ----------
    logits
        Of the task's head (B, C, …).
    label_map
        Shape (B, 1, …).
    ignore_value
        Value of voxels to leave out, or None.

    Returns
    -------
    tuple of ndarray
        Three arrays of shape (C - 1,).
    """
    axes = [0, *range(2, logits.ndim)]
    predicted = torch.zeros(logits.shape, device=logits.device)
    predicted.scatter_(1, logits.argmax(1, keepdim=True), 1)
    mask = None
    if ignore_value is not None:
        annotated = label_map != ignore_value
        mask, label_map = annotated.float(), torch.where(annotated, label_map, 0)
    tp, fp, fn, _ = get_tp_fp_fn_tn(predicted, label_map, axes=axes, mask=mask)
    counts = [count[1:].detach().cpu().numpy() for count in (tp, fp, fn)]
    return counts[0], counts[1], counts[2]


def _nanmean(values: Any) -> float:
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def _shown(value: float | None) -> str:
    return "in no case" if value is None else f"{value:.4f}"
