"""What users give by mistake is named, all of it at once, and nothing is written."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("slicerio")

from dataset_conversion.slicer_dataset import convert_slicer_nrrd
from nnunet_ext.errors import BadCasesError, NnunetExtError
from nnunet_ext.imageio import write_volume
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


def problems_of(folder: Path, images: Path, segmentations: Path, **more: object) -> list[str]:
    with pytest.raises(BadCasesError) as caught:
        convert_slicer_nrrd(
            images, segmentations, dataset_id=7, name="Chest", output=folder / "raw", processes=1, **more
        )
    assert not (folder / "raw").exists()
    return caught.value.problems


def test_swapped_folders(tmp_path):
    images, segmentations = two_cases(tmp_path)
    problems = problems_of(tmp_path, segmentations, images)
    for case in ("001", "002"):
        of_case = [problem for problem in problems if case in problem]
        assert any("a segmentation (segments lungs, airways), expected an image" in problem for problem in of_case)
        assert any("looks like an image: are -i and -l swapped?" in problem for problem in of_case)
    assert len(problems) == 4


def test_a_layered_segmentation_among_the_images(tmp_path):
    images, segmentations = two_cases(tmp_path)
    masks = {"lungs": LUNGS, "nodule": NODULE}
    segmentation(images / "002.nrrd", masks, layers=[0, 1])
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "images/002.nrrd: a segmentation (segments lungs, nodule)" in problem


@pytest.mark.parametrize("values", [np.arange(480) - 3, np.arange(480)])
def test_a_label_map_with_grey_values(tmp_path, values):
    images, segmentations = two_cases(tmp_path)
    write_volume(segmentations / "002.seg.nrrd", values.reshape(SHAPE).astype(np.int16), GEOMETRY, overwrite=True)
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "002.seg.nrrd: at least 480 values" in problem
    assert "looks like an image" in problem


def test_a_label_map_with_negative_values(tmp_path):
    images, segmentations = two_cases(tmp_path)
    values = LUNGS.astype(np.int16) - AIRWAYS
    write_volume(segmentations / "002.seg.nrrd", values, GEOMETRY, overwrite=True)
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "values from -1 to 1 found, expected at most 128 labels from 0" in problem


def test_a_label_map_with_fractions(tmp_path):
    images, segmentations = two_cases(tmp_path)
    write_volume(segmentations / "002.seg.nrrd", LUNGS.astype(np.float32) / 2, GEOMETRY, overwrite=True)
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "values [0.5] found, expected whole numbers" in problem


@pytest.mark.parametrize("name", ["P1", "1", "p_1", "p1_0000"])
def test_names_that_nearly_pair_are_pointed_out(tmp_path, name):
    other = "001" if name == "1" else "p1"
    image(tmp_path / "images" / f"{name}.nrrd")
    image(tmp_path / "images" / "x.nrrd")
    segmentation(tmp_path / "segmentations" / f"{other}.seg.nrrd", {"lungs": LUNGS})
    segmentation(tmp_path / "segmentations" / "x.seg.nrrd", {"lungs": LUNGS})
    problems = problems_of(tmp_path, tmp_path / "images", tmp_path / "segmentations")
    assert len(problems) == 2
    assert f"no segmentation of case '{name}'; segmentations have '{other}', expected exactly the same" in problems[0]
    assert f"no image of case '{other}'; images have '{name}'" in problems[1]


@pytest.mark.parametrize("name", ["../001", "/etc/passwd", "images/001", "..", "001.nrrd", "01"])
def test_a_list_of_test_cases_names_cases_and_nothing_else(tmp_path, name):
    images, segmentations = two_cases(tmp_path)
    (tmp_path / "test.txt").write_text(f"002\n{name}\n")
    (problem,) = problems_of(tmp_path, images, segmentations, test_cases=tmp_path / "test.txt")
    assert f"test.txt: no case '{name}'; cases are 001, 002" in problem


def test_names_without_anything_alike_are_listed(tmp_path):
    images, segmentations = two_cases(tmp_path)
    image(images / "010.nrrd")
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "010.nrrd: no segmentation of case '010'; segmentations are there for 001, 002" in problem


def test_damaged_files_of_all_kinds_are_reported_together(tmp_path):
    images, segmentations = two_cases(tmp_path)
    for case in ("003", "004", "005", "006"):
        segmentation(segmentations / f"{case}.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS})
    image(images / "003.nii")
    (images / "003.nii").rename(images / "003.nii.gz")
    rng = np.random.default_rng(0)
    noise = rng.integers(-1000, 1000, (30, 40, 50), dtype=np.int16)
    write_volume(images / "004.nii.gz", noise, GEOMETRY)
    whole = (images / "004.nii.gz").read_bytes()
    (images / "004.nii.gz").write_bytes(whole[: len(whole) // 2])
    sitk.WriteImage(sitk.JoinSeries([sitk.Image([10, 8, 6], sitk.sitkInt16)] * 3), str(images / "005.nii.gz"))
    (images / "006.nii.gz").write_bytes(gzip.compress(b"no image at all"))
    broken = segmentations / "002.seg.nrrd"
    broken.write_bytes(broken.read_bytes()[:-20])
    problems = problems_of(tmp_path, images, segmentations, classes=["lungs", "airways"])
    assert len(problems) == 5
    of_case = {
        name: next(p for p in problems if p.startswith(f"{tmp_path}") and name in p)
        for name in ("003.nii.gz", "004.nii.gz", "005.nii.gz", "006.nii.gz", "002.seg.nrrd")
    }
    assert "gzip" in of_case["003.nii.gz"]
    assert "intact image file" in of_case["004.nii.gz"]
    assert "4 dimensions" in of_case["005.nii.gz"]
    assert "cannot be read" in of_case["006.nii.gz"]
    assert "cannot be read" in of_case["002.seg.nrrd"]


def test_images_with_nan_or_in_odd_formats(tmp_path):
    images, segmentations = two_cases(tmp_path)
    voxels = np.zeros(SHAPE, np.float32)
    voxels[2, 3, 4] = np.nan
    write_volume(images / "001.nrrd", voxels, GEOMETRY, overwrite=True)
    (images / "002.nrrd").unlink()
    write_volume(images / "002.tif", np.zeros(SHAPE, np.uint8), GEOMETRY)
    problems = problems_of(tmp_path, images, segmentations)
    assert len(problems) == 2
    assert "001.nrrd" in problems[0]
    assert "1 voxels are NaN" in problems[0]
    assert "002.tif: does not say where voxels lie in space" in problems[1]


def test_channels_on_different_grids(tmp_path):
    _, segmentations = two_cases(tmp_path)
    for case in ("001", "002"):
        image(tmp_path / "mr" / f"{case}_0000.nrrd")
        image(tmp_path / "mr" / f"{case}_0001.nrrd", GEOMETRY.shifted((0, 0, 1)))
    problems = problems_of(tmp_path, tmp_path / "mr", segmentations)
    assert len(problems) == 2
    assert "001_0001.nrrd: origin" in problems[0]


def test_fractional_segmentations(tmp_path):
    images, segmentations = two_cases(tmp_path)
    more = {"Segmentation_MasterRepresentation": "Fractional labelmap"}
    segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS}, more=more)
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "002.seg.nrrd: its segments are stored as 'Fractional labelmap', expected 'Binary labelmap'" in problem


def test_a_segment_in_a_layer_that_is_not_there(tmp_path):
    images, segmentations = two_cases(tmp_path)
    more = {"Segment1_Layer": "3"}
    segmentation(segmentations / "002.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS}, more=more)
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "'airways' (layer 3) are in no layer, expected one of 1" in problem


def test_a_segmentation_that_is_there_twice(tmp_path):
    images, segmentations = two_cases(tmp_path)
    segmentation(segmentations / "002.nrrd", {"lungs": LUNGS})
    (problem,) = problems_of(tmp_path, images, segmentations)
    assert "case '002' is there more than once" in problem


def test_empty_and_missing_folders(tmp_path):
    images, segmentations = two_cases(tmp_path)
    (tmp_path / "empty").mkdir()
    for pair in ((tmp_path / "no", segmentations), (images, tmp_path / "no"), (images, tmp_path / "empty")):
        with pytest.raises(NnunetExtError, match=r"no such file or folder|no volume found"):
            convert_slicer_nrrd(*pair, dataset_id=7, name="Chest", output=tmp_path / "raw", processes=1)
    assert not (tmp_path / "raw").exists()
