"""Raw datasets of nnU-Net v1 to v2, with folds."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK

from dataset_conversion.v1_dataset import convert_v1
from dataset_conversion.v1_splits import read_splits
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json
from tests.dataset_conversion.nifti_folders import SHAPE, image_of, label_of, names_in, put

if TYPE_CHECKING:
    from pathlib import Path

TRAIN = ("a", "b", "c", "d", "e")


@pytest.fixture(autouse=True)
def no_nnunet_folders(monkeypatch):
    for name in list(os.environ):
        if name.lower().startswith("nnunet"):
            monkeypatch.delenv(name)


def task(folder: Path, **changes: object) -> Path:
    """Write a task of v1 with two channels; ``changes`` replace what its dataset.json says."""
    for seed, case in enumerate((*TRAIN, "t")):
        part = "imagesTs" if case == "t" else "imagesTr"
        for channel in range(2):
            put(folder / part / f"{case}_{channel:04d}.nii.gz", image_of(10 * seed + channel))
    for case in TRAIN:
        put(folder / "labelsTr" / f"{case}.nii.gz", label_of(1, 2))
    content = {
        "name": "Organ",
        "tensorImageSize": "4D",
        "modality": {"0": "CT", "1": "PET"},
        "labels": {"0": "background", "1": "liver", "2": "spleen"},
        "numTraining": 5,
        "numTest": 1,
        "training": [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in TRAIN],
        "test": ["./imagesTs/t.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps({**content, **changes}))
    return folder


def folds(cases=TRAIN) -> list[OrderedDict]:
    return [OrderedDict(train=np.array([c for c in cases if c != v]), val=np.array([v])) for v in reversed(list(cases))]


def pickled(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def convert(folder: Path, **options):
    return convert_v1(folder, **{"output": folder.parent / "raw", "processes": 1, **options})


def problems_of(folder: Path, **options) -> str:
    with pytest.raises(BadCasesError) as caught:
        convert(folder, **options)
    assert not (folder.parent / "raw").exists()
    return "\n".join(caught.value.problems)


def test_a_task_becomes_a_dataset_of_the_same_files(tmp_path):
    folder = task(tmp_path / "Task042_Organ")
    done = convert(folder)
    assert (done.folder.name, done.cases, done.test_cases) == ("Dataset042_Organ", list(TRAIN), ["t"])
    content = read_json(done.folder / "dataset.json")
    assert content["channel_names"] == {"0": "CT", "1": "PET"}
    assert content["labels"] == {"background": 0, "liver": 1, "spleen": 2}
    assert (content["numTraining"], content["file_ending"]) == (5, ".nii.gz")
    assert not {"modality", "training", "test", "tensorImageSize"} & set(content)
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        assert names_in(done.folder / part) == names_in(folder / part)
        for path in (folder / part).iterdir():
            assert (done.folder / part / path.name).read_bytes() == path.read_bytes()
    assert not (done.folder / "splits_final.json").exists()
    assert read_json(done.folder / "conversion.json")["conversion"]["source"] == "v1"


def test_id_and_name_may_be_others(tmp_path):
    assert convert(task(tmp_path / "Task042_Organ"), dataset_id=7, name="New").folder.name == "Dataset007_New"
    folder = task(tmp_path / "organs")
    with pytest.raises(InputError, match="expected a folder TaskXXX_Name"):
        convert(folder)
    assert convert(folder, dataset_id=8, name="New").folder.name == "Dataset008_New"


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_folds_are_kept(tmp_path, protocol):
    splits = pickled(tmp_path / "splits_final.pkl", folds(), protocol)
    done = convert(task(tmp_path / "Task042_Organ"), splits=splits)
    written = json.loads((done.folder / "splits_final.json").read_text())
    assert [fold["val"] for fold in written] == [["e"], ["d"], ["c"], ["b"], ["a"]]
    assert written[0]["train"] == ["a", "b", "c", "d"]


def test_folds_written_by_an_old_numpy_are_read(tmp_path):
    splits = pickled(tmp_path / "splits_final.pkl", folds(), 2)
    content = splits.read_bytes().replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray" in content
    splits.write_bytes(content)
    assert read_splits(splits, TRAIN)[0]["val"] == ["e"]


def test_folds_also_go_to_where_the_trainer_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    splits = pickled(tmp_path / "splits_final.pkl", folds())
    folder = task(tmp_path / "Task042_Organ")
    convert(folder, splits=splits)
    place = tmp_path / "preprocessed" / "Dataset042_Organ" / "splits_final.json"
    assert len(json.loads(place.read_text())) == 5
    (tmp_path / "raw" / "Dataset042_Organ").rename(tmp_path / "old")
    with pytest.raises(OutputExistsError, match="splits_final"):
        convert(folder, splits=splits)


def test_folds_of_other_cases_are_refused(tmp_path):
    splits = pickled(tmp_path / "splits_final.pkl", folds(("a", "b", "x")))
    text = problems_of(task(tmp_path / "Task042_Organ"), splits=splits)
    assert "fold 0 has cases that are not in the dataset: x" in text


def test_a_case_to_train_and_to_validate_on_is_refused(tmp_path):
    splits = pickled(tmp_path / "s.pkl", [{"train": ["a", "b"], "val": ["b"]}, {"train": ["a"], "val": []}])
    with pytest.raises(BadCasesError) as caught:
        read_splits(splits, TRAIN)
    assert "fold 0 has cases more than once: b" in caught.value.problems[0]
    assert "fold 1: expected cases to train and to validate on" in caught.value.problems[1]


class Command:
    """What a hostile pickle would hold."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_a_pickle_cannot_run_anything(tmp_path):
    splits = pickled(tmp_path / "splits_final.pkl", [Command(tmp_path / "ran")])
    with pytest.raises(InputError, match=r"asks for posix\.system, expected folds only"):
        read_splits(splits, TRAIN)
    assert not (tmp_path / "ran").exists()


