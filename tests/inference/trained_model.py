"""Folders of models with small networks of random weights, as nnU-Net's training leaves them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

if TYPE_CHECKING:
    from pathlib import Path

LABELS: dict[str, Any] = {"background": 0, "a": 1, "b": 2}
TRAINER = "nnUNetTrainer"


def write_trained_model(
    folder: Path,
    *,
    patch: tuple[int, ...] = (16, 24, 20),
    spacing: tuple[float, ...] | None = None,
    transpose: tuple[int, int, int] = (0, 1, 2),
    channels: tuple[str, ...] = ("image",),
    schemes: tuple[str, ...] | None = None,
    use_mask: bool = False,
    labels: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    folds: int = 1,
    file_ending: str = ".nii.gz",
    reader: str = "SimpleITKIO",
    configuration: dict[str, Any] | None = None,
    plans: dict[str, Any] | None = None,
    features: int = 4,
    mirroring: bool = True,
    seed: int = 0,
    previous_stage: str | None = None,
) -> Path:
    """Write plans.json, dataset.json and a checkpoint per fold; with a previous stage, of a cascade's second."""
    folder.mkdir(parents=True)
    dataset = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": labels or LABELS,
        "numTraining": 5,
        "file_ending": file_ending,
        **(more or {}),
    }
    dimensions = len(patch)
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    name = f"{dimensions}d" if dimensions == 2 else "3d_fullres"
    convolution = f"torch.nn.modules.conv.Conv{dimensions}d"
    norm = f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d"
    content = {
        "dataset_name": "Dataset777_Random",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [32, 32, 32],
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(index): {
                "mean": 100.0,
                "std": 40.0,
                "percentile_00_5": 10.0,
                "percentile_99_5": 220.0,
                "min": 0.0,
                "max": 255.0,
                "median": 90.0,
            }
            for index in range(len(channels))
        },
        "configurations": {
            name: {
                "data_identifier": f"nnUNetPlans_{name}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(patch),
                "median_image_size_in_voxels": [32.0] * dimensions,
                "spacing": list(spacing or [1.0] * dimensions),
                "normalization_schemes": list(schemes or ["ZScoreNormalization"] * len(channels)),
                "use_mask_for_norm": [use_mask] * len(channels),
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": {**resampling, "order": 3},
                "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": 2,
                        "features_per_stage": [features, 2 * features],
                        "conv_op": convolution,
                        "kernel_sizes": [[3] * dimensions] * 2,
                        "strides": [[1] * dimensions, [2] * dimensions],
                        "n_conv_per_stage": [1, 1],
                        "n_conv_per_stage_decoder": [1],
                        "conv_bias": True,
                        "norm_op": norm,
                        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                "batch_dice": False,
                **({"previous_stage": previous_stage} if previous_stage else {}),
                **(configuration or {}),
            }
        },
        **(plans or {}),
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(content))
    manager = PlansManager(content)
    settings = manager.get_configuration(name)
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    inputs = determine_num_input_channels(manager, settings, dataset)
    for fold in range(folds):
        torch.manual_seed(seed + fold)
        network = nnUNetTrainer.build_network_architecture(manager, settings, inputs, heads, False)
        balance(network)
        (folder / f"fold_{fold}").mkdir()
        torch.save(
            {
                "network_weights": network.state_dict(),
                "trainer_name": TRAINER,
                "init_args": {"configuration": name},
                "inference_allowed_mirroring_axes": tuple(range(dimensions)) if mirroring else None,
            },
            folder / f"fold_{fold}" / "checkpoint_final.pth",
        )
    return folder


def balance(network: torch.nn.Module) -> None:
    """Make all classes of a random network as likely, since features are positive in the mean."""
    for name, parameter in network.named_parameters():
        if "seg_layers" in name:
            parameter.data -= parameter.data.mean(dim=1, keepdim=True) if parameter.ndim > 1 else parameter.data
