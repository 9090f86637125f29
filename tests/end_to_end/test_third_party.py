"""Stock nnU-Net commands with a package of somebody else: one registered class of every kind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytestmark = pytest.mark.end_to_end

SOURCE = Path(__file__).resolve().parents[1] / "third_party"
COMMANDS = Path(sys.executable).parent
SHAPE = (24, 32, 32)
TRAINER = "nnUNetTrainerSoilLab_1epoch"
USED_ON_EVERY_IMAGE = {"SoilLabReader", "SoilLabPreprocessor", "SoilLabNormalization", "soil_lab_resampling"}


@pytest.fixture(scope="module")
def soil_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package as its developer would, unpack the wheel; the folder is for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("soil_lab")
    shutil.copytree(SOURCE, folder / "source")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder / "dist", folder / "source"]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def run(
    command: str, *words: str | Path, installed: Path, folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment with the package on its path, and nnU-Net's folders in ``folder``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("nnUNet", "PYTHON"))}
    environment |= {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    environment |= {"nnUNet_compile": "f", "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1"}
    environment |= {"PYTHONPATH": str(installed), **variables}
    words = (str(COMMANDS / command), *map(str, words))
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, timeout=600)


def run_well(
    command: str, *words: str | Path, installed: Path, folder: Path, trace: Path
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command that has to succeed; return also the names of the classes that left a trace."""
    done = run(command, *words, installed=installed, folder=folder, SOIL_LAB_TRACE=str(trace))
    assert done.returncode == 0, f"{command} exits with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done, set(trace.read_text().split()) if trace.exists() else set()


def write_scan(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.5, 0.6))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, path)


