"""Graphs: order, names, and the way to JSON and back."""

from __future__ import annotations

import json

import pytest

from nnunet_ext.cluster.graph import Step, check_graph, dependants, steps_from_json, steps_to_json
from nnunet_ext.errors import InputError
from tests.cluster.builders import chain, python, step


@pytest.mark.parametrize(
    ("steps", "part"),
    [
        ([step("a", "pass", after=["a"])], "waits for a"),
        ([step("a", "pass", after=["b"]), step("b", "pass")], "waits for b"),
        ([step("a", "pass"), step("a", "pass")], "only once"),
        ([step("a b", "pass")], "'a b'"),
        ([step("a;b", "pass")], "'a;b'"),
        ([step("a", "pass", kind="cook")], "'cook'"),
        ([step("a")], "without a task"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(steps, part):
    with pytest.raises(InputError, match=part):
        check_graph(steps)


def test_dependants_are_found_across_steps():
    steps = [*chain(), step("other", "pass")]
    assert dependants(steps, {"train_2d"}) == {"find_best", "predict"}
    assert dependants(steps, {"predict"}) == set()


def test_steps_survive_json():
    task_with_all = step("a", "pass").tasks[0]
    command = python("x = '\"$(y)\n'", again=["--c"], again_if=["/a b"])
    steps = (*chain(), Step("more", "train", (type(task_with_all)("what", (command,)),), ("train_2d",)))
    assert steps_from_json(json.loads(json.dumps(steps_to_json(steps)))) == steps
