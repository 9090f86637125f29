"""The loss of several tasks against nnU-Net's own, and what may not influence what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from nnunet_ext.multitask.losses import MultiTaskLoss, TaskTerm, UncertaintyLoss, level_weights
from nnunet_ext.networks.multitask_unet import MultiTaskUNet

FRONT, ZONES = slice(0, 2), slice(2, 6)
LEVELS = 3
IGNORE = (2, 4)


def nnunet_loss(ignore_value: int | None = None) -> nn.Module:
    options = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(options, {}, ignore_label=ignore_value, dice_class=MemoryEfficientSoftDiceLoss)


def terms(*, ignore: bool = False, weights: tuple[float, float] = (0.5, 0.5), levels: int = LEVELS) -> list[TaskTerm]:
    """A line at full resolution only, and zones with deep supervision."""
    values = IGNORE if ignore else (None, None)
    return [
        TaskTerm(nnunet_loss(values[0]), FRONT, level_weights(levels, deep_supervision=False), weights[0], values[0]),
        TaskTerm(nnunet_loss(values[1]), ZONES, level_weights(levels), weights[1], values[1]),
    ]


def batch(*, levels: int = LEVELS, seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Logits (2, 6, …) and stacks (2, 2, …), from full to lowest resolution."""
    rng = torch.Generator().manual_seed(seed)
    sizes = [16 // 2**level for level in range(levels)]
    outputs = [torch.randn((2, 6, size, size), generator=rng).requires_grad_() for size in sizes]
    targets = [
        torch.stack([torch.randint(0, head, (2, size, size), generator=rng) for head in (2, 4)], 1).short()
        for size in sizes
    ]
    return outputs, targets


def gradients(loss: torch.Tensor, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    found = torch.autograd.grad(loss, tensors, allow_unused=True)
    return [torch.zeros_like(t) if gradient is None else gradient for t, gradient in zip(tensors, found, strict=True)]


def test_the_weights_of_the_levels_are_nnunets_own() -> None:
    for stages in range(3, 9):
        trainer = SimpleNamespace(
            label_manager=SimpleNamespace(has_regions=False, ignore_label=None),
            configuration_manager=SimpleNamespace(
                batch_dice=False, pool_op_kernel_sizes=[[1, 1], *([[2, 2]] * (stages - 1))]
            ),
            is_ddp=False,
            enable_deep_supervision=True,
            _do_i_compile=lambda: False,
        )
        trainer._get_deep_supervision_scales = lambda owner=trainer: nnUNetTrainer._get_deep_supervision_scales(owner)
        stock = nnUNetTrainer._build_loss(trainer)
        levels = len(trainer._get_deep_supervision_scales())
        assert level_weights(levels) == pytest.approx(stock.weight_factors, abs=1e-12)
        assert levels == stages - 1


def test_the_weights_of_eight_levels_are_those_of_the_reference() -> None:
    expected = (0.50394, 0.25197, 0.12598, 0.06299, 0.03150, 0.01575, 0.00787, 0)
    assert level_weights(8) == pytest.approx(expected, abs=5e-6)
    assert level_weights(8)[-1] == 0
    assert level_weights(8, deep_supervision=False) == (1, 0, 0, 0, 0, 0, 0, 0)
    assert level_weights(1) == level_weights(1, deep_supervision=False) == (1,)
    assert level_weights(2) == (1, 0)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.2, 1.7)])
