"""The presets SegTHOR and BraTS: layouts, classes, regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dataset_conversion.brats import LAYOUTS, convert_brats
from dataset_conversion.segthor import convert_segthor
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import read_volume
from tests.dataset_conversion.nifti_folders import image_of, label_of, names_in, put

if TYPE_CHECKING:
    from pathlib import Path

REGIONS = {"background": 0, "whole_tumor": [1, 2, 3], "tumor_core": [1, 3], "enhancing_tumor": 3}
SEQUENCES = {"2021": ("_t1", "_t1ce", "_t2", "_flair", "_seg"), "2023": ("-t1n", "-t1c", "-t2w", "-t2f", "-seg")}


def segthor(folder: Path) -> Path:
    for number in range(1, 7):
        name = f"Patient_{number:02d}"
        put(folder / "train" / name / f"{name}.nii.gz", image_of(number))
        put(folder / "train" / name / "GT.nii.gz", label_of(1, 2, 3, 4))
    put(folder / "test" / "Patient_41.nii.gz", image_of(41))
    return folder


def brats(folder: Path, layout: str, values: tuple[int, ...], ending: str = ".nii.gz") -> Path:
    *images, label = SEQUENCES[layout]
    for seed, name in enumerate(images):
        put(folder / "BraTS_001" / f"BraTS_001{name}{ending}", image_of(seed))
    put(folder / "BraTS_001" / f"BraTS_001{label}{ending}", label_of(*values))
    return folder


def test_segthor(tmp_path, capsys):
    folder = segthor(tmp_path / "SegTHOR")
    assert main(["convert", "segthor", "-i", str(folder), "-o", str(tmp_path / "raw"), "-np", "1"]) == 0
    assert "6 training cases, 1 test cases" in capsys.readouterr().out
    dataset = tmp_path / "raw" / "Dataset055_SegTHOR"
    content = read_json(dataset / "dataset.json")
    assert content["labels"] == {"background": 0, "oesophagus": 1, "heart": 2, "trachea": 3, "aorta": 4}
    assert content["channel_names"] == {"0": "CT"}
    assert content["conversion"]["source"] == "segthor"
    assert names_in(dataset / "imagesTs") == ["Patient_41_0000.nii.gz"]
    source = folder / "train" / "Patient_03" / "GT.nii.gz"
    assert (dataset / "labelsTr" / "Patient_03.nii.gz").read_bytes() == source.read_bytes()


def test_segthor_without_test_images_or_with_unknown_labels(tmp_path):
    folder = segthor(tmp_path / "SegTHOR")
    (folder / "test" / "Patient_41.nii.gz").unlink()
    (folder / "test").rmdir()
    done = convert_segthor(folder, dataset_id=56, name="Thorax", output=tmp_path / "raw", processes=1)
    assert (done.folder.name, done.test_cases) == ("Dataset056_Thorax", [])
    put(folder / "train" / "Patient_02" / "GT.nii.gz", label_of(5))
    with pytest.raises(BadCasesError, match="values 5 found"):
        convert_segthor(folder, output=tmp_path / "raw", processes=1)


def test_segthor_with_cases_without_annotation(tmp_path):
    folder = segthor(tmp_path / "SegTHOR")
    (folder / "train" / "Patient_02" / "GT.nii.gz").unlink()
    with pytest.raises(BadCasesError, match=r"'Patient_02': no label .*--unlabelled-as-test"):
        convert_segthor(folder, output=tmp_path / "raw", processes=1)
    done = convert_segthor(folder, unlabelled_as_test=True, output=tmp_path / "raw", processes=1)
    assert sorted(done.test_cases) == ["Patient_02", "Patient_41"]


def test_brats_writes_regions_of_consecutive_labels(tmp_path):
    folder = brats(tmp_path / "data", "2021", (1, 2, 4))
    done = convert_brats(folder, output=tmp_path / "raw", processes=1)
    assert done.folder.name == "Dataset137_BraTS"
    content = read_json(done.folder / "dataset.json")
    assert content["labels"] == REGIONS
    assert content["regions_class_order"] == [2, 1, 3]
    assert list(content["channel_names"].values()) == ["T1", "T1ce", "T2", "FLAIR"]
    assert content["conversion"]["label_of_value"] == {"0": 0, "1": 1, "2": 2, "4": 3}
    np.testing.assert_array_equal(read_volume(done.folder / "labelsTr" / "BraTS_001.nii.gz")[0], label_of(1, 2, 3))
    for channel, name in enumerate(SEQUENCES["2021"][:4]):
        source = folder / "BraTS_001" / f"BraTS_001{name}.nii.gz"
        assert (done.folder / "imagesTr" / f"BraTS_001_{channel:04d}.nii.gz").read_bytes() == source.read_bytes()


def test_brats_in_plain_nifti_files(tmp_path):
    done = convert_brats(brats(tmp_path / "data", "2021", (4, 0, 2), ".nii"), output=tmp_path / "raw", processes=1)
    assert len(names_in(done.folder / "imagesTr")) == 4
    np.testing.assert_array_equal(read_volume(done.folder / "labelsTr" / "BraTS_001.nii.gz")[0], label_of(3, 0, 2))


def test_brats_of_2023_has_other_names_and_values(tmp_path):
    folder = brats(tmp_path / "data", "2023", (1, 2, 3))
    done = convert_brats(folder, layout="2023", output=tmp_path / "raw", processes=1)
    assert read_json(done.folder / "dataset.json")["labels"] == REGIONS
    source = folder / "BraTS_001" / "BraTS_001-seg.nii.gz"
    assert (done.folder / "labelsTr" / "BraTS_001.nii.gz").read_bytes() == source.read_bytes()


def test_brats_of_the_decathlon_has_classes_and_channels_in_another_order(tmp_path):
    folder = tmp_path / "Dataset001_BrainTumour"
    for channel in range(4):
        put(folder / "imagesTr" / f"BRATS_001_{channel:04d}.nii.gz", image_of(channel))
    put(folder / "labelsTr" / "BRATS_001.nii.gz", label_of(1, 2, 3))
    done = convert_brats(folder, layout="msd", output=tmp_path / "raw", processes=1)
    assert read_json(done.folder / "dataset.json")["labels"] == REGIONS
    np.testing.assert_array_equal(read_volume(done.folder / "labelsTr" / "BRATS_001.nii.gz")[0], label_of(2, 1, 3))
    for channel, number in enumerate((1, 2, 3, 0)):  # FLAIR is the first there, and the last here
        source = folder / "imagesTr" / f"BRATS_001_{number:04d}.nii.gz"
        assert (done.folder / "imagesTr" / f"BRATS_001_{channel:04d}.nii.gz").read_bytes() == source.read_bytes()


def test_brats_with_cases_to_validate_on(tmp_path):
    folder = brats(tmp_path / "data", "2021", (1,))
    for name in SEQUENCES["2021"][:4]:
        put(folder / "Val_7" / f"Val_7{name}.nii.gz", image_of())
    with pytest.raises(BadCasesError, match="case 'Val_7': no label"):
        convert_brats(folder, output=tmp_path / "raw", processes=1)
    done = convert_brats(folder, unlabelled_as_test=True, output=tmp_path / "raw", processes=1)
    assert (done.cases, done.test_cases) == (["BraTS_001"], ["Val_7"])


def test_an_unknown_layout(tmp_path):
    with pytest.raises(InputError, match=f"expected one of {', '.join(LAYOUTS)}"):
        convert_brats(tmp_path, layout="1999", output=tmp_path)
