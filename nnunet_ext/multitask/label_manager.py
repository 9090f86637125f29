"""nnU-Net's label manager for joint labels: one soft-max and one arg-max per task."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.joint_labels import JointLabels, from_labels

if TYPE_CHECKING:
    from collections.abc import Sequence


class StackedLabelManager(LabelManager):
    """Handles the output channels of several heads, which stand one after the other in task order.

    nnU-Net hands a label manager ``labels`` and ``regions_class_order`` of dataset.json and nothing else; the
    tasks are recovered from them. A segmentation, here as everywhere on disk, is the joint label.

    Parameters
    ----------
    label_dict
        ``labels`` of dataset.json, with a region of joint labels per class of each task.
    regions_class_order
        ``regions_class_order`` of dataset.json. Without meaning here.
    force_use_labels, inference_nonlin
        As nnU-Net's; other values than the defaults are refused.

    Raises
    ------
    InputError
        If the labels are not those of several tasks.
    """

    def __init__(
        self,
        label_dict: dict[str, Any],
        regions_class_order: list[int] | None,
        force_use_labels: bool = False,
        inference_nonlin: Any = None,
    ) -> None:
        self.joint: JointLabels = from_labels(label_dict)
        if force_use_labels or inference_nonlin is not None:
            message = (
                "joint labels have one soft-max per task; labels or a function of your own cannot be forced on them"
            )
            raise InputError(message)
        super().__init__(label_dict, regions_class_order)

    @property
    def has_regions(self) -> bool:
        """True: nnU-Net scores each class of each task as a region of joint labels."""
        return True

    @property
    def num_segmentation_heads(self) -> int:
        """Number of output channels of all heads together."""
        return sum(self.joint.heads)

    @cached_property
    def regions_of_tasks(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Per task the regions of its classes without background, in the order of their values."""
        return tuple(
            tuple(self.joint.region(index, value) for value in range(1, task.num_classes))
            for index, task in enumerate(self.joint.tasks)
        )

    @property
    def foreground_regions(self) -> list[tuple[int, ...]]:
        """Regions that are scored: every class of every task, but no background and no ignore value."""
        return [region for regions in self.regions_of_tasks for region in regions]

    @cached_property
    def foreground_names(self) -> tuple[str, ...]:
        """Names ``<task>/<class>`` of the regions that are scored, in their order."""
        return tuple(f"{task.name}/{name}" for task in self.joint.tasks for name in task.classes[1:])

    def apply_inference_nonlin(self, logits: np.ndarray[Any, Any] | torch.Tensor) -> torch.Tensor:
        """Apply the soft-max of each head.

        Parameters
        ----------
        logits
            Output of the network, shape (sum of heads, …).

        Returns
        -------
        Tensor
            Probabilities as float32, same shape.
        """
        logits = torch.from_numpy(logits) if isinstance(logits, np.ndarray) else logits
        with torch.no_grad():
            logits = logits.float()
            return torch.cat([torch.softmax(logits[head], 0) for head in self.joint.head_slices])

    @torch.inference_mode()
    def convert_probabilities_to_segmentation(
        self, predicted_probabilities: np.ndarray[Any, Any] | torch.Tensor
    ) -> np.ndarray[Any, Any] | torch.Tensor:
        """Take the class of highest probability, or logit, of each task.

        Parameters
        ----------
        predicted_probabilities
            Shape (sum of heads, …).

        Returns
        -------
        ndarray of uint16, or Tensor of int16
            Joint label, shape (…).

        Raises
        ------
        InputError
            If the number of channels is not that of all heads.
        """
        self._check_channels(predicted_probabilities)
        classes = [predicted_probabilities[head].argmax(0) for head in self.joint.head_slices]
        joint = sum(values * stride for values, stride in zip(classes, self.joint.strides, strict=True))
        return joint.astype(np.uint16) if isinstance(joint, np.ndarray) else joint.short()  # type: ignore[union-attr]

    def convert_logits_to_segmentation(
        self, predicted_logits: np.ndarray[Any, Any] | torch.Tensor
    ) -> np.ndarray[Any, Any] | torch.Tensor:
        """Do the same with logits, whose highest one is that of the highest probability."""
        return self.convert_probabilities_to_segmentation(predicted_logits)

    def revert_cropping_on_probabilities(
        self,
        predicted_probabilities: np.ndarray[Any, Any] | torch.Tensor,
        bbox: list[list[int]],
        original_shape: Sequence[int],
    ) -> np.ndarray[Any, Any] | torch.Tensor:
        """Put probabilities back into the uncropped volume, with background of every task around them.

        Parameters
        ----------
        predicted_probabilities
            Shape (sum of heads, z, y, x) of the cropped volume.
        bbox
            First and last index (half-open) of the crop along each axis.
        original_shape
            Shape of the volume before the crop.
        """
        self._check_channels(predicted_probabilities)
        shape = (len(predicted_probabilities), *original_shape)
        whole: Any
        if isinstance(predicted_probabilities, np.ndarray):
            whole = np.zeros(shape, predicted_probabilities.dtype)
        else:
            whole = torch.zeros(shape, dtype=predicted_probabilities.dtype)
        for head in self.joint.head_slices:
            whole[head.start] = 1
        inserted: np.ndarray[Any, Any] | torch.Tensor = insert_crop_into_image(whole, predicted_probabilities, bbox)
        return inserted

    def _check_channels(self, channels: np.ndarray[Any, Any] | torch.Tensor) -> None:
        if len(channels) != self.num_segmentation_heads:
            heads = ", ".join(f"{task.num_classes} of {task.name}" for task in self.joint.tasks)
            message = f"expected {self.num_segmentation_heads} channels ({heads}), found {len(channels)}"
            raise InputError(message)
