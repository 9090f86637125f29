from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import OneOfTransform, RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import (
    nnUNetTrainerDA5,
    nnUNetTrainerDA5ord0,
)
from trainer_builders import IGNORE, REGIONS, MemoryDataset, label_manager, loader, without_ignore

from nnunet_ext.trainers.label_padding import Margins, with_ignored_padding

SMALL, PATCH = (6, 9, 7), (12, 12, 12)


def small_case(*, labels: tuple[int, ...] = (-1, 0, 1, 2)) -> tuple[np.ndarray, np.ndarray]:
    """A volume of ones, smaller than the patch, whose labels repeat."""
    seg = np.resize(np.array(labels, np.int16), (1, *SMALL))
    return np.ones((1, *SMALL), np.float32), seg


def batches(
    seg: np.ndarray,
    transforms: Any,
    *,
    patch: tuple[int, ...] = PATCH,
    seg_prev: Any = None,
    manager: Any = None,
) -> list[dict[str, Any]]:
    manager = label_manager() if manager is None else manager
    dataset = MemoryDataset({"case": (np.ones(seg.shape, np.float32), seg, seg_prev)}, manager)
    source = loader(dataset, patch, patch, manager=manager, foreground=0.5, batch_size=2, transforms=transforms)
    np.random.seed(0)
    torch.manual_seed(0)
    return [next(source) for _ in range(5)]


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_without_transforms_padding_is_the_ignore_label_and_the_volume_stays(foreground: float) -> None:
    data, seg = small_case()
    source = loader(MemoryDataset({"a": (data, seg, None)}, label_manager()), PATCH, PATCH, foreground=foreground)
    np.random.seed(0)
    for _ in range(5):
        batch = next(source)
        inside = batch["data"] == 1
        assert torch.all(batch["target"][~inside] == IGNORE)
        assert torch.equal(batch["target"][inside], torch.from_numpy(seg.ravel()))


def test_the_volumes_own_outside_still_becomes_background() -> None:
    _, seg = small_case()
    for batch in batches(seg, nnUNetTrainer.get_validation_transforms(None)):
        inside = batch["data"] == 1
        assert torch.all(batch["target"][~inside] == IGNORE)
        expected = torch.from_numpy(np.tile(np.maximum(seg, 0).ravel(), 2))
        assert torch.equal(batch["target"][inside], expected)


def test_two_dimensional_patches_are_padded_with_the_ignore_label() -> None:
    _, seg = small_case()
    for batch in batches(seg, nnUNetTrainer.get_validation_transforms(None), patch=(12, 12)):
        assert batch["target"].shape == (2, 1, 12, 12)
        assert torch.equal(batch["target"] == IGNORE, batch["data"] == 0)


def test_the_previous_stages_padding_adds_no_foreground() -> None:
    _, seg = small_case()
    previous = np.ones(SMALL, np.int16)
    transforms = nnUNetTrainer.get_validation_transforms(None, is_cascaded=True, foreground_labels=[1, 2])
    for batch in batches(seg, transforms, seg_prev=previous):
        image, is_one, is_two = batch["data"].unbind(1)
        assert batch["target"].shape[1] == 1
        assert torch.equal(batch["target"][:, 0] == IGNORE, image == 0)
        assert torch.equal(is_one, image)
        assert not is_two.any()


def test_padding_is_in_the_ignore_region_and_in_no_other() -> None:
    _, seg = small_case()
    manager = label_manager(REGIONS)
    transforms = nnUNetTrainer.get_validation_transforms(None, regions=manager.foreground_regions, ignore_label=IGNORE)
    for batch in batches(seg, transforms, manager=manager):
        solid, pore, ignored = batch["target"].unbind(1)
        assert torch.equal(ignored, batch["data"][:, 0] == 0)
        assert not torch.any(ignored & (solid | pore))


@pytest.mark.parametrize("trainer", [nnUNetTrainer, nnUNetTrainerDA5, nnUNetTrainerDA5ord0])
@pytest.mark.parametrize("single_slices", [False, True])
@pytest.mark.parametrize("cascade", [False, True])
def test_augmentation_pads_with_the_ignore_label(trainer: Any, single_slices: bool, cascade: bool) -> None:
    """Inside is only class 1, or only nnU-Net's outside, which is background: nothing but ignore joins."""
    transforms = trainer.get_training_transforms(
        PATCH, (-1.0, 1.0), None, (0, 1, 2), single_slices, is_cascaded=cascade, foreground_labels=[1, 2]
    )
    spatial = next(t for t in transforms.transforms if isinstance(t, SpatialTransform))
    spatial.p_rotation = spatial.p_scaling = 1
    for label, meaning in ((1, 1), (-1, 0)):
        _, seg = small_case(labels=(label,))
        for batch in batches(seg, transforms, seg_prev=seg[0] if cascade else None):
            assert set(batch["target"].unique().tolist()) == {meaning, IGNORE}
            assert batch["data"].shape[1] == (3 if cascade else 1)
    assert spatial.padding_value_seg == -1


def test_masking_still_blackens_the_image_in_the_padding() -> None:
    _, seg = small_case()
    transforms = ComposeTransforms(
        [GaussianNoiseTransform((0.1, 0.1)), MaskImageTransform([0]), RemoveLabelTansform(-1, 0)]
    )
    for batch in batches(seg, transforms):
        padding = batch["target"] == IGNORE
        assert padding.any()
        assert not batch["data"][padding].any()


def test_spatial_transforms_are_found_at_any_depth_and_copied() -> None:
    spatial = SpatialTransform(PATCH, 0, False)
    mirrored = SpatialTransform(PATCH, 0, False, border_mode_seg="reflection")
    other = GaussianNoiseTransform()
    nested = ComposeTransforms([RandomTransform(OneOfTransform([spatial, mirrored, other]))])
    found = with_ignored_padding(nested, [IGNORE], Margins()).transforms[1].transform.list_of_transforms
    assert (found[0].border_mode_seg, found[0].padding_value_seg) == ("constant", IGNORE)
    assert found[1] is mirrored
    assert found[2] is other
    assert (spatial.border_mode_seg, spatial.padding_value_seg) == ("zeros", 0)
    assert nested.transforms[0].transform.list_of_transforms[0] is spatial


def test_a_pipeline_that_never_makes_background_gets_the_ignore_label_at_once() -> None:
    _, seg = small_case(labels=(1,))
    spatial = SpatialTransform(PATCH, 0, False, p_rotation=1, rotation=(0.5, 0.5), mode_seg="nearest")
    for batch in batches(seg, spatial):
        assert set(batch["target"].unique().tolist()) == {1, IGNORE}


def test_without_ignore_label_nothing_changes() -> None:
    transforms = nnUNetTrainer.get_validation_transforms(None)
    dataset = MemoryDataset({"case": (*small_case(), None)}, without_ignore())
    source = loader(dataset, PATCH, PATCH, manager=without_ignore(), foreground=1.0, transforms=transforms)
    assert source.transforms is transforms
    batch = next(source)
    assert not batch["target"][batch["data"] == 0].any()
