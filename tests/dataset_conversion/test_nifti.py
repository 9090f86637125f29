"""Images and label maps in any layout to a dataset: what is found, checked and written."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import SimpleITK

from dataset_conversion.nifti_dataset import convert_nifti
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import read_volume
from tests.builders import ROOT, SHARED_DATA
from tests.dataset_conversion.nifti_folders import GEOMETRY, SHAPE, cases, image_of, label_of, names_in, put

if TYPE_CHECKING:
    from pathlib import Path

FIVE = ("P1", "P2", "P3", "P4", "P5")
IMAGE, LABEL = "{case}/image.nii.gz", "{case}/label.nii.gz"


@pytest.fixture(autouse=True)
def no_nnunet_folders(monkeypatch):
    for name in list(os.environ):
        if name.lower().startswith("nnunet"):
            monkeypatch.delenv(name)


def convert(folder: Path, **options):
    defaults = {
        "image": [IMAGE],
        "label": LABEL,
        "dataset_id": 7,
        "name": "Organ",
        "channels": ["CT"],
        "output": folder.parent / "raw",
        "processes": 1,
    }
    return convert_nifti(folder, **{**defaults, **options})


def problems_of(folder: Path, **options) -> str:
    """Return the one error, and see that nothing was written."""
    with pytest.raises(BadCasesError) as caught:
        convert(folder, **options)
    assert not (folder.parent / "raw").exists()
    return "\n".join(caught.value.problems)


def test_a_folder_per_case_becomes_a_dataset(tmp_path):
    done = convert(cases(tmp_path / "data", *FIVE), classes=["liver", "spleen"])
    assert done.folder == tmp_path / "raw" / "Dataset007_Organ"
    assert (done.cases, done.test_cases, done.notes) == (list(FIVE), [], [])
    assert names_in(done.folder) == sorted(
        ["conversion.json", "dataset.json", "imagesTr", "labelsTr"]
        + [f"imagesTr/{case}_0000.nii.gz" for case in FIVE]
        + [f"labelsTr/{case}.nii.gz" for case in FIVE]
    )
    content = read_json(done.folder / "dataset.json")
    assert content["channel_names"] == {"0": "CT"}
    assert content["labels"] == {"background": 0, "liver": 1, "spleen": 2}
    assert (content["numTraining"], content["file_ending"]) == (5, ".nii.gz")
    assert content["conversion"]["source"] == "nifti"
    record = read_json(done.folder / "conversion.json")
    assert record["conversion"] == content["conversion"]
    assert record["arguments"]["label"] == LABEL
    assert record["cases"]["P2"]["images"] == [str(tmp_path / "data" / "P2" / "image.nii.gz")]


def test_files_are_copied_byte_by_byte(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    done = convert(folder, classes=["a", "b"])
    copied, label = done.folder / "imagesTr" / "P1_0000.nii.gz", done.folder / "labelsTr" / "P1.nii.gz"
    assert copied.read_bytes() == (folder / "P1" / "image.nii.gz").read_bytes()
    assert label.read_bytes() == (folder / "P1" / "label.nii.gz").read_bytes()


def test_plain_nifti_files_are_compressed_with_header_and_voxels_unchanged(tmp_path):
    folder = cases(tmp_path / "data", "P1", ending=".nii")
    image = nibabel.Nifti1Image(image_of().T, np.diag([0.9, 0.7, 2.5, 1]))
    image.header["descrip"] = b"from the scanner"
    label = nibabel.Nifti1Image(label_of(1).T, image.affine, dtype="int64")
    nibabel.save(image, folder / "P1" / "image.nii")
    nibabel.save(label, folder / "P1" / "label.nii")
    done = convert(folder, image=["{case}/image.nii"], label="{case}/label.nii")
    for source, target in (("image", "imagesTr/P1_0000.nii.gz"), ("label", "labelsTr/P1.nii.gz")):
        assert gzip.decompress((done.folder / target).read_bytes()) == (folder / "P1" / f"{source}.nii").read_bytes()


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_a_format_that_nnunet_reads_stays(tmp_path, ending):
    folder = cases(tmp_path / "data", "P1", ending=ending)
    done = convert(folder, image=[f"{{case}}/image{ending}"], label=f"{{case}}/label{ending}")
    assert read_json(done.folder / "dataset.json")["file_ending"] == ending
    copied = done.folder / "imagesTr" / f"P1_0000{ending}"
    assert copied.read_bytes() == (folder / "P1" / f"image{ending}").read_bytes()


def test_other_formats_keep_values_and_geometry(tmp_path):
    folder = tmp_path / "data"
    put(folder / "a.mha", image_of())
    put(folder / "a_gt.nrrd", label_of(1, 2))
    done = convert(folder, image=["{case}.mha"], label="{case}_gt.nrrd", file_format="nii.gz")
    for name, expected in (("imagesTr/a_0000", image_of()), ("labelsTr/a", label_of(1, 2))):
        array, geometry = read_volume(done.folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(array, expected)
        for field in ("spacing", "origin", "direction"):
            np.testing.assert_allclose(getattr(geometry, field), getattr(GEOMETRY, field), atol=1e-5)


def test_several_channels_in_the_order_given(tmp_path):
    folder = tmp_path / "data"
    for seed, name in enumerate(("t2", "t1")):
        put(folder / f"a_{name}.nii.gz", image_of(seed))
    put(folder / "a.nii.gz", label_of(1))
    done = convert(folder, image=["{case}_t1.nii.gz", "{case}_t2.nii.gz"], label="{case}.nii.gz", channels=["T1", "T2"])
    assert read_json(done.folder / "dataset.json")["channel_names"] == {"0": "T1", "1": "T2"}
    for channel, name in enumerate(("t1", "t2")):
        copied = done.folder / "imagesTr" / f"a_{channel:04d}.nii.gz"
        assert copied.read_bytes() == (folder / f"a_{name}.nii.gz").read_bytes()


def test_the_number_of_channel_names_is_that_of_images(tmp_path):
    with pytest.raises(InputError, match="--channels T1 T2: expected 1 names"):
        convert(cases(tmp_path / "data", "P1"), channels=["T1", "T2"])


def test_the_same_pattern_for_two_channels_is_refused(tmp_path):
    with pytest.raises(InputError, match="--image: the same pattern is given more than once"):
        convert(cases(tmp_path / "data", "P1"), image=[IMAGE, IMAGE], channels=["T1", "T2"])


def test_without_classes_the_values_are_named_and_closed_up(tmp_path):
    done = convert(cases(tmp_path / "data", *FIVE, values=(7, 2)))
    assert read_json(done.folder / "dataset.json")["labels"] == {"background": 0, "class_1": 1, "class_2": 2}
    np.testing.assert_array_equal(read_volume(done.folder / "labelsTr" / "P1.nii.gz")[0], label_of(2, 1))
    assert done.notes == ["classes by the values in the label maps: class_1=2, class_2=7"]
    assert read_json(done.folder / "conversion.json")["conversion"]["label_of_value"] == {"0": 0, "2": 1, "7": 2}


def test_given_values_become_labels_in_the_order_of_the_names(tmp_path):
    done = convert(cases(tmp_path / "data", "P1", values=(4, 9, 1)), classes=["a=4", "b=1", "ignore=9"])
    assert read_json(done.folder / "dataset.json")["labels"] == {"background": 0, "a": 1, "b": 2, "ignore": 3}
    label, geometry = read_volume(done.folder / "labelsTr" / "P1.nii.gz")
    np.testing.assert_array_equal(label, label_of(1, 3, 2))
    assert label.dtype == np.uint8
    np.testing.assert_allclose(geometry.origin, GEOMETRY.origin, atol=1e-5)


def test_whole_numbers_stored_as_float_are_labels(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    put(folder / "P1" / "label.nii.gz", label_of(1, 3).astype(np.float32))
    done = convert(folder, classes=["a", "b=3"])
    np.testing.assert_array_equal(read_volume(done.folder / "labelsTr" / "P1.nii.gz")[0], label_of(1, 2))


def test_values_that_no_class_has_are_named_for_all_cases(tmp_path):
    folder = cases(tmp_path / "data", "P1", "P2", values=(1, 2, 5))
    text = problems_of(folder, classes=["a", "b"])
    assert text.count("values 5 found, expected 0 (background), 1 (a), 2 (b)") == 2
    assert str(folder / "P2" / "label.nii.gz") in text


def test_a_class_without_any_voxel_is_told(tmp_path):
    done = convert(cases(tmp_path / "data", *FIVE), classes=["a", "b", "c"])
    assert done.notes == ["no voxel of c in any label map"]


def test_regions_and_their_order(tmp_path):
    folder = cases(tmp_path / "data", "P1", values=(1, 2, 4))
    regions = ["whole=core,rim,hot", "inner=core,hot", "hot=hot"]
    done = convert(folder, classes=["core=1", "rim=2", "hot=4"], regions=regions)
    content = read_json(done.folder / "dataset.json")
    assert content["labels"] == {"background": 0, "whole": [1, 2, 3], "inner": [1, 3], "hot": 3}
    assert content["regions_class_order"] == [2, 1, 3]


def test_test_images_by_a_pattern_of_their_own(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    put(folder / "test" / "P8.nii.gz", image_of(8))
    put(folder / "test" / "P9.nii.gz", image_of(9))
    put(folder / "test_gt" / "P9.nii.gz", label_of(2))
    done = convert(folder, test_image=["test/{case}.nii.gz"], test_label="test_gt/{case}.nii.gz")
    assert (done.cases, done.test_cases) == (["P1"], ["P8", "P9"])
    assert names_in(done.folder / "imagesTs") == ["P8_0000.nii.gz", "P9_0000.nii.gz"]
    assert names_in(done.folder / "labelsTs") == ["P9.nii.gz"]
    assert read_json(done.folder / "dataset.json")["numTraining"] == 1
    assert read_json(done.folder / "conversion.json")["cases"]["P8"]["split"] == "test"


def test_cases_without_label_are_an_error_or_test_cases(tmp_path):
    folder = cases(tmp_path / "data", "P1", "P2")
    (folder / "P2" / "label.nii.gz").unlink()
    text = problems_of(folder)
    assert "case 'P2': no label {case}/label.nii.gz; there is" in text
    assert "--unlabelled-as-test" in text
    done = convert(folder, unlabelled_as_test=True)
    assert (done.cases, done.test_cases) == (["P1"], ["P2"])
    assert not (done.folder / "labelsTs").exists()


def test_a_label_without_image_is_an_error(tmp_path):
    folder = cases(tmp_path / "data", "P1", "P2")
    (folder / "P2" / "image.nii.gz").unlink()
    text = problems_of(folder, unlabelled_as_test=True)
    assert "case 'P2': no image {case}/image.nii.gz; there is" in text
    assert "Give --" not in text


def test_a_case_cannot_be_for_training_and_for_test(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    put(folder / "test" / "P1.nii.gz", image_of(8))
    assert "case 'P1' is a training case and a test case" in problems_of(folder, test_image=["test/{case}.nii.gz"])


def test_only_test_cases_are_no_dataset(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    (folder / "P1" / "label.nii.gz").rename(folder / "label.nii.gz")
    put(folder / "P2" / "label.nii.gz", label_of(1))
    assert "case 'P2': no image" in problems_of(folder, unlabelled_as_test=True)


def test_image_and_label_swapped(tmp_path):
    text = problems_of(cases(tmp_path / "data", "P1"), image=[LABEL], label=IMAGE)
    assert f"{tmp_path / 'data' / 'P1' / 'image.nii.gz'}: " in text
    assert "different values from -" in text
    assert "label.nii.gz has only 3 different values: image and label map look swapped" in text


def test_an_image_of_few_values_as_label_is_found_by_the_fewer_values_of_the_other(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    put(folder / "P1" / "image.nii.gz", np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE) % 40)
    assert "40 different values from 0 to 39" in problems_of(folder, image=[LABEL], label=IMAGE)


def test_a_label_file_that_is_an_image(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    put(folder / "P1" / "label.nii.gz", np.abs(image_of(3)))
    text = problems_of(folder)
    assert "160 different values from 1 to 996 found" in text
    assert "expected a label map; is it an image?" in text
    put(folder / "P1" / "label.nii.gz", image_of(3).astype(np.float32) / 7)
    assert "expected whole numbers as labels; is it an image?" in problems_of(folder)


@pytest.mark.parametrize("other", ["p1", "P01"])
def test_names_that_differ_in_case_or_padding_only(tmp_path, other):
    folder = tmp_path / "data"
    put(folder / "images" / "P1.nii.gz", image_of())
    put(folder / "labels" / f"{other}.nii.gz", label_of(1))
    text = problems_of(folder, image=["images/{case}.nii.gz"], label="labels/{case}.nii.gz")
    assert "differ in upper and lower case or leading zeros only" in text
    assert "'P1' (image images/{case}.nii.gz)" in text
    assert f"'{other}' (label labels/{{case}}.nii.gz)" in text
    assert "\n" not in text


def test_two_cases_whose_names_differ_in_case_only(tmp_path):
    text = problems_of(cases(tmp_path / "data", "P1", "p1"))
    assert "'P1' (image" in text
    assert "'p1' (image" in text


def test_a_gz_file_that_is_not_gzip(tmp_path):
    folder = cases(tmp_path / "data", "P1", "P2")
    path = folder / "P1" / "image.nii.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    (folder / "P2" / "label.nii.gz").write_bytes(b"<html>not found</html>")
    text = problems_of(folder)
    assert f"{path}: expected gzip, as its name says; it is a plain NIfTI file, rename it to .nii" in text
    assert "P2/label.nii.gz: expected gzip, as its name says; it begins with b'<htm'" in text


@pytest.mark.parametrize("kept", [0.5, -4])
def test_truncated_gzip(tmp_path, kept):
    folder = cases(tmp_path / "data", "P1")
    path = folder / "P1" / "image.nii.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if kept > 0 else kept])
    assert f"{path}: the gzip stream is truncated" in problems_of(folder)


def test_damaged_gzip(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    path = folder / "P1" / "label.nii.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # of the checksum
    path.write_bytes(content)
    assert f"{path}: the gzip stream is damaged" in problems_of(folder)


def test_a_4d_image_names_the_command_for_it(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    array = np.zeros((3, *SHAPE), np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=False), str(folder / "P1" / "image.nii.gz"))
    text = problems_of(folder)
    assert "an image of 4 dimensions" in text
    assert "--image once per channel" in text
    assert "nnUNetv2_convert_MSD_dataset" in text


def test_label_maps_on_another_grid_are_refused(tmp_path):
    folder = cases(tmp_path / "data", "P1", "P2")
    put(folder / "P1" / "label.nii.gz", label_of(1, shape=(4, 6, 9)))
    put(folder / "P2" / "label.nii.gz", label_of(1), replace(GEOMETRY, origin=(0.0, 10.0, 4.5)))
    text = problems_of(folder)
    assert "shape (4, 6, 9) instead of (4, 6, 8)" in text
    assert "origin" in text


def test_channels_on_different_grids_are_refused(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    put(folder / "P1" / "other.nii.gz", image_of(shape=(4, 6, 9)))
    text = problems_of(folder, image=[IMAGE, "{case}/other.nii.gz"], channels=["a", "b"])
    assert "P1/other.nii.gz: shape (4, 6, 9)" in text


def test_nan_in_an_image_is_refused(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    image = image_of().astype(np.float32)
    image[2, 3, 4] = np.nan
    path = put(folder / "P1" / "image.nii.gz", image)
    assert str(path) in problems_of(folder)


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    folder = cases(tmp_path / "data", *FIVE, "P6")
    (folder / "P1" / "label.nii.gz").unlink()
    (folder / "P2" / "image.nii.gz").write_bytes(b"nothing")
    put(folder / "P3" / "label.nii.gz", label_of(9))
    put(folder / "P4" / "label.nii.gz", label_of(1, shape=(1, 6, 8)))
    text = problems_of(folder, classes=["a", "b"])
    assert [text.count(f"P{n}") > 0 for n in (1, 2, 3, 4, 5)] == [True, True, True, True, False]
    assert len(text.splitlines()) == 4


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(MissingInputError, match="no such folder"):
        convert(tmp_path / "nowhere")


def test_an_existing_dataset_stays_without_overwrite(tmp_path):
    folder = cases(tmp_path / "data", "P1")
    convert(folder)
    with pytest.raises(OutputExistsError):
        convert(folder)
    assert convert(folder, classes=["x", "y"], overwrite=True).cases == ["P1"]
    assert "x" in read_json(tmp_path / "raw" / "Dataset007_Organ" / "dataset.json")["labels"]


def test_nothing_is_left_of_a_dataset_that_could_not_be_finished(tmp_path, monkeypatch):
    folder = cases(tmp_path / "data", "P1", "P2")

    def fails(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dataset_conversion.nifti_case_writer.transfer", fails)
    with pytest.raises(OSError, match="No space left"):
        convert(folder)
    assert list((tmp_path / "raw").iterdir()) == []


def test_the_command_and_the_script_have_the_same_flags(tmp_path, capsys):
    folder = cases(tmp_path / "data", *FIVE)
    words = ["-i", str(folder), "--image", IMAGE, "--label", LABEL, "-d", "9", "-n", "Organ", "--channels", "CT"]
    assert main(["convert", "nifti", *words, "-o", str(tmp_path / "one"), "-np", "2"]) == 0
    out = capsys.readouterr()
    assert "5 training cases, 0 test cases" in out.out
    assert "Note: classes by the values in the label maps: class_1=1, class_2=2" in out.err
    script = [
        sys.executable,
        str(ROOT / "dataset_conversion" / "nifti.py"),
        *words,
        "-o",
        str(tmp_path / "two"),
        "-np",
        "1",
    ]
    subprocess.run(script, check=True, capture_output=True, cwd=tmp_path)
    one, two = (tmp_path / name / "Dataset009_Organ" for name in ("one", "two"))
    assert names_in(one) == names_in(two)
    assert json.loads((one / "conversion.json").read_text()) == json.loads((two / "conversion.json").read_text())


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="no shared data")
def test_real_volumes(tmp_path):
    folder = SHARED_DATA / "hippocampus"
    options = {"label": "labels/{case}.nii.gz", "channels": ["MRI"], "classes": ["anterior", "posterior"]}
    options["output"] = tmp_path / "raw"
    done = convert(folder, image=["images/{case}.nii.gz"], **options)
    assert len(done.cases) == 25
    source = folder / "images" / "hippocampus_011.nii.gz"
    assert (done.folder / "imagesTr" / "hippocampus_011_0000.nii.gz").read_bytes() == source.read_bytes()
    with pytest.raises(BadCasesError) as caught:
        convert(folder, image=["labels/{case}.nii.gz"], **{**options, "label": "images/{case}.nii.gz", "dataset_id": 8})
    assert len(caught.value.problems) == 25
