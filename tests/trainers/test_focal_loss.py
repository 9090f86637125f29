"""The focal loss itself, against values by hand, cross entropy and MONAI."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import FocalLoss
from torch.nn import functional

from nnunet_ext.trainers.focal_loss import (
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    sigmoid_focal_loss,
    softmax_focal_loss,
)

SHAPE = (2, 4, 5, 6, 3)
IGNORED = 4


def drawn(*, regions: bool = False, spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(SHAPE, generator=generator) * spread).requires_grad_()
    if regions:
        return logits, torch.rand(SHAPE, generator=generator) < 0.3
    return logits, torch.randint(0, SHAPE[1], (SHAPE[0], 1, *SHAPE[2:]), generator=generator)


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, logits)[0]


def test_a_voxel_of_two_classes_by_hand() -> None:
    """Probabilities 3/4 and 1/4: each voxel has (1 - p)^2 · -log(p)."""
    logits = torch.tensor([[math.log(3), math.log(3)], [0.0, 0.0]])[None]
    expected = [(1 / 4) ** 2 * math.log(4 / 3), (3 / 4) ** 2 * math.log(4)]
    found = softmax_focal_loss(logits, torch.tensor([[0, 1]]))
    assert found.item() == pytest.approx(sum(expected) / 2)
    weighted = softmax_focal_loss(logits, torch.tensor([[0, 1]]), alpha=(0.5, 2.0))
    assert weighted.item() == pytest.approx((0.5 * expected[0] + 2 * expected[1]) / 2)
    only_second = softmax_focal_loss(logits, torch.tensor([[7, 1]]), ignore_label=7)
    assert only_second.item() == pytest.approx(expected[1])


def test_a_voxel_of_a_region_by_hand() -> None:
    """Probability 1/4 inside, so 3/4 outside."""
    logits = torch.full((1, 1, 2), math.log(1 / 3))
    target = torch.tensor([[[True, False]]])
    inside, outside = (3 / 4) ** 3 * math.log(4), (1 / 4) ** 3 * math.log(4 / 3)
    found = sigmoid_focal_loss(logits, target, gamma=3)
    torch.testing.assert_close(found, torch.tensor([[[inside, outside]]]))
    found = sigmoid_focal_loss(logits, target, gamma=3, alpha=0.9)
    torch.testing.assert_close(found, torch.tensor([[[0.9 * inside, 0.1 * outside]]]))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.2])
def test_classes_as_in_monai(gamma: float, alpha: float | None) -> None:
    logits, target = drawn()
    peer = FocalLoss(gamma=gamma, alpha=alpha, use_softmax=True, to_onehot_y=True, reduction="none")
    theirs = peer(logits, target).sum(1).mean()
    # MONAI's one number is that of all classes but the first.
    factors = None if alpha is None else (1 - alpha, alpha, alpha, alpha)
    ours = softmax_focal_loss(logits, target, gamma=gamma, alpha=factors)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_regions_as_in_monai(gamma: float, alpha: float | None) -> None:
    logits, target = drawn(regions=True)
    theirs = FocalLoss(gamma=gamma, alpha=alpha)(logits, target)
    ours = SigmoidFocalLoss(gamma=gamma, alpha=alpha)(logits, target)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits), rtol=1e-4, atol=1e-7)


def test_gamma_0_is_cross_entropy() -> None:
    logits, target = drawn()
    target[:, :, :2] = IGNORED
    ours = SoftmaxFocalLoss(gamma=0, ignore_label=IGNORED)(logits, target)
    theirs = functional.cross_entropy(logits, target[:, 0], ignore_index=IGNORED)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))
    logits, target = drawn(regions=True)
    theirs = functional.binary_cross_entropy_with_logits(logits, target.float())
    torch.testing.assert_close(SigmoidFocalLoss(gamma=0)(logits, target), theirs)


def test_ignored_voxels_change_neither_loss_nor_gradient() -> None:
    logits, target = drawn()
    target[:, :, :3] = IGNORED
    loss = softmax_focal_loss(logits, target, alpha=(0.1, 1.0, 2.0, 0.7), ignore_label=IGNORED)
    alone = softmax_focal_loss(logits[:, :, 3:], target[:, :, 3:], alpha=(0.1, 1.0, 2.0, 0.7))
    torch.testing.assert_close(loss, alone)
    found = gradient(loss, logits)
    assert torch.all(found[:, :, :3] == 0)
    assert torch.all(found[:, :, 3:] != 0)


def test_without_any_annotation_the_loss_is_0_and_so_is_its_gradient() -> None:
    logits, target = drawn()
    loss = softmax_focal_loss(logits, torch.full_like(target, IGNORED), ignore_label=IGNORED)
    assert loss.item() == 0
    assert torch.all(gradient(loss, logits) == 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("size", [1e-4, 20.0, 6e4])
def test_extreme_logits_have_finite_losses_and_gradients(dtype: torch.dtype, gamma: float, size: float) -> None:
    logits = torch.tensor([[size, -size, size, 0.0], [-size, size, size, size]], dtype=dtype)[None].requires_grad_()
    for loss in (
        softmax_focal_loss(logits, torch.tensor([[0, 0, 1, 1]]), gamma=gamma),
        sigmoid_focal_loss(logits, torch.tensor([[[1, 1, 0, 0]] * 2]).view(1, 2, 4), gamma=gamma).mean(),
    ):
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.all(torch.isfinite(gradient(loss, logits)))


def test_a_hopeless_voxel_still_has_the_gradient_of_cross_entropy() -> None:
    logits = torch.tensor([[[-50.0], [50.0]]], requires_grad=True)
    loss = softmax_focal_loss(logits, torch.tensor([[0]]))
    torch.testing.assert_close(gradient(loss, logits), torch.tensor([[[-1.0], [1.0]]]))


@settings(max_examples=50, deadline=None)
@given(st.floats(-30, 30), st.floats(0, 5), st.floats(0.01, 5))
def test_more_focus_never_raises_the_loss(logit: float, gamma: float, more: float) -> None:
    logits = torch.tensor([[[logit], [0.0]]], dtype=torch.float64)
    weak, strong = (softmax_focal_loss(logits, torch.tensor([[0]]), gamma=value) for value in (gamma, gamma + more))
    assert 0 <= strong <= weak
