"""The command ``phase_fractions``: fractions per scan and class, and the classes that collapsed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evaluation.labels import LabelSet, ScoredClass
from evaluation.phase_fractions import main, phase_fractions
from evaluation.phases import count_values, phases_of
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.imageio import SUPPORTED_ENDINGS
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task
from tests.evaluation.label_folders import read_table, write_dataset_json, write_folder, write_label

SOIL = {"matrix": 0, "root": 1, "pore": 2, "ignore": 3}


def scan(**voxels):
    """Make a scan of 1000 voxels, so many of each class, the rest matrix."""
    values = [SOIL[name] for name, number in voxels.items() for _ in range(number)]
    return np.array(values + [0] * (1000 - len(values)), np.uint8).reshape(10, 10, 10)


def soil(tmp_path):
    """Write training labels with 2 % roots and 50 % pores in what is annotated, and three scans."""
    g = write_folder(tmp_path / "labelsTr", {"T1": scan(ignore=900, root=4), "T2": scan(ignore=900, pore=100)})
    p = write_folder(
        tmp_path / "p", {"S1": scan(root=50, pore=2), "S2": scan(root=2, pore=3), "S10": scan(root=3, pore=1)}
    )
    write_dataset_json(tmp_path, SOIL)
    return p, g, tmp_path / "out"


def problems(*arguments, **options):
    with pytest.raises(BadCasesError) as caught:
        phase_fractions(*arguments, **options)
    return "\n".join(caught.value.problems)


def fractions(found, case):
    return {row.full_name: row.fraction for row in found.rows if row.case == case}


def test_table_and_collapsed_scans(tmp_path, capsys):
    p, g, out = soil(tmp_path)
    assert main(["-p", str(p), "-g", str(g), "-o", str(out), "-np", "1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split() == ["model", "scan", "matrix", "root", "pore"]
    assert printed[3].split() == ["prediction", "S2", "99.500", "0.200*", "0.300"]
    assert printed[4].split() == ["prediction", "S10", "99.600", "0.300", "0.100*"]
    assert printed[5].split() == ["training", "48.000", "2.000", "50.000"]
    assert printed[6] == "* collapsed: below 0.3 % where training (2 files) had 0.3 % or more"
    assert printed[7:10] == [
        "  prediction  S1: pore 0.200 %, in training 50.000 %",
        "  prediction  S2: root 0.200 %, in training 2.000 %",
        "  prediction  S10: pore 0.100 %, in training 50.000 %",
    ]
    rows = read_table(out / "phase_fractions.csv")
    assert list(rows[0].values()) == [*("prediction", "S1", "", "matrix", "948", "5688.0", "0.948", "0.48", "False")]
    assert list(rows[0]) == [
        *("model", "case", "task", "class", "voxels", "volume_mm3", "fraction"),
        *("training_fraction", "collapsed"),
    ]
    assert [(row["case"], row["class"]) for row in rows if row["collapsed"] == "True"] == [
        ("S1", "pore"),
        ("S2", "root"),
        ("S10", "pore"),
    ]


def test_without_training_nothing_is_flagged(tmp_path, capsys):
    p, _, out = soil(tmp_path)
    assert main(["-p", str(p), "-o", str(out), "-np", "1"]) == 0
    assert "collapsed" not in capsys.readouterr().out
    assert list(read_table(out / "phase_fractions.csv")[0])[-1] == "fraction"


def test_the_folder_of_a_model_stands_for_the_validation_of_its_folds(tmp_path):
    for fold, case in (("0", "S1"), ("1", "S2"), ("all", "S3")):
        write_folder(tmp_path / "model" / f"fold_{fold}" / "validation", {case: scan(root=50)})
    write_dataset_json(tmp_path / "model", SOIL)
    found = phase_fractions({"m": tmp_path / "model"}, tmp_path / "out")
    assert {row.case for row in found.rows} == {"S1", "S2"}


def test_a_class_that_training_lacked_too_has_not_collapsed(tmp_path):
    g = write_folder(tmp_path / "g", {"T": scan(pore=500, root=2)})
    p = write_folder(tmp_path / "p", {"S": scan(pore=500)})
    write_dataset_json(g, SOIL)
    assert not phase_fractions({"p": p}, tmp_path / "out", training_labels=g).collapsed
    found = phase_fractions({"p": p}, tmp_path / "out2", training_labels=g, threshold=0.002)
    assert [row.class_name for row in found.collapsed] == ["root"]


def test_training_without_any_annotation_says_nothing(tmp_path):
    g = write_folder(tmp_path / "g", {"T": scan(ignore=1000)})
    p = write_folder(tmp_path / "p", {"S": scan()})
    write_dataset_json(g, SOIL)
    found = phase_fractions({"p": p}, tmp_path / "out", training_labels=g)
    assert not found.collapsed
    assert all(np.isnan(row.training_fraction) for row in found.rows)


def test_ignored_voxels_of_a_scan_do_not_count(tmp_path):
    p = write_folder(tmp_path / "p", {"S": scan(ignore=500, root=100), "U": scan(ignore=1000)})
    write_dataset_json(p, SOIL)
    found = phase_fractions({"p": p}, tmp_path / "out")
    assert fractions(found, "S") == {"matrix": 0.8, "root": 0.2, "pore": 0.0}
    assert all(np.isnan(fraction) for fraction in fractions(found, "U").values())
    other = phase_fractions({"p": p}, tmp_path / "out2", label_values=[3], ignore_label=1)
    assert fractions(other, "S") == {"matrix": 4 / 9, "3": 5 / 9}


def test_labels_by_hand_leave_the_rest_to_background(tmp_path):
    p = write_folder(tmp_path / "p", {"S": scan(root=100, pore=300)})
    assert fractions(phase_fractions({"p": p}, tmp_path / "a", label_values=[1]), "S") == {"background": 0.9, "1": 0.1}
    found = phase_fractions({"p": p}, tmp_path / "b", label_values=[0, 1])
    assert fractions(found, "S") == {"background": 0.6, "1": 0.1, "other values": 0.3}


def test_regions_overlap_and_leave_the_background(tmp_path):
    p = write_folder(tmp_path / "p", {"S": scan(root=100, pore=300)})
    write_dataset_json(p, {"background": 0, "all": [1, 2], "pore": [2]}, regions_class_order=[1, 2])
    assert fractions(phase_fractions({"p": p}, tmp_path / "a"), "S") == {"background": 0.6, "all": 0.4, "pore": 0.3}


def test_every_task_has_fractions_of_what_it_is_annotated_for(tmp_path):
    joint = JointLabels((Task("zones", ("land", "ice", "sea")), Task("front", ("none", "front"), ignore=True)))
    zones = np.repeat([0, 1, 2, 2], 10).reshape(4, 2, 5)
    front = np.zeros_like(zones)
    front[0, 0, 0] = 1
    front[1:] = 2
    label = joint.encode(np.stack([zones, front])).astype(np.uint8)
    label[3, 1] = joint.ignore_label
    p = write_folder(tmp_path / "p", {"S": label})
    (p / "dataset.json").write_text(json.dumps(joint.to_dataset_json()))
    found = phase_fractions({"p": p}, tmp_path / "out")
    assert fractions(found, "S") == {
        "zones/land": 10 / 35,
        "zones/ice": 10 / 35,
        "zones/sea": 15 / 35,
        "front/none": 0.9,
        "front/front": 0.1,
    }
    assert {row["task"] for row in read_table(tmp_path / "out" / "phase_fractions.csv")} == {"zones", "front"}


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_fractions_of_labels_add_up_to_one(values, with_zero):
    classes = [ScoredClass(str(value), (value,)) for value in ([0, 2, 3] if with_zero else [2, 3])]
    label_set = LabelSet(tuple(classes), 6, None, "test")
    counts = count_values(np.array(values))
    total = sum(phase.fraction(counts) for phase in phases_of(label_set))
    assert np.isnan(total) if set(values) == {6} else total == pytest.approx(1)


@given(st.lists(st.sampled_from([0, 1, 255, -3, 10**9, 7.0]), max_size=30), st.sampled_from([2, 2**18]))
@settings(max_examples=60, deadline=None)
def test_values_are_counted_in_pieces(values, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluation.phases.CHUNK_VOXELS", chunk)
        counts = count_values(np.array(values, np.float64))
    assert counts == {value: values.count(value) for value in set(values)}


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint64, np.float32])
def test_values_of_all_types_are_counted(dtype):
    assert count_values(np.array([[0, 1], [1, 1]]).astype(dtype)) == {0: 1, 1: 3}


def test_volumes_are_streamed_and_have_a_spacing_or_none(tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_ext.imageio.volume.SLAB_BYTES", 250)
    p = tmp_path / "p"
    write_label(p / "a.mha", scan(root=10), spacing=(0.5, 0.5, 2.0))
    tifffile.imwrite(p / "b.tif", scan(root=10), photometric="minisblack")
    (p / "b.json").write_text(json.dumps({"spacing": [1, 1, 3]}))
    tifffile.imwrite(p / "c.tif", scan(root=10), photometric="minisblack")
    found = phase_fractions({"p": p}, tmp_path / "out", label_values=[1])
    assert [(row.case, row.voxels, row.volume_mm3) for row in found.rows[1::2]][:2] == [("a", 10, 5.0), ("b", 10, 30.0)]
    assert found.rows[5].voxels == 10
    assert np.isnan(found.rows[5].volume_mm3)


def test_images_in_2d_and_several_models(tmp_path):
    for model, value in (("a", 1), ("b", 2)):
        (tmp_path / model).mkdir()
        Image.fromarray(np.full((4, 5), value, np.uint8)).save(tmp_path / model / "S.png")
    found = phase_fractions({"A": tmp_path / "a", "B": tmp_path / "b"}, tmp_path / "out", label_values=[1])
    assert [(row.model, row.class_name, row.fraction) for row in found.rows] == [
        ("A", "background", 0.0),
        ("A", "1", 1.0),
        ("B", "background", 1.0),
        ("B", "1", 0.0),
    ]


def test_all_unusable_files_are_told_together(tmp_path):
    p, g, out = soil(tmp_path)
    write_label(p / "S1.nii.gz", scan() + np.uint8(9))
    write_label(g / "T1.nii.gz", scan().astype(np.float32) + 0.5)
    (p / "S2.nii.gz").write_bytes((p / "S2.nii.gz").read_bytes()[:60])
    before = sorted(tmp_path.iterdir())
    told = problems({"prediction": p}, out, training_labels=g)
    assert f"{p / 'S1.nii.gz'}: values 9 (1000 voxels) found, expected labels [0, 1, 2, 3]" in told
    assert f"{g / 'T1.nii.gz'}: the value 0.5 is no label" in told
    assert f"{p / 'S2.nii.gz'}: " in told
    assert "S10" not in told
    assert sorted(tmp_path.iterdir()) == before


def test_empty_folders_and_doubled_scans_are_told_together(tmp_path):
    p, _, out = soil(tmp_path)
    write_label(p / "S1.mha", scan())
    (tmp_path / "empty").mkdir()
    told = problems({"prediction": p}, out, training_labels=tmp_path / "empty")
    assert "case 'S1' has several files" in told
    assert f"{tmp_path / 'empty'}: no volume found, expected files ending with {SUPPORTED_ENDINGS[0]}" in told
    with pytest.raises(MissingInputError, match="absent"):
        phase_fractions({"p": Path("absent")}, out, label_values=[1])


def test_the_values_of_many_joint_labels_are_not_all_listed(tmp_path):
    joint = JointLabels((Task("a", tuple(map(str, range(40)))), Task("b", ("no", "yes"))))
    p = write_folder(tmp_path / "p", {"S": np.full((2, 3, 4), 99, np.uint8)})
    (p / "dataset.json").write_text(json.dumps(joint.to_dataset_json()))
    assert "expected labels 0 to 79 as in" in problems({"p": p}, tmp_path / "out")


def test_only_an_earlier_table_is_replaced(tmp_path):
    p, _, out = soil(tmp_path)
    phase_fractions({"p": p}, out)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        phase_fractions({"p": p}, out)
    phase_fractions({"p": p}, out, overwrite=True)
    (out / "other.csv").touch()
    with pytest.raises(OutputExistsError, match=r"other\.csv was not written by this command"):
        phase_fractions({"p": p}, out, overwrite=True)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_fraction(tmp_path, threshold):
    p, _, out = soil(tmp_path)
    with pytest.raises(InputError, match=r"0\.003 is 0\.3 %"):
        phase_fractions({"p": p}, out, threshold=threshold)
