"""Clinical volumes by stock nnU-Net commands: segments of 3D Slicer and back, NIfTI to an ensemble and its scores."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nnunet_ext.demo.run import environment
from nnunet_ext.imageio import open_volume, read_volume, write_volume
from tests.builders import SHARED_DATA
from tests.end_to_end.commands import few_iterations, run_command
from tests.evaluation.label_folders import read_table

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

PLANS = "nnUNetPlansCPU"
TRAINER = "nnUNetTrainer_1epochs"
MODEL = ["-tr", TRAINER, "-p", PLANS, "-device", "cpu"]
CORNERS = ((0, 0), (0, 48), (48, 0), (48, 48), (24, 24))
SIDE = 80


@pytest.mark.skipif(not (SHARED_DATA / "slicer").is_dir(), reason="real data are not there")
def test_segments_of_slicer_come_back_with_their_names_on_the_image(tmp_path: Path) -> None:
    slicerio = pytest.importorskip("slicerio")
    variables = environment(tmp_path) | {"nnUNet_def_n_proc": "1"} | few_iterations(25)
    names = {
        segment["name"]
        for segment in json.loads((SHARED_DATA / "slicer" / "expected.json").read_text())["Segmentation.seg.nrrd"][
            "segments"
        ]
    }
    write_crops(tmp_path, variables)
    words = ["nnunet_ext", "convert", "slicer_nrrd", "-i", tmp_path / "images", "-l", tmp_path / "segmentations"]
    run_command([*words, "-d", 12, "-n", "Chest", "--channels", "CT", "-np", 1, "--missing-ok"], variables)
    plan = ["nnUNetv2_plan_and_preprocess", "-d", 12, "-pl", "ExperimentPlannerCPU", "-c", "2d", "-npfp", 1, "-np", 1]
    run_command([*plan, "--verify_dataset_integrity"], variables)
    run_command(["nnUNetv2_train", 12, "2d", 0, *MODEL], variables)

    new = tmp_path / "new" / "case0_0000.nrrd"
    new.parent.mkdir()
    shutil.copy(tmp_path / "images" / "case0.nrrd", new)
    predicted, back = tmp_path / "predicted", tmp_path / "back"
    words = ["nnUNetv2_predict", "-i", new.parent, "-o", predicted, "-d", 12, "-c", "2d", "-f", 0, "-npp", 1, "-nps", 1]
    run_command([*words, *MODEL], variables)
    run_command(["nnunet_ext", "export", "slicer_nrrd", "-i", predicted, "-o", back])
    found = slicerio.read_segmentation(str(back / "case0.seg.nrrd"))
    assert {segment["name"] for segment in found["segments"]} == names
    assert all("color" in segment for segment in found["segments"])
    voxels, geometry = read_volume(predicted / "case0.nrrd")
    with open_volume(new) as image:
        assert image.shape == voxels.shape
        assert geometry.spacing == pytest.approx(image.geometry.spacing)
        assert geometry.origin == pytest.approx(image.geometry.origin)
    # slicerio has x first.
    np.testing.assert_array_equal(np.count_nonzero(found["voxels"]), np.count_nonzero(voxels))


def write_crops(folder: Path, variables: dict[str, str]) -> None:
    """Cut the scan into five cases that overlap, each with a segmentation as Slicer saves it."""
    source = folder / "source"
    for name, file in (("images", "CTChest4.nrrd"), ("segmentations", "Segmentation.seg.nrrd")):
        (source / name).mkdir(parents=True)
        shutil.copy(SHARED_DATA / "slicer" / file, source / name / ("chest" + ".".join(["", *file.split(".")[1:]])))
    words = ["nnunet_ext", "convert", "slicer_nrrd", "-i", source / "images", "-l", source / "segmentations"]
    run_command([*words, "-d", 11, "-n", "Whole", "--channels", "CT", "-np", 1], variables)
    dataset = folder / "nnUNet_raw" / "Dataset011_Whole"
    image, geometry = read_volume(dataset / "imagesTr" / "chest_0000.nrrd")
    labels, _ = read_volume(dataset / "labelsTr" / "chest.nrrd")
    crops = folder / "crops"
    crops.mkdir()
    shutil.copy(dataset / "dataset.json", crops)
    for number, (top, left) in enumerate(CORNERS):
        inside = (slice(None), slice(top, top + SIDE), slice(left, left + SIDE))
        place = geometry.shifted((0, top, left))
        write_volume(folder / "images" / f"case{number}.nrrd", image[inside], place)
        write_volume(crops / f"case{number}.nrrd", labels[inside], place)
    run_command(["nnunet_ext", "export", "slicer_nrrd", "-i", crops, "-o", folder / "segmentations"])


@pytest.mark.skipif(not (SHARED_DATA / "hippocampus").is_dir(), reason="real data are not there")
def test_nifti_goes_through_two_configurations_and_an_ensemble_to_scores(tmp_path: Path) -> None:
    # That it can be learned is tested with several label maps; here it is the way from the files to the scores.
    variables = environment(tmp_path) | {"nnUNet_def_n_proc": "1"} | few_iterations(8, 2)
    source = SHARED_DATA / "hippocampus"
    words = ["nnunet_ext", "convert", "nifti", "-i", source, "--image", "images/{case}.nii.gz"]
    words += ["--label", "labels/{case}.nii.gz", "-d", 21, "-n", "Hippocampus", "--channels", "MRI"]
    run_command([*words, "--classes", "anterior", "posterior", "-np", 1], variables)
    raw = tmp_path / "nnUNet_raw" / "Dataset021_Hippocampus"
    assert json.loads((raw / "dataset.json").read_text())["labels"] == {"background": 0, "anterior": 1, "posterior": 2}
    configurations = ("2d", "3d_fullres")
    plan = ["nnUNetv2_plan_and_preprocess", "-d", 21, "-pl", "ExperimentPlannerCPU", "-npfp", 1]
    run_command([*plan, "-c", *configurations, "-np", 1, 1, "--verify_dataset_integrity"], variables)
    for configuration in configurations:
        for fold in (0, 1):
            run_command(["nnUNetv2_train", 21, configuration, fold, *MODEL, "--npz"], variables)
    best = ["nnUNetv2_find_best_configuration", 21, "-c", *configurations, "-f", 0, 1, "-tr", TRAINER, "-p", PLANS]
    run_command([*best, "-np", 1], variables)

    images, predictions = tmp_path / "images", []
    images.mkdir()
    for path in sorted((raw / "imagesTr").glob("*.nii.gz"))[:3]:
        shutil.copy(path, images)
    for configuration in configurations:
        predictions.append(tmp_path / f"predicted_{configuration}")
        words = ["nnUNetv2_predict", "-i", images, "-o", predictions[-1], "-d", 21, "-c", configuration, "-f", 0, 1]
        run_command([*words, *MODEL, "-npp", 1, "-nps", 1, "--save_probabilities", "--disable_tta"], variables)
    ensemble = tmp_path / "ensemble"
    run_command(["nnUNetv2_ensemble", "-i", *predictions, "-o", ensemble, "-np", 1], variables)
    names = [
        f"{name}={folder}" for name, folder in zip(("flat", "solid", "both"), [*predictions, ensemble], strict=True)
    ]
    scores = tmp_path / "scores"
    run_command(["nnunet_ext", "evaluate", "-p", *names, "-g", raw / "labelsTr", "-o", scores, "-np", 1, "--subset"])
    rows = read_table(scores / "cases.csv")
    assert {(row["model"], row["class"]) for row in rows} >= {
        (model, name) for model in ("flat", "solid", "both") for name in ("anterior", "posterior")
    }
