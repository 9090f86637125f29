"""Masks of one class each, merged into one label map."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dataset_conversion import nifti_case, nifti_case_writer
from dataset_conversion.merged_masks import overlay
from dataset_conversion.nifti_dataset import convert_nifti
from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import read_volume
from tests.dataset_conversion.nifti_folders import GEOMETRY, SHAPE, image_of, label_of, put

if TYPE_CHECKING:
    from pathlib import Path

MASKS = ("liver={case}/liver.nii.gz", "tumour={case}/tumour.nii.gz")


def box(z: slice, y: slice, x: slice, value: int = 1, dtype: type = np.uint8) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype)
    mask[z, y, x] = value
    return mask


LIVER = box(slice(0, 3), slice(1, 5), slice(1, 6))
TUMOUR = box(slice(2, 4), slice(3, 6), slice(5, 8), 255)
BOTH = int(np.count_nonzero((LIVER > 0) & (TUMOUR > 0)))


def folder_of(folder: Path, **masks: np.ndarray) -> Path:
    put(folder / "P1" / "image.nii.gz", image_of())
    for name, mask in {"liver": LIVER, "tumour": TUMOUR, **masks}.items():
        put(folder / "P1" / f"{name}.nii.gz", mask)
    return folder


def convert(folder: Path, **options):
    defaults = {
        "image": ["{case}/image.nii.gz"],
        "masks": MASKS,
        "dataset_id": 7,
        "name": "Liver",
        "channels": ["CT"],
        "output": folder.parent / "raw",
        "processes": 1,
    }
    return convert_nifti(folder, **{**defaults, **options})


def label_in(done) -> np.ndarray:
    return read_volume(done.folder / "labelsTr" / "P1.nii.gz")[0]


def problem_of(folder: Path, **options) -> str:
    with pytest.raises(BadCasesError) as caught:
        convert(folder, **options)
    assert not (folder.parent / "raw").exists()
    (problem,) = caught.value.problems
    return problem


def merged(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return label 1 where ``first`` is, 2 where ``second`` is, which wins."""
    return np.where(second > 0, 2, np.where(first > 0, 1, 0))


def test_later_masks_win_and_the_overlap_is_told(tmp_path):
    done = convert(folder_of(tmp_path / "data"))
    assert read_json(done.folder / "dataset.json")["labels"] == {"background": 0, "liver": 1, "tumour": 2}
    label = label_in(done)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, merged(LIVER, TUMOUR))
    assert f"masks overlap, mask tumour over mask liver: {BOTH} voxels in P1" in done.notes
    record = read_json(done.folder / "conversion.json")["cases"]["P1"]
    assert record["overlap_voxels"] == {"mask tumour over mask liver": BOTH}
    assert record["masks"]["tumour"] == str(tmp_path / "data" / "P1" / "tumour.nii.gz")
    assert (BOTH, record["label"]) == (2, None)


def test_the_order_of_the_masks_is_that_of_the_labels(tmp_path):
    done = convert(folder_of(tmp_path / "data"), masks=MASKS[::-1])
    assert read_json(done.folder / "dataset.json")["labels"] == {"background": 0, "tumour": 1, "liver": 2}
    np.testing.assert_array_equal(label_in(done), merged(TUMOUR, LIVER))


def test_the_first_mask_wins_on_demand(tmp_path):
    done = convert(folder_of(tmp_path / "data"), overlap="first")
    np.testing.assert_array_equal(label_in(done), np.where(LIVER > 0, 1, np.where(TUMOUR > 0, 2, 0)))
    assert f"masks overlap, mask liver over mask tumour: {BOTH} voxels in P1" in done.notes


def test_overlap_is_an_error_on_demand(tmp_path):
    folder = folder_of(tmp_path / "data")
    assert f"case 'P1': masks overlap (voxels: mask tumour over mask liver: {BOTH})" in problem_of(
        folder, overlap="error"
    )
    put(folder / "P1" / "tumour.nii.gz", box(slice(3, 4), slice(0, 1), slice(0, 1)))
    assert convert(folder, overlap="error").cases == ["P1"]


def test_slabs_make_the_same_label_as_the_whole(tmp_path, monkeypatch):
    for module in (nifti_case, nifti_case_writer):
        monkeypatch.setattr(module, "slabs_of", lambda shape: ((z, z + 1) for z in range(shape[0])))
    done = convert(folder_of(tmp_path / "data"))
    np.testing.assert_array_equal(label_in(done), merged(LIVER, TUMOUR))
    assert f"masks overlap, mask tumour over mask liver: {BOTH} voxels in P1" in done.notes


def test_masks_over_a_label_map(tmp_path):
    folder = folder_of(tmp_path / "data")
    put(folder / "P1" / "organs.nii.gz", label_of(0, 0, 7))  # row 3
    done = convert(folder, label="{case}/organs.nii.gz", masks=MASKS[1:], classes=["spine=7"])
    assert read_json(done.folder / "dataset.json")["labels"] == {"background": 0, "spine": 1, "tumour": 2}
    np.testing.assert_array_equal(label_in(done), merged(label_of(0, 0, 7), TUMOUR))
    assert "masks overlap, mask tumour over value 7: 6 voxels in P1" in done.notes


def test_ignore_stays_the_highest_label_behind_masks(tmp_path):
    folder = folder_of(tmp_path / "data")
    put(folder / "P1" / "organs.nii.gz", label_of(1, 2))
    done = convert(folder, label="{case}/organs.nii.gz", masks=MASKS[1:], classes=["spine", "ignore"])
    assert read_json(done.folder / "dataset.json")["labels"] == {"background": 0, "spine": 1, "tumour": 2, "ignore": 3}
    np.testing.assert_array_equal(label_in(done), merged(label_of(1, 3), TUMOUR) + 2 * (label_of(0, 3) > 0))


