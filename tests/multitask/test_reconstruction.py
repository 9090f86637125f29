"""The image as a target: moved with the label map, but without noise and changes of intensity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.multitask.reconstruction import scaled, with_image_as_target

SCALES_3D = [[1, 1, 1], [0.5, 0.5, 0.5]]
CASES = pytest.mark.parametrize(
    ("patch", "dummy_2d"), [((32, 32), False), ((12, 20, 20), False), ((4, 24, 24), True)], ids=["2d", "3d", "dummy"]
)


def pipeline(patch: tuple[int, ...], *, dummy_2d: bool, intensity: bool, supervision: bool = True) -> Any:
    """nnU-Net's training pipeline that always rotates, scales and mirrors, with intensity always or never changed."""
    scales = [scale[: len(patch)] for scale in SCALES_3D] if supervision else None
    transforms = nnUNetTrainer.get_training_transforms(patch, (0.3, 0.9), scales, tuple(range(len(patch))), dummy_2d)
    for step in transforms.transforms:
        if isinstance(step, SpatialTransform):
            step.p_rotation = step.p_scaling = 1
        if isinstance(step, RandomTransform):
            step.apply_probability = 1 if intensity and not isinstance(step.transform, GaussianBlurTransform) else 0
    return transforms


def sample(patch: tuple[int, ...], channels: int = 2) -> dict[str, torch.Tensor]:
    """An image whose first channel is twice its label map plus one; larger than the patch, without any symmetry."""
    size = [length + 4 for length in patch]
    if len(patch) == 3 and patch[0] == 4:
        size[0] = 4
    place = torch.stack(torch.meshgrid(*(torch.linspace(0, 1, length) for length in size), indexing="ij"))
    blocks = (place[-1] > 0.6).long() + 2 * (place[-2] > 0.3).long()
    label_map = blocks if len(patch) == 2 else blocks + 4 * (place[0] > 0.7).long()
    second = place[-1] ** 2 + place[-2]
    image = torch.stack([2.0 * label_map + 1, second])[:channels]
    return {"image": image, "segmentation": label_map[None].short()}


