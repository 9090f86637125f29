"""Give the augmented image to the loss, for networks that reconstruct it."""

from __future__ import annotations

from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform


class KeepImage(BasicTransform):
    """Keep the image as it is at this point of a pipeline, as regression target, which mirroring also flips."""

    def apply(self, data_dict: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Copy the image."""
        data_dict["regression_target"] = data_dict["image"].clone()
        return data_dict


class AppendImage(BasicTransform):
    """Append the kept image to the segmentation, which nnU-Net's loader takes to the loss."""

    def apply(self, data_dict: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Scale the kept image to [0, 1] and put it behind the label maps of all resolutions."""
        segmentation = data_dict["segmentation"]
        levels = segmentation if isinstance(segmentation, list) else [segmentation]
        data_dict["segmentation"] = [*levels, scaled(data_dict.pop("regression_target"))]
        return data_dict


def with_image_as_target(transforms: Any) -> Any:
    """Extend a pipeline so that its segmentation ends with the spatially augmented image.

    Parameters
    ----------
    transforms
        nnU-Net's transforms for one sample. Not changed.

    Returns
    -------
    ComposeTransforms
        The same with the image kept after its last spatial transform but mirroring (at the beginning if there is
        none), that is, before noise, blur and changes of intensity.
    """
    steps = list(transforms.transforms) if isinstance(transforms, ComposeTransforms) else [transforms]
    spatial = [i for i, step in enumerate(steps) if isinstance(step, SpatialTransform | Convert2DTo3DTransform)]
    after = spatial[-1] + 1 if spatial else 0
    return ComposeTransforms([*steps[:after], KeepImage(), *steps[after:], AppendImage()])


def scaled(image: torch.Tensor) -> torch.Tensor:
    """Scale each channel of an image (C, …) linearly to [0, 1]; a constant channel becomes 0."""
    flat = image.float().flatten(1)
    lowest, highest = flat.min(1, keepdim=True).values, flat.max(1, keepdim=True).values
    span = torch.where(highest > lowest, highest - lowest, 1)
    return ((flat - lowest) / span).reshape(image.shape)
