"""The trainers of the recipes that people bring along, with stock commands on a tiny dataset."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from nnunet_ext.demo.run import environment
from nnunet_ext.files import write_json
from nnunet_ext.imageio import write_volume
from nnunet_ext.imageio.geometry import Geometry
from tests.end_to_end.commands import few_iterations, run_command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

DATASET, PLANS = "Dataset921_Recipes", "nnUNetPlansCPU"
FOCAL, ADAM, EARLY = "nnUNetTrainerFocalLoss", "nnUNetTrainerAdamCosineWarmup", "nnUNetTrainerEarlyStopping"


def test_every_recipe_trains_and_goes_on_with_stock_commands(tmp_path: Path) -> None:
    variables = environment(tmp_path) | {"nnUNet_def_n_proc": "1"} | few_iterations(120)
    write_dataset(tmp_path / "nnUNet_raw" / DATASET)
    plan = ["nnUNetv2_plan_and_preprocess", "-d", "921", "-c", "2d", "-pl", "ExperimentPlannerCPU"]
    run_command([*plan, "-npfp", "1", "-np", "1", "--verify_dataset_integrity"], variables)

    # Batches of a few small slices are made faster than workers start.
    variables |= {"nnUNet_n_proc_DA": "0"}
    printed = run_command(train(f"{FOCAL}_1epochs"), variables)
    assert "Training done." in printed
    assert mean_dice(printed) > 0.3

    wrong = {"NNUNET_EXT_ADAM_WARMUP_EPOCHS": "3"}
    with pytest.raises(AssertionError, match=r"NNUNET_EXT_ADAM_WARMUP_EPOCHS must be .* from 0 to 2, .* but is '3'"):
        run_command(train(f"{ADAM}_2epochs"), variables | wrong)
    adam = {"NNUNET_EXT_ADAM_LEARNING_RATE": "0.002", "NNUNET_EXT_ADAM_GRADIENT_CLIP": "1"}
    printed = run_command(train(f"{ADAM}_1epochs"), variables | adam)
    assert "learning_rate 0.002, weight_decay 0.0001, warmup_epochs 1, gradient_clip 1" in printed
    assert mean_dice(printed) > 0.3
    continue_as_longer_training(tmp_path, ADAM, 1, 2)
    printed = run_command([*train(f"{ADAM}_2epochs"), "--c"], variables)
    assert "learning_rate 0.002" in printed
    # Two epochs with one of warm-up: half of the peak in the middle of the cosine, as in the middle of the warm-up.
    assert logged(tmp_path, f"{ADAM}_2epochs", "lrs") == pytest.approx([0.001, 0.001])

    early = {"NNUNET_EXT_EARLY_STOPPING_PATIENCE": "1", "NNUNET_EXT_EARLY_STOPPING_MIN_DELTA": "5"}
    printed = run_command(train(f"{EARLY}_9epochs"), variables | early)
    assert "Early stopping before epoch 2: the moving average of the pseudo Dice has not improved" in printed
    assert len(logged(tmp_path, f"{EARLY}_9epochs", "ema_fg_dice")) == 2
    printed = run_command([*train(f"{EARLY}_9epochs"), "--c"], variables | early)
    assert "Early stopping before epoch 2" in printed
    assert "Epoch 2" not in printed


def write_dataset(folder: Path) -> None:
    """Noisy slices with a bright disc and a dark ring, one of them at another place in every case."""
    rng = np.random.default_rng(7)
    y, x = np.indices((40, 40))
    for case in range(5):
        radius = np.hypot(y - rng.uniform(12, 28), x - rng.uniform(12, 28))
        labels = np.where(radius < 5, 1, np.where(radius < 9, 2, 0)).astype(np.uint8)[None].repeat(4, 0)
        image = np.array([100, 160, 40])[labels] + rng.normal(0, 15, labels.shape)
        geometry = Geometry(spacing=(3.0, 1.0, 1.0))
        write_volume(folder / "imagesTr" / f"case{case}_0000.nii.gz", image.astype(np.float32), geometry)
        write_volume(folder / "labelsTr" / f"case{case}.nii.gz", labels, geometry)
    names = {"background": 0, "disc": 1, "ring": 2}
    content = {"channel_names": {"0": "MRI"}, "labels": names, "numTraining": 5, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", content)


def train(trainer: str) -> list[str]:
    return ["nnUNetv2_train", "921", "2d", "0", "-p", PLANS, "-tr", trainer, "-device", "cpu"]


def fold(folder: Path, trainer: str) -> Path:
    return folder / "nnUNet_results" / DATASET / f"{trainer}__{PLANS}__2d" / "fold_0"


def continue_as_longer_training(folder: Path, trainer: str, before: int, after: int) -> None:
    """Let a training that ended be the checkpoint of one that has more epochs, as if it had been interrupted."""
    longer = fold(folder, f"{trainer}_{after}epochs")
    shutil.copytree(fold(folder, f"{trainer}_{before}epochs"), longer, dirs_exist_ok=True)


def logged(folder: Path, trainer: str, key: str) -> list[float]:
    """Return a curve in the final checkpoint."""
    checkpoint = torch.load(fold(folder, trainer) / "checkpoint_final.pth", weights_only=False, map_location="cpu")
    curve: list[float] = checkpoint["logging"][key]
    return curve


def mean_dice(printed: str) -> float:
    return float(printed.split("Mean Validation Dice:")[-1].split()[0])