def apply(transforms: Any, data: dict[str, torch.Tensor], seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    np.random.seed(seed)
    return transforms(**{name: tensor.clone() for name, tensor in data.items()})


def around(patch: tuple[int, ...]) -> tuple[int, ...]:
    """Number of voxels per axis from which interpolation may mix; none across slices of flat patches."""
    return (2,) * len(patch) if patch[0] > 4 else (0, 2, 2)


def is_flat(label_map: torch.Tensor, reach: tuple[int, ...]) -> torch.Tensor:
    """Whether a voxel has nothing but its own label around it; smaller than the label map by the reach."""
    pool = torch.nn.functional.max_pool2d if len(reach) == 2 else torch.nn.functional.max_pool3d
    kernel = tuple(2 * voxels + 1 for voxels in reach)
    return (pool(label_map, kernel, 1) == -pool(-label_map, kernel, 1))[0]


@CASES
@pytest.mark.parametrize("seed", range(4))
def test_without_changes_of_intensity_the_target_is_the_scaled_image(
    patch: tuple[int, ...], dummy_2d: bool, seed: int
) -> None:
    transforms = with_image_as_target(pipeline(patch, dummy_2d=dummy_2d, intensity=False))
    done = apply(transforms, sample(patch), seed)
    target = done["segmentation"][-1]
    assert target.shape == done["image"].shape == (2, *patch)
    assert target.dtype == torch.float32
    torch.testing.assert_close(target, scaled(done["image"]))
    assert "regression_target" not in done
    assert [tuple(level.shape) for level in done["segmentation"][:-1]] == [
        (1, *patch),
        (1, *(length // 2 for length in patch)),
    ]


@CASES
@pytest.mark.parametrize("seed", range(4))
def test_the_target_is_moved_like_the_label_map_and_has_no_noise(
    patch: tuple[int, ...], dummy_2d: bool, seed: int
) -> None:
    """Away from borders of the label map, where interpolation mixes, each label has one value of the target."""
    transforms = with_image_as_target(pipeline(patch, dummy_2d=dummy_2d, intensity=True))
    done = apply(transforms, sample(patch), seed)
    inner = tuple(slice(reach, length - reach) for reach, length in zip(around(patch), patch, strict=True))
    label_map, target = done["segmentation"][0][0][inner], done["segmentation"][-1][0][inner]
    flat = is_flat(done["segmentation"][0].float(), around(patch))
    values = {int(label): target[flat & (label_map == label)] for label in label_map[flat].unique() if label > 0}
    assert len(values) >= 2
    steps = []
    for label, found in values.items():
        assert found.max() - found.min() < 1e-3, label
        steps.append((label, found.mean().item()))
    (first, low), *others = steps
    slope = (others[0][1] - low) / (others[0][0] - first)
    assert slope > 0
    for label, value in others:
        assert value == pytest.approx(low + slope * (label - first), abs=1e-3)
    changed = scaled(done["image"])[0]
    assert (changed - done["segmentation"][-1][0]).abs().max() > 0.02


def test_the_image_that_the_network_sees_is_what_it_is_without_the_target() -> None:
    transforms = pipeline((32, 32), dummy_2d=False, intensity=True)
    steps = list(transforms.transforms)
    stock = apply(transforms, sample((32, 32)), 5)
    ours = apply(with_image_as_target(transforms), sample((32, 32)), 5)
    assert torch.equal(ours["image"], stock["image"])
    assert all(torch.equal(a, b) for a, b in zip(ours["segmentation"], stock["segmentation"], strict=False))
    assert transforms.transforms == steps


@pytest.mark.parametrize("supervision", [False, True])
def test_validation_and_single_resolutions_end_with_the_image_too(supervision: bool) -> None:
    data = sample((32, 32))
    scales = [[1, 1], [0.5, 0.5]] if supervision else None
    done = apply(with_image_as_target(nnUNetTrainer.get_validation_transforms(scales)), data, 0)
    assert len(done["segmentation"]) == 2 + supervision
    assert torch.equal(done["segmentation"][-1], scaled(data["image"]))
    assert torch.equal(done["segmentation"][0], data["segmentation"])
    training = with_image_as_target(pipeline((32, 32), dummy_2d=False, intensity=False, supervision=supervision))
    assert len(apply(training, data, 0)["segmentation"]) == 2 + supervision


def test_a_transform_that_is_no_pipeline_is_extended_too() -> None:
    spatial = SpatialTransform((8, 8), 0, False, p_rotation=1, rotation=(0.5, 0.5))
    assert isinstance(with_image_as_target(spatial), ComposeTransforms)
    done = apply(with_image_as_target(spatial), sample((8, 8)), 0)
    torch.testing.assert_close(done["segmentation"][-1], scaled(done["image"]))


@settings(deadline=None)
@given(st.floats(0.1, 100), st.floats(-50, 50), st.integers(0, 1000))
def test_each_channel_is_scaled_to_0_and_1(factor: float, shift: float, seed: int) -> None:
    image = torch.rand((3, 4, 5), generator=torch.Generator().manual_seed(seed)) * factor + shift
    image[2] = shift
    found = scaled(image)
    assert found.flatten(1).min(1).values.tolist() == [0, 0, 0]
    assert found.flatten(1).max(1).values.tolist() == pytest.approx([1, 1, 0])
    order = image[0].flatten().argsort()
    assert torch.all(found[0].flatten()[order].diff() >= 0)


def test_scaling_is_linear_and_a_constant_channel_becomes_0() -> None:
    image = torch.tensor([[[-1.0, 0, 3]], [[7.0, 7, 7]]])
    assert scaled(image).tolist() == [[[0, 0.25, 1]], [[0, 0, 0]]]
