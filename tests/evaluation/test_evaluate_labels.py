"""What is scored, by dataset.json, class files and lists."""

from __future__ import annotations

import json

import pytest

from evaluation.labels import choose_labels, find_declaration, read_declaration
from nnunet_ext.errors import InputError, MissingInputError
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task
from tests.evaluation.label_folders import write_dataset_json


def keys(label_set):
    return [(scored.key, scored.name) for scored in label_set.classes]


def write(path, labels):
    path.write_text(json.dumps({"labels": labels}))
    return path


def test_labels_of_a_dataset_json_come_in_order_of_their_values(tmp_path):
    path = write_dataset_json(tmp_path, {"background": 0, "b": 2, "a": 1, "ignore": 3})
    label_set = read_declaration(path)
    assert keys(label_set) == [("1", "a"), ("2", "b")]
    assert label_set.ignore == 3
    assert label_set.declared == {0, 1, 2, 3}


def test_regions_keep_the_order_of_the_file(tmp_path):
    path = write(tmp_path / "c.json", {"background": 0, "whole": [1, 2, 3], "core": [2], "enhancing": 3})
    assert keys(read_declaration(path)) == [("(1, 2, 3)", "whole"), ("(2,)", "core"), ("3", "enhancing")]


def test_a_class_file_ignores_what_is_not_annotated(tmp_path):
    path = write(tmp_path / "c.json", {"0": "ToPredict", "1": "SoilMatrix", "2": "Wall"})
    label_set = read_declaration(path)
    assert keys(label_set) == [("1", "SoilMatrix"), ("2", "Wall")]
    assert label_set.ignore == 0
    with pytest.raises(InputError, match="ignore label"):
        choose_labels(declaration=path, background=True)


def test_ids_to_names_with_background(tmp_path):
    label_set = read_declaration(write(tmp_path / "c.json", {"0": "background", "1": "Anterior"}))
    assert (keys(label_set), label_set.ignore) == ([("1", "Anterior")], None)


def test_classes_of_tasks_are_split(tmp_path):
    labels = {"background": 0, "front/front": [4, 5], "zones/rock": [1, 5]}
    path = write_dataset_json(tmp_path, labels, tasks={"front": {}, "zones": {}})
    classes = read_declaration(path).classes
    assert [(scored.task, scored.name) for scored in classes] == [("front", "front"), ("zones", "rock")]


def test_values_not_annotated_for_a_task_are_ignored_for_its_classes_alone(tmp_path):
    front = Task("front", ("background", "front"), ignore=True)
    joint = JointLabels((front, Task("zones", ("na", "rock", "ocean"))))
    path = write_dataset_json(tmp_path, **joint.to_dataset_json())
    label_set = choose_labels(declaration=path)
    assert [(scored.task, scored.name) for scored in label_set.classes] == [
        ("front", "front"),
        ("zones", "rock"),
        ("zones", "ocean"),
    ]
    of_front, of_rock = (label_set.ignored_for(scored) for scored in label_set.classes[:2])
    assert of_front == {*joint.region(0, 2), joint.ignore_label}
    assert of_rock == {joint.ignore_label}


def test_background_is_scored_on_demand(tmp_path):
    path = write(tmp_path / "c.json", {"background": 0, "wall": 1})
    assert keys(choose_labels(declaration=path, background=True)) == [("0", "background"), ("1", "wall")]


def test_listed_labels_take_names_and_ignore_label_from_the_file(tmp_path):
    path = write(tmp_path / "c.json", {"background": 0, "wall": 1, "rock": 2, "ignore": 3})
    label_set = choose_labels(declaration=path, labels=[2, 7, 2])
    assert keys(label_set) == [("2", "rock"), ("7", "7")]
    assert (label_set.ignore, label_set.declared) == (3, None)


def test_listed_labels_need_no_file():
    label_set = choose_labels(declaration=None, labels=[1], ignore_label=9)
    assert (keys(label_set), label_set.ignore) == ([("1", "1")], 9)


def test_the_ignore_label_cannot_be_scored():
    with pytest.raises(InputError, match="label 1, which is the ignore label"):
        choose_labels(declaration=None, labels=[1], ignore_label=1)


def test_nothing_to_go_by():
    with pytest.raises(MissingInputError, match="--labels 1 2"):
        choose_labels(declaration=None)


def test_only_background_leaves_nothing_to_score(tmp_path):
    with pytest.raises(InputError, match="no class but background"):
        choose_labels(declaration=write(tmp_path / "c.json", {"background": 0}))
    found = choose_labels(declaration=write(tmp_path / "d.json", {"background": 0}), labels=[0])
    assert [scored.values for scored in found.classes] == [(0,)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "under the key 'labels'"),
        ({"a": "1"}, "expected label ids"),
        ({"a": 0.5}, "whole number"),
        ({"a": []}, "whole number"),
        ({"a": True}, "whole number"),
        ({"a": 1, "ignore": [2, 3]}, "ignore label must be one value"),
        ({"1": "a", "2": "a"}, "same name"),
    ],
)
def test_unusable_files_are_named(tmp_path, labels, message):
    path = write(tmp_path / "c.json", labels)
    with pytest.raises(InputError, match=message) as caught:
        read_declaration(path)
    assert str(path) in str(caught.value)


def test_dataset_json_is_found_two_folders_above_a_validation(tmp_path):
    validation = tmp_path / "model" / "fold_0" / "validation"
    validation.mkdir(parents=True)
    path = write_dataset_json(tmp_path / "model", {"background": 0, "a": 1})
    assert find_declaration([validation, tmp_path / "labels"]) == path
    assert find_declaration([tmp_path / "labels"]) is None


def test_differing_dataset_jsons_are_refused(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for number, folder in enumerate(folders, start=1):
        folder.mkdir()
        write_dataset_json(folder, {"background": 0, "x": number})
    with pytest.raises(InputError, match="--classes FILE") as caught:
        find_declaration(folders)
    assert all(str(folder / "dataset.json") in str(caught.value) for folder in folders)
