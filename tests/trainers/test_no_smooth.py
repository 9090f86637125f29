from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from trainer_builders import IGNORE, REGIONS, label_manager

from nnunet_ext.trainers.ignore_sampling import nnUNetTrainer_betterIgnoreSampling_noSmooth
from nnunet_ext.trainers.nnunet_internals import NnunetChangedError
from nnunet_ext.trainers.no_smooth import deep_supervision_weights, nnUNetTrainer_noSmooth, without_smoothing

SCALES = [[1.0] * 3, [0.5] * 3, [0.25] * 3]


def built_loss(*, regions: bool = False, deep_supervision: bool = True, cls: type = nnUNetTrainer_noSmooth):
    trainer = object.__new__(cls)
    trainer.label_manager = label_manager(REGIONS) if regions else label_manager()
    trainer.configuration_manager = SimpleNamespace(batch_dice=False)
    trainer.is_ddp = False
    trainer.device = torch.device("cpu")
    trainer.enable_deep_supervision = deep_supervision
    trainer._get_deep_supervision_scales = lambda: SCALES
    return trainer._build_loss()


@pytest.mark.parametrize("cls", [nnUNetTrainer_noSmooth, nnUNetTrainer_betterIgnoreSampling_noSmooth])
@pytest.mark.parametrize("regions", [False, True])
def test_all_outputs_count_and_dice_has_no_smoothing(cls: type, regions: bool) -> None:
    loss = built_loss(regions=regions, cls=cls)
    assert isinstance(loss.loss, DC_and_BCE_loss if regions else DC_and_CE_loss)
    assert loss.weight_factors == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert loss.loss.dc.smooth == 0


def test_a_loss_without_deep_supervision_stays_unwrapped() -> None:
    loss = built_loss(deep_supervision=False)
    assert isinstance(loss, DC_and_CE_loss)
    assert loss.dc.smooth == 0


def test_a_compiled_dice_loss_is_reached() -> None:
    loss = DC_and_CE_loss({"smooth": 1e-5, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss)
    dice = loss.dc
    loss.dc = torch.compile(dice)
    assert without_smoothing(loss).dc is not dice
    assert dice.smooth == 0


def test_a_patch_without_annotation_has_a_finite_loss_and_gradient() -> None:
    loss = built_loss()
    outputs = [torch.randn(1, 3, size, size, size, requires_grad=True) for size in (8, 4, 2)]
    total = loss(outputs, [torch.full((1, 1, *output.shape[2:]), IGNORE) for output in outputs])
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.all(torch.isfinite(output.grad)) for output in outputs)


@pytest.mark.parametrize("loss", [torch.nn.MSELoss(), DeepSupervisionWrapper(torch.nn.MSELoss(), [1.0])])
def test_another_kind_of_loss_is_refused(loss: torch.nn.Module) -> None:
    with pytest.raises(NnunetChangedError, match="MSELoss with no dc"):
        without_smoothing(loss)


def test_weights_halve_and_add_up_to_one() -> None:
    assert deep_supervision_weights(1) == (1.0,)
    weights = deep_supervision_weights(5)
    assert sum(weights) == pytest.approx(1)
    assert all(high == pytest.approx(2 * low) for high, low in pairwise(weights))
