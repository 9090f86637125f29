"""The preprocessor: every label map is prepared as if it were alone."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.label_manager import StackedLabelManager
from nnunet_ext.multitask.preprocessor import StackedLabelPreprocessor, class_locations
from nnunet_ext.multitask.tasks import Task
from tests.multitask.coupled_tasks import FRONT, THREE, TWO, ZONES, coupled_case

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (6, 12, 16)
SPACINGS = pytest.mark.parametrize(
    ("spacing", "target"),
    [((1, 1, 1), (1, 1, 1)), ((1, 1, 1), (1.4, 1.6, 0.7)), ((5, 1, 1), (3, 1.5, 0.8))],
    ids=["unchanged", "isotropic", "anisotropic"],
)
PARTLY = JointLabels((FRONT, Task("zones", ZONES.classes, ignore=True)))


def plans(target: tuple[float, ...], label_manager: str, transpose: tuple[int, ...] = (0, 1, 2)) -> PlansManager:
    resampling = "resample_data_or_seg_to_shape"
    options = {"order_z": 0, "force_separate_z": None}
    configuration = {
        "architecture": {},
        "spacing": list(target),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resampling,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **options},
        "resampling_fn_seg": resampling,
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **options},
    }
    return PlansManager(
        {
            "dataset_name": "Dataset901_Coupled",
            "transpose_forward": list(transpose),
            "transpose_backward": np.argsort(transpose).tolist(),
            "label_manager": label_manager,
            "foreground_intensity_properties_per_channel": {"0": {}},
            "configurations": {"3d_fullres": configuration},
        }
    )


def run(preprocessor: Any, image: np.ndarray, seg: Any, content: Any, manager: PlansManager, spacing: Any) -> Any:
    properties = {"spacing": list(spacing)}
    configuration = manager.get_configuration("3d_fullres")
    return preprocessor(verbose=False).run_case_npy(image, seg, properties, manager, configuration, content)


def preprocess(
    image: np.ndarray,
    stack: np.ndarray,
    joint: JointLabels,
    *,
    spacing: Any = (1, 1, 1),
    target: Any = (1, 1, 1),
    transpose: tuple[int, ...] = (0, 1, 2),
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    manager = plans(target, "StackedLabelManager", transpose)
    code = joint.encode(stack)[None].astype(np.float32)  # readers give floating-point numbers
    return run(StackedLabelPreprocessor, image[None], code, joint.to_dataset_json(), manager, spacing)


def preprocess_alone(
    image: np.ndarray, label_map: np.ndarray, task: Task, *, spacing: Any, target: Any, transpose: Any = (0, 1, 2)
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Run nnU-Net's own preprocessor on one label map as if it were the only one."""
    labels = {"background": 0, **{name: value for value, name in list(enumerate(task.classes))[1:]}}
    manager = plans(target, "LabelManager", transpose)
    label_map = label_map[None].astype(np.float32)
    return run(DefaultPreprocessor, image[None], label_map, {"labels": labels}, manager, spacing)


def case(tasks: int = 2, *, dark_border: bool = False) -> tuple[np.ndarray, np.ndarray]:
    image, stack = coupled_case(SHAPE, seed=0)
    if dark_border:
        image[:, :, :5] = 0
        image[2:4, 3:7, 5:7] = 0  # inside of the box that is kept
        image[0] = 0
    return image, stack[:tasks].astype(np.int16)


@SPACINGS
@pytest.mark.parametrize("dark_border", [False, True])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_each_channel_is_what_nnunet_makes_of_that_label_map_alone(
    spacing: Any, target: Any, dark_border: bool, transpose: tuple[int, ...]
) -> None:
    image, stack = case(3, dark_border=dark_border)
    settings = {"spacing": spacing, "target": target, "transpose": transpose}
    data, found, properties = preprocess(image, stack, THREE, **settings)
    assert found.dtype == np.int8
    assert found.shape == (3, *data.shape[1:])
    for channel, task in enumerate(THREE.tasks):
        data_alone, alone, properties_alone = preprocess_alone(image, stack[channel], task, **settings)
        np.testing.assert_array_equal(data, data_alone)
        np.testing.assert_array_equal(found[channel], alone[0])
        assert properties["bbox_used_for_cropping"] == properties_alone["bbox_used_for_cropping"]
    outside = (found == -1).any((1, 2, 3))
    assert outside.tolist() == [dark_border, False, dark_border]  # there are zones in the dark, but no lines


def test_a_thin_front_survives_the_borders_of_zones_that_cross_it() -> None:
    front, zones = np.zeros((2, 4, 18, 18), np.int16)
    front[:, :, 2] = 1
    zones[:] = 3
    zones[:, ::2, 2], zones[:, 1::2, 2] = 1, 2
    stack = np.stack([front, zones])
    image = np.ones(front.shape)
    settings: dict[str, Any] = {"spacing": (1, 1, 1), "target": (1, 1.2, 0.8)}
    _, found, _ = preprocess(image, stack, TWO, **settings)
    _, front_alone, _ = preprocess_alone(image, front, FRONT, **settings)
    np.testing.assert_array_equal(found[0], front_alone[0])
    assert found[0].any(2).all()

    resample = plans(settings["target"], "LabelManager").get_configuration("3d_fullres").resampling_fn_seg
    code = TWO.encode(stack)[None].astype(np.float32)
    torn = TWO.decode(resample(code, found.shape[1:], settings["spacing"], settings["target"])[0])
    assert not torn[0].any(2).all()


