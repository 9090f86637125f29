"""``nnunet_ext benchmark`` on a tiny preprocessed dataset: its file and its table exist, and their figures agree."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from nnunet_ext.demo.run import environment
from tests.end_to_end.commands import run_command
from tests.end_to_end.test_recipes import DATASET, PLANS, write_dataset

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

STOCK, OURS = "nnUNetTrainer", "nnUNetTrainerAdamCosineWarmup_5epochs"


def test_training_and_prediction_of_a_stock_trainer_and_one_of_ours(tmp_path: Path) -> None:
    variables = environment(tmp_path) | {"nnUNet_def_n_proc": "1", "OMP_NUM_THREADS": "1"}
    write_dataset(tmp_path / "nnUNet_raw" / DATASET)
    plan = ["nnUNetv2_plan_and_preprocess", "-d", "921", "-c", "2d", "-pl", "ExperimentPlannerCPU"]
    run_command([*plan, "-npfp", "1", "-np", "1"], variables)
    # Batches of a few small slices are made faster than workers start.
    variables["nnUNet_n_proc_DA"] = "0"
    plans = json.loads((tmp_path / "nnUNet_preprocessed" / DATASET / f"{PLANS}.json").read_text())
    planned = plans["configurations"]["2d"]

    for trainer in (STOCK, OURS):
        found, printed = measured(tmp_path, variables, "train", trainer, "--batches", 3, "--warmup", 1)
        assert (found["batch_size"], found["patch_size"]) == (planned["batch_size"], planned["patch_size"])
        assert_consistent(found["train"], 3, planned["batch_size"])
        assert_consistent(found["validation"], 1, planned["batch_size"])
        steps = {"train": 250, "validation": 50}
        epoch = sum(count * found[kind]["latency_ms"]["mean"] / 1000 for kind, count in steps.items())
        assert found["epoch_seconds"] == pytest.approx(epoch)
        assert f"an epoch: {epoch:.1f} s" in printed
        assert_printed(found, "train", printed)
        assert_printed(found, "validation", printed)

    for trainer, options, patches in ((STOCK, ["--batch-size", 3], 3), (OURS, ["--disable_tta", "--synthetic"], 1)):
        words = ["--batches", 4, "--warmup", 1, *options]
        found, printed = measured(tmp_path, variables, "predict", trainer, *words)
        assert found["mirroring"] == ("--disable_tta" not in options)
        assert found["synthetic"] == ("--synthetic" in options)
        assert_consistent(found["predict"], 4, patches)
        assert_printed(found, "predict", printed)
        assert "train" not in found

    assert not any((tmp_path / "nnUNet_results").rglob("*")), "a benchmark is no trained model"


def measured(
    folder: Path, variables: dict[str, str], mode: str, trainer: str, *options: object
) -> tuple[dict[str, Any], str]:
    """Run the command; return its JSON file and what it printed."""
    output = folder / "_".join(["out", mode, trainer, *map(str, options)])
    words = ["nnunet_ext", "benchmark", mode, "-d", 921, "-c", "2d", "-tr", trainer, "-p", PLANS, "-device", "cpu"]
    printed = run_command([*words, "-o", output, *options], variables)
    assert str(output / "benchmark.json") in printed
    found: dict[str, Any] = json.loads((output / "benchmark.json").read_text())
    assert (found["mode"], found["dataset"], found["trainer"]) == (mode, DATASET, trainer)
    # nnU-Net and torch alone are more than this.
    assert found["peak_memory_bytes"]["process"] > 100e6
    # As nnU-Net's commands do: to train, one thread per core; to predict, no more than nnUNet_def_n_proc.
    assert found["machine"]["threads"] == (os.cpu_count() if mode == "train" else 1)
    return found, printed


def assert_consistent(figures: dict[str, Any], steps: int, patches: int) -> None:
    """Compare the figures of one kind of step with each other."""
    rate, latency = figures["patches_per_second"], figures["latency_ms"]
    assert (figures["steps"], figures["patches_per_step"]) == (steps, patches)
    assert 0 < rate["min"] <= rate["median"] <= rate["max"]
    assert rate["min"] <= rate["mean"] <= rate["max"] * (1 + 1e-9)
    assert latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"]
    # The slowest step has the lowest rate; the mean rate is all patches by all time.
    assert rate["mean"] == pytest.approx(1000 * patches / latency["mean"])
    assert latency["p99"] <= 1000 * patches / rate["min"] * (1 + 1e-9)
    assert 0 <= figures["loading_share"] <= 1


def assert_printed(found: dict[str, Any], kind: str, printed: str) -> None:
    """Compare a row of the table with the file."""
    row = next(line for line in printed.splitlines() if line.lstrip().startswith(f"{kind} [patches/s]"))
    figures = found[kind]
    expected = [f"{figures['patches_per_second'][key]:.2f}" for key in ("mean", "median", "min", "max")]
    expected += [f"{figures['latency_ms'][key]:.1f}" for key in ("p95", "p99")]
    assert row.split()[2:8] == expected
