"""Parts of the calving front data: a fraction of the images, and folds by glacier."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_conversion.caffe_dataset import convert_caffe
from dataset_conversion.caffe_files import Scene, choose_fraction
from dataset_conversion.caffe_folds import folds_by_glacier
from nnunet_ext.errors import InputError, OutputExistsError
from tests.dataset_conversion.caffe_folder import TEST, TRAIN, caffe_folder

BENCHMARK = {"Crane": 75, "DBE": 30, "JAC": 180, "Jorum": 120, "SI": 154}


def stems(counts: dict[str, int]) -> list[str]:
    return [f"{name}_2000-01-01_TDX_7_1_{number:03d}" for name, count in counts.items() for number in range(count)]


def scenes(train: int, test: int = 0) -> list[Scene]:
    return [
        Scene(f"{split}{number:03d}", split, Path("x"))
        for split, count in (("train", train), ("test", test))
        for number in range(count)
    ]


def test_a_fraction_is_taken_of_each_split_in_order():
    chosen = choose_fraction(scenes(100, 10), 0.25, seed=3)
    names = [scene.stem for scene in chosen if scene.split == "train"]
    assert Counter(scene.split for scene in chosen) == {"train": 25, "test": 2}
    assert names == sorted(names)
    assert names != [f"train{number:03d}" for number in range(25)]


def test_the_draw_depends_on_the_seed_alone():
    everything = scenes(50)
    first = choose_fraction(everything, 0.5, seed=1)
    assert choose_fraction(list(reversed(everything)), 0.5, seed=1) == list(reversed(first))
    assert choose_fraction(everything, 0.5, seed=2) != first
    assert choose_fraction(everything, 1.0, seed=2) == everything


@given(st.integers(1, 40), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 9))
def test_a_larger_fraction_holds_a_smaller_one(count, one, other, seed):
    smaller, larger = (
        {scene.stem for scene in choose_fraction(scenes(count), part, seed)} for part in sorted((one, other))
    )
    assert smaller <= larger
    assert smaller


def test_every_task_gets_the_same_images(tmp_path):
    root = caffe_folder(tmp_path)
    done = [
        convert_caffe(root, task, output=tmp_path / "raw", fraction=0.5, seed=5, processes=1)
        for task in ("fused", "front", "zones", "mtl")
    ]
    assert len(done[0].cases) == 3
    assert len(done[0].test_cases) == 1
    assert all((other.cases, other.test_cases) == (done[0].cases, done[0].test_cases) for other in done)
    record = json.loads((done[0].folder / "conversion.json").read_text())
    assert sorted(record["cases"]) == sorted(done[0].cases + done[0].test_cases)
    assert (record["arguments"]["fraction"], record["arguments"]["seed"]) == (0.5, 5)


def test_five_glaciers_are_five_folds():
    folds = folds_by_glacier(stems(BENCHMARK))
    assert [sorted({case.split("_")[0] for case in fold["val"]}) for fold in folds] == [
        ["JAC"],
        ["SI"],
        ["Jorum"],
        ["Crane"],
        ["DBE"],
    ]


def test_more_glaciers_than_folds_share_them_evenly():
    folds = folds_by_glacier(stems({"A": 9, "B": 8, "C": 7, "D": 4, "E": 3, "F": 2, "G": 1}))
    assert [len(fold["val"]) for fold in folds] == [9, 8, 7, 5, 5]


@given(st.dictionaries(st.sampled_from("ABCDEFGHI"), st.integers(1, 6), min_size=2))
def test_no_glacier_is_in_two_folds_and_every_image_is_validated_once(counts):
    cases = stems(counts)
    folds = folds_by_glacier(reversed(cases))
    assert len(folds) == min(5, len(counts))
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(cases)
    for fold in folds:
        assert fold["val"]
        assert sorted(fold["train"] + fold["val"]) == sorted(cases)
        glaciers = [{case.split("_")[0] for case in fold[part]} for part in ("train", "val")]
        assert not glaciers[0] & glaciers[1]
        assert (fold["train"], fold["val"]) == (sorted(fold["train"]), sorted(fold["val"]))


def test_one_glacier_cannot_be_divided(tmp_path):
    with pytest.raises(InputError, match=r"images of two glaciers or more, found \['SI'\]"):
        folds_by_glacier(stems({"SI": 9}))
    root = caffe_folder(tmp_path, train=[TRAIN[0], TRAIN[3]])
    with pytest.raises(InputError, match="Crane"):
        convert_caffe(root, "mtl", output=tmp_path / "raw", folds_by="glacier", processes=1)
    assert not (tmp_path / "raw").exists()


def test_folds_stand_beside_the_dataset_and_where_the_trainer_reads_them(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    root = caffe_folder(tmp_path)
    done = convert_caffe(root, "mtl", output=tmp_path / "raw", folds_by="glacier", processes=1)
    trained = tmp_path / "preprocessed" / "Dataset503_CaFFeMTL" / "splits_final.json"
    splits = json.loads((done.folder / "splits_final.json").read_text())
    assert splits == json.loads(trained.read_text()) == folds_by_glacier(TRAIN)
    assert not set(TEST) & {case for fold in splits for part in fold.values() for case in part}
    assert "fold 0 validates on Crane; fold 1 validates on DBE; fold 2 validates on SI" in done.notes[0]
    assert str(done.folder / "splits_final.json") in done.notes[0]
    assert str(trained) in done.notes[0]
    assert "folds 0 to 2 only" in done.notes[1]


def test_without_preprocessed_folder_planning_copies_the_folds(tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    done = convert_caffe(caffe_folder(tmp_path), "mtl", output=tmp_path / "raw", folds_by="glacier", processes=1)
    assert "which planning copies to nnUNet_preprocessed" in done.notes[0]


def test_folds_of_the_trainer_are_kept_unless_asked_for_and_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    trained = tmp_path / "preprocessed" / "Dataset503_CaFFeMTL" / "splits_final.json"
    trained.parent.mkdir(parents=True)
    trained.write_text("[]")
    root, raw = caffe_folder(tmp_path), tmp_path / "raw"
    with pytest.raises(OutputExistsError, match=r"preprocessed/Dataset503_CaFFeMTL/splits_final\.json"):
        convert_caffe(root, "mtl", output=raw, folds_by="glacier", processes=1)
    assert not raw.exists()
    done = convert_caffe(root, "mtl", output=raw, processes=1)
    assert [f"{trained}: folds are there already, and nnU-Net goes by them" in note for note in done.notes] == [True]
    assert trained.read_text() == "[]"
    convert_caffe(root, "mtl", output=raw, folds_by="glacier", processes=1, overwrite=True)
    assert json.loads(trained.read_text()) == folds_by_glacier(TRAIN)
