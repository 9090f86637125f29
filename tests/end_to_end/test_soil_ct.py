"""The soil workflow on real scans: three-class labels made sparse, through stock commands and back."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from nnunet_ext.demo.phantom import sparse_annotation
from nnunet_ext.demo.run import environment as environment_of
from nnunet_ext.imageio import open_volume
from nnunet_ext.imageio.grid import grid_differences, grid_of
from tests.builders import SHARED_DATA, class_file, write_tif
from tests.end_to_end.commands import assert_predicted_alike, run_command

DATA = SHARED_DATA / "soil_ct"
TRAINER = "nnUNetTrainer_betterIgnoreSampling_1epochs"
PLANS = "nnUNetPlansCPU"
NAMES = {"0": "ToPredict", "1": "Pore", "2": "Matrix", "3": "Grain"}

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not DATA.is_dir(), reason="no shared test data"),
]


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """Convert three real scans, plan, train; the fourth scan stays unseen. Returns folder, environment and model."""
    folder = tmp_path_factory.mktemp("soil ct")
    environment = environment_of(folder)
    for number in range(4):
        image = tifffile.imread(DATA / "volumes" / f"soil_00{number}_image.tif")[:, :96, :96]
        ids = tifffile.imread(DATA / "volumes" / f"soil_00{number}_label_otsu.tif")[:, :96, :96].astype(np.uint8) + 1
        if number < 3:
            write_tif(folder / "scans" / f"soil_00{number}_image.tif", image)
            sparse = sparse_annotation(ids, np.random.default_rng(number), marks=20)
            write_tif(folder / "scans" / f"soil_00{number}_annotation.tif", sparse)
        else:
            write_tif(folder / "unseen" / f"soil_00{number}.tif", image)
            write_tif(folder / "truth" / f"soil_00{number}.tif", ids)
    classes = class_file(folder / "classes.json", NAMES, colors={"1": [0, 0, 255], "2": [139, 69, 19]})
    words = ["-i", folder / "scans", "-a", folder / "scans", "-c", classes, "--image-suffix", "_image"]
    convert = ["nnunet_ext", "convert", "soil_ct", *words, "--annotation-suffix", "_annotation"]
    run_command([*convert, "--split-annotated", "2", "--context", "12"], environment)
    plan = ["nnUNetv2_plan_and_preprocess", "-d", "777", "-c", "3d_fullres", "-pl", "ExperimentPlannerCPU"]
    run_command([*plan, "-npfp", "2", "-np", "2", "--verify_dataset_integrity"], environment)
    train = ["nnUNetv2_train", "777", "3d_fullres", "0", "-p", PLANS, "-tr", TRAINER, "-device", "cpu"]
    log = run_command(train, environment)
    assert "Training done." in log
    model = folder / "nnUNet_results" / "Dataset777_Soil" / f"{TRAINER}__{PLANS}__3d_fullres"
    return folder, environment, model


def predict(folder, environment, model, scans, name, *options):
    """Prepare, predict and export; return the folder of exported volumes."""
    run_command(
        ["nnunet_ext", "prepare", "soil_ct", "-i", scans, "-o", folder / f"{name}_in", "-m", model], environment
    )
    words = ["-i", folder / f"{name}_in", "-o", folder / f"{name}_out", "-d", "777", "-c", "3d_fullres", "-f", "0"]
    more = ["-p", PLANS, "-tr", TRAINER, "-device", "cpu", "-npp", "1", "-nps", "1", *options]
    run_command(["nnUNetv2_predict", *words, *more], environment)
    run_command(
        ["nnunet_ext", "export", "soil_ct", "-i", folder / f"{name}_out", "-o", folder / f"{name}_tif"], environment
    )
    return folder / f"{name}_tif"


def test_the_model_knows_how_it_was_converted(workflow):
    _, _, model = workflow
    conversion = json.loads((model / "dataset.json").read_text())["conversion"]
    assert conversion["label_map"] == {"0": 3, "1": 0, "2": 1, "3": 2}
    assert (model / "fold_0" / "checkpoint_final.pth").is_file()


def test_an_unseen_scan_is_segmented_in_the_annotations_ids(workflow):
    folder, environment, model = workflow
    classes = ["--classes", folder / "classes.json"]
    exported = predict(folder, environment, model, folder / "unseen", "unseen")
    assert_predicted_alike(folder / "unseen_in", folder / "unseen_out", model, folder / "unseen_ours")
    run_command(
        ["nnunet_ext", "evaluate", "-p", exported, "-g", folder / "truth", "-o", folder / "scores", *classes],
        environment,
    )
    with (folder / "scores" / "cases.csv").open(newline="") as file:
        dice = {row["class"]: float(row["value"]) for row in csv.DictReader(file) if row["metric"] == "Dice"}
    assert set(dice) == {"Pore", "Matrix", "Grain"}
    assert min(dice.values()) > 0.5, dice


def test_the_folder_of_real_slices_is_predicted_as_one_volume(workflow):
    folder, environment, model = workflow
    options = ("-step_size", "1", "--disable_tta")
    exported = predict(folder, environment, model, DATA / "slices", "slices", *options)
    ids = tifffile.imread(exported / "slices.tif")
    assert ids.shape == (48, 500, 500)
    assert set(np.unique(ids)) <= {1, 2, 3}
    prepared = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "slices_in" / "slices_0000.nii.gz")))
    means = [prepared[ids == value].mean() for value in (1, 2, 3)]
    assert means == sorted(means), "pores must be darker than matrix, and matrix darker than grains"

    ours, words = folder / "slices_ours", ["-step_size", "1", "--disable_tta", "--memory", "4G"]
    assert_predicted_alike(folder / "slices_in", folder / "slices_out", model, ours, *words)
    export = ["nnunet_ext", "export", "soil_ct", "-i", ours, "-o", folder / "slices_ours_tif"]
    run_command(export, environment)
    with tifffile.TiffFile(folder / "slices_ours_tif" / "slices.tif") as file:
        colors = np.array(file.pages[0].colormap).T >> 8
        found = file.asarray()
    assert (found == ids).mean() >= 0.9999
    assert colors[[1, 2]].tolist() == [[0, 0, 255], [139, 69, 19]]
    with open_volume(folder / "slices_ours_tif" / "slices.tif") as first, open_volume(DATA / "slices") as scan:
        assert first.geometry.spacing == pytest.approx(scan.geometry.spacing)


def test_stock_nnunet_predicts_pieces_that_merge_to_the_whole_scan(workflow):
    folder, environment, model = workflow
    images = folder / "pieces_of"
    run_command(["nnunet_ext", "prepare", "soil_ct", "-i", folder / "unseen", "-o", images, "-m", model], environment)
    options = ["-f", "0", "-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta", "-step_size", "1"]
    stock = ["nnUNetv2_predict_from_modelfolder", "-m", model, *options]
    run_command([*stock, "-i", images, "-o", folder / "whole"], environment)
    run_command(["nnunet_ext", "split", "-i", images, "-o", folder / "pieces", "-m", model, "-s", "3"], environment)
    predicted = folder / "pieces_predicted"
    run_command([*stock, "-i", folder / "pieces", "-o", predicted, "--save_probabilities"], environment)
    merge = ["nnunet_ext", "merge", "-i", predicted, "--manifest", folder / "pieces" / "split_manifest.json"]
    run_command([*merge, "-o", folder / "merged"], environment)
    run_command([*merge, "-o", folder / "blended", "--blend"], environment)
    with open_volume(folder / "whole" / "soil_003.nii.gz") as whole:
        expected = whole.slab(0, whole.shape[0])
        for name in ("merged", "blended"):
            with open_volume(folder / name / "soil_003.nii.gz") as merged:
                assert grid_differences(grid_of(merged), grid_of(whole)) == []
                # Windows stand elsewhere in a piece; so voxels between two classes may change, and no more than these.
                assert (merged.slab(0, merged.shape[0]) == expected).mean() > 0.95, name


def test_our_scores_of_the_validation_fold_are_those_of_nnunet(workflow):
    folder, environment, model = workflow
    validation = model / "fold_0" / "validation"
    labels = folder / "nnUNet_raw" / "Dataset777_Soil" / "labelsTr"
    run_command(["nnunet_ext", "evaluate", "-p", validation, "-g", labels, "-o", folder / "fold_0"], environment)
    ours = json.loads((folder / "fold_0" / "summary.json").read_text())
    nnunets = json.loads((validation / "summary.json").read_text())
    for label, metrics in nnunets["mean"].items():
        for metric, value in metrics.items():
            assert ours["mean"][label][metric] == pytest.approx(value, abs=1e-9, nan_ok=True)
    assert ours["foreground_mean"]["Dice"] == pytest.approx(nnunets["foreground_mean"]["Dice"], abs=1e-9, nan_ok=True)
