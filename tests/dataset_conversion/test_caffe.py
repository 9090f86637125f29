"""Calving fronts to nnU-Net datasets: what is found, checked and written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from dataset_conversion import caffe
from dataset_conversion.caffe_dataset import FORMATS, convert_caffe
from dataset_conversion.caffe_labels import dilated
from dataset_conversion.caffe_tasks import TASKS
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import read_volume
from nnunet_ext.multitask.joint_labels import from_dataset_json
from tests.builders import ROOT, SHARED_DATA
from tests.dataset_conversion.caffe_folder import (
    SHAPE,
    TEST,
    TRAIN,
    add_scene,
    caffe_folder,
    pixels_of,
    scene,
    write_png,
)

if TYPE_CHECKING:
    from pathlib import Path

REAL = SHARED_DATA / "caffe" / "data_raw"


@pytest.fixture(autouse=True)
def no_nnunet_folders(monkeypatch):
    for name in list(os.environ):
        if name.lower().startswith("nnunet"):
            monkeypatch.delenv(name)


def convert(root: Path, task: str = "mtl", **options):
    return convert_caffe(root, task, **{"output": root.parent / "raw", "processes": 1, **options})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def problems_of(root: Path, task: str = "mtl", **options) -> str:
    """Return the one error, and see that nothing was written."""
    with pytest.raises(BadCasesError) as caught:
        convert(root, task, **options)
    assert not (root.parent / "raw").exists()
    return "\n".join(sorted(caught.value.problems))


def test_train_and_test_images_and_their_label_maps(tmp_path):
    done = convert(caffe_folder(tmp_path))
    assert done.folder == tmp_path / "raw" / "Dataset503_CaFFeMTL"
    assert (done.cases, done.test_cases) == (sorted(TRAIN), TEST)
    assert names(done.folder / "imagesTr") == [f"{stem}_0000.png" for stem in sorted(TRAIN)]
    assert names(done.folder / "labelsTr") == [f"{stem}.png" for stem in sorted(TRAIN)]
    assert names(done.folder / "imagesTs") == [f"{stem}_0000.png" for stem in TEST]
    assert names(done.folder / "labelsTs") == [f"{stem}.png" for stem in TEST]
    assert not (done.folder / "splits_final.json").exists()
    assert done.notes == []


def test_train_and_test_labels_are_made_in_the_same_way(tmp_path):
    folder = convert(caffe_folder(tmp_path), "mtl_boundary").folder
    train = pixels_of(folder / "labelsTr" / f"{TRAIN[0]}.png")
    np.testing.assert_array_equal(train, pixels_of(folder / "labelsTs" / f"{TEST[0]}.png"))
    front, zones, boundary = from_dataset_json(read_json(folder / "dataset.json")).decode(train)
    expected = scene()
    np.testing.assert_array_equal(front, dilated(expected["front"], 5))
    np.testing.assert_array_equal(np.array([0, 64, 127, 254])[zones], expected["zones"])
    assert boundary[5].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_images_are_copied_byte_by_byte(tmp_path):
    root = caffe_folder(tmp_path)
    folder = convert(root, "zones").folder
    source = root / "sar_images" / "test" / f"{TEST[0]}.png"
    assert (folder / "imagesTs" / f"{TEST[0]}_0000.png").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("task", [task for task in TASKS if task != "inference"])
def test_every_task_says_what_it_is(tmp_path, task):
    folder = convert(caffe_folder(tmp_path), task).folder
    row = TASKS[task]
    assert folder.name == f"Dataset{row.dataset_id}_{row.dataset_name}"
    content = read_json(folder / "dataset.json")
    assert content["channel_names"] == {"0": "SAR"}
    assert (content["numTraining"], content["file_ending"]) == (6, ".png")
    assert (content["conversion"]["source"], content["conversion"]["task"]) == ("caffe", task)
    assert read_json(folder / "conversion.json")["conversion"] == content["conversion"]
    if row.joint is None:
        assert content["labels"]["background"] == 0
        assert list(content["labels"].values()) == list(range({"fused": 5, "front": 2, "zones": 4}[task]))
        assert "tasks" not in content
    else:
        assert from_dataset_json(content).names == row.parts
    highest = {"fused": 4, "front": 1, "zones": 3, "mtl": 7, "mtl_recon": 7, "mtl_boundary": 15}[task]
    assert pixels_of(folder / "labelsTr" / f"{TRAIN[0]}.png").max() == highest


def test_mtl_and_mtl_recon_are_the_same_dataset_under_other_ids(tmp_path):
    root = caffe_folder(tmp_path)
    folders = [convert(root, task).folder for task in ("mtl", "mtl_recon")]
    contents = [read_json(folder / "dataset.json") for folder in folders]
    tasks = [content["conversion"].pop("task") for content in contents]
    assert tasks == ["mtl", "mtl_recon"]
    assert contents[0] == contents[1]
    labels = [(folder / "labelsTr" / f"{TRAIN[1]}.png").read_bytes() for folder in folders]
    assert labels[0] == labels[1]


def test_a_task_does_not_ask_for_label_maps_that_it_does_not_need(tmp_path):
    root = caffe_folder(tmp_path)
    (root / "fronts" / "train" / f"{TRAIN[0]}_front.png").unlink()
    assert len(convert(root, "zones").cases) == 6


def test_id_name_and_front_width_may_be_others(tmp_path):
    root = caffe_folder(tmp_path)
    folder = convert(root, "front", dataset_id=7, name="Thin", front_width=1).folder
    assert folder.name == "Dataset007_Thin"
    np.testing.assert_array_equal(pixels_of(folder / "labelsTr" / f"{TRAIN[0]}.png") * 255, scene()["front"])


def test_nifti_has_the_spacing_that_nnunet_gives_to_png(tmp_path):
    folder = convert(caffe_folder(tmp_path), file_format="nii.gz").folder
    image, geometry = read_volume(folder / "imagesTs" / f"{TEST[1]}_0000.nii.gz")
    assert geometry.spacing == (999.0, 1.0, 1.0)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[0], scene(101)["image"])
    label, of_label = read_volume(folder / "labelsTs" / f"{TEST[1]}.nii.gz")
    assert (label.shape, label.dtype, of_label) == ((1, *SHAPE), np.uint8, geometry)
    assert read_json(folder / "dataset.json")["file_ending"] == ".nii.gz"


def test_the_pixel_size_becomes_the_spacing_on_demand(tmp_path):
    folder = convert(caffe_folder(tmp_path), file_format="nii.gz", pixel_size_as_spacing=True).folder
    for kind, name in (("images", f"{TEST[1]}_0000"), ("labels", TEST[1])):
        assert read_volume(folder / f"{kind}Ts" / f"{name}.nii.gz")[1].spacing == (999.0, 20.0, 20.0)
    with pytest.raises(InputError, match=r"PNG holds no spacing; give --format nii\.gz"):
        convert(tmp_path / "data_raw", "zones", pixel_size_as_spacing=True)


def test_only_training_images(tmp_path):
    done = convert(caffe_folder(tmp_path, test=[]))
    assert done.test_cases == []
    assert names(done.folder) == ["conversion.json", "dataset.json", "imagesTr", "labelsTr"]


def test_only_test_images_are_no_dataset(tmp_path):
    with pytest.raises(InputError, match="no training image, only 2 in sar_images/test"):
        convert(caffe_folder(tmp_path, train=[]))


def test_few_images_are_converted_with_a_note_on_folds(tmp_path):
    done = convert(caffe_folder(tmp_path, train=TRAIN[:4]))
    assert ["4 cases are too few for the 5 folds" in note for note in done.notes] == [True]


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    root = caffe_folder(tmp_path)
    (root / "fronts" / "train" / f"{TRAIN[0]}_front.png").unlink()
    (root / "sar_images" / "train" / f"{TRAIN[1]}.png").unlink()
    write_png(root / "zones" / "train" / f"{TRAIN[2]}_zones.png", np.zeros((5, 5)))
    write_png(root / "zones" / "test" / f"{TEST[0]}_zones.png", np.full(SHAPE, 65))
    write_png(root / "fronts" / "test" / f"{TEST[1]}_front.png", np.full(SHAPE, 254))
    write_png(root / "zones" / "train" / f"{TRAIN[3]}_zone.png", scene()["zones"])
    add_scene(root, "test", TRAIN[4])
    add_scene(root, "train", "Crane_2010-13-03_TDX_7_1_092")
    write_png(root / "sar_images" / "train" / f"{TRAIN[5]}_front.png", scene()["image"])
    told = problems_of(root)
    for expected in (
        rf"sar_images/train/{TRAIN[0]}.png: no label map of it in {root}/fronts/train; there are",
        rf"fronts/train/{TRAIN[1]}_front.png: no image of it in {root}/sar_images/train",
        rf"zones/train/{TRAIN[1]}_zones.png: no image of it",
        rf"zones/train/{TRAIN[2]}_zones.png: shape (5, 5) (y, x), expected (12, 16) as of",
        rf"zones/test/{TEST[0]}_zones.png: grey values 65 (192 pixels) found, expected 0 (na), 64 (rock)",
        rf"fronts/test/{TEST[1]}_front.png: grey values 254 (192 pixels) found, expected 0 (background), 255 (front)",
        rf"'{TRAIN[3]}' is there more than once",
        rf"'{TRAIN[4]}' is there more than once",
        r"2010-13-03 is no date",
        rf"{TRAIN[5]}_front.png: this is the name of a label map, expected an image",
    ):
        assert expected in told, told


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.new("RGB", SHAPE[::-1]), "8 bits and 3 channels found, expected 8 bits and one grey channel"),
        (Image.fromarray(scene()["image"]).convert("P"), "8 bits and a palette found, expected 8 bits"),
        (Image.new("1", SHAPE[::-1]), "1 bits and 1 channels found"),
        (Image.fromarray(np.zeros(SHAPE, np.uint16)), "16 bits and 1 channels found"),
    ],
)
def test_images_that_nnunet_would_read_as_something_else(tmp_path, picture, expected):
    root = caffe_folder(tmp_path)
    picture.save(root / "sar_images" / "train" / f"{TRAIN[0]}.png")
    assert expected in problems_of(root)


def test_a_damaged_image_is_named(tmp_path):
    root = caffe_folder(tmp_path)
    path = root / "sar_images" / "train" / f"{TRAIN[0]}.png"
    path.write_bytes(path.read_bytes()[:80])
    assert str(path) in problems_of(root, "inference")


def test_within_the_tolerance_other_grey_values_count_as_the_nearest_level(tmp_path):
    root = caffe_folder(tmp_path)
    zones = scene()["zones"]
    zones[0, :3] = [63, 66, 64]
    write_png(root / "zones" / "train" / f"{TRAIN[0]}_zones.png", zones)
    assert "66 (1 pixels)" in problems_of(root, "zones", tolerance=1)
    done = convert(root, "zones", tolerance=2)
    assert done.notes == [f"zones: 2 pixels counted as the nearest grey level, in {TRAIN[0]}"]
    assert pixels_of(done.folder / "labelsTr" / f"{TRAIN[0]}.png")[0, :3].tolist() == [1, 1, 1]


def test_an_image_without_front_is_told(tmp_path):
    root = caffe_folder(tmp_path)
    write_png(root / "fronts" / "train" / f"{TRAIN[0]}_front.png", np.zeros(SHAPE))
    assert convert(root, "front").notes == [f"no pixel of a front in {TRAIN[0]}"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"front_width": 4}, "--front-width 4: expected an odd number"),
        ({"front_width": -1}, "--front-width -1"),
        ({"tolerance": -1}, "--tolerance -1"),
        ({"fraction": 0.0}, r"--fraction 0\.0: expected a number above 0"),
        ({"fraction": 1.5}, r"--fraction 1\.5"),
        ({"seed": -1}, "--seed -1: expected 0 or more"),
        ({"file_format": "tif"}, r"--format tif: expected one of png, nii\.gz"),
        ({"folds_by": "year"}, "--folds-by year: expected glacier"),
        ({"dataset_id": 0}, "dataset id .* found 0"),
    ],
)
def test_arguments_that_are_not_usable(tmp_path, options, expected):
    root = caffe_folder(tmp_path, train=TRAIN[:1], test=[])
    with pytest.raises(InputError, match=expected):
        convert(root, "mtl", **options)
    assert not (tmp_path / "raw").exists()


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(MissingInputError, match="nowhere: no such folder"):
        convert(tmp_path / "nowhere")
    with pytest.raises(MissingInputError, match="no folder sar_images/train or sar_images/test"):
        convert(tmp_path)


def test_nothing_is_replaced_unless_asked_for(tmp_path):
    root = caffe_folder(tmp_path, train=TRAIN[:2], test=[])
    convert(root, "zones")
    with pytest.raises(OutputExistsError, match="Dataset502_CaFFeZones"):
        convert(root, "zones")
    assert len(convert(root, "zones", fraction=0.5, overwrite=True).cases) == 1


def test_inference_writes_images_alone_into_one_folder(tmp_path):
    done = convert(caffe_folder(tmp_path), "inference", output=tmp_path / "in")
    pictures = sorted(f"{stem}_0000.png" for stem in TRAIN + TEST)
    assert names(done.folder) == sorted([*pictures, "conversion.json"])
    assert sorted(done.test_cases) == sorted(TRAIN + TEST)
    with pytest.raises(OutputExistsError, match=f"{TRAIN[0]}_0000.png"):
        convert(tmp_path / "data_raw", "inference", output=tmp_path / "in")
    assert convert(tmp_path / "data_raw", "inference", output=tmp_path / "in", overwrite=True).cases == []


def test_inference_takes_any_folder_of_images_and_any_names(tmp_path):
    image = write_png(tmp_path / "mine" / "my glacier.png", scene()["image"])
    done = convert(tmp_path / "mine", "inference", output=tmp_path / "in")
    assert (done.folder / "my glacier_0000.png").read_bytes() == image.read_bytes()
    with pytest.raises(BadCasesError, match="without --pixel-size-as-spacing any name is fine"):
        convert(tmp_path / "mine", "inference", output=tmp_path / "x", file_format="nii.gz", pixel_size_as_spacing=True)
    with pytest.raises(InputError, match="is a folder of the images"):
        convert(tmp_path / "mine", "inference", output=tmp_path / "mine")
    with pytest.raises(InputError, match="leave out -d, -n"):
        convert(tmp_path / "mine", "inference", output=tmp_path / "x", name="N")


def test_inference_goes_beside_the_datasets_where_no_folder_is_given(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="nnUNet_raw"):
        convert(caffe_folder(tmp_path), "inference", output=None)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    assert convert(tmp_path / "data_raw", "inference", output=None).folder == tmp_path / "raw" / "CaFFe_inference"


def test_the_command_and_the_script_have_the_flags_of_the_contract(tmp_path, capsys):
    root = caffe_folder(tmp_path)
    words = ["--root", str(root), "--task", "mtl", "-o", str(tmp_path / "raw"), "-np", "1", "--folds-by", "glacier"]
    assert main(["convert", "caffe", *words]) == 0
    printed = capsys.readouterr()
    assert "Dataset503_CaFFeMTL: 6 training cases, 2 test cases" in printed.out
    assert "Note: fold 0 validates on Crane" in printed.err
    script = [sys.executable, ROOT / "dataset_conversion" / "caffe.py", *words[:-2], "-d", "9", "-n", "Script"]
    done = subprocess.run([str(word) for word in script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    label = f"labelsTr/{TRAIN[0]}.png"
    raw = tmp_path / "raw"
    assert (raw / "Dataset009_Script" / label).read_bytes() == (raw / "Dataset503_CaFFeMTL" / label).read_bytes()


def test_the_command_names_the_tasks_and_formats_of_the_table():
    assert tuple(TASKS) == caffe.TASKS
    assert caffe.FORMATS == FORMATS


@pytest.mark.skipif(not REAL.is_dir(), reason="real data are not there")
def test_real_images_and_label_maps(tmp_path):
    done = convert_caffe(REAL, "mtl_boundary", output=tmp_path, processes=1)
    assert [case.split("_")[0] for case in done.cases] == ["Crane", "DBE", "SI"]
    joint = from_dataset_json(json.loads((done.folder / "dataset.json").read_text()))
    for case in done.cases:
        front, zones, _ = joint.decode(pixels_of(done.folder / "labelsTr" / f"{case}.png"))
        with Image.open(REAL / "zones" / "train" / f"{case}_zones.png") as image:
            np.testing.assert_array_equal(np.array([0, 64, 127, 254])[zones], np.array(image))
        with Image.open(REAL / "fronts" / "train" / f"{case}_front.png") as image:
            line = np.array(image) > 0
        assert front[line].all()
        assert 4 * line.sum() < front.sum() < 9 * line.sum()
