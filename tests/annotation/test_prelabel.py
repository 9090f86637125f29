"""First annotations by a threshold, and what the converter makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from dataset_conversion.sparse_dataset import convert_soil_ct
from nnunet_ext.annotation.otsu import label_middle_slice, middle_slice
from nnunet_ext.annotation.prelabel import prelabel
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, OutputExistsError
from nnunet_ext.imageio import open_volume, read_volume
from tests.annotation.annotation_folders import SHAPE, SPACING, image_folder
from tests.builders import write_tif


@pytest.mark.parametrize(("depth", "index"), [(300, 149), (10, 4), (3, 0), (2, 0), (1, 0)])
def test_the_middle_slice_is_the_lower_one_and_never_negative(depth, index):
    assert middle_slice(depth) == index


def test_voxels_above_the_threshold_on_the_middle_slice_are_matrix_and_all_else_is_0(tmp_path):
    images, annotations, classes = image_folder(tmp_path)
    (begun,) = prelabel(images, annotations, ["S1"], classes)
    labels, geometry = read_volume(begun.annotation)
    expected = np.zeros(SHAPE, np.uint8)
    expected[4, :, 8:] = 1
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected)
    assert geometry.spacing == pytest.approx(SPACING)
    assert 59 <= begun.threshold < 200
    assert [(row.id, row.voxels, row.slices) for row in begun.coverage if row.voxels] == [(1, 96, 1)]


def test_float_images_with_nan_are_labelled_where_they_have_values(tmp_path):
    grey = np.full((1, 4, 8), 0.1, np.float32)
    grey[..., 4:] = 0.9
    grey[0, 0] = np.nan
    with open_volume(write_tif(tmp_path / "S.tif", grey)) as volume:
        labels = label_middle_slice(volume).labels
    assert labels[1:, 4:].all()
    assert labels.sum() == 12


def test_a_slice_without_any_value_is_named(tmp_path):
    path = write_tif(tmp_path / "S.tif", np.full((3, 4, 8), np.nan, np.float32))
    with open_volume(path) as volume, pytest.raises(InputError, match="slice 0 has no finite voxel"):
        label_middle_slice(volume)


def test_a_slice_of_one_grey_value_is_left_empty_and_said(tmp_path):
    images, annotations, classes = image_folder(tmp_path)
    write_tif(images / "S1.tif", np.full(SHAPE, 7, np.uint8))
    (begun,) = prelabel(images, annotations, None, classes)
    assert not read_volume(begun.annotation)[0].any()
    assert any("one grey value" in note for note in begun.notes)


def test_missing_samples_are_all_named_and_nothing_is_written(tmp_path):
    images, annotations, classes = image_folder(tmp_path, ("S1", "S10"))
    with pytest.raises(BadCasesError) as error:
        prelabel(images, annotations, ["S1", "S2", "S3"], classes)
    assert len(error.value.problems) == 2
    assert not annotations.exists()


def test_an_annotation_is_not_replaced_unasked(tmp_path):
    images, annotations, classes = image_folder(tmp_path)
    prelabel(images, annotations, None, classes)
    with pytest.raises(OutputExistsError, match=r"S1\.tif"):
        prelabel(images, annotations, None, classes)
    prelabel(images, annotations, None, classes, overwrite=True)


@pytest.mark.parametrize("ending", [".tif", ".mha", ".nii.gz"])
def test_the_converter_takes_what_is_written(tmp_path, ending):
    images, annotations, classes = image_folder(tmp_path, tuple(f"S{n}" for n in range(5)), ending)
    status = main(["prelabel", "-i", str(images), "-o", str(annotations), "-c", str(classes)])
    assert status == 0
    converted = convert_soil_ct(images, annotations, classes, output=tmp_path / "raw", context=2, processes=1)
    label, geometry = read_volume(converted.folder / "labelsTr" / "S0.nii.gz")
    assert label.shape == (5, 12, 16)
    assert (label[2, :, 8:] == 0).all()
    assert geometry.spacing == pytest.approx(SPACING)


def test_suffixes_pair_as_in_the_converter(tmp_path):
    images, annotations, classes = image_folder(tmp_path, ("S1_image", "other"))
    (begun,) = prelabel(images, annotations, None, classes, image_suffix="_image", annotation_suffix="_labels")
    assert (begun.sample, begun.annotation) == ("S1", annotations / "S1_labels.tif")