def test_the_loss_is_the_weighted_sum_of_nnunets_losses(weights: tuple[float, float]) -> None:
    outputs, targets = batch()
    loss = MultiTaskLoss(terms(weights=weights))
    front = nnunet_loss()(outputs[0][:, :2], targets[0][:, :1])
    zones = DeepSupervisionWrapper(nnunet_loss(), (2 / 3, 1 / 3, 0))(
        [output[:, 2:] for output in outputs], [target[:, 1:] for target in targets]
    )
    total = loss(outputs, targets)
    torch.testing.assert_close(total, weights[0] * front + weights[1] * zones)
    torch.testing.assert_close(loss.last, torch.stack([front, zones]).detach())
    assert not loss.last.requires_grad
    expected = gradients(weights[0] * front + weights[1] * zones, outputs)
    for found, wanted in zip(gradients(total, outputs), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_one_resolution_comes_without_a_list() -> None:
    outputs, targets = batch(levels=1)
    loss = MultiTaskLoss(terms(levels=1))
    assert torch.equal(loss(outputs[0], targets[0]), loss(outputs, targets))


@pytest.mark.parametrize("touch", [False, True])
def test_the_front_loss_looks_at_the_full_resolution_only(touch: bool) -> None:
    outputs, targets = batch()
    loss = MultiTaskLoss(terms(weights=(1, 1)), touch_all_outputs=touch)
    loss(outputs, targets)
    front, zones = loss.last
    others = batch(seed=1)[0]
    loss([outputs[0], *others[1:]], targets)
    assert loss.last[0] == front
    assert loss.last[1] != zones
    loss([others[0], *outputs[1:]], targets)
    assert loss.last[0] != front


def test_every_output_takes_part_where_it_must_and_changes_nothing() -> None:
    outputs, targets = batch()
    front_only = terms()[:1]
    without, touching = MultiTaskLoss(front_only), MultiTaskLoss(front_only, touch_all_outputs=True)
    assert torch.equal(touching(outputs, targets), without(outputs, targets))
    found = torch.autograd.grad(without(outputs, targets), outputs, allow_unused=True)
    assert [gradient is None for gradient in found] == [False, True, True]
    touched = torch.autograd.grad(touching(outputs, targets), outputs)  # an unused one would raise
    assert torch.equal(touched[0], found[0])
    assert not touched[1].any()
    assert not touched[2].any()


def test_a_task_that_is_nowhere_annotated_teaches_nothing() -> None:
    outputs, targets = batch()
    for target in targets:
        target[:, 0] = IGNORE[0]
    loss = MultiTaskLoss(terms(ignore=True))
    total = loss(outputs, targets)
    assert torch.isnan(loss.last[0])
    assert torch.equal(total, 0.5 * loss.last[1])
    found = gradients(total, outputs)
    assert not any(gradient[:, FRONT].any() for gradient in found)
    assert found[0][:, ZONES].any()
    assert found[1][:, ZONES].any()


def test_a_batch_without_any_annotation_has_loss_zero() -> None:
    outputs, targets = batch()
    for target in targets:
        target[:, 0], target[:, 1] = IGNORE
    loss = MultiTaskLoss(terms(ignore=True))
    total = loss(outputs, targets)
    assert total == 0
    assert torch.isnan(loss.last).all()
    assert not any(gradient.any() for gradient in gradients(total, outputs))


def test_voxels_ignored_in_one_task_count_for_the_other_only() -> None:
    outputs, targets = batch()
    for target in targets:
        target[:, 0, :, ::2] = IGNORE[0]
    loss = MultiTaskLoss(terms(ignore=True))
    before = loss(outputs, targets)
    gradient = gradients(before, outputs)[0]
    assert not gradient[:, FRONT, :, ::2].any()
    assert gradient[:, FRONT, :, 1::2].any()
    assert gradient[:, ZONES, :, ::2].all()
    changed = outputs[0].detach().clone()
    changed[:, FRONT, :, ::2] = 7
    assert torch.equal(loss([changed, *outputs[1:]], targets), before)


def network(branching: str) -> MultiTaskUNet:
    torch.manual_seed(0)
    return MultiTaskUNet(
        1,
        6,
        ["front", "zones"],
        [2, 4],
        branching,
        n_stages=4,
        features_per_stage=[2, 4, 4, 4],
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2],
        n_conv_per_stage=1,
        n_conv_per_stage_decoder=1,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=True,
    )


def test_the_front_loss_does_not_reach_the_decoder_of_the_zones() -> None:
    for branching, reached in (("early", False), ("late", True)):
        net = network(branching)
        MultiTaskLoss(terms()[:1])(net(torch.randn(2, 1, 16, 16)), batch()[1]).backward()
        of_zones = [p.grad is not None and bool(p.grad.any()) for p in net.decoder_of("zones").parameters()]
        assert any(of_zones) == reached
        assert all(
            p.grad is not None and bool(p.grad.any()) for p in net.decoder_of("front").seg_layers[-1].parameters()
        )
        assert any(bool(p.grad.any()) for p in net.encoder.parameters())


