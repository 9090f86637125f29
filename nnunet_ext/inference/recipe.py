"""What the plans of a model ask for before and after its network, checked for what can be done plane by plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, NnunetExtError
from nnunet_ext.inference.intensities import check_schemes
from nnunet_ext.inference.resampling import ResamplingPlan, plan_resampling, supported_resampling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_ext.inference.tile_grid import Shape

Spacing = tuple[float, float, float]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_PREPROCESSORS = ("DefaultPreprocessor", "StackedLabelPreprocessor")
_STOCK = "predict with 'nnUNetv2_predict', which holds the whole volume in memory"


@dataclass(frozen=True)
class Resamplings:
    """How an image comes to the voxel size of the network, and its output back.

    Parameters
    ----------
    shape
        What the network sees, along its axes.
    forward, backward
        Of the image and of the output; None where nothing is to be done.
    stage
        Of the labels of a cascade's first stage.
    """

    shape: Shape
    forward: ResamplingPlan | None
    backward: ResamplingPlan | None
    stage: ResamplingPlan | None


@dataclass(frozen=True)
class Recipe:
    """The part of plans and dataset.json that inference goes by.

    Parameters
    ----------
    patch
        Size of the window, two or three numbers.
    spacing
        Voxel size that the network works at, in mm, as many numbers; along the transposed axes.
    transpose
        Which axis of the image (z, y, x) stands where in the network.
    schemes, use_mask
        Normalisation per channel, and whether it looks at non-zero voxels only.
    intensities
        nnU-Net's intensity statistics of the training data, per channel.
    data_resampling, output_resampling
        Keywords of nnU-Net's resampling of images and of the network's output.
    channels
        Names of the channels.
    heads
        Number of output channels.
    file_ending
        Of the images and predictions of the dataset.
    reader
        nnU-Net's class that reads the images.
    label_dtype
        Of predicted labels, as nnU-Net has it: uint8 below 255 classes, else uint16.
    previous_stage
        Configuration whose labels the network sees beside the image, as the second stage of a cascade; else None.
    stage_labels
        The foreground labels that have a channel then, ascending.
    label_resampling
        Keywords of nnU-Net's resampling of label maps, for them.
    """

    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    transpose: tuple[int, int, int]
    schemes: tuple[str, ...]
    use_mask: tuple[bool, ...]
    intensities: Mapping[str, Any]
    data_resampling: Mapping[str, Any]
    output_resampling: Mapping[str, Any]
    channels: tuple[str, ...]
    heads: int
    file_ending: str
    reader: str
    label_dtype: np.dtype[Any]
    previous_stage: str | None = None
    stage_labels: tuple[int, ...] = ()
    label_resampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slices_follow(self) -> bool:
        """Whether the first axis of the network is z, so that an image can be read slice by slice."""
        return self.transpose[0] == 0

    def network_shape(self, crop: Box) -> Shape:
        """Return the shape of a crop (z, y, x) along the axes of the network, before resampling."""
        sizes = [stop - start for start, stop in crop]
        first, second, third = (sizes[axis] for axis in self.transpose)
        return first, second, third

    def resamplings(self, crop: Box, image_spacing: Spacing) -> Resamplings:
        """Return the shape that the network sees, and how to come to it and back.

        Parameters
        ----------
        crop
            Part of the image that is predicted, (z, y, x).
        image_spacing
            Voxel size of the image in mm, (z, y, x).
        """
        from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

        before = self.network_shape(crop)
        current = tuple(image_spacing[axis] for axis in self.transpose)
        target = self.spacing if len(self.spacing) == 3 else (current[0], *self.spacing)
        first, second, third = (int(size) for size in compute_new_shape(before, current, target))
        after = (first, second, third)
        return Resamplings(
            after,
            forward=plan_resampling(before, after, current, target, **self.data_resampling),
            backward=plan_resampling(after, before, target, current, **self.output_resampling),
            stage=plan_resampling(before, after, current, target, **self.label_resampling)
            if self.previous_stage
            else None,
        )


def read_recipe(predictor: Any, folder: Path) -> Recipe:
    """Collect what inference needs from a loaded model, and refuse what cannot be done plane by plane.

    Parameters
    ----------
    predictor
        nnU-Net's predictor with the model in it.
    folder
        The model, for messages.

    Raises
    ------
    InputError
        If plans ask for another preprocessor, normalisation or resampling; the message names the stock command that can
        do it. If something is missing in them.
    """
    try:
        return _recipe(predictor)
    except NnunetExtError as error:
        message = f"{folder}: {error}"
        raise InputError(message) from error
    except KeyError as error:
        message = f"{folder}: {error} is missing in plans.json or dataset.json, the model cannot be used"
        raise InputError(message) from error
    except (TypeError, ValueError, AttributeError) as error:
        message = f"{folder}: plans.json or dataset.json are not as nnU-Net writes them: {error}"
        raise InputError(message) from error


def _recipe(predictor: Any) -> Recipe:
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    if configuration.preprocessor_name not in _PREPROCESSORS:
        message = (
            f"what the preprocessor {configuration.preprocessor_name} does to an image is not known here, "
            f"expected {' or '.join(_PREPROCESSORS)}; {_STOCK}"
        )
        raise InputError(message)
    content = configuration.configuration
    data = supported_resampling(content["resampling_fn_data"], content["resampling_fn_data_kwargs"])
    output = supported_resampling(content["resampling_fn_probabilities"], content["resampling_fn_probabilities_kwargs"])
    previous, labels = configuration.previous_stage_name, predictor.label_manager
    stage: Mapping[str, Any] = {}
    if previous is not None:
        stage = supported_resampling(content["resampling_fn_seg"], content["resampling_fn_seg_kwargs"], labels=True)
    schemes, masks = tuple(configuration.normalization_schemes), tuple(configuration.use_mask_for_norm)
    check_schemes(schemes, masks)
    first, second, third = plans.transpose_forward
    dataset = predictor.dataset_json
    # nnU-Net takes the older name for the channels as well.
    channels = dataset["modality"] if "modality" in dataset else dataset["channel_names"]
    return Recipe(
        tuple(configuration.patch_size),
        tuple(configuration.spacing),
        (first, second, third),
        schemes,
        masks,
        plans.foreground_intensity_properties_per_channel,
        data,
        output,
        tuple(channels.values()),
        labels.num_segmentation_heads,
        dataset["file_ending"],
        plans.plans["image_reader_writer"],
        np.dtype(np.uint8 if len(labels.foreground_labels) < 255 else np.uint16),
        previous,
        tuple(sorted(labels.foreground_labels)) if previous is not None else (),
        stage,
    )
