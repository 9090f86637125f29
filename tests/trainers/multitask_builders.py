"""Small preprocessed datasets with several label maps per case, and trainers for them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.label_manager import StackedLabelManager
from nnunet_ext.multitask.preprocessor import class_locations
from nnunet_ext.trainers import multitask, multitask_reconstruction, multitask_uncertainty
from tests.multitask.coupled_tasks import THREE, TWO, coupled_case

if TYPE_CHECKING:
    from pathlib import Path

DATASET, PLANS = "Dataset901_Coupled", "nnUNetStackedLabelPlans"
TWO_IGNORED = JointLabels(TWO.tasks, all_ignored=True)
SHAPE = (14, 20, 18)
CASES = ("case0", "case1")


def multi_task_trainers() -> dict[str, type]:
    """Give every trainer class that the modules for several tasks define, by name."""
    return {
        name: cls
        for module in (multitask, multitask_reconstruction, multitask_uncertainty)
        for name, cls in vars(module).items()
        if name.startswith("nnUNetTrainerMTL") and cls.__module__ == module.__name__
    }


def label_manager(joint: JointLabels) -> StackedLabelManager:
    content = joint.to_dataset_json()
    return StackedLabelManager(content["labels"], content["regions_class_order"])


def dataset_json(joint: JointLabels) -> dict[str, Any]:
    common = {"channel_names": {"0": "SAR"}, "numTraining": len(CASES), "file_ending": ".nii.gz"}
    return {**common, **joint.to_dataset_json()}


def plans(joint: JointLabels, patch_size: tuple[int, ...]) -> dict[str, Any]:
    dim = len(patch_size)
    arguments = {
        "n_stages": 4,
        "features_per_stage": [2, 4, 4, 4],
        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
        "kernel_sizes": [[3] * dim] * 4,
        "strides": [[1] * dim, [2] * dim, [1] + [2] * (dim - 1), [1] + [2] * (dim - 1)],
        "n_conv_per_stage": [1] * 4,
        "n_conv_per_stage_decoder": [1] * 3,
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        "norm_op_kwargs": {"affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    tasks = {
        "tasks": list(joint.names),
        "heads": list(joint.heads),
        "branching": dict.fromkeys(joint.names, "early") | {joint.names[-1]: "late"},
    }
    configuration = {
        "data_identifier": "data",
        "preprocessor_name": "StackedLabelPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch_size),
        "median_image_size_in_voxels": list(SHAPE),
        "spacing": [1.0] * dim,
        "normalization_schemes": ["NoNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": True,
        "architecture": {
            "network_class_name": "nnunet_ext.networks.multitask_unet.MultiTaskUNet",
            "arch_kwargs": arguments,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            "multitask": tasks,
        },
    }
    return {
        "dataset_name": DATASET,
        "plans_name": PLANS,
        "label_manager": "StackedLabelManager",
        "image_reader_writer": "StackedSimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"full": configuration},
        "continue_training": False,
    }


def preprocessed_dataset(folder: Path, joint: JointLabels = THREE, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write a preprocessed dataset of coupled cases below ``folder``, which becomes nnU-Net's."""
    os.environ |= {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    os.environ |= {"nnUNet_n_proc_DA": "0"}
    base = folder / "preprocessed" / DATASET
    (base / "data").mkdir(parents=True)
    for seed, name in enumerate(CASES):
        image, stack = coupled_case(shape, seed)
        data, stack = image[None].astype(np.float32) / 100 - 1.005, stack[: len(joint.tasks)].astype(np.int16)
        properties = {"class_locations": class_locations(stack, label_manager(joint))}
        sizes = {"chunks": data.shape, "blocks": data.shape, "chunks_seg": stack.shape, "blocks_seg": stack.shape}
        nnUNetDatasetBlosc2.save_case(data, stack, properties, str(base / "data" / name), **sizes)
    (base / "splits_final.json").write_text(json.dumps([{"train": CASES, "val": CASES}]))
    (base / "dataset_fingerprint.json").write_text("{}")


def build(cls: type, joint: JointLabels = THREE, patch_size: tuple[int, ...] = (16, 16), **changed: Any) -> Any:
    """Build a trainer of short epochs for the dataset; ``changed`` entries replace those of the plans."""
    torch.manual_seed(0)
    np.random.seed(0)
    built = cls({**plans(joint, patch_size), **changed}, "full", 0, dataset_json(joint), torch.device("cpu"))
    built.num_iterations_per_epoch, built.num_val_iterations_per_epoch, built.num_epochs = 2, 1, 4
    return built
