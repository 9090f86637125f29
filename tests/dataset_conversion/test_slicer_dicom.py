"""DICOM series as images: a folder per case, one series of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("slicerio")

from dataset_conversion.dicom_series import find_series, open_series
from dataset_conversion.slicer_dataset import convert_slicer_nrrd
from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.imageio import read_volume
from tests.dataset_conversion.slicer_files import AIRWAYS, GEOMETRY, LUNGS, SHAPE, dicom, digests, segmentation

if TYPE_CHECKING:
    from pathlib import Path


def grey_values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE, dtype=np.int16)


def patients(folder: Path) -> tuple[Path, Path]:
    for number, case in enumerate(("P1", "P2")):
        dicom(folder / "dicom" / case / "scan", f"1.2.{number + 4}", seed=number)
        segmentation(folder / "segmentations" / f"{case}.seg.nrrd", {"lungs": LUNGS, "airways": AIRWAYS})
    return folder / "dicom", folder / "segmentations"


def convert(folder: Path, images: Path, segmentations: Path, **more: object):
    return convert_slicer_nrrd(
        images,
        segmentations,
        dataset_id=7,
        name="Chest",
        output=folder / "raw",
        processes=1,
        dicom=True,
        classes=["lungs", "airways"],
        **more,
    )


def test_series_become_images_under_their_segmentations(tmp_path):
    images, segmentations = patients(tmp_path)
    before = digests(images)
    converted = convert(tmp_path, images, segmentations)
    assert converted.cases == ["P1", "P2"]
    for number, case in enumerate(converted.cases):
        voxels, geometry = read_volume(converted.folder / "imagesTr" / f"{case}_0000.nrrd")
        np.testing.assert_array_equal(voxels, grey_values(number))
        assert np.allclose(geometry.spacing, GEOMETRY.spacing)
        assert np.allclose(geometry.origin, GEOMETRY.origin)
        labels, _ = read_volume(converted.folder / "labelsTr" / f"{case}.nrrd")
        np.testing.assert_array_equal(labels, LUNGS + 2 * AIRWAYS)
    content = json.loads((converted.folder / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "CT"}
    record = json.loads((converted.folder / "conversion.json").read_text())
    assert record["cases"]["P2"]["series"] == "1.2.5"
    assert digests(images) == before


def test_other_modalities_are_not_called_ct(tmp_path):
    images, segmentations = patients(tmp_path)
    for path in (images / "P2" / "scan").iterdir():
        path.unlink()
    dicom(images / "P2" / "scan", "1.2.5", modality="MR")
    converted = convert(tmp_path, images, segmentations)
    assert json.loads((converted.folder / "dataset.json").read_text())["channel_names"] == {"0": "image"}


def test_of_several_series_the_user_picks_one(tmp_path):
    images, segmentations = patients(tmp_path)
    dicom(images / "P2" / "scan", "1.2.9", modality="MR", slices=range(4), seed=7)
    with pytest.raises(BadCasesError) as caught:
        convert(tmp_path, images, segmentations)
    (problem,) = caught.value.problems
    assert "P2: 2 DICOM series found, expected one; choose one with --series UID" in problem
    assert "1.2.5 (series of CT, 6 files)" in problem
    assert "1.2.9 (series of MR, 4 files)" in problem
    assert not (tmp_path / "raw").exists()
    converted = convert(tmp_path, images, segmentations, series=["1.2.5"])
    np.testing.assert_array_equal(read_volume(converted.folder / "imagesTr" / "P2_0000.nrrd")[0], grey_values(1))
    with pytest.raises(BadCasesError, match="several of them are given"):
        convert(tmp_path / "both", images, segmentations, series=["1.2.5", "1.2.9"])


def test_a_series_that_is_nowhere(tmp_path):
    with pytest.raises(InputError, match=r"--series 9\.9: in no folder"):
        convert(tmp_path, *patients(tmp_path), series=["9.9"])


def test_a_missing_slice_is_named(tmp_path):
    images, segmentations = patients(tmp_path)
    next((images / "P1" / "scan").glob("*_3.dcm")).unlink()
    with pytest.raises(BadCasesError) as caught:
        convert(tmp_path, images, segmentations)
    (problem,) = caught.value.problems
    assert "P1: series 1.2.4: slices 2 mm apart, but 1.2.4_2.dcm to 1.2.4_4.dcm: 4 mm" in problem


def test_two_volumes_in_one_series(tmp_path):
    dicom(tmp_path / "scan", "1.2.4")
    for path in list((tmp_path / "scan").iterdir()):
        path.with_name(f"second_{path.name}").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="or there twice"):
        open_series(find_series(tmp_path))


def test_folders_without_dicom(tmp_path):
    images, segmentations = patients(tmp_path)
    (images / "P3").mkdir()
    (images / "P3" / "notes.txt").write_text("nothing")
    with pytest.raises(BadCasesError) as caught:
        convert(tmp_path, images, segmentations)
    (problem,) = caught.value.problems
    assert "P3: no DICOM series found" in problem
    with pytest.raises(InputError, match="one folder of DICOM files per case"):
        convert(tmp_path, images / "P1" / "scan", segmentations)


def test_a_tilted_gantry(tmp_path):
    dicom(tmp_path / "tilted", "1.2.4", shift=0.2)
    with pytest.raises(InputError, match=r"shifted by 1 mm over 10 mm \(tilted gantry\)"):
        open_series(find_series(tmp_path / "tilted"))
    dicom(tmp_path / "rounded", "1.2.4", shift=0.01)
    assert open_series(find_series(tmp_path / "rounded")).shape == SHAPE


def test_a_localizer_in_the_series(tmp_path):
    dicom(tmp_path, "1.2.4", directions={5: "1\\0\\0\\0\\0\\-1"})
    with pytest.raises(InputError, match="slices of different directions"):
        open_series(find_series(tmp_path))