HOSTILE = {
    "a call": (b"cos\nsystem\n(S'touch RAN'\ntR.", "os.system"),
    "built-in": (b'c__builtin__\neval\n(S\'open("RAN", "w")\'\ntR.', "__builtin__.eval"),
    "a name on the stack": (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x01x\x85R.", "builtins.exec"),
    "a method of an allowed class": (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "numpy.ndarray.tofile"),
    "an instance": (b"(isubprocess\nPopen\nS'touch RAN'\n.", "subprocess.Popen"),
    "a file that numpy reads": (b"cnumpy\nload\n(S'RAN'\ntR.", "numpy.load"),
    "beside numpy's own": (b"cnumpy.core.multiarray\nfromfile\n(S'RAN'\ntR.", "numpy.core.multiarray.fromfile"),
    "another codec": (b"c_codecs\nlookup\n(S'idna'\ntR.", "_codecs.lookup"),
    "a module to import": (b"cantigravity\ngeohash\n.", "antigravity.geohash"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_pickle_gets_what_it_asks_for(tmp_path, monkeypatch, name):
    content, asked = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "splits_final.pkl").write_bytes(content)
    with pytest.raises(InputError, match=rf"splits_final\.pkl: asks for {re.escape(asked)}, expected folds only"):
        read_splits(tmp_path / "splits_final.pkl", TRAIN)
    assert names_in(tmp_path) == ["splits_final.pkl"]
    assert "antigravity" not in sys.modules


def test_a_hostile_pickle_among_good_folds_stops_the_conversion(tmp_path):
    hostile = [*folds(), OrderedDict(train=np.array(["a", Command(tmp_path / "ran")], dtype=object), val=["b"])]
    splits = pickled(tmp_path / "splits_final.pkl", hostile)
    with pytest.raises(InputError, match=r"asks for posix\.system"):
        convert(task(tmp_path / "Task042_Organ"), splits=splits)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "raw").exists()


def test_a_pickle_that_asks_for_persistent_objects_or_extensions(tmp_path):
    for content in (b"Pevil\n.", b"\x80\x02\x82\x01.", b"\x80\x04\x97."):
        (tmp_path / "splits_final.pkl").write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read, expected splits_final\.pkl of nnU-Net v1"):
            read_splits(tmp_path / "splits_final.pkl", TRAIN)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "imagesTr/a", "..", "A"])
