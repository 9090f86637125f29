"""Segmentations of 3D Slicer become a dataset by the names of their segments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicerio")

from dataset_conversion.slicer_classes import groups_without_overlap
from dataset_conversion.slicer_dataset import convert_slicer_nrrd
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, OutputExistsError
from nnunet_ext.imageio import Geometry, read_volume, write_volume
from tests.builders import ROOT, SHARED_DATA
from tests.dataset_conversion.slicer_files import (
    AIRWAYS,
    GEOMETRY,
    LUNGS,
    NODULE,
    SHAPE,
    digests,
    image,
    segmentation,
    two_cases,
)

EXPECTED = 1 * LUNGS + 2 * AIRWAYS


def convert(folder: Path, images: Path, segmentations: Path, **more: object):
    return convert_slicer_nrrd(
        images, segmentations, dataset_id=7, name="Chest", output=folder / "raw", processes=1, **more
    )


def problems_of(folder: Path, images: Path, segmentations: Path, **more: object) -> list[str]:
    with pytest.raises(BadCasesError) as caught:
        convert(folder, images, segmentations, **more)
    assert not (folder / "raw").exists()
    return caught.value.problems


def label(converted, case: str, part: str = "Tr", ending: str = "nrrd") -> np.ndarray:
    return read_volume(converted.folder / f"labels{part}" / f"{case}.{ending}")[0]


def dataset_json(converted) -> dict:
    return json.loads((converted.folder / "dataset.json").read_text())


def record(converted) -> dict:
    return json.loads((converted.folder / "conversion.json").read_text())


def test_names_are_compared_without_case_and_outer_blanks(tmp_path):
    images, segmentations = two_cases(tmp_path, ("LUNGS ", " Airways"))
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "AIRWAYS"])
    assert dataset_json(converted)["labels"] == {"background": 0, "lungs": 1, "AIRWAYS": 2}
    assert dataset_json(converted)["numTraining"] == 2
    for number, case in enumerate(("001", "002")):
        np.testing.assert_array_equal(label(converted, case), EXPECTED)
        voxels, geometry = read_volume(converted.folder / "imagesTr" / f"{case}_0000.nrrd")
        np.testing.assert_array_equal(voxels, read_volume(images / f"{case}.nrrd")[0])
        assert geometry == GEOMETRY
        assert number < 2


def test_labels_follow_the_list_and_not_the_file(tmp_path):
    converted = convert(tmp_path, *two_cases(tmp_path), classes=["airways", "lungs"])
    np.testing.assert_array_equal(label(converted, "001"), 2 * LUNGS + 1 * AIRWAYS)


def test_without_list_all_names_are_classes_in_alphabetical_order_and_said(tmp_path):
    images, segmentations = two_cases(tmp_path)
    segmentation(segmentations / "002.seg.nrrd", {"Lungs": LUNGS, "trachea": AIRWAYS})
    image(images / "003.nrrd")
    segmentation(segmentations / "003.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS})
    converted = convert(tmp_path, images, segmentations)
    assert dataset_json(converted)["labels"] == {"background": 0, "airways": 1, "lungs": 2, "trachea": 3}
    np.testing.assert_array_equal(label(converted, "002"), 2 * LUNGS + 3 * AIRWAYS)
    assert "classes by the names of the segments: airways 1, lungs 2, trachea 3" in converted.notes
    assert "no segment for 'trachea' in 001, 003" in converted.notes


def test_missing_and_unlisted_names_of_all_cases_are_reported_at_once(tmp_path):
    images, segmentations = two_cases(tmp_path)
    segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "table": AIRWAYS})
    problems = problems_of(tmp_path, images, segmentations, classes=["lungs", "airways", "nodule"])
    assert len(problems) == 3
    assert "001.seg.nrrd: no segment for 'nodule'; the file has 'lungs', 'airways'" in problems[0]
    assert "002.seg.nrrd: no segment for 'airways', 'nodule'" in problems[1]
    assert "002.seg.nrrd: segments 'table' are not listed, expected 'lungs', 'airways', 'nodule'" in problems[2]


def test_missing_classes_and_unlisted_segments_can_be_accepted(tmp_path):
    images, segmentations = two_cases(tmp_path)
    segmentation(segmentations / "002.seg.nrrd", {"table": AIRWAYS, "lungs": LUNGS})
    converted = convert(
        tmp_path, images, segmentations, classes=["lungs", "airways"], missing_ok=True, drop_unlisted=True
    )
    # The table had value 1 in the file, which is the label of lungs.
    np.testing.assert_array_equal(label(converted, "002"), 1 * LUNGS)
    assert "no segment for 'airways' in 002" in converted.notes
    assert "segments left out: table" in converted.notes


def test_a_file_of_classes_maps_several_names_to_one_and_drops_others(tmp_path):
    images, segmentations = two_cases(tmp_path, ("Lung", "airways"))
    parts = {
        "lungs left": LUNGS & NODULE,
        "lungs right": LUNGS & ~NODULE,
        "airways": AIRWAYS,
        "Table": ~LUNGS & ~AIRWAYS,
    }
    segmentation(segmentations / "002.seg.nrrd", parts)
    classes = tmp_path / "classes.json"
    content = {"classes": {"lungs": ["lung", "Lungs left", "lungs right"], "airways": []}, "drop": ["table"]}
    classes.write_text(json.dumps(content))
    converted = convert(tmp_path, images, segmentations, classes_file=classes)
    for case in ("001", "002"):
        np.testing.assert_array_equal(label(converted, case), EXPECTED)
    assert dataset_json(converted)["conversion"]["segments"]["lungs"]["names"] == ["Lung", "lungs left", "lungs right"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"classes": {"lungs": ["x"], "airways": ["X "]}}, "'X ' stands for 'lungs' and 'airways'"),
        ({"classes": {"lungs": []}, "drop": ["Lungs"]}, "under 'classes' and under 'drop'"),
        ({"classes": {"Background": []}}, "cannot be called 'Background'"),
        ({"classes": {}}, "no class"),
        ({"labels": {"lungs": 1}}, "expected an object like"),
        ({"classes": {"lungs": {"a": 1}}}, "expected a list of names"),
        ({"classes": ["lungs", "Lungs"]}, "more than once: 'Lungs', 'lungs'"),
    ],
)
def test_a_file_of_classes_that_says_two_things_is_refused(tmp_path, content, said):
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        convert(tmp_path, *two_cases(tmp_path), classes_file=classes)
    assert said in str(caught.value)
    assert "classes.json" in str(caught.value)


def test_two_segments_of_one_name_are_named(tmp_path):
    images, segmentations = two_cases(tmp_path)
    segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "Lungs ": AIRWAYS})
    (problem,) = problems_of(tmp_path, images, segmentations, classes=["lungs"], drop_unlisted=True)
    assert "002.seg.nrrd: several segments are called 'Lungs', 'lungs'" in problem


def overlapping(folder: Path) -> tuple[Path, Path]:
    images, segmentations = two_cases(folder)
    three = {"nodule": NODULE, "lungs": LUNGS, "airways": AIRWAYS}
    for case in ("001", "002"):
        segmentation(segmentations / f"{case}.seg.nrrd", three, layers=[1, 0, 0])
    return images, segmentations


def test_overlapping_segments_are_an_error_with_their_voxels(tmp_path):
    shared = {name: np.count_nonzero(NODULE & mask) for name, mask in (("lungs", LUNGS), ("airways", AIRWAYS))}
    assert shared == {"lungs": 4, "airways": 2}  # by hand: 1·2·2 and 2·1·1
    problems = problems_of(tmp_path, *overlapping(tmp_path))
    assert len(problems) == 2
    assert "6 voxels are in several segments" in problems[0]
    assert "'lungs' and 'nodule' share 4" in problems[0]
    assert "'airways' and 'nodule' share 2" in problems[0]


def test_the_first_or_the_last_class_of_the_list_gets_shared_voxels(tmp_path):
    images, segmentations = overlapping(tmp_path)
    classes = ["lungs", "nodule", "airways"]
    first = convert(tmp_path / "f", images, segmentations, classes=classes, overlap="first")
    last = convert(tmp_path / "l", images, segmentations, classes=classes, overlap="last")
    np.testing.assert_array_equal(label(first, "001"), np.where(LUNGS, 1, np.where(NODULE, 2, np.where(AIRWAYS, 3, 0))))
    np.testing.assert_array_equal(label(last, "001"), np.where(AIRWAYS, 3, np.where(NODULE, 2, np.where(LUNGS, 1, 0))))
    assert any("12 voxels in several classes, first, in 001, 002" in note for note in first.notes)


def test_overlapping_segments_become_tasks(tmp_path):
    images, segmentations = overlapping(tmp_path)
    converted = convert(tmp_path, images, segmentations, as_tasks=True)
    assert converted.tasks == {"layer1": ("airways", "lungs"), "layer2": ("nodule",)}
    np.testing.assert_array_equal(label(converted, "001"), (1 * AIRWAYS + 2 * LUNGS) * 2 + NODULE)
    content = dataset_json(converted)
    assert content["tasks"]["layer1"]["labels"] == {"background": 0, "airways": 1, "lungs": 2}
    assert content["labels"]["layer2/nodule"] == [1, 3, 5]


def test_tasks_without_overlap_are_an_ordinary_dataset(tmp_path):
    converted = convert(tmp_path, *two_cases(tmp_path), as_tasks=True)
    assert converted.tasks == {}
    assert dataset_json(converted)["labels"] == {"background": 0, "airways": 1, "lungs": 2}
    assert any("--as-tasks changes nothing" in note for note in converted.notes)


def test_a_minimal_extent_is_put_where_it_belongs(tmp_path):
    images, segmentations = two_cases(tmp_path)
    crop = (slice(1, 5), slice(2, 8), slice(1, 10))
    segmentation(
        segmentations / "002.seg.nrrd",
        {"lungs": LUNGS[crop], "airways": AIRWAYS[crop]},
        GEOMETRY.shifted((1, 2, 1)),
    )
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "airways"])
    np.testing.assert_array_equal(label(converted, "002"), EXPECTED)
    assert read_volume(converted.folder / "labelsTr" / "002.nrrd")[1] == GEOMETRY
    assert any("image (nearest neighbour): 002; 0 of 63 labelled" in note for note in converted.notes)
    assert record(converted)["cases"]["002"]["resampled"] is True
    assert record(converted)["cases"]["001"]["resampled"] is False


def test_flipped_axes_are_turned_to_those_of_the_image(tmp_path):
    images, segmentations = two_cases(tmp_path)
    corner = GEOMETRY.shifted((0, SHAPE[1] - 1, SHAPE[2] - 1)).origin
    flipped = Geometry(GEOMETRY.spacing, corner, ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)))
    masks = {"lungs": LUNGS[:, ::-1, ::-1], "airways": AIRWAYS[:, ::-1, ::-1]}
    segmentation(segmentations / "001.seg.nrrd", masks, flipped)
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "airways"])
    np.testing.assert_array_equal(label(converted, "001"), EXPECTED)


@pytest.mark.parametrize(("outside", "accepted"), [(1, True), (2, False)])
def test_more_than_a_thousandth_outside_the_image_is_an_error(tmp_path, outside, accepted):
    shape = (1, 40, 50)
    for case in ("001", "002"):
        image(tmp_path / "images" / f"{case}.nrrd", shape=shape)
        mask = np.zeros((1, 40, 51), bool)
        mask[0, :, :25] = True
        mask[0, :outside, 50] = True
        segmentation(tmp_path / "segmentations" / f"{case}.seg.nrrd", {"lungs": mask})
    if accepted:
        converted = convert(tmp_path, tmp_path / "images", tmp_path / "segmentations")
        assert any("2 of 2002 labelled voxels (0.100%) lie outside the image" in note for note in converted.notes)
        assert record(converted)["cases"]["001"]["lost_voxels"] == 1
    else:
        problems = problems_of(tmp_path, tmp_path / "images", tmp_path / "segmentations")
        assert len(problems) == 2
        assert "2 of 1002 labelled voxels (0.20%) lie outside the image, expected at most 0.1%" in problems[0]


def test_a_segmentation_of_another_patient_is_refused(tmp_path):
    images, segmentations = two_cases(tmp_path)
    elsewhere = GEOMETRY.shifted((100, 0, 0))
    segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS}, elsewhere)
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "002.seg.nrrd: 63 of 63 labelled voxels (100.00%)" in problem
    assert "origin" in problem


def test_empty_segments_are_there_and_counted(tmp_path):
    images, segmentations = two_cases(tmp_path)
    segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "airways": np.zeros(SHAPE, bool)})
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "airways"])
    np.testing.assert_array_equal(label(converted, "002"), 1 * LUNGS)
    assert "segment for 'airways' without a voxel in 002" in converted.notes


def test_a_segmentation_without_segments_is_fine_where_classes_may_be_missing(tmp_path):
    images, segmentations = two_cases(tmp_path)
    write_volume(segmentations / "002.seg.nrrd", np.zeros(SHAPE, np.uint8), GEOMETRY, overwrite=True)
    assert (
        "no segment for 'lungs', 'airways'"
        in problems_of(tmp_path, images, segmentations, classes=["lungs", "airways"])[0]
    )
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "airways"], missing_ok=True)
    assert not label(converted, "002").any()


def test_voxels_of_no_segment_are_no_class(tmp_path):
    images, segmentations = two_cases(tmp_path)
    stray = 9 * (NODULE & ~LUNGS & ~AIRWAYS)
    segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS}, extra=stray)
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert f"002.seg.nrrd: {np.count_nonzero(stray)} voxels have values that no segment of the file has" in problem
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "airways"], drop_unlisted=True)
    np.testing.assert_array_equal(label(converted, "002"), EXPECTED)


def test_old_files_have_a_layer_per_segment(tmp_path):
    images, segmentations = two_cases(tmp_path)
    path = segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS}, layers=[0, 1])
    # Before version 4.11, 3D Slicer wrote neither key.
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    lines = [line for line in head.split(b"\n") if b"_Layer" not in line and b"_LabelValue" not in line]
    path.write_bytes(b"\n".join(lines) + b"\n\n" + voxels)
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "airways"])
    np.testing.assert_array_equal(label(converted, "002"), EXPECTED)


def test_values_of_label_maps_without_names_are_names(tmp_path):
    images = two_cases(tmp_path)[0]
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({"classes": {"lungs": [10], "airways": [2]}}))
    for case, ending in (("001", "nii.gz"), ("002", "nrrd")):
        write_volume(tmp_path / "maps" / f"{case}.{ending}", (10 * LUNGS + 2 * AIRWAYS).astype(np.uint8), GEOMETRY)
    by_file = convert(tmp_path, images, tmp_path / "maps", classes_file=classes)
    np.testing.assert_array_equal(label(by_file, "001"), EXPECTED)
    union = convert(tmp_path / "union", images, tmp_path / "maps")
    assert dataset_json(union)["labels"] == {"background": 0, "2": 1, "10": 2}
    np.testing.assert_array_equal(label(union, "002"), 2 * LUNGS + 1 * AIRWAYS)
    assert any("label maps without names" in note for note in union.notes)


def test_what_the_way_back_needs_is_recorded(tmp_path):
    images, segmentations = two_cases(tmp_path)
    converted = convert(tmp_path, images, segmentations, classes=["lungs", "airways"])
    lungs = dataset_json(converted)["conversion"]["segments"]["lungs"]
    assert lungs["color"] == [0.0, 0.5, 0.25]
    assert lungs["terminology"]["type"] == ["SCT", "100", "Lungs"]
    assert dataset_json(converted)["conversion"]["source"] == "slicer_nrrd"
    case = record(converted)["cases"]["002"]
    assert [(s["name"], s["class"], s["voxels"]) for s in case["segments"]] == [
        ("lungs", "lungs", 27),
        ("airways", "airways", 36),
    ]
    assert case["segmentation"].endswith("002.seg.nrrd")


def test_the_most_frequent_colour_is_kept(tmp_path):
    images, segmentations = two_cases(tmp_path)
    image(images / "000.nrrd")
    segmentation(segmentations / "000.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS}, colors={"lungs": (1, 1, 1)})
    converted = convert(tmp_path, images, segmentations)
    assert dataset_json(converted)["conversion"]["segments"]["lungs"]["color"] == [0.0, 0.5, 0.25]


def test_originals_stay_as_they_are(tmp_path):
    images, segmentations = two_cases(tmp_path)
    before = digests(images) | digests(segmentations)
    convert(tmp_path, images, segmentations)
    assert digests(images) | digests(segmentations) == before


def test_an_existing_dataset_is_kept(tmp_path):
    images, segmentations = two_cases(tmp_path)
    folder = convert(tmp_path, images, segmentations).folder
    before = digests(folder)
    with pytest.raises(OutputExistsError):
        convert(tmp_path, images, segmentations, classes=["airways", "lungs"])
    assert digests(folder) == before
    convert(tmp_path, images, segmentations, classes=["airways", "lungs"], overwrite=True)
    assert digests(folder) != before


def ten_cases(folder: Path) -> tuple[Path, Path]:
    for number in range(10):
        image(folder / "images" / f"{number:03d}_0000.nrrd", seed=number)
        segmentation(folder / "segmentations" / f"{number:03d}.seg.nrrd", {"lungs": LUNGS})
    return folder / "images", folder / "segmentations"


def test_test_cases_are_drawn_by_seed(tmp_path):
    images, segmentations = ten_cases(tmp_path)
    made = [
        convert(tmp_path / str(i), images, segmentations, test_fraction=0.2, seed=seed)
        for i, seed in enumerate((0, 0, 1))
    ]
    assert made[0].test_cases == made[1].test_cases != made[2].test_cases
    assert len(made[0].test_cases) == 2
    assert sorted(made[0].cases + made[0].test_cases) == [f"{number:03d}" for number in range(10)]
    assert dataset_json(made[0])["numTraining"] == 8
    for part, cases in (("Tr", made[0].cases), ("Ts", made[0].test_cases)):
        assert sorted(p.name for p in (made[0].folder / f"labels{part}").iterdir()) == [f"{c}.nrrd" for c in cases]
        names = sorted(p.name for p in (made[0].folder / f"images{part}").iterdir())
        assert names == [f"{case}_0000.nrrd" for case in cases]


def test_test_cases_of_a_list_need_no_segmentation(tmp_path):
    images, segmentations = ten_cases(tmp_path)
    (segmentations / "004.seg.nrrd").unlink()
    names = tmp_path / "test.txt"
    names.write_text("# external\n004\n\n007\n")
    converted = convert(tmp_path, images, segmentations, test_cases=names)
    assert converted.test_cases == ["004", "007"]
    assert [path.name for path in (converted.folder / "labelsTs").iterdir()] == ["007.nrrd"]
    assert (converted.folder / "imagesTs" / "004_0000.nrrd").is_file()
    names.write_text("007\n011\n")
    with pytest.raises(InputError, match="no case '011'"):
        convert(tmp_path / "again", images, segmentations, test_cases=names)


def test_several_channels_and_another_format(tmp_path):
    two_cases(tmp_path)
    for case in ("001", "002"):
        for channel in range(2):
            image(tmp_path / "mr" / f"{case}_{channel:04d}.mha", seed=channel)
    arguments = (tmp_path / "mr", tmp_path / "segmentations")
    converted = convert(tmp_path, *arguments, channels=["T1", "T2"], file_format="nii.gz")
    assert dataset_json(converted)["channel_names"] == {"0": "T1", "1": "T2"}
    assert dataset_json(converted)["file_ending"] == ".nii.gz"
    voxels, geometry = read_volume(converted.folder / "imagesTr" / "002_0001.nii.gz")
    np.testing.assert_array_equal(voxels, read_volume(tmp_path / "mr" / "002_0001.mha")[0])
    assert read_volume(converted.folder / "labelsTr" / "002.nii.gz")[1] == geometry
    np.testing.assert_array_equal(label(converted, "002", ending="nii.gz"), 1 * AIRWAYS + 2 * LUNGS)
    (problem,) = problems_of(tmp_path / "one", *arguments, channels=["T1"])
    assert "1 names given (T1), expected 2" in problem


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"overlap": "middle"}, "--overlap middle"),
        ({"overlap": "last", "as_tasks": True}, "--as-tasks"),
        ({"file_format": "mha"}, "--format mha"),
        ({"test_fraction": 1.0}, "--test-fraction 1.0"),
        ({"test_fraction": 0.9}, "expected one left"),
        ({"test_fraction": 0.5, "seed": -1}, "--seed -1"),
        ({"series": ["1.2"]}, "--dicom"),
        ({"classes": ["a"], "classes_file": Path("x.json")}, "expected one of them"),
        ({"classes": ["a", "A"]}, "more than once"),
        ({"classes": ["ignore"]}, "reserves"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, said):
    with pytest.raises(InputError) as caught:
        convert(tmp_path, *two_cases(tmp_path), **options)
    assert said in str(caught.value)
    assert not (tmp_path / "raw").exists()


def test_without_slicerio_the_way_to_get_it_is_said(tmp_path, monkeypatch):
    images, segmentations = two_cases(tmp_path)
    monkeypatch.setitem(sys.modules, "slicerio", None)
    with pytest.raises(NnunetExtError, match=r"pip install 'nnunet_ext\[slicer\]'"):
        convert(tmp_path, images, segmentations)


def test_the_script_has_the_flags_of_the_command(tmp_path):
    images, segmentations = two_cases(tmp_path)
    script = ROOT / "dataset_conversion" / "slicer_nrrd.py"
    words = ["-i", images, "-l", segmentations, "-d", "3", "-n", "Chest", "-o", tmp_path / "raw", "-np", "1"]
    done = subprocess.run([sys.executable, script, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 training cases, 0 test cases" in done.stdout
    assert "Note: classes by the names of the segments: airways 1, lungs 2" in done.stderr


@pytest.mark.skipif(not (SHARED_DATA / "slicer").is_dir(), reason="no shared data")
def test_a_real_chest_has_the_voxels_that_are_known(tmp_path):
    known = json.loads((SHARED_DATA / "slicer" / "expected.json").read_text())["Segmentation.seg.nrrd"]["segments"]
    (tmp_path / "images").mkdir()
    (tmp_path / "segmentations").mkdir()
    (tmp_path / "images" / "chest.nrrd").symlink_to(SHARED_DATA / "slicer" / "CTChest4.nrrd")
    (tmp_path / "segmentations" / "chest.seg.nrrd").symlink_to(SHARED_DATA / "slicer" / "Segmentation.seg.nrrd")
    names = [segment["name"].upper() for segment in known]
    converted = convert(tmp_path, tmp_path / "images", tmp_path / "segmentations", classes=names, channels=["CT"])
    labels = label(converted, "chest")
    assert [int(np.count_nonzero(labels == value)) for value in range(1, 8)] == [s["voxels"] for s in known]
    assert dataset_json(converted)["channel_names"] == {"0": "CT"}


@pytest.mark.skipif(not (SHARED_DATA / "nrrd_pairs").is_dir(), reason="no shared data")
def test_real_label_maps_without_names_keep_their_voxels(tmp_path):
    pairs = SHARED_DATA / "nrrd_pairs"
    converted = convert(tmp_path, pairs / "*_image.nrrd", pairs / "*_label.nrrd")
    for case in ("brain1", "breast1"):
        ours, geometry = read_volume(converted.folder / "labelsTr" / f"{case}.nrrd")
        theirs, _ = read_volume(pairs / f"{case}_label.nrrd")
        np.testing.assert_array_equal(ours != 0, theirs != 0)
        assert np.allclose(geometry.direction, read_volume(pairs / f"{case}_image.nrrd")[1].direction)


def test_three_layers_share_voxels_that_are_counted_once(tmp_path):
    images, segmentations = two_cases(tmp_path)
    one, two, three = (np.zeros(SHAPE, bool) for _ in range(3))
    one[0, 0, :4] = two[0, 0, 2:6] = three[0, 0, 3:8] = True
    for case in ("001", "002"):
        segmentation(segmentations / f"{case}.seg.nrrd", {"a": one, "b": two, "c": three}, layers=[0, 1, 2])
    problems = problems_of(tmp_path, images, segmentations)
    # a and b at 2, 3; a and c at 3; b and c at 3, 4, 5
    assert (
        "4 voxels are in several segments, expected one at most: 'b' and 'c' share 3, 'a' and 'b' share 2"
        in problems[0]
    )
    assert "'a' and 'c' share 1" in problems[0]
    converted = convert(tmp_path, images, segmentations, as_tasks=True)
    assert converted.tasks == {"layer1": ("a",), "layer2": ("b",), "layer3": ("c",)}


def test_a_group_takes_a_class_only_if_it_overlaps_none_of_it():
    assert groups_without_overlap([1, 2, 3, 4], [(2, 3)]) == [(1, 2, 4), (3,)]
    assert groups_without_overlap([1, 2, 3], []) == [(1, 2, 3)]


def test_more_than_255_classes_are_16_bits_wide(tmp_path):
    (tmp_path / "maps").mkdir()
    for case, value in (("a", 1), ("b", 2)):
        image(tmp_path / "images" / f"{case}.nrrd")
        write_volume(tmp_path / "maps" / f"{case}.nrrd", value * LUNGS.astype(np.uint8), GEOMETRY)
    names = [*map(str, range(2, 257)), "1"]
    made = [
        convert(
            tmp_path / str(count),
            tmp_path / "images",
            tmp_path / "maps",
            classes=names[-count:],
            missing_ok=True,
            drop_unlisted=True,
        )
        for count in (255, 256)
    ]
    assert [label(converted, "b").dtype for converted in made] == [np.uint8, np.uint16]
    assert [int(label(converted, "a").max()) for converted in made] == [255, 256]


def test_what_vanishes_on_a_coarser_image_is_said(tmp_path):
    coarse = Geometry((2.0, 2.0, 2.0))
    image(tmp_path / "images" / "a.nrrd", coarse)
    fine = np.zeros((12, 16, 20), bool)
    lungs, dot = fine.copy(), fine.copy()
    lungs[2:8, 2:8, 2:8] = True
    dot[1, 9, 9] = True
    segmentation(tmp_path / "maps" / "a.seg.nrrd", {"lungs": lungs, "dot": dot}, Geometry())
    converted = convert(tmp_path, tmp_path / "images", tmp_path / "maps", classes=["lungs", "dot"])
    np.testing.assert_array_equal(label(converted, "a"), lungs[::2, ::2, ::2])
    assert "a: nothing is left of 'dot' on the coarser grid of the image" in converted.notes


def test_too_many_tasks_are_refused(tmp_path):
    everywhere = np.ones(SHAPE, bool)
    image(tmp_path / "images" / "a.nrrd")
    masks = {f"s{number:02d}": everywhere for number in range(16)}
    segmentation(tmp_path / "maps" / "a.seg.nrrd", masks, layers=range(16))
    (problem,) = problems_of(tmp_path, tmp_path / "images", tmp_path / "maps", as_tasks=True)
    assert "joint labels" in problem
