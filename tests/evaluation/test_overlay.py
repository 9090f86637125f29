"""The command ``overlay``: which pictures it draws, in which order, and what it refuses."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from evaluation.labels import LabelSet, ScoredClass
from evaluation.overlay import case_overlay, main, overlay
from evaluation.pairs import Pair
from evaluation.pictures.case_picture import survey_case
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task
from tests.evaluation.label_folders import read_table, write_dataset_json, write_folder, write_label

SHAPE = (8, 10, 12)


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch):
    monkeypatch.setattr("evaluation.pictures.contours.FITTING_SIDE", 100)


def box(z=slice(2, 7), y=slice(2, 8), x=slice(2, 8), value=1):
    array = np.zeros(SHAPE, np.uint8)
    array[z, y, x] = value
    return array


def dataset(tmp_path, ending=".nii.gz"):
    """Write three cases: ``good`` is perfect, ``bad`` half found, ``empty`` has nothing at all."""
    nothing = np.zeros(SHAPE, np.uint8)
    g = write_folder(tmp_path / "g", {"good": box(), "bad": box(), "empty": nothing}, ending)
    p = write_folder(tmp_path / "p", {"good": box(), "bad": box(x=slice(2, 5)), "empty": nothing}, ending)
    write_dataset_json(g, {"background": 0, "root": 1})
    return {"prediction": p}, g, tmp_path / "out"


def problems(*arguments, **options):
    with pytest.raises(BadCasesError) as caught:
        overlay(*arguments, **options)
    return "\n".join(caught.value.problems)


def test_the_worst_case_comes_first(tmp_path, capsys):
    predictions, g, out = dataset(tmp_path)
    assert main(["-p", str(predictions["prediction"]), "-g", str(g), "-o", str(out), "-np", "1"]) == 0
    assert "written: 3 pictures and overlay.csv" in capsys.readouterr().out
    names = ["001_bad_z002.png", "002_good_z002.png", "003_empty_z003.png"]
    assert sorted(path.name for path in out.iterdir()) == [*names, "overlay.csv"]
    rows = read_table(out / "overlay.csv")
    assert list(rows[0]) == ["rank", "model", "case", "axis", "slice", "mean_dice", "differing_voxels", "file"]
    assert [tuple(row.values())[:5] for row in rows] == [
        ("1", "prediction", "bad", "z", "2"),
        ("2", "prediction", "good", "z", "2"),
        ("3", "prediction", "empty", "z", "3"),
    ]
    assert [row["mean_dice"] for row in rows] == [str(2 / 3), "1.0", "nan"]
    assert [row["differing_voxels"] for row in rows] == ["18", "0", "0"]
    assert [row["file"] for row in rows] == names
    for name in names:
        with Image.open(out / name) as picture:
            assert picture.mode == "RGB"
            assert min(picture.size) > 100


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".nii"])
def test_all_formats_give_the_same_pictures(tmp_path, ending):
    drawn = {}
    for kind in (".nii.gz", ending):
        predictions, g, out = dataset(tmp_path / kind, kind)
        drawn[kind] = [path.read_bytes() for path in overlay(predictions, g, out, axis="y", worst=2)]
    assert drawn[".nii.gz"] == drawn[ending]


def test_several_slices_lie_apart_and_the_axis_is_chosen(tmp_path):
    predictions, g, out = dataset(tmp_path)
    drawn = overlay(predictions, g, out, slices=2, worst=1)
    assert [path.name for path in drawn] == ["001_bad_z002.png", "001_bad_z005.png"]
    drawn = overlay(predictions, g, out, axis="x", slices=3, worst=1, overwrite=True)
    assert [path.name for path in drawn] == ["001_bad_x005.png"]
    assert sorted(path.name for path in out.iterdir()) == ["001_bad_x005.png", "overlay.csv"]


def test_each_model_has_a_folder_and_a_ranking(tmp_path):
    predictions, g, out = dataset(tmp_path)
    b = write_folder(tmp_path / "b", {"good": box(x=slice(7, 9)), "bad": box(), "empty": box()})
    drawn = overlay({"A": predictions["prediction"], "b <i>": b}, g, out, worst=2)
    assert [str(path.relative_to(out)) for path in drawn] == [
        "A/001_bad_z002.png",
        "A/002_good_z002.png",
        "b <i>/001_empty_z002.png",
        "b <i>/002_good_z002.png",
    ]
    assert [row["model"] for row in read_table(out / "overlay.csv")] == ["A", "A", "b <i>", "b <i>"]
    overlay({"A": predictions["prediction"], "b <i>": b}, g, out, worst=1, overwrite=True)
    with pytest.raises(InputError, match=r"model '\.\.'"):
        overlay({"A": b, "..": b}, g, tmp_path / "new")


def test_mean_dice_leaves_out_classes_that_are_nowhere(tmp_path):
    g = write_folder(tmp_path / "g", {"a": box()})
    p = write_folder(tmp_path / "p", {"a": box(z=slice(2, 6))})
    overlay({"p": p}, g, tmp_path / "out", label_values=[1, 2])
    (row,) = read_table(tmp_path / "out" / "overlay.csv")
    assert float(row["mean_dice"]) == pytest.approx(8 / 9)
    assert row["slice"] == "6"


def test_the_image_is_shown(tmp_path):
    predictions, g, out = dataset(tmp_path)
    image = np.zeros(SHAPE, np.float32)
    image[:, :, 8:] = 300
    images = write_folder(tmp_path / "i", {"good_0000": image, "good_0001": -image, "bad": image, "empty_0000": image})
    plain = np.asarray(Image.open(overlay(predictions, g, out)[1]))
    shown = np.asarray(Image.open(overlay(predictions, g, out, images=images, overwrite=True)[1]))
    assert plain.shape == shown.shape
    white = [(picture > 250).all(axis=-1).mean() for picture in (plain, shown)]
    assert white[0] < 0.005
    assert white[1] > 0.015


def test_missing_doubled_and_unfitting_images_are_told_together(tmp_path):
    predictions, g, out = dataset(tmp_path)
    images = write_folder(tmp_path / "i", {"bad_0000": box(), "bad_0001": box()})
    write_label(images / "bad_0000.mha", box())
    told = problems(predictions, g, out, images=images)
    assert "case 'bad_0000' has several files" in told
    assert f"case 'good': no image in {images}, expected good_0000 or good" in told
    assert "case 'empty': no image" in told
    images = write_folder(tmp_path / "j", {"bad": box()[1:], "empty": box()})
    write_label(images / "good.nii.gz", box(), spacing=(1.0, 2.0, 4.0))
    told = problems(predictions, g, out, images=images)
    assert f"bad.nii.gz: shape (7, 10, 12) instead of {SHAPE} (z, y, x) as in {g / 'bad.nii.gz'}" in told
    assert "good.nii.gz: spacing (4, 2, 1) instead of (3, 2, 1)" in told
    assert "empty" not in told
    assert not out.exists()


def test_a_damaged_image_leaves_nothing_behind(tmp_path):
    predictions, g, out = dataset(tmp_path)
    images = write_folder(tmp_path / "i", dict.fromkeys(("good", "bad", "empty"), box()), ".mha")
    whole = (images / "bad.mha").read_bytes()
    (images / "bad.mha").write_bytes(whole[:-900])
    before = sorted(tmp_path.iterdir())
    assert "bad.mha" in problems(predictions, g, out, images=images)
    assert sorted(tmp_path.iterdir()) == before


def test_pairs_that_do_not_fit_are_told_together(tmp_path):
    predictions, g, out = dataset(tmp_path)
    (predictions["prediction"] / "good.nii.gz").unlink()
    write_label(predictions["prediction"] / "bad.nii.gz", box()[:, 1:])
    told = problems(predictions, g, out)
    assert "no prediction of case 'good'" in told
    assert "shape (8, 9, 12) instead of (8, 10, 12)" in told
    write_label(predictions["prediction"] / "bad.nii.gz", box())
    assert len(overlay(predictions, g, out, subset=True)) == 2


def test_undeclared_values_and_fractions_are_told_together(tmp_path):
    predictions, g, out = dataset(tmp_path)
    write_label(predictions["prediction"] / "bad.nii.gz", box(value=7))
    write_label(predictions["prediction"] / "good.nii.gz", box().astype(np.float32) / 2)
    told = problems(predictions, g, out)
    assert "bad.nii.gz: values 7 (180 voxels) found, expected labels [0, 1]" in told
    assert "0.5, which is no label" in told
    assert not out.exists()


def test_images_in_2d(tmp_path):
    for folder in ("g", "p", "i"):
        (tmp_path / folder).mkdir()
    Image.fromarray(box()[3]).save(tmp_path / "g" / "a.png")
    Image.fromarray(box(x=slice(4, 9))[3]).save(tmp_path / "p" / "a.png")
    Image.fromarray(box(value=200)[3]).save(tmp_path / "i" / "a_0000.png")
    folders = ({"p": tmp_path / "p"}, tmp_path / "g", tmp_path / "out")
    (picture,) = overlay(*folders, images=tmp_path / "i", label_values=[1])
    assert picture.name == "001_a_z000.png"
    assert "a.png: a single slice of (10, 12) pixels, expected --axis z" in problems(
        *folders, label_values=[1], axis="y", overwrite=True
    )


def test_tiff_images_have_the_spacing_of_their_sidecar(tmp_path):
    for folder, name in (("g", "a"), ("p", "a"), ("i", "a_0000")):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / f"{name}.tif", box(), photometric="minisblack")
        (tmp_path / folder / "a.json").write_text(json.dumps({"spacing": [1, 4, 1]}))
    folders = ({"p": tmp_path / "p"}, tmp_path / "g", tmp_path / "out")
    (path,) = overlay(*folders, images=tmp_path / "i", label_values=[1])
    with Image.open(path) as picture:
        # 10 rows of 4 mm and 12 columns of 1 mm, and some text.
        assert picture.height > 60 + 80
    (tmp_path / "i" / "a.json").write_text(json.dumps({"spacing": [1, 3, 1]}))
    told = problems(*folders, images=tmp_path / "i", label_values=[1], overwrite=True)
    assert "spacing (1, 3, 1) instead of (1, 4, 1)" in told


def test_turned_slices_have_true_proportions(tmp_path):
    """Array rows run to the left of the patient, 2 mm each, and columns to the back, 9 mm each."""
    for folder in ("g", "p"):
        turned = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        write_label(tmp_path / folder / "a.mha", box(), spacing=(9.0, 2.0, 1.0), direction=turned)
    pair = Pair("p", "a", tmp_path / "p" / "a.mha", tmp_path / "g" / "a.mha")
    label_set = LabelSet((ScoredClass("root", (1,)),), None, None, "test")
    picture = case_overlay(pair, label_set).picture
    # 12 columns of 9 mm lie upright now, beside 20 mm of rows; zoom 2 of 2 mm, and the legend.
    assert 108 <= picture.shape[0] < 108 + 40


def test_joint_labels_are_drawn_by_class_of_each_task(tmp_path):
    tasks = (Task("zones", ("land", "ice")), Task("front", ("no", "front"), ignore=True))
    joint = JointLabels(tasks)
    zones, front = box(), box(x=slice(7, 8))
    front[:, 0] = 2
    label = joint.encode(np.stack([zones, front])).astype(np.uint8)
    front[:, 0] = 0
    label[:, -1] = joint.ignore_label
    found = joint.encode(np.stack([zones, np.zeros_like(front)])).astype(np.uint8)
    g = write_folder(tmp_path / "g", {"a": label})
    p = write_folder(tmp_path / "p", {"a": found})
    (g / "dataset.json").write_text(json.dumps(joint.to_dataset_json()))
    overlay({"p": p}, g, tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "overlay.csv")
    assert (row["mean_dice"], row["differing_voxels"]) == ("0.5", "6")


NAMES = ["<img src=x onerror=alert(1)>", "cost $5_a$ \\frac{1}", "line\nbreak", "x" * 240, "é" * 123, "a__b 1.5"]


def test_any_name_of_a_case_is_fine(tmp_path):
    for name in NAMES:
        write_folder(tmp_path / "p", {"tmp": box(x=slice(4, 6))}, ".mha")
        (tmp_path / "p" / "tmp.mha").rename(tmp_path / "p" / f"{name}.mha")
        write_folder(tmp_path / "g", {"tmp": box()}, ".mha")
        (tmp_path / "g" / "tmp.mha").rename(tmp_path / "g" / f"{name}.mha")
    drawn = overlay({"p": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", label_values=[1])
    assert all(path.is_file() and len(path.name.encode()) < 256 for path in drawn)
    assert len(set(drawn)) == len(NAMES)
    assert {row["case"] for row in read_table(tmp_path / "out" / "overlay.csv")} == set(NAMES)
    assert any("_<img src=x onerror=alert(1)>_z002.png" in path.name for path in drawn)


def test_a_name_that_is_no_text_is_kept(tmp_path):
    for folder in (tmp_path / "p", tmp_path / "g"):
        folder.mkdir()
        tifffile.imwrite(folder / os.fsdecode(b"b\xff.tif"), box(), photometric="minisblack")
    (path,) = overlay({"p": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", label_values=[1])
    assert os.fsencode(path.name) == b"001_b\xff_z002.png"
    assert b",b\xff," in (tmp_path / "out" / "overlay.csv").read_bytes()


def test_only_earlier_pictures_are_replaced(tmp_path):
    predictions, g, out = dataset(tmp_path)
    overlay(predictions, g, out)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        overlay(predictions, g, out)
    for name in ("notes.txt", "figure.png"):
        (out / name).write_text("mine")
        with pytest.raises(OutputExistsError, match=rf"{name} was not written by this command"):
            overlay(predictions, g, out, overwrite=True)
        assert (out / name).read_text() == "mine"
        (out / name).unlink()
    with pytest.raises(InputError, match="would replace the input"):
        overlay(predictions, g, tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"axis": "a"}, "axis 'a'"), ({"slices": 0}, "--slices 0"), ({"worst": 0}, "--worst 0")],
)
def test_wrong_requests_are_refused(tmp_path, options, message):
    predictions, g, out = dataset(tmp_path)
    with pytest.raises(InputError, match=message):
        overlay(predictions, g, out, **options)
    with pytest.raises(MissingInputError, match="absent"):
        overlay({"p": Path("absent")}, g, out, label_values=[1])


def test_the_report_gets_the_worst_slice(tmp_path):
    predictions, g, _ = dataset(tmp_path)
    label_set = LabelSet((ScoredClass("root", (1,)),), None, frozenset({0, 1}), "test")
    pair = Pair("prediction", "bad", predictions["prediction"] / "bad.nii.gz", g / "bad.nii.gz")
    found = case_overlay(pair, label_set, axis="x")
    assert (found.axis, found.index) == ("x", 5)
    assert found.picture.dtype == np.uint8
    assert found.picture.shape[2] == 3
    image = write_label(tmp_path / "image.nii.gz", np.arange(960, dtype=np.float32).reshape(SHAPE))
    assert (case_overlay(pair, label_set, image=image, axis="x").picture != found.picture).any()
    write_label(pair.prediction, box(value=3))
    with pytest.raises(BadCasesError, match="values 3"):
        case_overlay(pair, label_set)
    write_label(pair.prediction, box()[1:])
    with pytest.raises(BadCasesError, match=r"shape \(7, 10, 12\) instead of \(8, 10, 12\)"):
        case_overlay(pair, label_set)


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_slabs_give_what_the_whole_volume_gives(tmp_path, monkeypatch, axis):
    predictions, g, _ = dataset(tmp_path)
    label_set = LabelSet((ScoredClass("root", (1,)),), None, None, "test")
    pair = Pair("prediction", "bad", predictions["prediction"] / "bad.nii.gz", g / "bad.nii.gz")
    whole = survey_case(pair, label_set=label_set, axis=axis, slices=9)
    monkeypatch.setattr("evaluation.pictures.case_picture.SLAB_VOXELS", 250)
    assert survey_case(pair, label_set=label_set, axis=axis, slices=9) == whole
    assert whole.length == SHAPE["zyx".index(axis)]
    assert whole.mean_dice == pytest.approx(2 / 3)


def test_the_work_can_be_given_to_processes(tmp_path, monkeypatch):
    """Starting processes takes seconds; what they need is to be picklable."""

    def run_pickled(jobs, function, processes, description):
        copies = {key: pickle.loads(pickle.dumps((function, arguments))) for key, arguments in jobs.items()}
        return {key: pickle.loads(pickle.dumps(copy(*arguments))) for key, (copy, arguments) in copies.items()}

    predictions, g, out = dataset(tmp_path)
    here = [path.read_bytes() for path in overlay(predictions, g, out)]
    monkeypatch.setattr("nnunet_ext.jobs.run_jobs", run_pickled)
    assert [path.read_bytes() for path in overlay(predictions, g, out, overwrite=True)] == here
