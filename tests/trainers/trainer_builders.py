"""Small datasets, loaders and trainers for the tests in this folder."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.trainers.ignore_loader import IgnoreSamplingLoader

if TYPE_CHECKING:
    from pathlib import Path

IGNORE = 3
LABELS = {"background": 0, "root": 1, "pore": 2, "ignore": IGNORE}
REGIONS = {"background": 0, "solid": [1, 2], "pore": 2, "ignore": IGNORE}
ANNOTATED = (-1, 0, 1, 2)


def label_manager(labels: dict[str, Any] = LABELS) -> LabelManager:
    return LabelManager(labels, [1, 2] if labels is REGIONS else None)


def without_ignore() -> LabelManager:
    return LabelManager({name: value for name, value in LABELS.items() if name != "ignore"}, None)


def class_locations(seg: np.ndarray, manager: LabelManager) -> dict[Any, np.ndarray]:
    """Give what nnU-Net's preprocessing would store for a segmentation (channel, z, y, x)."""
    keys = list(manager.foreground_regions if manager.has_regions else manager.foreground_labels)
    if manager.has_ignore_label:
        keys.append([-1, *manager.all_labels])
    return DefaultPreprocessor._sample_foreground_locations(seg, keys)


def single_mark(voxel: tuple[int, ...], *, label: int = 1) -> dict[Any, np.ndarray]:
    """Class locations of a case in which one voxel is annotated."""
    mark = np.array([[0, *voxel]])
    return {1: [], 2: [], ANNOTATED: mark} | ({label: mark} if label else {})


def dense_slice(shape: tuple[int, ...], z: int) -> dict[Any, np.ndarray]:
    """Class locations of a case in which slice ``z`` is annotated, half of it as class 1."""
    y, x = (axis.ravel() for axis in np.mgrid[: shape[1], : shape[2]])
    slice_ = np.stack([np.zeros_like(y), np.full_like(y, z), y, x], axis=1)
    return {1: slice_[y < shape[1] // 2], 2: [], ANNOTATED: slice_}


def enlarged_patch_size(patch_size: tuple[int, ...]) -> tuple[int, ...]:
    """Ask nnU-Net for the patch that its augmentation needs."""
    stand_in = SimpleNamespace(
        configuration_manager=SimpleNamespace(patch_size=patch_size), print_to_log_file=lambda *_: None
    )
    sizes = nnUNetTrainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size(stand_in)[2]
    return tuple(int(size) for size in sizes)


class MemoryDataset:
    """Cases in memory, read as nnU-Net reads its datasets: name -> (data, seg, previous seg or None)."""

    def __init__(self, cases: dict[str, tuple[Any, Any, Any]], manager: LabelManager) -> None:
        self.identifiers = list(cases)
        self.cases = {
            name: (data, seg, seg_prev, {"class_locations": class_locations(seg, manager)})
            for name, (data, seg, seg_prev) in cases.items()
        }

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        return self.cases[identifier]


def empty_dataset() -> SimpleNamespace:
    """Stand-in for tests of `get_bbox`, which loads nothing."""
    return SimpleNamespace(identifiers=["case"])


def loader(
    dataset: Any,
    patch_size: tuple[int, ...],
    final_patch_size: tuple[int, ...],
    *,
    manager: LabelManager | None = None,
    batch_size: int = 1,
    foreground: float = 0.0,
    transforms: Any = None,
) -> IgnoreSamplingLoader:
    return IgnoreSamplingLoader(
        dataset,
        batch_size,
        patch_size,
        final_patch_size,
        label_manager() if manager is None else manager,
        oversample_foreground_percent=foreground,
        transforms=transforms,
    )


def sparse_case(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random image and a segmentation of which one slice is annotated."""
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(1, *shape)).astype(np.float32)
    seg = np.full((1, *shape), IGNORE, np.int16)
    seg[0, shape[0] // 2] = rng.integers(-1, 3, shape[1:])
    return data, seg


def trainer(
    cls: type,
    folder: Path,
    *,
    patch_size: tuple[int, ...],
    shape: tuple[int, int, int] = (14, 20, 18),
    labels: dict[str, Any] = LABELS,
    cascade: bool = False,
    num_cases: int = 2,
) -> Any:
    """Write a tiny preprocessed dataset below ``folder``, which becomes nnU-Net's, and build its trainer."""
    os.environ |= {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    os.environ |= {"nnUNet_n_proc_DA": "0"}
    dataset, plans_name = "Dataset998_Tiny", "nnUNetPlans"
    base = folder / "preprocessed" / dataset
    data_folder = base / "data"
    previous = folder / "results" / dataset / f"{cls.__name__}__{plans_name}__low/predicted_next_stage/full"
    data_folder.mkdir(parents=True)
    previous.mkdir(parents=True)
    manager = label_manager(labels)
    names = [f"case{i}" for i in range(num_cases)]
    for i, name in enumerate(names):
        data, seg = sparse_case(shape, seed=i)
        properties = {"class_locations": class_locations(seg, manager)}
        nnUNetDatasetBlosc2.save_case(
            data, seg, properties, str(data_folder / name), chunks=data.shape, blocks=data.shape
        )
        nnUNetDatasetBlosc2.save_seg(np.maximum(seg[0] % IGNORE, 0), str(previous / name))
    (base / "splits_final.json").write_text(json.dumps([{"train": names, "val": names}]))
    (base / "dataset_fingerprint.json").write_text("{}")
    dataset_json = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "regions_class_order": [1, 2],
        "numTraining": num_cases,
        "file_ending": ".nii.gz",
    }
    dim = len(patch_size)
    configuration = {
        "data_identifier": "data",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch_size),
        "median_image_size_in_voxels": list(shape),
        "spacing": [1.0] * dim,
        "normalization_schemes": ["NoNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": [2, 4, 4],
                "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
                "kernel_sizes": [[3] * dim] * 3,
                "strides": [[1] * dim, [2] * dim, [2] * dim],
                "n_conv_per_stage": [1, 1, 1],
                "n_conv_per_stage_decoder": [1, 1],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
                "norm_op_kwargs": {"affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    if cascade:
        configuration["previous_stage"] = "low"
    plans = {
        "dataset_name": dataset,
        "plans_name": plans_name,
        "configurations": {"low": configuration | {"next_stage": "full"}, "full": configuration},
        "continue_training": False,
    }
    return cls(plans, "full", 0, dataset_json, torch.device("cpu"))
