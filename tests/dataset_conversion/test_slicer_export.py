"""Predictions open in 3D Slicer with names, colours and terminology, and a round trip changes no voxel."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("slicerio")
import slicerio

from dataset_conversion.export_slicer import export_slicer_nrrd
from dataset_conversion.slicer_dataset import convert_slicer_nrrd
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, NnunetExtError, OutputExistsError
from nnunet_ext.files import write_json
from nnunet_ext.imageio import Geometry, write_volume
from tests.builders import SHARED_DATA
from tests.dataset_conversion.slicer_files import (
    AIRWAYS,
    GEOMETRY,
    LUNGS,
    NODULE,
    SHAPE,
    image,
    segmentation,
    two_cases,
)

if TYPE_CHECKING:
    from pathlib import Path


def convert(folder: Path, images: Path, segmentations: Path, **more: object) -> Path:
    return convert_slicer_nrrd(
        images, segmentations, dataset_id=7, name="Chest", output=folder / "raw", processes=1, **more
    ).folder


def predicted(dataset: Path, folder: Path) -> Path:
    """Return a folder as nnUNetv2_predict leaves it: label maps, and dataset.json beside them."""
    shutil.copytree(dataset / "labelsTr", folder)
    shutil.copy(dataset / "dataset.json", folder)
    return folder


def masks(path: Path) -> dict[str, np.ndarray]:
    """Return the mask (z, y, x) of each segment, as slicerio reads it."""
    found = slicerio.read_segmentation(str(path))
    voxels = found["voxels"] if found["voxels"].ndim == 4 else found["voxels"][None]
    return {s["name"]: (voxels[s["layer"]] == s["labelValue"]).transpose(2, 1, 0) for s in found["segments"]}


def assert_same_masks(ours: Path, theirs: Path) -> None:
    left, right = masks(ours), masks(theirs)
    assert sorted(left) == sorted(right)
    for name, mask in left.items():
        np.testing.assert_array_equal(mask, right[name], err_msg=name)


def test_a_round_trip_keeps_voxels_names_colours_and_terminology(tmp_path):
    images, segmentations = two_cases(tmp_path, ("Lungs", "airways"))
    predictions = predicted(convert(tmp_path, images, segmentations, classes=["airways", "lungs"]), tmp_path / "p")
    written = export_slicer_nrrd(predictions, tmp_path / "out", processes=1)
    assert [path.name for path in written] == ["001.seg.nrrd", "002.seg.nrrd"]
    for path in written:
        original = segmentations / path.name
        assert_same_masks(path, original)
        ours, theirs = (
            {s["name"]: s for s in slicerio.read_segmentation(str(p))["segments"]} for p in (path, original)
        )
        for name in ("Lungs", "airways"):
            assert ours[name]["color"] == theirs[name]["color"]
            assert ours[name]["terminology"] == theirs[name]["terminology"]


def test_the_file_lies_over_the_image(tmp_path):
    turned = Geometry(GEOMETRY.spacing, GEOMETRY.origin, ((1.0, 0.0, 0.0), (0.0, 0.6, -0.8), (0.0, 0.8, 0.6)))
    image(tmp_path / "images" / "a.nrrd", turned)
    segmentation(tmp_path / "segmentations" / "a.seg.nrrd", {"lungs": LUNGS}, turned)
    predictions = predicted(convert(tmp_path, tmp_path / "images", tmp_path / "segmentations"), tmp_path / "p")
    (path,) = export_slicer_nrrd(predictions, tmp_path / "out", processes=1)
    ours, theirs = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "images" / "a.nrrd"))
    assert ours.GetSize() == theirs.GetSize()
    for get in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(ours, get)(), getattr(theirs, get)(), atol=1e-9)
    assert ours.GetMetaData("Segment0_Name") == "lungs"
    assert ours.GetMetaData("Segmentation_MasterRepresentation") == "Binary labelmap"


def test_tasks_become_layers_that_overlap(tmp_path):
    images, segmentations = two_cases(tmp_path)
    three = {"nodule": NODULE, "lungs": LUNGS, "airways": AIRWAYS}
    for case in ("001", "002"):
        segmentation(segmentations / f"{case}.seg.nrrd", three, layers=[1, 0, 0])
    dataset = convert(tmp_path, images, segmentations, as_tasks=True)
    for path in export_slicer_nrrd(predicted(dataset, tmp_path / "p"), tmp_path / "out", processes=1):
        assert_same_masks(path, segmentations / path.name)
        assert sitk.ReadImage(str(path)).GetNumberOfComponentsPerPixel() == 2


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_segments_come_back_through_tasks(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    count = data.draw(st.integers(1, 4), "segments")
    seed = data.draw(st.integers(0, 999), "seed")
    rng = np.random.default_rng(seed)
    drawn = {f"s{number}": rng.random(SHAPE) < rng.choice([0.0, 0.05, 0.5]) for number in range(count)}
    image(folder / "images" / "a.nrrd")
    original = segmentation(folder / "segmentations" / "a.seg.nrrd", drawn, layers=range(count))
    dataset = convert(folder, folder / "images", folder / "segmentations", as_tasks=True)
    (path,) = export_slicer_nrrd(dataset / "labelsTr", folder / "out", processes=1)
    assert_same_masks(path, original)


def test_a_prediction_without_a_class_has_its_segment_still(tmp_path):
    predictions = predicted(convert(tmp_path, *two_cases(tmp_path)), tmp_path / "p")
    write_volume(predictions / "001.nrrd", np.zeros(SHAPE, np.uint8), GEOMETRY, overwrite=True)
    export_slicer_nrrd(predictions, tmp_path / "out", processes=1)
    found = masks(tmp_path / "out" / "001.seg.nrrd")
    assert sorted(found) == ["airways", "lungs"]
    assert not any(mask.any() for mask in found.values())


def test_a_class_of_several_names_has_its_own(tmp_path):
    images, segmentations = two_cases(tmp_path)
    segmentation(segmentations / "002.seg.nrrd", {"Lung": LUNGS, "airways": AIRWAYS})
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({"classes": {"both lungs": ["lungs", "lung"], "airways": []}}))
    predictions = predicted(convert(tmp_path, images, segmentations, classes_file=classes), tmp_path / "p")
    export_slicer_nrrd(predictions, tmp_path / "out", processes=1)
    np.testing.assert_array_equal(masks(tmp_path / "out" / "002.seg.nrrd")["both lungs"], LUNGS)


def test_other_datasets_get_colours_that_differ(tmp_path):
    write_json(
        tmp_path / "p" / "dataset.json",
        {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}, "file_ending": ".nii.gz"},
    )
    write_volume(
        tmp_path / "p" / "x.nii.gz", (LUNGS + 2 * AIRWAYS + 3 * (NODULE & ~LUNGS & ~AIRWAYS)).astype(np.uint8), GEOMETRY
    )
    (path,) = export_slicer_nrrd(tmp_path / "p", tmp_path / "out", file_format="nrrd", processes=1)
    assert path.name == "x.nrrd"
    segments = slicerio.read_segmentation(str(path))["segments"]
    assert segments[0]["color"] != segments[1]["color"]
    found = masks(path)
    np.testing.assert_array_equal(found["a"], LUNGS)
    np.testing.assert_array_equal(found["b"], AIRWAYS)
    assert slicerio.read_segmentation(str(path))["voxels"].max() == 2


def test_bad_predictions_are_all_named_and_nothing_is_written(tmp_path):
    predictions = predicted(convert(tmp_path, *two_cases(tmp_path)), tmp_path / "p")
    for case, value in (("001", 3), ("002", 9)):
        write_volume(predictions / f"{case}.nrrd", value * LUNGS.astype(np.uint8), GEOMETRY, overwrite=True)
    with pytest.raises(BadCasesError) as caught:
        export_slicer_nrrd(predictions, tmp_path / "out", processes=1)
    first, second = caught.value.problems
    assert "001.nrrd: values 3 found, expected labels [0, 1, 2]" in first
    assert "002.nrrd: values 9 found" in second
    assert not (tmp_path / "out").exists()


def test_predictions_with_unknown_joint_labels_are_refused(tmp_path):
    images, segmentations = two_cases(tmp_path)
    for case in ("001", "002"):
        both = {"lungs": LUNGS, "nodule": NODULE}
        segmentation(segmentations / f"{case}.seg.nrrd", both, layers=[0, 1])
    predictions = predicted(convert(tmp_path, images, segmentations, as_tasks=True), tmp_path / "p")
    write_volume(predictions / "001.nrrd", 4 * LUNGS.astype(np.uint8), GEOMETRY, overwrite=True)
    with pytest.raises(BadCasesError, match=r"001\.nrrd: found the values \[4\]"):
        export_slicer_nrrd(predictions, tmp_path / "out", processes=1)


def test_what_labels_mean_must_be_known(tmp_path):
    dataset = convert(tmp_path, *two_cases(tmp_path))
    alone = tmp_path / "far" / "away" / "from" / "it"
    shutil.copytree(dataset / "labelsTr", alone)
    with pytest.raises(MissingInputError, match="--dataset"):
        export_slicer_nrrd(alone, tmp_path / "out", processes=1)
    assert len(export_slicer_nrrd(alone, tmp_path / "out", dataset=dataset, processes=1)) == 2
    write_json(tmp_path / "regions" / "dataset.json", {"labels": {"background": 0, "whole": [1, 2]}})
    with pytest.raises(InputError, match="regions, which have lists of numbers"):
        export_slicer_nrrd(alone, tmp_path / "out2", dataset=tmp_path / "regions", processes=1)


def test_nothing_is_replaced_unasked(tmp_path):
    predictions = predicted(convert(tmp_path, *two_cases(tmp_path)), tmp_path / "p")
    export_slicer_nrrd(predictions, tmp_path / "out", processes=1)
    with pytest.raises(OutputExistsError):
        export_slicer_nrrd(predictions, tmp_path / "out", processes=1)
    export_slicer_nrrd(predictions, tmp_path / "out", processes=1, overwrite=True)
    with pytest.raises(InputError, match="is one of the predictions"):
        export_slicer_nrrd(predictions, predictions, file_format="nrrd", processes=1, overwrite=True)


def test_without_slicerio_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "slicerio", None)
    with pytest.raises(NnunetExtError, match=r"pip install 'nnunet_ext\[slicer\]'"):
        export_slicer_nrrd(tmp_path, tmp_path / "out", processes=1)


def test_both_commands_say_what_they_made(tmp_path, capsys):
    images, segmentations = two_cases(tmp_path)
    words = ["-i", images, "-l", segmentations, "-d", "7", "-n", "Chest", "-o", tmp_path / "raw", "-np", "1"]
    assert main(["convert", "slicer_nrrd", *map(str, words)]) == 0
    assert "2 training cases, 0 test cases" in capsys.readouterr().out
    words = ["-i", tmp_path / "raw" / "Dataset007_Chest" / "labelsTr", "-o", tmp_path / "out", "-np", "1"]
    assert main(["export", "slicer_nrrd", *map(str, words)]) == 0
    assert "2 segmentations" in capsys.readouterr().out


@pytest.mark.skipif(not (SHARED_DATA / "slicer").is_dir(), reason="no shared data")
def test_a_real_segmentation_comes_back(tmp_path):
    data = SHARED_DATA / "slicer"
    folder = convert(tmp_path, data / "*Chest4.nrrd", _linked(tmp_path / "s", data), file_format="nii.gz")
    (path,) = export_slicer_nrrd(predicted(folder, tmp_path / "p"), tmp_path / "out", processes=1)
    original = data / "Segmentation.seg.nrrd"
    assert_same_masks(path, original)
    ours, theirs = (slicerio.read_segmentation(str(p)) for p in (path, original))
    # NIfTI holds the place in space in single precision.
    np.testing.assert_allclose(ours["ijkToLPS"], theirs["ijkToLPS"], atol=1e-4)
    looks = [{s["name"]: (s["color"], s["terminology"]) for s in found["segments"]} for found in (ours, theirs)]
    assert looks[0] == looks[1]


def _linked(folder: Path, data: Path) -> Path:
    folder.mkdir()
    (folder / "CT.seg.nrrd").symlink_to(data / "Segmentation.seg.nrrd")
    return folder
