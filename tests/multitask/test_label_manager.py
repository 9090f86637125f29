"""The label manager: from output channels of several heads to joint labels, also through nnU-Net's own export."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.ensembling.ensemble import merge_files
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.label_manager import StackedLabelManager
from nnunet_ext.multitask.readers import StackedSimpleITKIO
from nnunet_ext.multitask.tasks import Task
from tests.multitask.coupled_tasks import THREE, TWO

if TYPE_CHECKING:
    from pathlib import Path

MANY = JointLabels((Task("a", tuple("uvwxyz")), Task("b", tuple("pqrstuv")), Task("c", tuple("hijklmno"))))
WITH_IGNORE = JointLabels((Task("a", ("no", "yes")), Task("b", ("no", "some", "all"), ignore=True)))
SETS = pytest.mark.parametrize("joint", [TWO, THREE, MANY, WITH_IGNORE], ids=["two", "three", "many", "ignore"])
KINDS = pytest.mark.parametrize("kind", [np.array, torch.tensor])
SHAPE = (4, 5, 6)


def manager(joint: JointLabels) -> StackedLabelManager:
    """The label manager as nnU-Net builds it, from what JSON leaves of the labels."""
    content = json.loads(json.dumps(joint.to_dataset_json()))
    return StackedLabelManager(content["labels"], content["regions_class_order"])


def random_stack(joint: JointLabels, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, head, SHAPE) for head in joint.heads])


def logits_of(joint: JointLabels, stack: np.ndarray, seed: int = 0) -> np.ndarray:
    """Random logits whose highest one per head is that of the stack."""
    rng = np.random.default_rng(seed)
    hot = [np.eye(head)[values].transpose(3, 0, 1, 2) for head, values in zip(joint.heads, stack, strict=True)]
    return (rng.random((sum(joint.heads), *stack.shape[1:])) + 2 * np.concatenate(hot)).astype(np.float32)


def plans(transpose: tuple[int, int, int] = (0, 1, 2), label_manager: str = "StackedLabelManager") -> PlansManager:
    resampling = "resample_data_or_seg_to_shape"
    options = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "architecture": {},
        "spacing": [1.0, 1.0, 1.0],
        "resampling_fn_probabilities": resampling,
        "resampling_fn_probabilities_kwargs": options,
    }
    return PlansManager(
        {
            "dataset_name": "Dataset901_Coupled",
            "transpose_forward": list(transpose),
            "transpose_backward": np.argsort(transpose).tolist(),
            "label_manager": label_manager,
            "configurations": {"3d_fullres": configuration},
        }
    )


@KINDS
def test_three_heads_become_one_joint_label(kind: Any) -> None:
    joint = JointLabels((Task("a", ("n", "y")), Task("b", tuple("wxyz")), Task("c", ("n", "y"))))
    logits = kind([0.0, 1, 0, 0, 3, 0, 2, 0]).reshape(8, 1, 1, 1)
    for convert in (
        manager(joint).convert_logits_to_segmentation,
        manager(joint).convert_probabilities_to_segmentation,
    ):
        code = convert(logits)
        assert code.dtype == (np.uint16 if kind is np.array else torch.int16)
        assert code.shape == (1, 1, 1)
        assert joint.decode(code).ravel().tolist() == [1, 2, 0]


@SETS
def test_every_stack_is_found_again_in_its_logits(joint: JointLabels) -> None:
    stack = random_stack(joint)
    logits = logits_of(joint, stack)
    expected = joint.encode(stack)
    handler = manager(joint)
    np.testing.assert_array_equal(handler.convert_logits_to_segmentation(logits), expected)
    np.testing.assert_array_equal(handler.convert_logits_to_segmentation(torch.from_numpy(logits)).numpy(), expected)
    probabilities = handler.apply_inference_nonlin(logits)
    np.testing.assert_array_equal(handler.convert_probabilities_to_segmentation(probabilities).numpy(), expected)


@KINDS
def test_probabilities_of_each_head_add_up_to_1(kind: Any) -> None:
    logits = kind(np.random.default_rng(0).normal(0, 3, (sum(THREE.heads), *SHAPE)))
    probabilities = manager(THREE).apply_inference_nonlin(logits)
    assert probabilities.dtype == torch.float32
    for start, stop in ((0, 2), (2, 6), (6, 8)):
        torch.testing.assert_close(probabilities[start:stop].sum(0), torch.ones(SHAPE))
        exponents = np.exp(np.asarray(logits[start:stop]))
        np.testing.assert_allclose(probabilities[start:stop].numpy(), exponents / exponents.sum(0), rtol=1e-5)
    assert manager(THREE).apply_inference_nonlin(torch.ones((8, *SHAPE), dtype=torch.float16)).dtype == torch.float32


@KINDS
@SETS
def test_background_of_every_task_is_around_a_crop(joint: JointLabels, kind: Any) -> None:
    stack = random_stack(joint)
    handler = manager(joint)
    probabilities = kind(handler.apply_inference_nonlin(logits_of(joint, stack)).numpy())
    whole = handler.revert_cropping_on_probabilities(probabilities, [[1, 5], [0, 5], [3, 9]], (6, 7, 10))
    assert isinstance(whole, type(probabilities))
    assert whole.dtype == probabilities.dtype
    found = joint.decode(handler.convert_probabilities_to_segmentation(whole))
    expected = np.zeros((len(joint.tasks), 6, 7, 10))
    expected[:, 1:5, 0:5, 3:9] = stack
    np.testing.assert_array_equal(found, expected)
    for head in joint.head_slices:
        np.testing.assert_allclose(np.asarray(whole)[head].sum(0), 1, rtol=1e-5)


@SETS
def test_channels_and_regions_are_those_of_the_tasks(joint: JointLabels) -> None:
    handler = manager(joint)
    assert handler.num_segmentation_heads == sum(joint.heads)
    assert handler.has_regions
    expected = [
        joint.region(index, value) for index, task in enumerate(joint.tasks) for value in range(1, task.num_classes)
    ]
    assert handler.foreground_regions == expected
    assert len(handler.foreground_names) == len(expected) == sum(joint.heads) - len(joint.heads)
    assert [handler.label_dict[name] for name in handler.foreground_names] == [list(region) for region in expected]
    assert handler.all_labels == list(range(joint.num_codes))
    assert handler.ignore_label == joint.ignore_label


def test_not_annotated_is_no_foreground() -> None:
    assert "b/ignore" in WITH_IGNORE.to_labels()
    assert manager(WITH_IGNORE).foreground_names == ("a/yes", "b/some", "b/all")


def test_one_task_has_regions_too() -> None:
    assert manager(JointLabels((Task("zones", tuple("abc")),))).foreground_regions == [(1,), (2,)]


@SETS
def test_it_reaches_spawned_workers(joint: JointLabels) -> None:
    handler = manager(joint)
    logits = logits_of(joint, random_stack(joint))
    handler.foreground_regions  # noqa: B018 - what is computed once travels along
    copy = pickle.loads(pickle.dumps(handler))
    assert copy.foreground_regions == handler.foreground_regions
    np.testing.assert_array_equal(
        copy.convert_logits_to_segmentation(logits), handler.convert_logits_to_segmentation(logits)
    )


@pytest.mark.parametrize("method", ["logits", "probabilities", "crop"])
def test_other_channels_than_those_of_the_heads_are_refused(method: str) -> None:
    handler = manager(TWO)
    with pytest.raises(InputError, match=r"expected 6 channels \(2 of front, 4 of zones\), found 5"):
        {
            "logits": handler.convert_logits_to_segmentation,
            "probabilities": handler.convert_probabilities_to_segmentation,
            "crop": lambda array: handler.revert_cropping_on_probabilities(array, [[0, 1]] * 3, (2, 2, 2)),
        }[method](np.zeros((5, 1, 1, 1)))


def test_labels_and_functions_cannot_be_forced_on_it() -> None:
    labels, order = TWO.to_dataset_json()["labels"], [1, 2, 3, 4]
    with pytest.raises(InputError, match="one soft-max per task"):
        StackedLabelManager(labels, order, force_use_labels=True)
    with pytest.raises(InputError, match="one soft-max per task"):
        StackedLabelManager(labels, order, inference_nonlin=torch.sigmoid)


def test_nnunet_finds_it_by_the_name_in_the_plans() -> None:
    assert type(plans().get_label_manager(TWO.to_dataset_json())) is StackedLabelManager


@SETS
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("return_probabilities", [False, True])
def test_nnunets_export_gives_the_joint_label_of_the_whole_volume(
    joint: JointLabels, transpose: tuple[int, int, int], return_probabilities: bool
) -> None:
    stack = random_stack(joint)
    before = np.zeros((len(joint.tasks), 6, 7, 10), int)
    before[:, 1:5, 2:7, 3:9] = stack
    manager_ = plans(transpose)
    properties = {
        "spacing": [1.0, 1.0, 1.0],
        "shape_before_cropping": (6, 7, 10),
        "shape_after_cropping_and_before_resampling": SHAPE,
        "bbox_used_for_cropping": [[1, 5], [2, 7], [3, 9]],
    }
    found = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits_of(joint, stack),
        manager_,
        manager_.get_configuration("3d_fullres"),
        manager(joint),
        properties,
        return_probabilities=return_probabilities,
        num_threads_torch=2,
    )
    expected = joint.encode(before.transpose(0, *(axis + 1 for axis in manager_.transpose_backward)))
    if return_probabilities:
        found, probabilities = found
        np.testing.assert_array_equal(manager(joint).convert_probabilities_to_segmentation(probabilities), expected)
    np.testing.assert_array_equal(found, expected)
    assert joint is not MANY or expected.max() > 255


@SETS
def test_nnunets_ensembling_writes_the_joint_label_of_the_mean(joint: JointLabels, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    members = [rng.random((sum(joint.heads), *SHAPE)).astype(np.float32) for _ in range(2)]
    geometry = {"spacing": (1.0, 2.0, 3.0), "origin": (0.0, 0.0, 0.0), "direction": tuple(np.eye(3).ravel())}
    for number, member in enumerate(members):
        np.savez_compressed(tmp_path / f"{number}.npz", probabilities=member)
        (tmp_path / f"{number}.pkl").write_bytes(pickle.dumps({"sitk_stuff": geometry, "spacing": [3.0, 2.0, 1.0]}))
    files = [str(tmp_path / f"{number}.npz") for number in range(2)]
    merge_files(files, str(tmp_path / "merged"), ".nii.gz", StackedSimpleITKIO(), manager(joint))
    mean = (members[0] + members[1]) / 2
    ends = np.cumsum(joint.heads)
    stack = np.stack([part.argmax(0) for part in np.split(mean, ends[:-1])])
    written = sitk.ReadImage(str(tmp_path / "merged.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), np.ravel_multi_index(stack, joint.dims))
    assert written.GetSpacing() == (1.0, 2.0, 3.0)