def test_a_label_map_with_many_classes_needs_no_more_bits_than_its_own() -> None:
    joint = JointLabels(tuple(Task(name, tuple("abcdefghijklmnopq")) for name in ("one", "two")))
    stack = np.random.default_rng(0).integers(0, 17, (2, *SHAPE)).astype(np.int16)
    _, found, _ = preprocess(np.ones(SHAPE), stack, joint)
    assert joint.encode(stack).max() > 255
    np.testing.assert_array_equal(found, stack)


@pytest.mark.parametrize("joint", [TWO, THREE, PARTLY, JointLabels((FRONT, ZONES), all_ignored=True)])
def test_class_locations_point_at_voxels_of_their_class(joint: JointLabels) -> None:
    image, stack = case(len(joint.tasks), dark_border=True)
    stack[1][stack[1] == 1] = 0  # no rock at all
    if joint is PARTLY:
        stack[1, :, 6:] = 4
    if joint.all_ignored:
        for channel, task in zip(stack, joint.tasks, strict=True):
            channel[:, :3] = task.ignore_value
    _, found, properties = preprocess(image, stack, joint, target=(1, 0.8, 1.2))
    content = joint.to_dataset_json()
    manager = StackedLabelManager(content["labels"], content["regions_class_order"])
    locations = properties["class_locations"]
    annotated_key = (-1, *manager.all_labels)
    expected = [*manager.foreground_regions, *([annotated_key] if joint.all_ignored else [])]
    assert list(locations) == expected
    for channel, (task, regions) in enumerate(zip(joint.tasks, manager.regions_of_tasks, strict=True)):
        for value, region in enumerate(regions, 1):
            voxels = locations[region]
            assert voxels.shape == (np.count_nonzero(found[channel] == value), 4), (task.name, value)
            assert np.all(voxels[:, 0] == channel)
            assert np.all(found[tuple(voxels.T)] == value)
            assert len(np.unique(voxels, axis=0)) == len(voxels)
    assert len(locations[manager.regions_of_tasks[1][0]]) == 0
    if joint.all_ignored:
        nowhere = np.all(found == np.array(joint.ignore_values)[:, None, None, None], axis=0)
        voxels = locations[annotated_key]
        assert nowhere.any()
        assert len(voxels) == np.count_nonzero(~nowhere)
        assert not nowhere[tuple(voxels[:, 1:].T)].any()


def test_locations_of_a_stack_without_any_class_are_empty() -> None:
    content = PARTLY.to_dataset_json()
    manager = StackedLabelManager(content["labels"], content["regions_class_order"])
    stack = np.zeros((2, 2, 3, 4), np.int8)
    stack[0], stack[1] = 2, 4
    locations = class_locations(stack, manager)
    assert len(locations) == 5
    assert all(voxels.shape == (0, 4) for voxels in locations.values())


def test_locations_are_as_many_as_nnunet_takes() -> None:
    content = TWO.to_dataset_json()
    manager = StackedLabelManager(content["labels"], content["regions_class_order"])
    stack = np.ones((2, 30, 30, 30), np.int8)
    locations = class_locations(stack, manager)
    assert [len(voxels) for voxels in locations.values()] == [10000, 10000, 0, 0]


def test_without_labels_it_is_nnunets_own_preprocessor() -> None:
    image, _ = case(dark_border=True)
    manager = plans((1, 1.4, 0.8), "StackedLabelManager", (1, 0, 2))
    ours, stock = (
        run(cls, image[None], None, TWO.to_dataset_json(), manager, (1, 1, 1))
        for cls in (StackedLabelPreprocessor, DefaultPreprocessor)
    )
    np.testing.assert_array_equal(ours[0], stock[0])
    np.testing.assert_array_equal(ours[1], stock[1])
    assert ours[2].keys() == stock[2].keys()


def test_dataset_json_may_be_a_file(tmp_path: Path) -> None:
    image, stack = case()
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(TWO.to_dataset_json()))
    code = TWO.encode(stack)[None]
    manager = plans((1, 1, 1), "StackedLabelManager")
    _, found, _ = run(StackedLabelPreprocessor, image[None], code, str(path), manager, (1, 1, 1))
    np.testing.assert_array_equal(found, stack)


def test_the_joint_label_that_is_handed_over_stays_as_it_is() -> None:
    image, stack = case(dark_border=True)
    code = TWO.encode(stack)[None]
    before = code.copy()
    manager = plans((1, 1, 1), "StackedLabelManager")
    run(StackedLabelPreprocessor, image[None], code, TWO.to_dataset_json(), manager, (1, 1, 1))
    np.testing.assert_array_equal(code, before)


def test_plans_with_another_label_manager_are_refused() -> None:
    image, stack = case()
    with pytest.raises(InputError, match="the plans name LabelManager: plan with -pl StackedLabelPlanner"):
        run(
            StackedLabelPreprocessor,
            image[None],
            TWO.encode(stack)[None],
            TWO.to_dataset_json(),
            plans((1, 1, 1), "LabelManager"),
            (1, 1, 1),
        )


def test_nnunet_still_samples_locations_where_the_preprocessor_steps_in() -> None:
    source = "".join(inspect.getsource(DefaultPreprocessor.run_case_npy).split())
    assert "self._sample_foreground_locations(seg,collect_for_this,verbose=self.verbose)" in source
    parameters = inspect.signature(DefaultPreprocessor._sample_foreground_locations).parameters
    assert list(parameters)[:2] == ["seg", "classes_or_regions"]
    assert "verbose" in parameters
