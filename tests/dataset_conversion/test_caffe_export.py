"""Predictions of calving fronts back to pictures, and to the layers of older datasets."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from PIL import Image

from dataset_conversion.caffe_dataset import convert_caffe
from dataset_conversion.caffe_labels import dilated, zone_boundary
from dataset_conversion.export_caffe import export_caffe
from dataset_conversion.stack_labels import stack_labels
from dataset_conversion.unstack_labels import unstack_labels
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import Geometry, read_volume, write_volume
from tests.builders import SHARED_DATA
from tests.dataset_conversion.caffe_folder import TEST, TRAIN, caffe_folder, pixels_of, scene, write_png

if TYPE_CHECKING:
    from pathlib import Path

REAL = SHARED_DATA / "caffe_predictions"
STEM = TRAIN[0]
SUFFIXES = {
    "fused": ("zone", "front"),
    "front": ("front",),
    "zones": ("zone",),
    "mtl": ("zone", "front"),
    "mtl_recon": ("zone", "front"),
    "mtl_boundary": ("zone", "front", "boundary"),
}


def dataset(folder: Path, task: str, **options) -> Path:
    return convert_caffe(caffe_folder(folder), task, output=folder / "raw", processes=1, **options).folder


def predictions_of(folder: Path, of_dataset: Path, **labels: object) -> Path:
    """Write label maps as nnUNetv2_predict leaves them: 8 bits, with dataset.json and plans.json beside them."""
    folder.mkdir()
    shutil.copy(of_dataset / "dataset.json", folder)
    (folder / "plans.json").write_text("{}")
    for case, label in labels.items():
        write_png(folder / f"{case}.png", label)
    return folder


def export(predictions: Path, **options) -> Path:
    """Export, and return the folder, which holds what was returned and nothing else."""
    output = predictions.parent / "out"
    written = export_caffe(predictions, output, **{"processes": 1, **options})
    others = {"dataset.json"} if "file_format" in options else set()
    assert {path.name for path in output.iterdir()} == {path.name for path in written} | others
    return output


def expected_pictures() -> dict[str, np.ndarray]:
    parts = scene()
    line = dilated(zone_boundary(np.searchsorted([0, 64, 127, 254], parts["zones"])), 5)
    return {"zone": parts["zones"], "front": dilated(parts["front"], 5) * 255, "boundary": line * 255}


@pytest.mark.parametrize("file_format", ["png", "nii.gz"])
@pytest.mark.parametrize("task", SUFFIXES)
def test_labels_of_every_task_become_the_pictures_that_they_were_made_of(tmp_path, task, file_format):
    output = export(dataset(tmp_path, task, file_format=file_format) / "labelsTr")
    expected = expected_pictures()
    assert {p.name for p in output.glob(f"{STEM}*")} == {f"{STEM}_{suffix}.png" for suffix in SUFFIXES[task]}
    for suffix in SUFFIXES[task]:
        np.testing.assert_array_equal(pixels_of(output / f"{STEM}_{suffix}.png"), expected[suffix], suffix)


def test_the_labels_of_test_images_as_well(tmp_path):
    output = export(dataset(tmp_path, "mtl") / "labelsTs")
    assert sorted(path.name for path in output.iterdir()) == sorted(
        f"{stem}_{suffix}.png" for stem in TEST for suffix in ("zone", "front")
    )


@pytest.mark.parametrize(
    ("task", "label", "expected"),
    [
        ("mtl", 0, {"zone": 0, "front": 0}),
        ("mtl", 7, {"zone": 254, "front": 255}),
        ("mtl", 1, {"zone": 64, "front": 0}),
        ("mtl_boundary", 13, {"zone": 127, "front": 255, "boundary": 255}),
        ("zones", 1, {"zone": 64}),
        ("front", 1, {"front": 255}),
        ("fused", 4, {"zone": 254, "front": 255}),
        ("fused", 2, {"zone": 127, "front": 0}),
    ],
)
def test_the_palette_is_the_same_whatever_classes_occur(tmp_path, task, label, expected):
    predictions = predictions_of(tmp_path / "in", dataset(tmp_path, task), case=np.full((3, 4), label))
    output = export(predictions)
    for suffix, grey in expected.items():
        np.testing.assert_array_equal(pixels_of(output / f"case_{suffix}.png"), np.full((3, 4), grey))


def test_a_fused_front_is_undone_by_five_pixels_and_not_by_seven(tmp_path):
    fused = np.tile(np.array([2, 2, 4, 4, 4, 4, 4, 3, 3, 1, 0]), (6, 1))
    output = export(predictions_of(tmp_path / "in", dataset(tmp_path, "fused"), case=fused))
    assert pixels_of(output / "case_zone.png")[3].tolist() == [127] * 4 + [254] * 5 + [64, 0]
    assert pixels_of(output / "case_front.png")[3].tolist() == [0, 0, *[255] * 5, 0, 0, 0, 0]


def test_predictions_that_hold_other_values_are_all_named_before_anything_is_written(tmp_path):
    folder = dataset(tmp_path, "mtl")
    predictions = predictions_of(tmp_path / "in", folder, a=[[8]], b=[[3]], c=[[9]])
    with pytest.raises(BadCasesError) as caught:
        export(predictions)
    assert len(caught.value.problems) == 2
    assert f"{predictions / 'a.png'}: found the values [8], expected joint labels from 0 to 7" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("task", "highest"), [("fused", 4), ("front", 1), ("zones", 3)])
def test_values_of_single_label_maps_are_checked(tmp_path, task, highest):
    folder = dataset(tmp_path, task)
    with pytest.raises(BadCasesError, match=str(highest + 1)):
        export(predictions_of(tmp_path / "in", folder, case=[[0, highest + 1]]))


def test_nothing_is_replaced_unless_asked_for(tmp_path):
    labels = dataset(tmp_path, "zones") / "labelsTr"
    export(labels)
    with pytest.raises(OutputExistsError, match=f"{STEM}_zone.png"):
        export(labels)
    export(labels, overwrite=True)
    with pytest.raises(InputError, match="is the folder of the predictions"):
        export_caffe(labels, labels)


def test_nothing_says_what_the_predictions_hold(tmp_path):
    write_png(tmp_path / "a" / "b" / "in" / "case.png", [[0]])
    with pytest.raises(MissingInputError, match=r"no dataset\.json"):
        export_caffe(tmp_path / "a" / "b" / "in", tmp_path / "out")
    with pytest.raises(MissingInputError, match="nowhere"):
        export_caffe(tmp_path / "nowhere", tmp_path / "out")
    output = tmp_path / "out"
    export_caffe(tmp_path / "a" / "b" / "in", output, dataset=dataset(tmp_path, "zones"), processes=1)
    assert pixels_of(output / "case_zone.png").tolist() == [[0]]


def test_a_dataset_of_something_else_is_refused(tmp_path):
    folder = predictions_of(tmp_path / "in", dataset(tmp_path, "zones"), case=[[0]])
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "tumour": 1}}))
    with pytest.raises(InputError, match="expected a dataset made by 'nnunet_ext convert caffe'"):
        export(folder)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"label0": {"0": "a", "1": "b", "2": "c"}}}))
    with pytest.raises(InputError, match=r"label maps of 3 classes found, expected one of .* 2, 4 \(mtl\)"):
        export(folder)


def test_datasets_from_stack_are_exported_whatever_the_order_of_their_tasks(tmp_path):
    parts = scene()
    for name, pixels in (("images", parts["image"]), ("zones", parts["zones"]), ("fronts", parts["front"])):
        write_png(tmp_path / name / "case.png", pixels)
    tasks = [
        f"zones={tmp_path / 'zones'}:na=0,rock=64,glacier=127,ocean=254",
        f"front={tmp_path / 'fronts'}:background=0,front=255",
    ]
    done = stack_labels(tmp_path / "images", task=tasks, dataset_id=1, name="Own", output=tmp_path / "raw", processes=1)
    output = export(done.folder / "labelsTr")
    np.testing.assert_array_equal(pixels_of(output / "case_zone.png"), parts["zones"])
    np.testing.assert_array_equal(pixels_of(output / "case_front.png"), parts["front"])
    layers = export_caffe(done.folder / "labelsTr", tmp_path / "layers", file_format="stacked.nii.gz", processes=1)
    assert [layer.max() for layer in read_volume(layers[0])[0]] == [1, 3]  # the front comes first


def test_unstack_knows_the_grey_levels_too(tmp_path):
    folder = dataset(tmp_path, "mtl_boundary")
    unstack_labels(folder / "labelsTr", tmp_path / "maps", processes=1)
    expected = expected_pictures()
    for task, suffix in (("zones", "zone"), ("front", "front"), ("boundary", "boundary")):
        np.testing.assert_array_equal(pixels_of(tmp_path / "maps" / task / f"{STEM}.png"), expected[suffix])


def layered(path: Path, *maps: object) -> None:
    """Write label maps along z as float64, as older predictions have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.stack([np.asarray(values, np.float64).T for values in maps], axis=-1)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1.0, -1.0, 999.0, 1.0])), path)