def test_folds_in_json_name_cases_and_nothing_else(tmp_path, name):
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps([{"train": ["a", name], "val": ["b"]}]))
    text = problems_of(task(tmp_path / "Task042_Organ"), splits=splits)
    assert f"fold 0 has cases that are not in the dataset: {name}" in text


@pytest.mark.parametrize("content", [{"train": []}, [], [["a"]], [{"train": ["a"]}], 7])
def test_something_else_than_folds(tmp_path, content):
    with pytest.raises(InputError, match="expected"):
        read_splits(pickled(tmp_path / "splits_final.pkl", content), TRAIN)


def test_a_damaged_or_missing_file_of_folds(tmp_path):
    (tmp_path / "bad.pkl").write_bytes(b"\x80\x04nonsense")
    with pytest.raises(InputError, match=r"bad\.pkl: cannot be read"):
        read_splits(tmp_path / "bad.pkl", TRAIN)
    with pytest.raises(MissingInputError):
        read_splits(tmp_path / "none.pkl", TRAIN)


@pytest.mark.parametrize(
    "image",
    [
        "../imagesTr/a.nii.gz",
        "/data/imagesTr/a.nii.gz",
        "../x.nii.gz",
        "./imagesTr/../../x.nii.gz",
        "/etc/x.nii.gz",
        "imagesTs/a.nii.gz",
        "./imagesTr/.nii.gz",
        7,
    ],
)
def test_entries_that_lead_elsewhere_are_refused(tmp_path, image):
    entries = [{"image": image, "label": "./labelsTr/a.nii.gz"}]
    put(tmp_path / "x.nii.gz", image_of())
    text = problems_of(task(tmp_path / "Task042_Organ", training=entries, test=["../../x.nii.gz"]))
    assert "'training' has {'image': " in text
    assert "expected ./imagesTr/<case>.nii.gz and ./labelsTr/<case>.nii.gz of one case" in text
    assert "'test' has '../../x.nii.gz', expected ./imagesTs/<case>.nii.gz" in text


def test_image_and_label_of_different_cases_and_doubles_are_refused(tmp_path):
    entries = [
        {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/b.nii.gz"},
        {"image": "./imagesTr/c.nii.gz", "label": "./labelsTr/c.nii.gz"},
        {"image": "./imagesTr/c.nii.gz", "label": "./labelsTr/c.nii.gz"},
    ]
    text = problems_of(task(tmp_path / "Task042_Organ", training=entries))
    assert "of one case" in text
    assert "has case 'c' more than once" in text


@pytest.mark.parametrize(
    "label", ["../labelsTr/a.nii.gz", "/labelsTr/a.nii.gz", "./labelsTr/../x.nii.gz", "labelsTr\\a.nii.gz"]
)
def test_label_maps_elsewhere_are_refused(tmp_path, label):
    put(tmp_path / "Task042_Organ" / "x.nii.gz", label_of(1))
    entries = [{"image": "./imagesTr/a.nii.gz", "label": label}]
    assert f"'label': {label!r}" in problems_of(task(tmp_path / "Task042_Organ", training=entries))


@pytest.mark.parametrize("other", ["A", "a01"])
def test_cases_that_differ_in_case_or_padding_only(tmp_path, other):
    names = ["a", "A"] if other == "A" else ["a1", "a01"]
    entries = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in names]
    text = problems_of(task(tmp_path / "Task042_Organ", training=entries))
    assert "differ in upper and lower case or leading zeros only" in text
    assert all(f"'{case}' (training)" in text for case in names)


