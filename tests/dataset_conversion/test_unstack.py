"""``nnunet_ext unstack``, and the way there and back."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset_conversion.stack_labels import stack_labels
from dataset_conversion.unstack_labels import unstack_labels
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.imageio import read_volume
from tests.builders import SHARED_DATA
from tests.dataset_conversion.stack_folders import (
    TURNED,
    glacier_tasks,
    glaciers,
    read_json,
    values_of,
    write,
    write_json,
)

CAFFE = SHARED_DATA / "caffe" / "data_raw"


def dataset(folder, *task, **options):
    given = {"dataset_id": 7, "name": "Glaciers", "output": folder / "raw", "processes": 1} | options
    return stack_labels(folder / "images", task=task or glacier_tasks(folder), **given).folder


def unstack(folder, predictions, **options):
    return unstack_labels(predictions, folder / "out", **{"processes": 1} | options)


def test_labels_come_back_as_they_were(tmp_path, capsys):
    maps = glaciers(tmp_path)
    folder = dataset(tmp_path)
    words = ["unstack", "-i", str(folder / "labelsTr"), "-o", str(tmp_path / "out"), "-np", "2"]
    assert main(words) == 0
    assert "label maps of task 'zones', values 0, 64, 127, 254" in capsys.readouterr().out
    for name, expected in maps.items():
        found, _ = read_volume(tmp_path / "out" / f"{name}.png")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_indices_instead_of_the_files_values(tmp_path):
    maps = glaciers(tmp_path)
    done = unstack(tmp_path, dataset(tmp_path) / "labelsTr", values="indices")
    assert done.values == {"front": (0, 1), "zones": (0, 1, 2, 3)}
    found, _ = read_volume(tmp_path / "out" / "front" / "a.png")
    np.testing.assert_array_equal(found, maps["front/a"] == 255)


def test_a_dataset_without_record_gives_indices(tmp_path):
    glaciers(tmp_path)
    folder = dataset(tmp_path)
    content = read_json(folder / "dataset.json")
    del content["conversion"]
    write_json(folder / "dataset.json", content)
    assert unstack(tmp_path, folder / "labelsTr").values["zones"] == (0, 1, 2, 3)


@pytest.mark.parametrize("place", ["beside", "two folders above", "given"])
def test_dataset_json_is_found(tmp_path, place):
    glaciers(tmp_path)
    folder = dataset(tmp_path)
    predictions = tmp_path / "model" / "fold_0" / "validation"
    shutil.copytree(folder / "labelsTr", predictions)
    (predictions / "a.npz").write_bytes(b"x")
    target = {"beside": predictions, "two folders above": tmp_path / "model", "given": tmp_path / "other"}[place]
    target.mkdir(exist_ok=True)
    (folder / "dataset.json").rename(target / "dataset.json")
    done = unstack(tmp_path, predictions, dataset=target if place == "given" else None)
    assert done.cases == ["a", "b"]
    assert sorted(path.name for path in (tmp_path / "out" / "front").iterdir()) == ["a.png", "b.png"]


def test_volumes_keep_their_place_in_any_format(tmp_path):
    maps = glaciers(tmp_path, shape=(3, 6, 5), ending=".nii.gz", geometry=TURNED)
    folder = dataset(tmp_path, *glacier_tasks(tmp_path, ".nii.gz"))
    for ending in (".nii.gz", ".mha", "nrrd"):
        unstack(tmp_path, folder / "labelsTr", file_format=ending)
        found, geometry = read_volume(tmp_path / "out" / "zones" / f"b.{ending.lstrip('.')}")
        np.testing.assert_array_equal(found, maps["zones/b"])
        np.testing.assert_allclose(geometry.direction, TURNED.direction, atol=1e-6)
        np.testing.assert_allclose(geometry.origin, TURNED.origin)
        np.testing.assert_allclose(geometry.spacing, TURNED.spacing)


def test_every_prediction_that_does_not_fit_the_format_is_told(tmp_path):
    glaciers(tmp_path, shape=(3, 6, 5), ending=".nii.gz", geometry=TURNED)
    folder = dataset(tmp_path, *glacier_tasks(tmp_path, ".nii.gz"))
    with pytest.raises(BadCasesError, match=r"(?s)2 problems.*a\.nii\.gz: \.tif cannot hold its direction.*b\.nii"):
        unstack(tmp_path, folder / "labelsTr", file_format="tif")
    glaciers(tmp_path, shape=(3, 6, 5), ending=".nii.gz")
    folder = dataset(tmp_path, *glacier_tasks(tmp_path, ".nii.gz"), overwrite=True)
    with pytest.raises(BadCasesError, match=r"(?s)2 problems.*3 slices of uint8, PNG holds one slice"):
        unstack(tmp_path, folder / "labelsTr", file_format="png")
    assert not (tmp_path / "out").exists()


def test_values_that_are_no_joint_labels_are_told_for_every_file(tmp_path):
    glaciers(tmp_path)
    folder = dataset(tmp_path)
    for case in "ab":
        write(folder / "labelsTr" / f"{case}.png", np.full((1, 6, 5), 8, np.uint8))
    with pytest.raises(BadCasesError, match=r"(?s)2 problems.*a\.png: found the values \[8\].*b\.png"):
        unstack(tmp_path, folder / "labelsTr")
    assert not (tmp_path / "out").exists()


def test_codes_of_16_bits_in_png(tmp_path):
    maps = glaciers(tmp_path)
    classes = ",".join(f"c{number}" for number in range(255))
    tasks = [f"zones={tmp_path}/zoness/*_zones.png:{classes}", glacier_tasks(tmp_path)[0]]
    unstack(tmp_path, dataset(tmp_path, *tasks) / "labelsTr")
    for name, expected in maps.items():
        found, _ = read_volume(tmp_path / "out" / f"{name}.png")
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_voxels_that_are_not_annotated_get_the_value_of_ignore(tmp_path):
    glaciers(tmp_path)
    (tmp_path / "fronts" / "b_front.png").unlink()
    (tmp_path / "zoness" / "a_zones.png").unlink()
    folder = dataset(tmp_path, missing_as_ignore=True)
    done = unstack(tmp_path, folder / "labelsTr")
    assert done.values == {"front": (0, 255, 254), "zones": (0, 64, 127, 254, 255)}
    assert (read_volume(tmp_path / "out" / "front" / "b.png")[0] == 254).all()
    assert (read_volume(tmp_path / "out" / "zones" / "a.png")[0] == 255).all()


@pytest.mark.parametrize(("values", "expected"), [("indices", 4), ("original", 4)])
def test_voxels_that_lack_all_tasks_have_the_number_of_classes_where_there_is_no_ignore_class(
    tmp_path, values, expected
):
    glaciers(tmp_path)
    tasks = [glacier_tasks(tmp_path)[0] + ",ignore=77", glacier_tasks(tmp_path)[1]]
    folder = dataset(tmp_path, *tasks)
    label = read_json(folder / "dataset.json")["labels"]["ignore"]
    write(folder / "labelsTr" / "a.png", np.full((1, 6, 5), label, np.uint8))
    unstack(tmp_path, folder / "labelsTr", values=values)
    assert (read_volume(tmp_path / "out" / "zones" / "a.png")[0] == expected).all()
    assert (read_volume(tmp_path / "out" / "front" / "a.png")[0] == (77 if values == "original" else 2)).all()


def test_what_cannot_be_used_is_told(tmp_path):
    glaciers(tmp_path)
    folder = dataset(tmp_path)
    with pytest.raises(MissingInputError, match="no such folder"):
        unstack(tmp_path, tmp_path / "nowhere")
    with pytest.raises(InputError, match="--values odd"):
        unstack(tmp_path, folder / "labelsTr", values="odd")
    with pytest.raises(InputError, match=r"'\.jpg', expected --format"):
        unstack(tmp_path, folder / "labelsTr", file_format="jpg")
    predictions = tmp_path / "out" / "front"
    predictions.mkdir(parents=True)
    shutil.copy(folder / "labelsTr" / "a.png", predictions)
    with pytest.raises(InputError, match="is one of the predictions"):
        unstack(tmp_path, predictions, dataset=folder)
    (tmp_path / "far" / "x" / "y").mkdir(parents=True)
    with pytest.raises(MissingInputError, match=r"no dataset\.json there or in the two folders above"):
        unstack(tmp_path, tmp_path / "far" / "x" / "y")
    write_json(tmp_path / "far" / "dataset.json", {"labels": {"background": 0, "x": 1}})
    with pytest.raises(InputError, match="no 'tasks'"):
        unstack(tmp_path, tmp_path / "far" / "x" / "y")


def test_a_record_that_does_not_fit_is_told(tmp_path):
    glaciers(tmp_path)
    folder = dataset(tmp_path)
    content = read_json(folder / "dataset.json")
    content["conversion"]["tasks"]["front"]["values"] = [0]
    write_json(folder / "dataset.json", content)
    with pytest.raises(InputError, match=r"expected 2 different whole numbers.*--values indices"):
        unstack(tmp_path, folder / "labelsTr")


def test_nothing_is_replaced_unless_told(tmp_path):
    glaciers(tmp_path)
    folder = dataset(tmp_path)
    unstack(tmp_path, folder / "labelsTr")
    with pytest.raises(OutputExistsError):
        unstack(tmp_path, folder / "labelsTr")
    unstack(tmp_path, folder / "labelsTr", overwrite=True)


@st.composite
def label_maps(draw):
    """Return a shape, and per task the values of its classes and a map of them."""
    shape = draw(st.tuples(*[st.integers(1, 4)] * 3))
    tasks = []
    for _ in range(draw(st.integers(1, 3))):
        values = draw(st.lists(st.integers(-300, 70000), min_size=2, max_size=5, unique=True))
        tasks.append((values, values_of(values, shape, draw(st.integers(0, 99))).astype(np.int32)))
    return shape, tasks


@settings(max_examples=25, deadline=None)
@given(data=label_maps(), ignore=st.booleans(), ending=st.sampled_from([".nii.gz", ".mha", ".nrrd"]))
def test_any_label_maps_come_back_exactly(data, ignore, ending):
    shape, tasks = data
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "images" / f"x{ending}", np.ones(shape, np.float32), TURNED)
        words = []
        for number, (values, array) in enumerate(tasks):
            names = [f"c{index}" for index in range(len(values))]
            if ignore and len(values) > 2:
                names[-1] = "ignore"
            classes = ",".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
            write(folder / f"t{number}" / f"x{ending}", array, TURNED)
            words.append(f"t{number}={folder / f't{number}'}:{classes}")
        unstack(folder, dataset(folder, *words) / "labelsTr")
        for number, (_, array) in enumerate(tasks):
            found, geometry = read_volume(folder / "out" / f"t{number}" / f"x{ending}")
            np.testing.assert_array_equal(found, array)
            np.testing.assert_allclose(geometry.spacing, TURNED.spacing)


@pytest.mark.skipif(not CAFFE.is_dir(), reason="needs the CaFFe samples")
def test_caffe_there_and_back(tmp_path, monkeypatch):
    monkeypatch.chdir(CAFFE)
    tasks = {
        "front": ("fronts/train/*_front.png", "background=0,front=255"),
        "zones": ("zones/train/*_zones.png", "na=0,rock=64,glacier=127,ocean=254"),
    }
    words = ["stack", "-i", "sar_images/train", "-d", "7", "-n", "CaFFe", "-o", str(tmp_path), "-np", "1"]
    for name, (pattern, classes) in tasks.items():
        words += ["--task", f"{name}={pattern}:{classes}"]
    assert main(words) == 0
    folder = tmp_path / "Dataset007_CaFFe"
    assert main(["unstack", "-i", str(folder / "labelsTr"), "-o", str(tmp_path / "out"), "-np", "1"]) == 0
    for name, (pattern, _) in tasks.items():
        originals = sorted(Path().glob(pattern))
        assert originals
        for original in originals:
            found = tmp_path / "out" / name / original.name.replace(f"_{name}.png", ".png")
            np.testing.assert_array_equal(np.asarray(Image.open(found)), np.asarray(Image.open(original)))