def test_layers_of_older_predictions_need_no_dataset(tmp_path):
    layered(tmp_path / "in" / "two.nii.gz", [[0, 1]], [[3, 2]])
    layered(tmp_path / "in" / "three.nii.gz", [[0, 1]], [[0, 1]], [[1, 0]])
    output = export(tmp_path / "in")
    found = {path.name: pixels_of(path).tolist() for path in output.iterdir()}
    assert found == {
        "two_front.png": [[0, 255]],
        "two_zone.png": [[254, 127]],
        "three_front.png": [[0, 255]],
        "three_zone.png": [[0, 64]],
        "three_boundary.png": [[255, 0]],
    }


def test_layers_that_say_nothing_or_hold_other_values_are_named(tmp_path):
    layered(tmp_path / "in" / "four.nii.gz", *[[[0]]] * 4)
    layered(tmp_path / "in" / "two.nii.gz", [[0]], [[0]])
    with pytest.raises(BadCasesError, match=r"four.nii.gz: 4 layers found and no dataset.json"):
        export(tmp_path / "in")
    (tmp_path / "in" / "four.nii.gz").unlink()
    layered(tmp_path / "in" / "two.nii.gz", [[2]], [[0]])
    layered(tmp_path / "in" / "part.nii.gz", [[0]], [[0.5]])
    with pytest.raises(BadCasesError) as caught:
        export(tmp_path / "in")
    told = str(caught.value)
    assert "two.nii.gz: front: the values [2] found, expected 0 (background), 1 (front)" in told
    assert "part.nii.gz: the values [0.5] found, expected whole numbers" in told