def test_damaged_files_4d_images_and_swapped_ones_are_all_named(tmp_path):
    folder = task(tmp_path / "Task042_Organ")
    plain, cut = folder / "imagesTr" / "a_0000.nii.gz", folder / "imagesTr" / "b_0001.nii.gz"
    plain.write_bytes(gzip.decompress(plain.read_bytes()))
    cut.write_bytes(cut.read_bytes()[:-9])
    image = SimpleITK.GetImageFromArray(np.zeros((2, *SHAPE), np.float32), isVector=False)
    SimpleITK.WriteImage(image, str(folder / "imagesTr" / "c_0000.nii.gz"))
    put(folder / "labelsTr" / "d.nii.gz", image_of(7))
    text = problems_of(folder)
    assert f"{plain}: expected gzip, as its name says; it is a plain NIfTI file" in text
    assert f"{cut}: the gzip stream is truncated" in text
    assert "c_0000.nii.gz" in text
    assert "an image of 4 dimensions" in text
    assert f"{folder / 'labelsTr' / 'd.nii.gz'}: " in text
    assert "expected a label map; is it an image?" in text


def test_files_that_are_not_there_and_labels_that_no_class_has(tmp_path):
    folder = task(tmp_path / "Task042_Organ")
    (folder / "imagesTr" / "a_0001.nii.gz").unlink()
    (folder / "labelsTr" / "b.nii.gz").unlink()
    put(folder / "labelsTr" / "c.nii.gz", label_of(3))
    text = problems_of(folder)
    assert "a_0001.nii.gz: no such file" in text
    assert "labelsTr/b.nii.gz: no such file" in text
    assert "labelsTr/c.nii.gz: values 3 found" in text


def test_files_that_are_not_listed_are_left_out_with_a_note(tmp_path):
    entries = [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in TRAIN[:4]]
    done = convert(task(tmp_path / "Task042_Organ", training=entries))
    assert done.cases == list(TRAIN[:4])
    assert ["labelsTr: not in dataset.json and left out: e" in note for note in done.notes].count(True) == 1


def test_label_maps_of_test_cases_come_along(tmp_path):
    folder = task(tmp_path / "Task042_Organ")
    put(folder / "labelsTs" / "t.nii.gz", label_of(2))
    assert names_in(convert(folder).folder / "labelsTs") == ["t.nii.gz"]


def test_background_gets_the_name_that_v2_wants(tmp_path):
    done = convert(task(tmp_path / "Task042_Organ", labels={"0": "Air", "1": "liver", "2": "spleen"}))
    assert read_json(done.folder / "dataset.json")["labels"]["background"] == 0
    assert "value 0, 'Air', is 'background' now, as nnU-Net v2 wants it" in done.notes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"labels": {"0": "background", "2": "spleen"}}, "without a gap"),
        ({"labels": {"background": 0, "liver": 1}}, "expected 'labels' of nnU-Net v1"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "there twice"),
        ({"modality": {"1": "CT"}}, "expected 'modality'"),
        ({"modality": {}}, "expected 'modality'"),
        ({"training": "all"}, "expected lists"),
    ],
)
def test_an_unusable_dataset_json(tmp_path, changes, text):
    with pytest.raises(InputError, match=text):
        convert(task(tmp_path / "Task042_Organ", **changes))


def test_a_dataset_of_v2_is_told_apart(tmp_path):
    folder = task(tmp_path / "Task042_Organ")
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": {"background": 0}}))
    with pytest.raises(InputError, match="nnU-Net v2 already"):
        convert(folder)


def test_a_task_of_the_decathlon_names_the_command_for_it(tmp_path):
    folder = tmp_path / "Task042_Organ"
    array = np.zeros((2, *SHAPE), np.float32)
    task(folder)
    for path in (folder / "imagesTr").iterdir():
        path.unlink()
    for case in TRAIN:
        image = SimpleITK.GetImageFromArray(array, isVector=False)
        SimpleITK.WriteImage(image, str(folder / "imagesTr" / f"{case}.nii.gz"))
    with pytest.raises(InputError, match="nnUNetv2_convert_MSD_dataset -i"):
        convert(folder)


def test_the_command(tmp_path, capsys):
    folder = task(tmp_path / "Task042_Organ")
    splits = pickled(tmp_path / "splits_final.pkl", folds())
    words = ["-i", str(folder), "--splits", str(splits), "-o", str(tmp_path / "raw"), "-np", "1"]
    assert main(["convert", "v1", *words]) == 0
    assert "5 training cases, 1 test cases" in capsys.readouterr().out
    assert main(["convert", "v1", *words]) == 1
    assert "exists already" in capsys.readouterr().err
