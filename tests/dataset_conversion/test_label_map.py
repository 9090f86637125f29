"""Annotation ids to labels and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dataset_conversion.label_map import LabelMap, count_values, dataset_labels, sparse_label_map
from nnunet_ext.class_table import read_class_table
from nnunet_ext.errors import InputError
from tests.builders import class_file


def test_nine_classes_map_as_in_the_published_workflow():
    ids = np.array([0, 1, 2, 8, 9], dtype=np.uint8)
    assert sparse_label_map(9).to_labels(ids).tolist() == [9, 0, 1, 7, 8]


def test_matrix_as_class_keeps_ids_and_ignores_behind_the_last():
    ids = np.array([0, 1, 2, 8, 9], dtype=np.uint8)
    assert sparse_label_map(9, first_class_is_background=False).to_labels(ids).tolist() == [10, 1, 2, 8, 9]


@given(st.integers(1, 300), st.booleans(), st.data())
def test_the_map_is_inverted_by_to_ids(classes, background, data):
    label_map = sparse_label_map(classes, first_class_is_background=background)
    dtype = data.draw(st.sampled_from([np.uint16, np.int16, np.int64]))
    ids = data.draw(arrays(dtype, 20, elements=st.integers(0, classes)))
    assert np.array_equal(label_map.to_ids(label_map.to_labels(ids)), ids)
    assert np.array_equal(LabelMap.from_json(label_map.to_json()).to_labels(ids), label_map.to_labels(ids))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64])
def test_unknown_ids_become_the_ignore_label_in_every_type(dtype):
    low = -1 if np.issubdtype(dtype, np.signedinteger) else 0
    ids = np.array([[low, 0, 1, 3, 4, 100]], dtype=dtype)
    assert sparse_label_map(3).to_labels(ids).tolist() == [[3, 3, 0, 2, 3, 3]]


def test_more_than_255_labels_need_16_bits():
    assert sparse_label_map(255).to_labels(np.zeros(1, dtype=np.uint8)).dtype == np.uint8
    assert sparse_label_map(256).to_labels(np.zeros(1, dtype=np.uint8)).dtype == np.uint16


def test_labels_of_another_dataset_are_refused_with_their_counts():
    with pytest.raises(InputError, match=r"labels 17 \(2 voxels\)"):
        sparse_label_map(3).to_ids(np.array([0, 17, 17], dtype=np.uint8))


@given(arrays(st.sampled_from([np.uint8, np.uint16, np.int16]), 30, elements=st.integers(0, 100)))
def test_count_values_counts_every_voxel(array):
    counts = count_values(array)
    assert counts == {int(value): int((array == value).sum()) for value in np.unique(array)}


def test_dataset_labels_have_background_and_ignore(tmp_path):
    table = read_class_table(class_file(tmp_path / "c.json"))
    assert dataset_labels(table, sparse_label_map(5)) == {
        "background": 0, "Stone": 1, "Root": 2, "Pore": 3, "Wall": 4, "ignore": 5
    }  # fmt: skip
    assert dataset_labels(table, sparse_label_map(5, first_class_is_background=False)) == {
        "background": 0, "Matrix": 1, "Stone": 2, "Root": 3, "Pore": 4, "Wall": 5, "ignore": 6
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"0": "no", "2": "gap"}, "colors": {}}, "without a gap"),
        ({"labels": {"0": "no", "1": "same", "2": "same"}}, "same"),
        ({"labels": {"0": "no", "1": ""}}, "name of its own"),
        ({"labels": {"0": "no", "1": "ignore"}}, "reserves"),
        ({"labels": {"0": "no", "one": "x"}}, "whole numbers"),
        ({"colors": {"1": [1, 2]}}, "three whole numbers"),
        ({"colors": {"77": [1, 2, 3]}}, "77"),
        ({"TaskID": "many"}, "TaskID"),
    ],
)
def test_a_bad_class_file_says_what_is_wrong(tmp_path, change, message):
    path = class_file(tmp_path / "bad.json", **change)
    with pytest.raises(InputError, match=message) as caught:
        read_class_table(path)
    assert "bad.json" in str(caught.value)


def test_a_class_file_that_is_no_json_says_so(tmp_path):
    (tmp_path / "c.json").write_text("labels = 1")
    with pytest.raises(InputError, match="not a JSON file"):
        read_class_table(tmp_path / "c.json")


def test_the_class_file_in_circulation_is_read(tmp_path):
    table = read_class_table(class_file(tmp_path / "c.json"))
    assert (table.dataset_id, table.dataset_name, table.normalization) == (777, "Soil", "zscore")
    assert table.names[1] == "Matrix"
    assert table.colors[5] == (50, 250, 5)
