"""A decoder that rebuilds the image from the bottleneck alone, so that the encoder has to keep what it saw."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class ReconstructionDecoder(nn.Module):
    """Transposed convolutions and conv blocks up to full resolution, without skip connections.

    Parameters
    ----------
    encoder
        ``PlainConvEncoder`` or ``ResidualEncoder``; its features, strides, kernels and operations are
        mirrored. It is only read and does not become a part of the decoder.
    output_channels
        Channels of the reconstructed image; they are linear (no nonlinearity behind them).
    n_conv_per_stage
        Convolutions per stage, lowest resolution first; one entry less than the encoder has stages, or one
        number for all of them.
    nonlin_first
        Order within a conv block: conv, nonlinearity, norm instead of conv, norm, nonlinearity.
    """

    def __init__(
        self, encoder: Any, output_channels: int, n_conv_per_stage: int | Sequence[int], *, nonlin_first: bool = False
    ) -> None:
        super().__init__()
        features = list(reversed(encoder.output_channels))
        strides = list(reversed(encoder.strides))
        kernel_sizes = list(reversed(encoder.kernel_sizes))
        levels = len(features) - 1
        if isinstance(n_conv_per_stage, int):
            n_conv_per_stage = [n_conv_per_stage] * levels
        transposed = get_matching_convtransp(conv_op=encoder.conv_op)
        self.transpconvs = nn.ModuleList(
            transposed(features[level], features[level + 1], strides[level], strides[level], bias=encoder.conv_bias)
            for level in range(levels)
        )
        self.stages = nn.ModuleList(
            StackedConvBlocks(
                num_convs=n_conv_per_stage[level],
                conv_op=encoder.conv_op,
                input_channels=features[level + 1],
                output_channels=features[level + 1],
                kernel_size=kernel_sizes[level + 1],
                initial_stride=1,
                conv_bias=encoder.conv_bias,
                norm_op=encoder.norm_op,
                norm_op_kwargs=encoder.norm_op_kwargs,
                dropout_op=encoder.dropout_op,
                dropout_op_kwargs=encoder.dropout_op_kwargs,
                nonlin=encoder.nonlin,
                nonlin_kwargs=encoder.nonlin_kwargs,
                nonlin_first=nonlin_first,
            )
            for level in range(levels)
        )
        self.image_layer = encoder.conv_op(features[-1], output_channels, 1, 1, 0, bias=True)
        self._features = features[1:]
        self._output_channels = output_channels
        self._encoder_strides = list(encoder.strides)

    def forward(self, bottleneck: torch.Tensor) -> torch.Tensor:
        """Rebuild the image.

        Parameters
        ----------
        bottleneck
            Lowest-resolution features of the encoder, float, (batch, channel, spatial axes).

        Returns
        -------
        torch.Tensor
            Image (batch, output channel, spatial axes) with the size of the encoder's first stage.
        """
        x = bottleneck
        for level in range(len(self.stages)):
            x = self.stages[level](self.transpconvs[level](x))
        image: torch.Tensor = self.image_layer(x)
        return image

    def compute_conv_feature_map_size(self, input_size: Sequence[int]) -> int:
        """Count the values in the output of all convolutions, by the rules of the library's decoders.

        Parameters
        ----------
        input_size
            Spatial size in voxels of the encoder's input.
        """
        sizes = []
        for stride in self._encoder_strides[:-1]:
            input_size = [length // step for length, step in zip(input_size, stride, strict=True)]
            sizes.append(input_size)
        total = self._output_channels * prod(sizes[0])
        for stage, features, size in zip(self.stages, self._features, reversed(sizes), strict=True):
            blocks: Any = stage
            total += int(blocks.compute_conv_feature_map_size(size)) + features * prod(size)
        return total
