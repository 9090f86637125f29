"""Two annotators: what is merged, where they contradict each other, and how far they agree."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnunet_ext.annotation.agreement import agreements
from nnunet_ext.annotation.merge import merge_annotations, merge_labels
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, OutputExistsError
from nnunet_ext.imageio import read_volume
from tests.builders import class_file, write_tif

LABELS = arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3))


def two_annotators(folder, first=None, second=None):
    """Slice 0: agreed; 1: the first one's alone; 2: two voxels of class 1 and of 2; 3: the second one's alone."""
    one, other = (np.zeros((4, 5, 6), np.uint8) for _ in range(2))
    one[0, 0], other[0, 0] = 3, 3
    one[1, 1] = 2
    one[2, 0, :2], other[2, 0, :2] = 1, 2
    other[3, 2] = 1
    write_tif(folder / "anna" / "S1.tif", one if first is None else first)
    write_tif(folder / "ben" / "S1.tif", other if second is None else second)
    return folder / "anna", folder / "ben"


@pytest.mark.parametrize(("rule", "value"), [("first", 1), ("second", 2), ("max", 2)])
def test_marks_are_united_and_conflicts_go_by_the_rule(tmp_path, rule, value):
    merged = merge_annotations(*two_annotators(tmp_path), tmp_path / "out", on_conflict=rule)
    labels, _ = read_volume(tmp_path / "out" / "S1.tif")
    assert (labels[0, 0] == 3).all()
    assert (labels[1, 1] == 2).all()
    assert (labels[2, 0, :2] == value).all()
    assert (labels[3, 2] == 1).all()
    assert (labels != 0).sum() == 20
    assert merged.conflicts == {"S1": 2}


def test_conflicts_are_named_by_slice_and_count_and_nothing_is_written(tmp_path):
    first, second = two_annotators(tmp_path)
    with pytest.raises(BadCasesError, match=r"'S1': 2 voxels .*slice 2: 2; classes 1 and 2: 2"):
        merge_annotations(first, second, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_shapes_values_and_missing_partners_are_errors(tmp_path):
    first, second = two_annotators(tmp_path, second=np.zeros((4, 5, 7), np.uint8))
    with pytest.raises(BadCasesError, match="shape"):
        merge_annotations(first, second, tmp_path / "out")
    first, second = two_annotators(tmp_path, second=np.full((4, 5, 6), 300, np.uint16))
    with pytest.raises(BadCasesError, match="values 300"):
        merge_annotations(first, second, tmp_path / "out")
    write_tif(first / "S10.tif", np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(BadCasesError, match="no annotation 'S10'"):
        merge_annotations(first, second, tmp_path / "out")


def test_samples_of_one_annotator_are_taken_as_they_are_if_asked(tmp_path, capsys):
    first, second = two_annotators(tmp_path)
    marks = np.zeros((3, 4, 5), np.uint8)
    marks[1, 2] = 2
    write_tif(second / "S0.tif", marks)
    write_tif(first / "S2.tif", marks[:, ::-1])
    merged = merge_annotations(first, second, tmp_path / "out", on_conflict="max", missing_ok=True)
    assert (merged.cases, merged.alone) == (["S0", "S1", "S2"], ["S0", "S2"])
    assert (read_volume(tmp_path / "out" / "S0.tif")[0] == marks).all()
    assert (read_volume(tmp_path / "out" / "S2.tif")[0] == marks[:, ::-1]).all()
    # What has no partner is not part of the agreement.
    with (tmp_path / "out" / "agreement.csv").open(newline="") as file:
        assert {row["case"] for row in csv.DictReader(file)} == {"S1", "all"}
    words = ["-i", str(first), str(second), "-o", str(tmp_path / "again"), "--on-conflict", "max"]
    assert main(["merge_annotations", *words, "--missing-ok"]) == 0
    assert "only one annotator has them: S0, S2" in capsys.readouterr().out
    assert main(["merge_annotations", *words, "--overwrite"]) == 1
    assert "--missing-ok" in capsys.readouterr().err


def test_samples_of_one_annotator_are_looked_at_before_anything_is_written(tmp_path):
    first, second = two_annotators(tmp_path)
    write_tif(second / "S0.tif", np.full((3, 4, 5), 300, np.uint16))
    with pytest.raises(BadCasesError, match=r"S0\.tif: values 300"):
        merge_annotations(first, second, tmp_path / "out", on_conflict="max", missing_ok=True)
    assert not (tmp_path / "out").exists()
    (second / "S1.tif").unlink()
    with pytest.raises(InputError, match="same name in both"):
        merge_annotations(first, second, tmp_path / "out", missing_ok=True)


def test_files_that_are_there_are_not_replaced_unasked(tmp_path):
    first, second = two_annotators(tmp_path)
    merge_annotations(first, second, tmp_path / "out", on_conflict="max")
    with pytest.raises(OutputExistsError, match=r"S1\.tif.*agreement\.csv"):
        merge_annotations(first, second, tmp_path / "out", on_conflict="max")


def test_two_files_of_any_names_are_merged_by_the_command(tmp_path, capsys):
    first, second = two_annotators(tmp_path)
    (second / "S1.tif").rename(second / "mine.tif")
    arguments = ["-i", str(first / "S1.tif"), str(second / "mine.tif"), "-o", str(tmp_path / "out")]
    classes = class_file(tmp_path / "c.json")
    assert main(["merge_annotations", *arguments, "--on-conflict", "second", "-c", str(classes)]) == 0
    assert "8 voxels annotated by both, 6 with the same class" in capsys.readouterr().out
    with (tmp_path / "out" / "agreement.csv").open(newline="") as file:
        rows = {(row["case"], row["class"]): row for row in csv.DictReader(file)}
    assert rows["S1", "Root"]["dice"] == "1"
    assert rows["S1", "Matrix"]["dice"] == "0"
    assert rows["all", "all"]["dice"] == "0.75"
    with (tmp_path / "out" / "confusion.csv").open(newline="") as file:
        assert {"case": "S1", "first": "1", "second": "2", "voxels": "2"} in list(csv.DictReader(file))


def test_kappa_of_a_textbook_table():
    # 20 and 15 of 50 agreed: observed 0.7, by chance 0.5, so kappa 0.4.
    confusion = np.zeros((3, 3), np.int64)
    confusion[1:, 1:] = [[20, 5], [10, 15]]
    overall, one, two = agreements(confusion)
    assert overall.kappa == pytest.approx(0.4)
    assert one.kappa == pytest.approx(0.4)
    assert one.dice == pytest.approx(40 / 55)
    assert two.dice == pytest.approx(30 / 45)


def test_without_common_voxels_there_is_no_number():
    confusion = np.zeros((3, 3), np.int64)
    confusion[1, 0], confusion[0, 2] = 5, 6
    assert all(row.dice is None and row.kappa is None for row in agreements(confusion))


@given(LABELS, LABELS)
def test_merging_loses_no_mark_and_the_rules_mirror_each_other(one, other):
    for rule in ("first", "second", "max"):
        merged = merge_labels(one, other, rule)
        assert ((merged != 0) == ((one != 0) | (other != 0))).all()
        assert ((merged == one) | (merged == other)).all()
    np.testing.assert_array_equal(merge_labels(one, other, "first"), merge_labels(other, one, "second"))
    np.testing.assert_array_equal(merge_labels(one, other, "max"), merge_labels(other, one, "max"))
