"""The trainer with Dice and focal loss, as nnU-Net builds and runs it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from multitask_builders import build, preprocessed_dataset
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss, DC_and_topk_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find_trainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import nn
from trainer_builders import IGNORE, LABELS, REGIONS, label_manager, trainer, without_ignore

from nnunet_ext.errors import InputError
from nnunet_ext.trainers.dice_focal import FocalLossMixin, nnUNetTrainerFocalLoss, with_focal_loss
from nnunet_ext.trainers.focal_loss import SigmoidFocalLoss, SoftmaxFocalLoss, sigmoid_focal_loss, softmax_focal_loss
from nnunet_ext.trainers.multitask import nnUNetTrainerMTL
from nnunet_ext.trainers.nnunet_internals import NnunetChangedError
from nnunet_ext.trainers.no_smooth import NoSmoothMixin

SCALES = [[1.0] * 3, [0.5] * 3, [0.25] * 3]
SHAPE = (2, 3, 8, 8, 8)
SIZES = (8, 4, 2)


class CrossEntropyByGamma(FocalLossMixin, nnUNetTrainer):
    focal_gamma = 0.0


def regions_without_ignore() -> LabelManager:
    return LabelManager({name: value for name, value in REGIONS.items() if name != "ignore"}, [1, 2])


MANAGERS = {
    "classes": without_ignore,
    "classes and ignore": label_manager,
    "regions": regions_without_ignore,
    "regions and ignore": lambda: label_manager(REGIONS),
}


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "")


def built_loss(cls: type, manager: LabelManager, *, deep_supervision: bool = True) -> Any:
    made = object.__new__(cls)
    made.label_manager = manager
    made.configuration_manager = SimpleNamespace(batch_dice=False)
    made.is_ddp = False
    made.device = torch.device("cpu")
    made.enable_deep_supervision = deep_supervision
    made._get_deep_supervision_scales = lambda: SCALES
    return made._build_loss()


def batch(manager: LabelManager) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Logits and targets per resolution, as nnU-Net's loaders make them; half of the voxels are ignored, if any."""
    torch.manual_seed(1)
    logits, targets = [], []
    for size in SIZES:
        ignored = torch.rand(2, 1, size, size, size) < 0.5
        if manager.has_regions:
            target = torch.rand(2, 2, size, size, size) < 0.4
            targets.append(torch.cat([target, ignored], 1) if manager.has_ignore_label else target)
        else:
            target = torch.randint(0, 3, (2, 1, size, size, size))
            targets.append(torch.where(ignored, IGNORE, target) if manager.has_ignore_label else target)
        logits.append(torch.randn(2, 2 if manager.has_regions else 3, size, size, size, requires_grad=True))
    return logits, targets


def test_nnunets_compound_losses_still_have_a_replaceable_cross_entropy() -> None:
    """Pins an internal: the attribute ``ce`` and what it is."""
    classes, regions = (built_loss(nnUNetTrainer, MANAGERS[name]()) for name in ("classes", "regions"))
    assert isinstance(classes, DeepSupervisionWrapper)
    assert (type(classes.loss), type(classes.loss.ce)) == (DC_and_CE_loss, RobustCrossEntropyLoss)
    assert (type(regions.loss), type(regions.loss.ce)) == (DC_and_BCE_loss, nn.BCEWithLogitsLoss)


