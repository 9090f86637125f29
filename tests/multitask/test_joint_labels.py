"""Joint labels: there and back again, on disk and in memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.joint_labels import JointLabels, from_dataset_json, from_labels
from nnunet_ext.multitask.tasks import Task

FRONT = Task("front", ("background", "front"), deep_supervision=False)
ZONES = Task("zones", ("na", "rock", "glacier", "ocean"))
EXAMPLE = {
    "tasks": {
        "front": {"labels": {"background": 0, "front": 1}, "deep_supervision": False},
        "zones": {"labels": {"na": 0, "rock": 1, "glacier": 2, "ocean": 3}},
    },
    "labels": {
        "background": 0,
        "front/front": [4, 5, 6, 7],
        "zones/rock": [1, 5],
        "zones/glacier": [2, 6],
        "zones/ocean": [3, 7],
    },
    "regions_class_order": [1, 2, 3, 4],
}


def task(name: str, classes: int, *, ignore: bool = False) -> Task:
    return Task(name, tuple(f"class{999 - value}" for value in range(classes)), ignore)


TASK_SHAPES = st.lists(st.tuples(st.integers(2, 6), st.booleans()), min_size=1, max_size=4)


@st.composite
def joints(draw: st.DrawFn) -> JointLabels:
    shapes = draw(TASK_SHAPES)
    # names whose order in the alphabet is not that of the tasks
    tasks = tuple(task(f"{'zyxw'[i]} task", classes, ignore=ignore) for i, (classes, ignore) in enumerate(shapes))
    return JointLabels(tasks, all_ignored=draw(st.booleans()))


@st.composite
def stacks(draw: st.DrawFn) -> tuple[JointLabels, np.ndarray]:
    """Tasks and a stack of shape (T, y, x) in which a part of the voxels is not annotated for any task."""
    joint = draw(joints())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(0, 4), st.integers(1, 5)))
    stack = np.stack([rng.integers(0, dim, shape) for dim in joint.dims])
    if joint.all_ignored:
        nowhere = rng.random(shape) < 0.3
        for channel, one in zip(stack, joint.tasks, strict=True):
            channel[nowhere] = one.ignore_value
    return joint, stack


def ignored_in_all(joint: JointLabels, stack: np.ndarray) -> np.ndarray:
    values = np.array([one.ignore_value for one in joint.tasks])[:, None, None]
    return np.all(stack == values, axis=0) & joint.all_ignored


@settings(deadline=None)
@given(stacks())
def test_decoding_an_encoded_stack_gives_it_back(case: tuple[JointLabels, np.ndarray]) -> None:
    joint, stack = case
    decoded = joint.decode(joint.encode(stack))
    assert decoded.dtype == np.int16
    np.testing.assert_array_equal(decoded, stack)


@settings(deadline=None)
@given(stacks())
def test_codes_are_those_of_numpy_and_the_ignore_label_follows_the_last(case: tuple[JointLabels, np.ndarray]) -> None:
    joint, stack = case
    code = joint.encode(stack)
    ignored = ignored_in_all(joint, stack)
    assert code.dtype == np.uint16
    np.testing.assert_array_equal(code[~ignored], np.ravel_multi_index(stack[:, ~ignored], joint.dims))
    assert np.all(code[ignored] == np.prod(joint.dims))
    assert joint.ignore_label == (np.prod(joint.dims) if joint.all_ignored else None)


@settings(deadline=None)
@given(stacks())
def test_torch_encodes_and_decodes_as_numpy_does(case: tuple[JointLabels, np.ndarray]) -> None:
    joint, stack = case
    code = joint.encode(torch.from_numpy(stack))
    assert code.dtype == torch.int16
    np.testing.assert_array_equal(code.numpy(), joint.encode(stack))
    decoded = joint.decode(code)
    assert decoded.dtype == torch.int16
    np.testing.assert_array_equal(decoded.numpy(), stack)


@settings(deadline=None)
@given(stacks())
def test_whole_floating_point_numbers_decode_like_integers(case: tuple[JointLabels, np.ndarray]) -> None:
    joint, stack = case
    code = joint.encode(stack)
    for as_float in (code.astype(np.float32), torch.from_numpy(code.astype(np.float64))):
        np.testing.assert_array_equal(np.asarray(joint.decode(as_float)), stack)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_broken_and_unknown_codes_are_named(make: Any) -> None:
    joint = JointLabels((FRONT, ZONES))
    for values, found in (([0.0, 2.5], r"\[2.5\]"), ([0, 8, -1], r"\[-1, 8\]"), ([float("nan")], r"\[nan\]")):
        with pytest.raises(InputError, match=rf"{found}, expected joint labels from 0 to 7 of \('front', 'zones'\)"):
            joint.decode(make(values))
    assert JointLabels((FRONT, ZONES), all_ignored=True).decode(make([8])).tolist() == [[2], [4]]


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_unknown_values_are_named_with_their_task(make: Any) -> None:
    joint = JointLabels((FRONT, ZONES))
    with pytest.raises(InputError, match=r"task 'zones' has the values \[-2, 4\], expected .*3: 'ocean'"):
        joint.encode(make([[0, 1, 0], [3, 4, -2]]))
    with pytest.raises(InputError, match=r"task 'front' has the values \[2\]"):
        joint.encode(make([[2], [0]]))


@pytest.mark.parametrize("make", [np.array, torch.tensor])
@pytest.mark.parametrize("value", [2**32 + 1, 0.7, -0.5], ids=["more than 32 bits", "fraction", "negative fraction"])
def test_numbers_that_only_look_like_a_value_when_cut_short_are_refused(make: Any, value: float) -> None:
    with pytest.raises(InputError, match="task 'front' has the values"):
        JointLabels((FRONT, ZONES)).encode(make([[value], [0]]))


def test_a_task_without_ignore_value_is_ignored_with_all_others_only() -> None:
    with_ignore = Task("zones", ZONES.classes, ignore=True)
    joint = JointLabels((FRONT, with_ignore))
    assert joint.encode(np.array([[2, 1], [4, 4]])).tolist() == [10, 9]
    with pytest.raises(InputError, match=r"task 'front' is ignored .* no ignore value of its own: end its labels with"):
        joint.encode(np.array([[2], [0]]))
    with pytest.raises(InputError, match="task 'zones' is ignored"):
        JointLabels((FRONT, ZONES), all_ignored=True).encode(np.array([[0], [4]]))


def test_one_label_map_per_task_is_needed() -> None:
    with pytest.raises(InputError, match=r"expected 2 label maps \(front, zones\), found 3"):
        JointLabels((FRONT, ZONES)).encode(np.zeros((3, 2), int))


@settings(deadline=None)
@given(stacks())
def test_regions_hold_exactly_the_codes_of_their_class(case: tuple[JointLabels, np.ndarray]) -> None:
    joint, stack = case
    annotated = ~ignored_in_all(joint, stack)
    code = joint.encode(stack)
    for index, one in enumerate(joint.tasks):
        for value in range(one.num_values):
            inside = np.isin(code, joint.region(index, value))
            np.testing.assert_array_equal(inside[annotated], (stack[index] == value)[annotated])
            assert not inside[~annotated].any()


@settings(deadline=None)
@given(joints(), st.booleans())
def test_tasks_survive_dataset_json(joint: JointLabels, sort_keys: bool) -> None:
    content = json.loads(json.dumps(joint.to_dataset_json()))
    assert content == joint.to_dataset_json()
    assert from_dataset_json(content) == joint
    assert from_dataset_json(content).to_dataset_json() == content
    labels = json.loads(json.dumps(content["labels"], sort_keys=sort_keys))
    recovered = from_labels(labels)
    assert recovered.to_labels() == content["labels"]
    assert (recovered.names, recovered.dims, recovered.heads) == (joint.names, joint.dims, joint.heads)
    assert recovered.ignore_values == joint.ignore_values
    assert [one.classes[1:] for one in recovered.tasks] == [one.classes[1:] for one in joint.tasks]


def test_weights_and_deep_supervision_survive_dataset_json() -> None:
    joint = JointLabels((Task("a b", ("x", "y"), weight=0.25, deep_supervision=False), Task("c", ("x", "y"), True)))
    assert from_dataset_json(joint.to_dataset_json()) == joint


def test_a_class_called_background_is_not_taken_for_the_background() -> None:
    joint = JointLabels((Task("a", ("nothing", "background", "b/c")),))
    recovered = from_labels(joint.to_labels())
    assert recovered.tasks[0].classes == ("(background)", "background", "b/c")


def test_the_example_of_the_design() -> None:
    joint = JointLabels((FRONT, ZONES))
    assert joint.to_dataset_json() == EXAMPLE
    assert from_dataset_json(EXAMPLE) == joint


@settings(deadline=None)
@given(joints())
def test_nnunets_own_label_manager_finds_consecutive_labels(joint: JointLabels) -> None:
    content = joint.to_dataset_json()
    stock = LabelManager(content["labels"], content["regions_class_order"])
    expected = [*stock.all_labels, *([] if stock.ignore_label is None else [stock.ignore_label])]
    assert expected == list(range(joint.num_codes + joint.all_ignored))
    assert stock.has_regions == (len(joint.tasks) > 1)


def test_as_many_codes_as_sixteen_bits_hold() -> None:
    joint = JointLabels((task("seven", 7), task("odd", 31), task("most", 151)), all_ignored=True)
    assert joint.num_codes == joint.ignore_label == 32767
    ends = np.array([[6, 7], [30, 31], [150, 151]])
    for stack in (ends, torch.from_numpy(ends)):
        code = joint.encode(stack)
        assert code.tolist() == [32766, 32767]
        assert joint.decode(code).tolist() == ends.tolist()


def test_one_code_more_is_an_error_that_names_the_tasks() -> None:
    with pytest.raises(InputError, match=r"256 \(wide\) × 128 \(narrow\) = 32768 joint labels, .* 32767: leave out"):
        JointLabels((task("wide", 256), task("narrow", 128)))


@pytest.mark.parametrize("tasks", [(), (FRONT, FRONT)])
def test_tasks_must_be_there_and_differ_in_name(tasks: tuple[Task, ...]) -> None:
    with pytest.raises(InputError, match="at least one task and different names"):
        JointLabels(tasks)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0},
        {"background": 0, "tumour": 1},
        {"background": 0, "whole": [1, 2], "core": [2]},
        {"background": 0, "front/front": 1},
        {"background": 0, "front/front": []},
        {"background": 0, "front/front": [4, 5, 6, 7], "zones/rock": [1, 5], "zones/glacier": [2, 6]},
        {**EXAMPLE["labels"], "zones/ocean": [3, 8]},
        {**EXAMPLE["labels"], "ignore": 9},
    ],
)
def test_labels_that_no_tasks_make_are_refused_with_the_command_that_makes_them(labels: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="`nnunet_ext stack` makes such a dataset"):
        from_labels(labels)


def test_a_dataset_without_tasks_or_with_other_labels_is_refused_with_the_command() -> None:
    with pytest.raises(InputError, match=r"^D1 has no 'tasks'.*`nnunet_ext stack` makes one"):
        from_dataset_json({"labels": EXAMPLE["labels"]}, "D1")
    changed = {**EXAMPLE, "labels": {**EXAMPLE["labels"], "zones/rock": [1]}}
    with pytest.raises(InputError, match=r"^D1: 'labels' is not what its 'tasks' make.*`nnunet_ext stack`"):
        from_dataset_json(changed, "D1")
