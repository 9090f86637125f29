"""What a rule file may say, and that everything wrong in it is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nnunet_ext.class_rules.rules import Rule, read_rules
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing tumour": 3, "ignore": 4}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": 3}


def declaration(folder: Path, labels: object, **more: object) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps({"labels": labels, **more}))
    return path


def rule_file(folder: Path, *rules: object) -> Path:
    path = folder / "rules.json"
    path.write_text(json.dumps({"rules": list(rules)}))
    return path


def read(folder: Path, *rules: object, labels: object = CLASSES, **more: object) -> tuple[Rule, ...]:
    return read_rules(rule_file(folder, *rules), declaration(folder, labels, **more))


def problems(folder: Path, *rules: object) -> list[str]:
    with pytest.raises(BadCasesError) as caught:
        read(folder, *rules)
    assert all(str(folder / "rules.json") in problem for problem in caught.value.problems)
    return caught.value.problems


def meaning(rule: Rule) -> tuple[tuple[int, ...], int, int | None, float | None, bool]:
    return rule.values, rule.target, rule.below_voxels, rule.below_mm3, rule.per_component


def test_classes_by_name_and_by_value(tmp_path):
    first, second = read(
        tmp_path,
        {"from": "enhancing tumour", "to": "necrosis", "below_voxels": 45},
        {"from": 2, "to": "background", "below_mm3": 2.5, "per_component": True},
    )
    assert meaning(first) == ((3,), 1, 45, None, False)
    assert meaning(second) == ((2,), 0, None, 2.5, True)
    assert first.text == "enhancing tumour to necrosis below 45 voxels"
    assert second.text == "2 to background below 2.5 mm³ in one piece"


def test_a_region_is_all_its_classes_and_gives_the_label_it_is_written_with(tmp_path):
    order = {"regions_class_order": [2, 1, 3]}
    whole, to_core, to_whole = read(
        tmp_path,
        {"from": "whole", "to": "background", "below_voxels": 9},
        {"from": "enhancing", "to": "core", "below_voxels": 9},
        {"from": "enhancing", "to": "whole", "below_voxels": 9},
        labels=REGIONS,
        **order,
    )
    assert meaning(whole)[:2] == ((1, 2, 3), 0)
    assert meaning(to_core)[:2] == ((3,), 1)
    assert meaning(to_whole)[:2] == ((3,), 2)


def test_the_converter_knows_the_classes_that_regions_are_made_of(tmp_path):
    more = {"regions_class_order": [2, 1, 3], "conversion": {"classes": {"background": 0, "necrosis": 1, "edema": 2}}}
    rules = read(tmp_path, {"from": "enhancing", "to": "necrosis", "below_voxels": 45}, labels=REGIONS, **more)
    assert meaning(rules[0])[:2] == ((3,), 1)


def test_regions_with_another_number_of_written_values_are_refused(tmp_path):
    rule = {"from": "enhancing", "to": "core", "below_voxels": 9}
    with pytest.raises(InputError, match=r"dataset\.json: expected 'regions_class_order' .* whole, core, enhancing"):
        read(tmp_path, rule, labels=REGIONS, regions_class_order=[2, 1])


def test_without_order_a_region_can_only_be_changed(tmp_path):
    (rule,) = read(tmp_path, {"from": "core", "to": "enhancing", "below_voxels": 9}, labels=REGIONS)
    assert meaning(rule)[:2] == ((1, 3), 3)
    with pytest.raises(
        BadCasesError, match=r"'to' is the region 'core', expected a class: .* no 'regions_class_order'"
    ):
        read(tmp_path, {"from": "enhancing", "to": "core", "below_voxels": 9}, labels=REGIONS)


def test_a_class_file_from_id_to_name(tmp_path):
    (rule,) = read(tmp_path, {"from": "root", "to": "soil", "below_voxels": 1}, labels={"1": "soil", "2": "root"})
    assert meaning(rule)[:2] == ((2,), 1)


def test_without_dataset_json_classes_are_values(tmp_path):
    path = rule_file(tmp_path, {"from": 7, "to": 0, "below_voxels": 3})
    assert meaning(read_rules(path, None)[0])[:2] == ((7,), 0)
    path = rule_file(tmp_path, {"from": "root", "to": -1, "below_voxels": 3})
    with pytest.raises(BadCasesError) as caught:
        read_rules(path, None)
    assert "'from' is 'root', expected a value from 0: there is no dataset.json" in caught.value.problems[0]
    assert "'to' is -1, expected a value from 0" in caught.value.problems[1]


@pytest.mark.parametrize("unknown", ["tumour", 4, 9, "ignore", "Necrosis"])
def test_an_unknown_class_is_named_with_those_that_are_known(tmp_path, unknown):
    (problem,) = problems(tmp_path, {"from": unknown, "to": "necrosis", "below_voxels": 45})
    known = r"background (0), necrosis (1), oedema (2), enhancing tumour (3)"
    assert f"rule 1: 'from' is {unknown!r}, expected one of {known} as in {tmp_path / 'dataset.json'}" in problem


@pytest.mark.parametrize("given", [True, 1.0, None, [1]])
def test_a_class_is_a_name_or_a_whole_number(tmp_path, given):
    (problem,) = problems(tmp_path, {"from": "oedema", "to": given, "below_voxels": 45})
    assert f"'to' is {given!r}, expected the name or value of a class" in problem


@pytest.mark.parametrize(("first", "second"), [("necrosis", "necrosis"), ("necrosis", 1), (1, 1)])
def test_the_same_class_twice_is_refused(tmp_path, first, second):
    (problem,) = problems(tmp_path, {"from": first, "to": second, "below_voxels": 45})
    assert f"'from' {first!r} and 'to' {second!r} are the same class, expected two" in problem


@pytest.mark.parametrize("value", [-1, 4.5, "45", True, None])
def test_a_threshold_in_voxels_is_a_whole_number_from_0(tmp_path, value):
    (problem,) = problems(tmp_path, {"from": 3, "to": 1, "below_voxels": value})
    assert f"'below_voxels' is {value!r}, expected a whole number from 0" in problem


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf"), "1"])
def test_a_threshold_in_mm3_is_a_number_from_0(tmp_path, value):
    (problem,) = problems(tmp_path, {"from": 3, "to": 1, "below_mm3": value})
    assert f"'below_mm3' is {value!r}, expected a number of mm³ from 0" in problem


def test_there_is_one_threshold(tmp_path):
    none, both = problems(tmp_path, {"from": 3, "to": 1}, {"from": 3, "to": 1, "below_voxels": 1, "below_mm3": 1})
    assert "rule 1: no threshold given, expected one of 'below_voxels' and 'below_mm3'" in none
    assert "rule 2: below_voxels and below_mm3 given, expected one of" in both


def test_everything_wrong_is_named_in_one_go(tmp_path):
    found = problems(
        tmp_path,
        {"from": 8, "to": 1, "below_voxel": 3, "below_voxels": -3, "per_component": 1},
        {"to": "necrosis", "below_voxels": 2},
        "3 to 1",
    )
    assert [problem.split(": ", 1)[1] for problem in found] == [
        "rule 1: unknown key 'below_voxel', expected some of from, to, below_voxels, below_mm3, per_component",
        "rule 1: 'from' is 8, expected one of background (0), necrosis (1), oedema (2), enhancing tumour (3) as in "
        f"{tmp_path / 'dataset.json'}",
        "rule 1: 'below_voxels' is -3, expected a whole number from 0",
        "rule 1: 'per_component' is 1, expected true or false",
        "rule 2: no 'from', expected the name or value of a class",
        "rule 3: found '3 to 1', expected an object with the keys from, to, below_voxels, below_mm3, per_component",
    ]


@pytest.mark.parametrize("content", [{}, {"rules": []}, {"rules": {}}, {"rules": [{}], "rule": 1}, {"from": 3}])
def test_a_file_without_a_list_of_rules(tmp_path, content):
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"rules\.json: expected one key 'rules' with a list of rules, such as "):
        read_rules(path, None)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(MissingInputError, match=r"rules\.json: no such file"):
        read_rules(tmp_path / "rules.json", None)
    (tmp_path / "rules.json").write_text("from 3 to 1")
    with pytest.raises(InputError, match=r"rules\.json: not a JSON file"):
        read_rules(tmp_path / "rules.json", None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"labels": {"a": 1}, "tasks": {}}, "joint labels of several tasks"),
        ({"labels": {}}, "expected names and values of the classes"),
        ({"labels": {"a": 1.5}}, "label 'a' must be a whole number or a list of them, found 1.5"),
        ({"labels": {"a": []}}, "label 'a' must be a whole number"),
    ],
)
def test_labels_that_say_nothing(tmp_path, content, said):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"dataset\.json: .*{said}"):
        read_rules(rule_file(tmp_path, {"from": 1, "to": 0, "below_voxels": 1}), path)