def test_reconstruction_is_a_mean_squared_error_that_shares_the_weight() -> None:
    outputs, targets = batch()
    rng = torch.Generator().manual_seed(3)
    rebuilt, image = (torch.rand((2, 2, 16, 16), generator=rng) for _ in range(2))
    rebuilt.requires_grad_()
    loss = MultiTaskLoss(terms(), reconstruction_weight=1 / 3)
    assert loss.weights == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert MultiTaskLoss(terms(weights=(0.2, 0.8)), reconstruction_weight=0.5).weights == pytest.approx((0.1, 0.4, 0.5))
    total = loss([torch.cat((outputs[0], rebuilt), 1), *outputs[1:]], [*targets, image])
    plain = MultiTaskLoss(terms())
    expected = plain(outputs, targets) * 2 / 3 + ((rebuilt - image) ** 2).mean() / 3
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(loss.last, torch.stack([*plain.last, ((rebuilt - image) ** 2).mean().detach()]))
    torch.testing.assert_close(torch.autograd.grad(total, rebuilt)[0], 2 * (rebuilt - image) / image.numel() / 3)


def uncertainty(log_variances: list[float], **more: Any) -> tuple[UncertaintyLoss, nn.Parameter]:
    parameter = nn.Parameter(torch.tensor(log_variances, dtype=torch.float64))
    return UncertaintyLoss(terms(**more), parameter), parameter


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.3, 2.0)])
def test_learned_weights_follow_the_formula(weights: tuple[float, float]) -> None:
    outputs, targets = batch()
    loss, parameter = uncertainty([0.4, -0.7], weights=weights)
    total = loss(outputs, targets)
    s, positive = parameter.detach().numpy(), loss.last.double().numpy() + 1
    assert total.item() == pytest.approx(np.sum(np.array(weights) * (np.exp(-s) * positive + s / 2)))
    (gradient,) = torch.autograd.grad(total, parameter)
    step = 1e-6
    for task in range(2):
        sides = []
        for sign in (-1, 1):
            moved = parameter.detach().clone()
            moved[task] += sign * step
            sides.append(uncertainty(moved.tolist(), weights=weights)[0](outputs, targets).item())
        assert gradient[task].item() == pytest.approx((sides[1] - sides[0]) / (2 * step), abs=1e-5)


def test_learned_weights_are_best_where_the_variance_is_twice_the_loss() -> None:
    outputs, targets = batch()
    loss, _ = uncertainty([0.0, 0.0])
    loss(outputs, targets)
    best = torch.log(2 * (loss.last.double() + 1)).tolist()
    at_best, parameter = uncertainty(best)
    lowest = at_best(outputs, targets)
    torch.testing.assert_close(
        torch.autograd.grad(lowest, parameter)[0], torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0
    )
    for task in range(2):
        for distance in (-0.1, 0.1):
            moved = list(best)
            moved[task] += distance
            assert uncertainty(moved)[0](outputs, targets) > lowest


def test_the_best_prediction_gives_a_loss_without_end_to_neither_side() -> None:
    """The lowest loss of nnU-Net is -1, so the term that the variance scales stays positive."""
    _, targets = batch()
    perfect = [
        60
        * torch.cat([nn.functional.one_hot(t[:, c].long(), n).movedim(-1, 1) for c, n in ((0, 2), (1, 4))], 1).float()
        for t in targets
    ]
    loss, parameter = uncertainty([0.0, 0.0])
    total = loss(perfect, targets)
    assert loss.last.tolist() == pytest.approx([-1, -1], abs=1e-4)
    assert torch.autograd.grad(total, parameter)[0].tolist() == pytest.approx([0.25, 0.25], abs=1e-3)


def test_the_variance_of_a_task_that_is_nowhere_annotated_stays() -> None:
    outputs, targets = batch()
    for target in targets:
        target[:, 0] = IGNORE[0]
    loss, parameter = uncertainty([0.3, 0.3], ignore=True)
    gradient = torch.autograd.grad(loss(outputs, targets), parameter)[0]
    assert gradient[0] == 0
    assert gradient[1] != 0
