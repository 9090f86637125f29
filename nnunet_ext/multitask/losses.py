"""The loss of several tasks: nnU-Net's own per head, summed with weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class TaskTerm(NamedTuple):
    """What the loss needs to know of one task.

    Parameters
    ----------
    loss
        Takes logits (B, C, …) and a label map (B, 1, …) and gives a scalar.
    channels
        Its output channels among those of all tasks.
    level_weights
        Factor per resolution of the network's output, from full to lowest. Those at 0 are not computed.
    weight
        Factor of the task.
    ignore_value
        Value of its label map that means "not annotated", or None.
    """

    loss: nn.Module
    channels: slice
    level_weights: tuple[float, ...]
    weight: float
    ignore_value: int | None


class MultiTaskLoss(nn.Module):
    """Sum of the tasks' losses.

    A task without any annotated voxel in a batch adds nothing. After every call, ``last`` holds the losses of the
    tasks without their weights, shape (number of terms,), NaN for those.

    Parameters
    ----------
    terms
        One per task, in the order of the label maps.
    reconstruction_weight
        Factor of the mean squared error between the channels after those of all tasks and the image that comes as
        last target; 0 where there are neither.
    touch_all_outputs
        Let every output take part with factor 0, as DistributedDataParallel wants it.
    """

    def __init__(
        self, terms: Sequence[TaskTerm], *, reconstruction_weight: float = 0.0, touch_all_outputs: bool = False
    ) -> None:
        super().__init__()
        self.losses = nn.ModuleList([term.loss for term in terms])
        self.terms = tuple(terms)
        self.reconstruction_weight = reconstruction_weight
        self.touch_all_outputs = touch_all_outputs
        self.last = torch.full((self.num_terms,), torch.nan)

    @property
    def num_terms(self) -> int:
        """Number of tasks, and one more with reconstruction."""
        return len(self.terms) + int(self.reconstruction_weight > 0)

    def forward(
        self, output: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor | Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        output
            Logits of all heads (B, sum of heads, …), or one such tensor per resolution from full to lowest. With
            reconstruction, the first one has the image's channels behind them.
        target
            Stack (B, T, …), or one per resolution; with reconstruction followed by the image (B, C, …).

        Returns
        -------
        Tensor
            Scalar.
        """
        outputs = [output] if isinstance(output, torch.Tensor) else list(output)
        targets = [target] if isinstance(target, torch.Tensor) else list(target)
        values, annotated = [], []
        for channel, term in enumerate(self.terms):
            values.append(_loss_of_levels(term, channel, outputs, targets))
            annotated.append(_is_annotated(term, targets[0][:, channel]))
        if self.reconstruction_weight > 0:
            image = outputs[0][:, self.terms[-1].channels.stop :]
            values.append(nn.functional.mse_loss(image.float(), targets[-1]))
            annotated.append(torch.ones((), dtype=torch.bool, device=image.device))
        losses, has_annotation = torch.stack([value.float() for value in values]), torch.stack(annotated)
        self.last = torch.where(has_annotation, losses.detach(), torch.nan)
        total = torch.where(has_annotation, self.weighted(losses), 0).sum()
        if self.touch_all_outputs:
            total = total + sum(level.float().mean() for level in outputs) * 0
        return total

    def weighted(self, losses: torch.Tensor) -> torch.Tensor:
        """Return the losses (number of terms,) times their weights."""
        return losses * losses.new_tensor(self.weights)

    @property
    def weights(self) -> tuple[float, ...]:
        """Factor of each term; with reconstruction, those of the tasks share what it leaves of 1."""
        tasks = tuple(term.weight * (1 - self.reconstruction_weight) for term in self.terms)
        return (*tasks, self.reconstruction_weight) if self.reconstruction_weight > 0 else tasks


class UncertaintyLoss(MultiTaskLoss):
    """Weights that are learned: with s = log(variance) of a task, its loss L adds exp(-s) · L + s / 2.

    nnU-Net's loss of a task goes down to -1, where a smaller variance would be rewarded without end; so L is that
    loss plus 1.

    Source: Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics, CVPR 2018.

    Parameters
    ----------
    terms, touch_all_outputs
        As for `MultiTaskLoss`; the weights of the tasks stay as additional factors.
    log_variances
        One per task, to be optimised together with the network.
    """

    LOWEST_LOSS = -1.0

    def __init__(
        self, terms: Sequence[TaskTerm], log_variances: nn.Parameter, *, touch_all_outputs: bool = False
    ) -> None:
        super().__init__(terms, touch_all_outputs=touch_all_outputs)
        self.log_variances = log_variances

    def weighted(self, losses: torch.Tensor) -> torch.Tensor:
        """Return what each task adds, shape (number of tasks,)."""
        positive = losses - self.LOWEST_LOSS
        return super().weighted(torch.exp(-self.log_variances) * positive + self.log_variances / 2)


def level_weights(levels: int, *, deep_supervision: bool = True) -> tuple[float, ...]:
    """Return the factor of each resolution of the network's output, from full to lowest.

    Parameters
    ----------
    levels
        Number of resolutions.
    deep_supervision
        Whether to look at other resolutions than the full one; then they halve from level to level, the lowest
        counts nothing, and they add up to 1, as in nnU-Net.
    """
    if not deep_supervision or levels == 1:
        return (1.0,) + (0.0,) * (levels - 1)
    factors = [0.5**level for level in range(levels - 1)]
    return (*(factor / sum(factors) for factor in factors), 0.0)


def _loss_of_levels(
    term: TaskTerm, channel: int, outputs: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]
) -> torch.Tensor:
    total: Any = 0.0
    for factor, output, target in zip(term.level_weights, outputs, targets, strict=False):
        if factor != 0:
            total = total + factor * term.loss(output[:, term.channels], target[:, channel : channel + 1])
    loss: torch.Tensor = total
    return loss


def _is_annotated(term: TaskTerm, label_map: torch.Tensor) -> torch.Tensor:
    if term.ignore_value is None:
        return torch.ones((), dtype=torch.bool, device=label_map.device)
    return (label_map != term.ignore_value).any()
