"""A U-Net with one encoder and one head per task, whose tasks part at the bottleneck or at the very end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0
from torch import nn

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.branching import EARLY, LATE, branching_of_tasks
from nnunet_ext.networks.reconstruction_decoder import ReconstructionDecoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MultiTaskUNet(nn.Module):
    """nnU-Net's plain or residual encoder, and decoders whose heads are concatenated in task order.

    An early task has a decoder of its own. All late tasks share one decoder and part in its last 1×1
    convolutions. With one task the network is ``PlainConvUNet`` or ``ResidualEncoderUNet``.

    Parameters
    ----------
    input_channels, num_classes
        Channels of the image, and of all heads together.
    tasks, heads
        Names of the tasks and how many output channels each one has, in the order of the output.
    branching
        ``"early"`` or ``"late"`` for all tasks, or per task name; a task that is not named is early.
    reconstruction
        Add a decoder that rebuilds the image from the bottleneck. Its weights are always there, its output
        only while `reconstruct` is True.
    n_conv_per_stage, n_blocks_per_stage
        Exactly one of them: convolutions per stage of a plain encoder, or blocks of a residual encoder.
    deep_supervision
        Give the heads of all resolutions; changed later by ``network.decoder.deep_supervision``.
    n_stages, features_per_stage, kernel_sizes, strides, n_conv_per_stage_decoder
        As in nnU-Net's plans: one entry per stage, or one number for all of them.
    conv_op, conv_bias, norm_op, norm_op_kwargs, dropout_op, dropout_op_kwargs, nonlin, nonlin_kwargs
        As in nnU-Net's plans: operations of a conv block and their arguments.
    nonlin_first
        Plain encoder only: conv, nonlinearity, norm instead of conv, norm, nonlinearity.
    block, bottleneck_channels, stem_channels
        Residual encoder only: kind of block (``BasicBlockD`` if None), and channels inside it and of the stem.

    Raises
    ------
    InputError
        If tasks, heads and classes do not fit together, a task or way of branching is unknown, or the kind
        of encoder is not clear.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        tasks: Sequence[str] = (),
        heads: Sequence[int] = (),
        branching: str | Mapping[str, str] = EARLY,
        reconstruction: bool = False,
        *,
        n_stages: int,
        features_per_stage: int | Sequence[int],
        conv_op: type[nn.Module],
        kernel_sizes: int | Sequence[int | Sequence[int]],
        strides: int | Sequence[int | Sequence[int]],
        n_conv_per_stage_decoder: int | Sequence[int],
        n_conv_per_stage: int | Sequence[int] | None = None,
        n_blocks_per_stage: int | Sequence[int] | None = None,
        conv_bias: bool = False,
        norm_op: type[nn.Module] | None = None,
        norm_op_kwargs: dict[str, Any] | None = None,
        dropout_op: type[nn.Module] | None = None,
        dropout_op_kwargs: dict[str, Any] | None = None,
        nonlin: type[nn.Module] | None = None,
        nonlin_kwargs: dict[str, Any] | None = None,
        deep_supervision: bool = False,
        nonlin_first: bool = False,
        block: type[nn.Module] | None = None,
        bottleneck_channels: int | Sequence[int] | None = None,
        stem_channels: int | None = None,
    ) -> None:
        super().__init__()
        _check_tasks(tasks, heads, num_classes)
        modes = branching_of_tasks(branching, tasks)
        plain_only = {"nonlin_first": nonlin_first or None}
        residual_only = {"block": block, "bottleneck_channels": bottleneck_channels, "stem_channels": stem_channels}
        plain = _is_plain(n_conv_per_stage, n_blocks_per_stage, plain_only, residual_only)
        common = {
            "input_channels": input_channels,
            "n_stages": n_stages,
            "features_per_stage": features_per_stage,
            "conv_op": conv_op,
            "kernel_sizes": kernel_sizes,
            "strides": strides,
            "conv_bias": conv_bias,
            "norm_op": norm_op,
            "norm_op_kwargs": norm_op_kwargs,
            "dropout_op": dropout_op,
            "dropout_op_kwargs": dropout_op_kwargs,
            "nonlin": nonlin,
            "nonlin_kwargs": nonlin_kwargs,
            "return_skips": True,
        }
        if plain:
            self.encoder = PlainConvEncoder(n_conv_per_stage=n_conv_per_stage, nonlin_first=nonlin_first, **common)
        else:
            residual_only["block"] = block or BasicBlockD
            self.encoder = ResidualEncoder(n_blocks_per_stage=n_blocks_per_stage, **residual_only, **common)
        self.decoder = TaskDecoders(
            self.encoder,
            dict(zip(tasks, heads, strict=True)),
            modes,
            n_conv_per_stage_decoder,
            deep_supervision=deep_supervision,
            nonlin_first=nonlin_first,
        )
        self.reconstruction_decoder: ReconstructionDecoder | None = None
        if reconstruction:
            self.reconstruction_decoder = ReconstructionDecoder(
                self.encoder, input_channels, n_conv_per_stage_decoder, nonlin_first=nonlin_first
            )
        self._reconstruct = False

    @property
    def reconstruct(self) -> bool:
        """Whether the reconstructed image follows the heads in the full-resolution output.

        While it is False the reconstruction decoder takes no part in the output, so a training with
        ``DistributedDataParallel`` must either set it True and use these channels, or have no such decoder.
        Setting it True without such a decoder raises an InputError.
        """
        return self._reconstruct

    @reconstruct.setter
    def reconstruct(self, value: bool) -> None:
        if value and self.reconstruction_decoder is None:
            message = (
                "reconstruct was set True, but this network has no reconstruction decoder. "
                "Build it with reconstruction=True."
            )
            raise InputError(message)
        self._reconstruct = bool(value)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Compute the heads of all tasks.

        Parameters
        ----------
        x
            Image, float, (batch, input channel, spatial axes).

        Returns
        -------
        torch.Tensor or list of torch.Tensor
            Logits (batch, head channels in task order, spatial axes); with deep supervision a list of them, from
            full to lowest resolution. While `reconstruct` is True, the reconstructed image's channels are
            behind those of the full resolution.
        """
        skips = self.encoder(x)
        output: torch.Tensor | list[torch.Tensor] = self.decoder(skips)
        if not self._reconstruct or self.reconstruction_decoder is None:
            return output
        image = self.reconstruction_decoder(skips[-1])
        if isinstance(output, list):
            return [torch.cat((output[0], image), 1), *output[1:]]
        return torch.cat((output, image), 1)

    def decoder_of(self, task: str) -> nn.Module:
        """Give the decoder that computes a task's head; late tasks share theirs.

        Raises
        ------
        InputError
            If there is no such task.
        """
        return self.decoder.of_task(task)

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Count the values in the output of all convolutions, which nnU-Net's planners take for memory use.

        Parameters
        ----------
        input_size
            Spatial size in voxels, without batch and channels.

        Returns
        -------
        int
            Sum over the encoder, every decoder, and the reconstruction decoder if there is one.
        """
        parts: list[Any] = [self.encoder, self.decoder]
        if self.reconstruction_decoder is not None:
            parts.append(self.reconstruction_decoder)
        return sum(int(part.compute_conv_feature_map_size(input_size)) for part in parts)

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialise one module as stock nnU-Net does: He, and residual blocks that begin as the identity."""
        InitWeights_He(1e-2)(module)
        init_last_bn_before_add_to_0(module)


class TaskDecoders(nn.Module):
    """One decoder per early task and one for all late tasks, with one switch for deep supervision.

    Parameters
    ----------
    encoder
        ``PlainConvEncoder`` or ``ResidualEncoder`` that the skips come from.
    heads
        Output channels per task, in the order of the output.
    modes
        ``"early"`` or ``"late"`` per task.
    n_conv_per_stage
        Convolutions per stage, lowest resolution first, or one number for all of them.
    """

    def __init__(
        self,
        encoder: Any,
        heads: Mapping[str, int],
        modes: Mapping[str, str],
        n_conv_per_stage: int | Sequence[int],
        *,
        deep_supervision: bool,
        nonlin_first: bool = False,
    ) -> None:
        super().__init__()
        self._deep_supervision = deep_supervision
        self._places: dict[str, _Place] = {}
        channels: dict[str, int] = {}
        for task, head in heads.items():
            name = "shared" if modes[task] == LATE else f"task_{task}"
            start = channels.get(name, 0)
            channels[name] = start + head
            self._places[task] = _Place(list(channels).index(name), start, start + head)
        self.decoders = nn.ModuleDict()
        for name, count in channels.items():
            decoder = UNetDecoder(encoder, count, n_conv_per_stage, deep_supervision, nonlin_first=nonlin_first)
            self.decoders[name] = _with_unregistered_encoder(decoder)

    @property
    def deep_supervision(self) -> bool:
        """Whether all resolutions are given; setting it sets it for every decoder."""
        return self._deep_supervision

    @deep_supervision.setter
    def deep_supervision(self, value: bool) -> None:
        self._deep_supervision = value
        decoder: Any
        for decoder in self.decoders.values():
            decoder.deep_supervision = value

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        """Compute all heads from the encoder's features (highest resolution first), as `MultiTaskUNet` does."""
        outputs = [decoder(skips) for decoder in self.decoders.values()]
        if not self._deep_supervision:
            return self._in_task_order(outputs)
        return [self._in_task_order([output[level] for output in outputs]) for level in range(len(outputs[0]))]

    def of_task(self, task: str) -> nn.Module:
        """Give the decoder that computes a task's head.

        Raises
        ------
        InputError
            If there is no such task.
        """
        if task not in self._places:
            message = f"Expected one of the tasks {', '.join(self._places)}, but got {task!r}."
            raise InputError(message)
        return list(self.decoders.values())[self._places[task].decoder]

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Sum the library's count over all decoders; ``input_size`` is that of the encoder, in voxels."""
        decoders: list[Any] = list(self.decoders.values())
        return sum(int(decoder.compute_conv_feature_map_size(input_size)) for decoder in decoders)

    def _in_task_order(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        if len(outputs) == 1:
            return outputs[0]
        parts = [outputs[place.decoder][:, place.start : place.stop] for place in self._places.values()]
        return torch.cat(parts, 1)


class _Place(NamedTuple):
    """Where a head comes from: number of the decoder, and its output channels ``[start, stop)``."""

    decoder: int
    start: int
    stop: int


def _with_unregistered_encoder(decoder: Any) -> Any:
    """Turn a decoder's encoder into a plain attribute, so that no decoder repeats its weights in the state dict."""
    encoder = decoder.encoder
    del decoder.encoder
    vars(decoder)["encoder"] = encoder  # setattr would register it again
    return decoder


def _check_tasks(tasks: Sequence[str], heads: Sequence[int], num_classes: int) -> None:
    if not tasks:
        message = (
            "This network needs to know its tasks, which a trainer for several tasks tells it: train and predict "
            "with -tr nnUNetTrainerMTLearly, nnUNetTrainerMTLlate or another one that 'nnunet_ext doctor' lists."
        )
        raise InputError(message)
    if len(set(tasks)) != len(tasks) or any(not task or "." in task for task in tasks):
        message = f"Expected at least one task, with unique names that are not empty and hold no dot; got {[*tasks]}."
        raise InputError(message)
    if len(heads) != len(tasks) or any(head < 1 for head in heads):
        message = f"Expected one number of channels >= 1 for each of the tasks {[*tasks]}, but got heads {[*heads]}."
        raise InputError(message)
    if num_classes != sum(heads):
        message = (
            f"The heads {[*heads]} of the tasks {[*tasks]} have {sum(heads)} channels together, but num_classes is "
            f"{num_classes}. Plans and dataset have to describe the same tasks."
        )
        raise InputError(message)


def _is_plain(
    n_conv_per_stage: object, n_blocks_per_stage: object, plain_only: dict[str, Any], residual_only: dict[str, Any]
) -> bool:
    if (n_conv_per_stage is None) == (n_blocks_per_stage is None):
        message = (
            "Expected exactly one of n_conv_per_stage (plain encoder) and n_blocks_per_stage (residual encoder), "
            f"but got {n_conv_per_stage} and {n_blocks_per_stage}."
        )
        raise InputError(message)
    plain = n_blocks_per_stage is None
    foreign = [name for name, value in (residual_only if plain else plain_only).items() if value is not None]
    if foreign:
        kind, other = ("plain", "residual") if plain else ("residual", "plain")
        message = f"{', '.join(foreign)} is for a {other} encoder, but this one is {kind}. Leave it out."
        raise InputError(message)
    return plain