def write_dataset(raw: Path) -> None:
    """Write five noisy scans of a ball and a rod, and one more to predict."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices(SHAPE)
    for case in range(6):
        labels = np.zeros(SHAPE, dtype=np.uint8)
        labels[(z - 12) ** 2 + (y - 10 - case) ** 2 + (x - 12) ** 2 < 36] = 1
        labels[(y - 24) ** 2 + (x - 20) ** 2 < 16] = 2
        image = (labels * 50 + rng.normal(100, 5, SHAPE)).astype(np.float32)
        if case < 5:
            write_scan(raw / "Dataset901_SoilLab" / "imagesTr" / f"scan{case}_0000.nii.gz", image)
            write_scan(raw / "Dataset901_SoilLab" / "labelsTr" / f"scan{case}.nii.gz", labels)
        else:
            write_scan(raw / "unseen" / f"scan{case}_0000.nii.gz", image)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "stone": 1, "root": 2},
        "numTraining": 5,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SoilLabReader",
    }
    (raw / "Dataset901_SoilLab" / "dataset.json").write_text(json.dumps(description))


def test_stock_commands_plan_train_and_predict_with_every_registered_class(soil_lab, tmp_path):
    write_dataset(tmp_path / "raw")

    _, used = run_well(
        "nnUNetv2_plan_and_preprocess",
        *[
            "-d",
            "901",
            "-c",
            "3d_fullres",
            "-pl",
            "SoilLabPlanner",
            "-npfp",
            "1",
            "-np",
            "1",
            "--verify_dataset_integrity",
        ],
        installed=soil_lab,
        folder=tmp_path,
        trace=tmp_path / "used_in_planning",
    )
    assert used >= USED_ON_EVERY_IMAGE | {"SoilLabPlanner"}
    plans = json.loads((tmp_path / "preprocessed" / "Dataset901_SoilLab" / "SoilLabPlans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    assert plans["plans_name"] == "SoilLabPlans"
    assert plans["experiment_planner_used"] == "SoilLabPlanner"
    assert plans["image_reader_writer"] == "SoilLabReader"
    assert plans["label_manager"] == "SoilLabLabelManager"
    assert configuration["preprocessor_name"] == "SoilLabPreprocessor"
    assert configuration["normalization_schemes"] == ["SoilLabNormalization"]
    assert configuration["resampling_fn_data"] == "soil_lab_resampling"

    done, used = run_well(
        "nnUNetv2_train",
        *f"901 3d_fullres 0 -p SoilLabPlans -tr {TRAINER} -device cpu".split(),
        installed=soil_lab,
        folder=tmp_path,
        trace=tmp_path / "used_in_training",
    )
    assert used >= {"nnUNetTrainerSoilLab", "SoilLabLabelManager"}
    assert "Epoch 0" in done.stdout
    assert "Epoch 1" not in done.stdout
    model = tmp_path / "results" / "Dataset901_SoilLab" / f"{TRAINER}__SoilLabPlans__3d_fullres"
    assert (model / "fold_0" / "checkpoint_final.pth").is_file()
    assert (model / "fold_0" / "validation" / "summary.json").is_file()

    _, used = run_well(
        "nnUNetv2_predict",
        *("-i", tmp_path / "raw" / "unseen", "-o", tmp_path / "predicted"),
        *f"-d 901 -c 3d_fullres -p SoilLabPlans -tr {TRAINER} -f 0 -npp 1 -nps 1 -device cpu".split(),
        installed=soil_lab,
        folder=tmp_path,
        trace=tmp_path / "used_in_prediction",
    )
    assert used >= USED_ON_EVERY_IMAGE | {"nnUNetTrainerSoilLab", "SoilLabLabelManager"}
    predicted = sitk.ReadImage(tmp_path / "predicted" / "scan5.nii.gz")
    assert sitk.GetArrayFromImage(predicted).shape == SHAPE
    assert predicted.GetSpacing() == pytest.approx((0.5, 0.5, 0.6))


def test_a_trainer_that_cannot_be_imported_is_named_with_its_own_error(soil_lab, tmp_path):
    words = ["901", "3d_fullres", "0", "-tr", "nnUNetTrainerBroken", "-device", "cpu"]
    done = run("nnUNetv2_train", *words, installed=soil_lab, folder=tmp_path)
    assert done.returncode != 0
    assert "nnUNetTrainerBroken = soil_lab_nnunet.broken:nnUNetTrainerBroken" in done.stderr
    assert "package 'soil_lab_nnunet'" in done.stderr
    assert "No module named 'a_module_that_nobody_has'" in done.stderr


@pytest.mark.parametrize(
    ("command", "words", "closest"),
    [
        ("nnUNetv2_train", "901 3d_fullres 0 -tr nnUNetTrainerSoilLap", "nnUNetTrainerSoilLab"),
        ("nnUNetv2_plan_experiment", "-d 901 -pl SoilLabPlaner", "SoilLabPlanner"),
    ],
    ids=["trainer", "planner"],
)
def test_a_misspelt_name_is_answered_with_the_closest_ones(soil_lab, tmp_path, command, words, closest):
    write_dataset(tmp_path / "raw")
    done = run(command, *words.split(), installed=soil_lab, folder=tmp_path)
    assert done.returncode != 0
    assert f"Closest names: {closest}" in done.stderr


def test_a_name_of_nnunet_stays_nnunets(soil_lab, tmp_path):
    code = (
        "from importlib.metadata import entry_points\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "print([p.value for p in entry_points(group='nnunetv2.trainers') if p.name == 'nnUNetTrainerDA5'])\n"
        "print(find('nnUNetTrainerDA5').__module__)\n"
    )
    done = run("python", "-c", code, installed=soil_lab, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    registered, module = done.stdout.splitlines()[-2:]
    assert registered == "['soil_lab_nnunet.classes:nnUNetTrainerSoilLab']"
    assert module.startswith("nnunetv2.training.nnUNetTrainer.")


def test_doctor_lists_the_package_of_every_registered_class(soil_lab, tmp_path):
    done = run("nnunet_ext", "doctor", installed=soil_lab, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith("of package soil_lab_nnunet")}
    assert listed >= {*USED_ON_EVERY_IMAGE, "SoilLabPlanner", "SoilLabLabelManager", "nnUNetTrainerSoilLab"}
    assert "nnUNetTrainerBroken" in listed
    assert "No module named 'a_module_that_nobody_has'" in done.stdout
    assert "nnUNetTrainerDA5, registered by package 'soil_lab_nnunet', is never found" in done.stdout