def test_an_older_dataset_json_says_what_the_layers_are(tmp_path):
    layered(tmp_path / "in" / "case.nii.gz", [[4, 3, 2]])
    older = {"labels": {"label0": {"0": "background", "1": "stone", "2": "glacier", "3": "ocean", "4": "front"}}}
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(older))
    output = export(tmp_path / "in")
    assert pixels_of(output / "case_zone.png").tolist() == [[254, 254, 127]]
    assert pixels_of(output / "case_front.png").tolist() == [[255, 0, 0]]


@pytest.mark.parametrize("task", ["mtl", "mtl_boundary", "fused"])
def test_layers_go_out_and_come_in_again(tmp_path, task):
    folder = dataset(tmp_path, task, file_format="nii.gz", pixel_size_as_spacing=True)
    layers = export(folder / "labelsTr", file_format="stacked.nii.gz")
    maps, geometry = read_volume(layers / f"{STEM}.nii.gz")
    expected = expected_pictures()
    assert geometry.spacing == (999.0, 7.0, 7.0)
    assert (maps.dtype, len(maps)) == (np.uint8, 3 if task == "mtl_boundary" else 2)
    np.testing.assert_array_equal(maps[0] * 255, expected["front"])
    np.testing.assert_array_equal(np.array([0, 64, 127, 254])[maps[1]], expected["zone"])
    older = read_json(layers / "dataset.json")["labels"]
    assert older["label0"] == {"0": "background", "1": "front"}
    assert older["label1"] == {"0": "na", "1": "rock", "2": "glacier", "3": "ocean"}

    again = stack_labels(
        folder / "imagesTr",
        layers=layers,
        tasks=layers / "dataset.json",
        dataset_id=9,
        name="Again",
        output=tmp_path / "raw",
        processes=1,
    ).folder
    if task != "fused":
        ours, theirs = (read_volume(path / "labelsTr" / f"{STEM}.nii.gz")[0] for path in (folder, again))
        np.testing.assert_array_equal(ours, theirs)
    export_caffe(again / "labelsTr", tmp_path / "pictures", processes=1)
    np.testing.assert_array_equal(pixels_of(tmp_path / "pictures" / f"{STEM}_zone.png"), expected["zone"])


def test_one_label_map_is_no_stack(tmp_path):
    with pytest.raises(BadCasesError, match="only zones predicted, expected front and zones"):
        export_caffe(dataset(tmp_path, "zones") / "labelsTr", tmp_path / "out", file_format="stacked.nii.gz")
    assert not (tmp_path / "out").exists()


def test_a_volume_of_several_slices_is_no_image(tmp_path):
    folder = predictions_of(tmp_path / "in", dataset(tmp_path, "zones", file_format="nii.gz"))
    write_volume(folder / "case.nii.gz", np.zeros((2, 3, 4), np.uint8), Geometry())
    with pytest.raises(BadCasesError, match="several slices found, expected an image"):
        export(folder)


def test_the_command(tmp_path, capsys):
    labels = dataset(tmp_path, "mtl") / "labelsTr"
    assert main(["export", "caffe", "-i", str(labels), "-o", str(tmp_path / "out"), "-np", "1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 12 files\n"


@pytest.mark.skipif(not REAL.is_dir(), reason="real data are not there")
def test_real_predictions_equal_the_pictures_that_were_made_of_them(tmp_path):
    written = export_caffe(REAL, tmp_path / "out", processes=1)
    published = sorted(REAL.glob("*.png"))
    assert sorted(path.name for path in written) == [path.name for path in published]
    for path in published:
        with Image.open(path) as image:
            theirs = np.array(image)[..., 0]
        np.testing.assert_array_equal(pixels_of(tmp_path / "out" / path.name), theirs)
