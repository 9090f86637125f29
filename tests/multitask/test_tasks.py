"""Tasks as people write them into dataset.json."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.branching import branching_of_tasks
from nnunet_ext.multitask.tasks import Task, loss_weights, task_from_json, tasks_from_json

TWO_LABELS = {"na": 0, "rock": 1}
NAMES = st.text("abc-_ é9", min_size=1, max_size=8)


def weighted(*weights: float | None) -> list[Task]:
    return [Task(f"task{i}", ("no", "yes"), weight=weight) for i, weight in enumerate(weights)]


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    return Task(
        draw(st.from_regex(r"\w[\w -]{0,6}", fullmatch=True)),
        tuple(draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))),
        draw(st.booleans()),
        draw(st.none() | st.floats(0.01, 10)),
        draw(st.booleans()),
    )


@settings(deadline=None)
@given(tasks())
def test_a_task_survives_json(task: Task) -> None:
    assert task_from_json(task.name, task.to_json(), "file") == task


def test_what_is_at_its_default_is_not_written() -> None:
    assert Task("zones", ("na", "rock")).to_json() == {"labels": TWO_LABELS}
    task = Task("zones", ("na", "rock"), ignore=True, weight=0.3, deep_supervision=False)
    assert task.to_json() == {"labels": {**TWO_LABELS, "ignore": 2}, "weight": 0.3, "deep_supervision": False}


def test_the_order_of_the_classes_is_that_of_their_values() -> None:
    task = task_from_json("zones", {"labels": {"ignore": 3, "ocean": 2, "na": 0, "rock": 1}}, "file")
    assert (task.classes, task.ignore) == (("na", "rock", "ocean"), True)
    assert (task.num_classes, task.num_values, task.ignore_value) == (3, 4, 3)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("rock", "expected an object with 'labels' from class to value, found 'rock'"),
        ({}, "expected an object with 'labels'"),
        ({"labels": ["na", "rock"]}, "expected an object with 'labels'"),
        ({"labels": TWO_LABELS, "wieght": 1}, r"unknown keys \['wieght'\]; known ones are \['labels', 'weight'"),
        ({"labels": TWO_LABELS, "weight": "1"}, "'weight' must be a number, not '1'"),
        ({"labels": TWO_LABELS, "weight": True}, "'weight' must be a number, not True"),
        ({"labels": TWO_LABELS, "weight": 0}, "the weight must be a positive number, not 0"),
        ({"labels": TWO_LABELS, "weight": -0.5}, "the weight must be a positive number, not -0.5"),
        ({"labels": TWO_LABELS, "weight": float("inf")}, "the weight must be a positive number, not inf"),
        ({"labels": TWO_LABELS, "weight": float("nan")}, "the weight must be a positive number, not nan"),
        ({"labels": TWO_LABELS, "deep_supervision": 0}, "'deep_supervision' must be true or false, not 0"),
        ({"labels": {}}, "must be 0, 1, 2, … without gap or double, found {}"),
        ({"labels": {"na": 0, "rock": 2}}, "without gap or double, found .*'rock': 2"),
        ({"labels": {"na": 1, "rock": 1}}, "without gap or double, found .*'rock': 1"),
        ({"labels": {"na": 0, "rock": "1"}}, "without gap or double, found .*'rock': '1'"),
        ({"labels": {"na": False, "rock": 1}}, "without gap or double, found .*'na': False"),
        ({"labels": {"na": 0, "ignore": 1, "rock": 2}}, "value of 'ignore' must be the highest one, found .*'rock': 2"),
        ({"labels": {"na": 0}}, r"expected a background and at least one class, found \['na'\]"),
        ({"labels": {"na": 0, "ignore": 1}}, r"expected a background and at least one class, found \['na'\]"),
        ({"labels": {"na": 0, "": 1}}, "expected different names of classes, none of them empty"),
    ],
)
def test_an_error_names_source_task_and_value(entry: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^D7/dataset\.json: task 'zones': .*{message}"):
        task_from_json("zones", entry, "D7/dataset.json")


@pytest.mark.parametrize("name", ["", "a/b", " a", "-a", "a.b", "a\n"])
def test_names_that_could_not_stand_in_labels_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected a name of letters, digits"):
        task_from_json(name, {"labels": TWO_LABELS}, "file")


def test_classes_must_differ_and_none_may_be_called_ignore() -> None:
    for classes in (("a", "a"), ("a", "ignore")):
        with pytest.raises(InputError, match="task 't': expected different names of classes"):
            Task("t", classes)


@pytest.mark.parametrize("entries", [None, {}, [], "zones"])
def test_no_tasks_at_all_are_an_error(entries: Any) -> None:
    with pytest.raises(InputError, match=r"^file: expected tasks as an object from name to task"):
        tasks_from_json(entries, "file")


def test_tasks_keep_their_order() -> None:
    entries = {name: {"labels": TWO_LABELS} for name in ("zones", "front", "boundary")}
    assert [task.name for task in tasks_from_json(entries, "file")] == ["zones", "front", "boundary"]


@settings(deadline=None)
@given(st.integers(1, 6))
def test_weights_are_equal_and_add_up_to_1_unless_given(count: int) -> None:
    assert loss_weights(weighted(*[None] * count)) == pytest.approx([1 / count] * count)


def test_given_weights_are_kept_and_the_others_share_what_is_left() -> None:
    assert loss_weights(weighted(0.34, 0.33, 0.33)) == (0.34, 0.33, 0.33)
    assert loss_weights(weighted(3.0, 2.0)) == (3.0, 2.0)
    assert loss_weights(weighted(0.4, None, None)) == pytest.approx((0.4, 0.3, 0.3))


def test_weights_that_leave_nothing_to_the_others_are_refused() -> None:
    with pytest.raises(InputError, match=r"given weights add up to 1\.5, which leaves nothing of 1 for task1, task3"):
        loss_weights(weighted(1, None, 0.5, None))
    with pytest.raises(InputError, match="given weights add up to 1, which leaves nothing of 1 for task1"):
        loss_weights(weighted(1.0, None))


def test_one_branching_for_all_tasks_or_one_for_each() -> None:
    names = ["front", "zones"]
    assert branching_of_tasks("early", names) == {"front": "early", "zones": "early"}
    assert branching_of_tasks("late", names) == {"front": "late", "zones": "late"}
    assert branching_of_tasks({"zones": "late"}, names) == {"front": "early", "zones": "late"}
    assert list(branching_of_tasks({"zones": "late", "front": "late"}, names)) == names


@pytest.mark.parametrize(
    ("branching", "message"),
    [
        ("middle", "expected 'early' or 'late' for each task, found .*'front': 'middle'"),
        ({"zones": None}, "expected 'early' or 'late' for each task, found {'zones': None}"),
        ({"rock": "late"}, r"unknown tasks \['rock'\], expected some of \['front', 'zones'\]"),
    ],
)
def test_unknown_branching_is_named(branching: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        branching_of_tasks(branching, ["front", "zones"])