@pytest.mark.parametrize("kind", MANAGERS)
def test_the_focal_loss_takes_the_place_of_the_cross_entropy_and_nothing_else_changes(kind: str) -> None:
    """With gamma 0 the whole loss, and its gradient, is that of nnU-Net."""
    manager = MANAGERS[kind]()
    logits, targets = batch(manager)
    stock, ours = (built_loss(cls, manager) for cls in (nnUNetTrainer, CrossEntropyByGamma))
    assert ours.weight_factors == stock.weight_factors
    assert isinstance(ours.loss.ce, SigmoidFocalLoss if manager.has_regions else SoftmaxFocalLoss)
    torch.testing.assert_close(ours(logits, targets), stock(logits, targets))
    for found, expected in zip(
        torch.autograd.grad(ours(logits, targets), logits[:2]),
        torch.autograd.grad(stock(logits, targets), logits[:2]),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", MANAGERS)
def test_dice_and_focal_loss_of_gamma_2_are_added(kind: str) -> None:
    manager = MANAGERS[kind]()
    (logits, *_), (target, *_) = batch(manager)
    loss = built_loss(nnUNetTrainerFocalLoss, manager, deep_supervision=False)
    without_focal = built_loss(nnUNetTrainer, manager, deep_supervision=False)
    without_focal.weight_ce = 0
    if manager.has_regions:
        values = sigmoid_focal_loss(logits, target[:, :2], gamma=2)
        # nnU-Net adds the regions up where there is an ignore label, and averages over them where there is none.
        focal = values.sum(1)[~target[:, 2]].mean() if manager.has_ignore_label else values.mean()
    else:
        focal = softmax_focal_loss(logits, target, gamma=2, ignore_label=manager.ignore_label)
    torch.testing.assert_close(loss(logits, target), without_focal(logits, target) + focal)


def test_a_patch_without_annotation_has_a_finite_loss_and_gradient() -> None:
    for kind in ("classes and ignore", "regions and ignore"):
        manager = MANAGERS[kind]()
        logits, targets = batch(manager)
        nothing = [torch.full_like(target, 1 if manager.has_regions else IGNORE) for target in targets]
        loss = built_loss(nnUNetTrainerFocalLoss, manager)(logits, nothing)
        assert torch.isfinite(loss)
        for part in torch.autograd.grad(loss, logits[:2]):
            assert torch.all(torch.isfinite(part))


def test_other_changes_of_the_loss_compose() -> None:
    class Both(NoSmoothMixin, nnUNetTrainerFocalLoss):
        pass

    loss = built_loss(Both, MANAGERS["classes"]())
    assert loss.loss.dc.smooth == 0
    assert loss.loss.ce.gamma == 2


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        DC_and_topk_loss({"ddp": False}, {"k": 10}),
        DC_and_CE_loss({"ddp": False}, {"weight": torch.ones(3)}, dice_class=MemoryEfficientSoftDiceLoss),
        DC_and_CE_loss({"ddp": False}, {"label_smoothing": 0.1}, dice_class=MemoryEfficientSoftDiceLoss),
        DC_and_BCE_loss({"pos_weight": torch.ones(1)}, {"ddp": False}),
    ],
    ids=["no ce", "top k", "weights", "smoothed", "positive weight"],
)
def test_a_loss_that_is_more_than_dice_and_cross_entropy_is_refused(loss: nn.Module) -> None:
    with pytest.raises(NnunetChangedError, match=f"got {type(loss).__name__} with"):
        with_focal_loss(DeepSupervisionWrapper(loss, [1.0]), 2.0)


def test_plans_for_several_tasks_are_refused(tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    with pytest.raises(InputError, match=r"train and predict with -tr nnUNetTrainerMTLearly"):
        build(nnUNetTrainerFocalLoss).initialize()


def test_trainers_for_several_tasks_are_refused(tmp_path: Path) -> None:
    class Focal(FocalLossMixin, nnUNetTrainerMTL):
        pass

    preprocessed_dataset(tmp_path)
    with pytest.raises(NnunetChangedError, match="got MultiTaskLoss with no ce"):
        build(Focal).initialize()


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["classes", "regions"])
def test_training_with_an_ignore_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: dict[str, Any]) -> None:
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    cls = find_trainer("nnUNetTrainerFocalLoss_2epochs")
    assert issubclass(cls, nnUNetTrainerFocalLoss)
    made = trainer(cls, tmp_path, patch_size=(16, 16, 16), labels=labels)
    made.num_iterations_per_epoch, made.num_val_iterations_per_epoch = 2, 1
    made.run_training()
    losses = made.logger.get_value("train_losses", step=None)
    assert len(losses) == 2
    assert np.all(np.isfinite(losses))
    assert (Path(made.output_folder) / "checkpoint_final.pth").is_file()