def test_a_mask_on_another_grid_is_resampled_in_space(tmp_path):
    folder = folder_of(tmp_path / "data")
    put(folder / "P1" / "liver.nii.gz", np.ascontiguousarray(LIVER[0:3, 1:5, 1:6]), GEOMETRY.shifted((0, 1, 1)))
    flipped = replace(
        GEOMETRY.shifted((0, 0, 7)), direction=tuple((row[0], row[1], -row[2]) for row in GEOMETRY.direction)
    )
    put(folder / "P1" / "tumour.nii.gz", np.ascontiguousarray(TUMOUR[:, :, ::-1]), flipped)
    done = convert(folder)
    np.testing.assert_array_equal(label_in(done), merged(LIVER, TUMOUR))
    assert "masks on another grid than the image were resampled in P1" in done.notes
    record = read_json(done.folder / "conversion.json")["cases"]["P1"]["resampled_masks"]
    assert record["liver"] == {"voxels": int(LIVER.sum()), "lost_voxels": 0}


def test_a_mask_that_lies_outside_the_image_is_refused(tmp_path):
    folder = folder_of(tmp_path / "data")
    path = put(folder / "P1" / "liver.nii.gz", LIVER, replace(GEOMETRY, origin=(500.0, 0.0, 0.0)))
    text = problem_of(folder)
    assert str(path) in text
    assert "lie outside the image" in text


def test_an_empty_mask_is_allowed_and_counted(tmp_path):
    done = convert(folder_of(tmp_path / "data", tumour=np.zeros(SHAPE, np.uint8)))
    np.testing.assert_array_equal(label_in(done), LIVER)
    assert "mask tumour is empty in 1 cases: P1" in done.notes
    assert read_json(done.folder / "conversion.json")["cases"]["P1"]["empty_masks"] == ["tumour"]


def test_a_missing_mask_is_an_error_or_one_without_voxels(tmp_path):
    folder = folder_of(tmp_path / "data")
    put(folder / "P2" / "image.nii.gz", image_of(1))
    put(folder / "P2" / "liver.nii.gz", LIVER)
    text = problem_of(folder)
    assert "case 'P2': no mask tumour {case}/tumour.nii.gz" in text
    assert "Give --missing-ok" in text
    done = convert(folder, missing_ok=True)
    assert done.cases == ["P1", "P2"]
    assert "mask tumour is missing in 1 cases: P2" in done.notes
    np.testing.assert_array_equal(read_volume(done.folder / "labelsTr" / "P2.nii.gz")[0], LIVER)
    assert read_json(done.folder / "conversion.json")["cases"]["P2"]["masks"]["tumour"] is None


def test_a_case_without_any_mask_is_a_test_case_on_demand(tmp_path):
    folder = folder_of(tmp_path / "data")
    put(folder / "P2" / "image.nii.gz", image_of(1))
    assert "--unlabelled-as-test" in problem_of(folder)
    assert convert(folder, unlabelled_as_test=True).test_cases == ["P2"]


def test_a_mask_of_several_classes_is_refused(tmp_path):
    folder = folder_of(tmp_path / "data", liver=label_of(1, 2, 3))
    text = problem_of(folder)
    assert "P1/liver.nii.gz: values 1, 2, 3 found, expected a mask of one class" in text


def test_a_mask_of_several_classes_in_different_slices_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti_case, "slabs_of", lambda shape: ((z, z + 1) for z in range(shape[0])))
    mask = box(slice(0, 1), slice(0, 2), slice(0, 2), 1) + box(slice(2, 3), slice(0, 2), slice(0, 2), 2)
    assert "values 1, 2 found" in problem_of(folder_of(tmp_path / "data", liver=mask))


def test_a_soft_mask_is_refused(tmp_path):
    folder = folder_of(tmp_path / "data", liver=LIVER.astype(np.float32) / 2)
    assert "liver.nii.gz: values [0.5] found, expected whole numbers" in problem_of(folder)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"masks": ["liver"]}, "expected NAME=PATTERN"),
        ({"masks": ["a={case}/liver.nii.gz", "a={case}/tumour.nii.gz"]}, "class names a are there twice"),
        ({"masks": ["ignore={case}/liver.nii.gz"]}, "'ignore'"),
        ({"classes": ["a"]}, "--classes: names the values of --label"),
        ({"masks": []}, "no label maps"),
        ({"overlap": "newest"}, "--overlap newest"),
    ],
)
def test_unusable_arguments(tmp_path, options, text):
    with pytest.raises(InputError, match=text):
        convert(folder_of(tmp_path / "data"), **options)


@given(arrays(bool, (3, 12)))
def test_what_overlaps_is_what_is_lost(masks):
    last, first = np.zeros(12, np.uint8), np.zeros(12, np.uint8)
    labelled = list(enumerate(masks, 1))
    lost_last = overlay(last, labelled, keep="last")
    lost_first = overlay(first, labelled, keep="first")
    np.testing.assert_array_equal(last, [max((n for n, m in labelled if m[i]), default=0) for i in range(12)])
    np.testing.assert_array_equal(first, [min((n for n, m in labelled if m[i]), default=0) for i in range(12)])
    for label, mask in labelled:
        assert mask.sum() == (last == label).sum() + sum(n for (_, lost), n in lost_last.items() if lost == label)
        assert mask.sum() == (first == label).sum() + sum(n for (_, lost), n in lost_first.items() if lost == label)


@given(st.integers(1, 3))
def test_the_same_label_is_no_overlap_with_itself(label):
    base = np.full(4, label)
    assert overlay(base, [(label, np.ones(4, bool))]) == {}
