"""Measure a trainer or a network on this machine, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nnunet_ext.errors import InputError, MissingInputError
from nnunet_ext.files import read_json, refuse_existing, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULT = "benchmark.json"
Mode = Literal["train", "predict"]


def benchmark(
    mode: Mode,
    dataset: str,
    configuration: str,
    output: Path,
    *,
    trainer: str = "nnUNetTrainer",
    plans: str = "nnUNetPlans",
    fold: str | int = 0,
    device: str = "cuda",
    batches: int = 100,
    warmup: int = 20,
    batch_size: int | None = None,
    synthetic: bool = False,
    disable_tta: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Measure throughput, latency and memory of any trainer and plans, stock ones included.

    ``train`` runs training steps and then a fifth as many validation steps; nothing is kept of the training.
    ``predict`` runs the network on windows, with mirrored copies, as inference does; its weights are random, which does
    not change its speed.

    Parameters
    ----------
    mode
        ``train`` or ``predict``.
    dataset
        Id or name of a dataset that is planned and preprocessed.
    configuration
        ``2d``, ``3d_fullres``, …
    output
        Folder for ``benchmark.json``.
    trainer, plans, fold
        As for ``nnUNetv2_train``.
    device
        ``cuda``, ``cpu`` or ``mps``.
    batches, warmup
        Steps that are measured, and steps before them that are not.
    batch_size
        Patches per step; default: that of the plans to train, 1 to predict.
    synthetic
        Whether one batch with random grey values is used again and again, so that nothing is loaded.
    disable_tta
        Whether to predict without the mirrored copies.
    overwrite
        Whether a result that is there may be replaced.

    Returns
    -------
    dict
        The content of ``benchmark.json``: what was measured; ``train``, ``validation``, ``predict`` (whichever apply)
        as `nnunet_ext.benchmark.figures.step_figures` returns them; ``epoch_seconds``, the time of an epoch of this
        trainer by these figures; ``peak_memory_bytes``; ``machine``.

    Raises
    ------
    InputError
        If a number cannot be used, or the trainer cannot run; the message has its error.
    MissingInputError
        If dataset, plans or configuration are not there.
    OutputExistsError
        If there is a result and ``overwrite`` is false.
    """
    for flag, value, lowest in (("--batches", batches, 1), ("--warmup", warmup, 0), ("--batch-size", batch_size, 1)):
        if value is not None and value < lowest:
            message = f"{flag} {value}: expected {lowest} or more"
            raise InputError(message)
    target = Path(output) / RESULT
    refuse_existing([target], overwrite=overwrite)
    _check_plans(dataset, plans, configuration, os.environ)
    request = {
        "mode": mode,
        "dataset": int(dataset) if str(dataset).isdigit() else dataset,
        "configuration": configuration,
        "trainer": trainer,
        "plans": plans,
        "fold": int(fold) if str(fold).isdigit() else fold,
        "device": device,
        "batches": batches,
        "warmup": warmup,
        "batch_size": batch_size,
        "synthetic": synthetic,
        "mirroring": not disable_tta,
    }
    figures = _run(request)
    write_json(target, figures)
    return figures


def _check_plans(dataset: str, plans: str, configuration: str, variables: Mapping[str, str]) -> None:
    if "nnUNet_preprocessed" not in variables:
        message = "nnUNet_preprocessed is not set; it is the folder of the planned and preprocessed datasets"
        raise MissingInputError(message)
    root = Path(variables["nnUNet_preprocessed"])
    pattern = f"Dataset{int(dataset):03d}_*" if str(dataset).isdigit() else str(dataset)
    folders = [path for path in root.glob(pattern) if path.is_dir()]
    if not folders:
        found = re.match(r"(?:Dataset)?(\d+)", str(dataset))
        number = found[1] if found else "ID"
        message = f"{root}: no dataset {dataset} there; run nnUNetv2_plan_and_preprocess -d {number} first"
        raise MissingInputError(message)
    path = folders[0] / f"{plans}.json"
    configurations = read_json(path).get("configurations", {})
    if configuration not in configurations:
        message = f"{path}: no configuration {configuration}, found: {', '.join(configurations)}"
        raise InputError(message)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nnunet_ext_benchmark_") as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "result.json"
        asked.write_text(json.dumps(request))
        done = subprocess.run(
            [sys.executable, "-m", "nnunet_ext.benchmark.worker", str(asked), str(answered)],
            env={**os.environ, "nnUNet_results": str(Path(folder) / "results")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        found = json.loads(answered.read_text()) if answered.is_file() else {}
    if "figures" not in found:
        reason = found.get("error") or " ".join(done.stdout.split())[-500:] or f"exit status {done.returncode}"
        message = f"{request['trainer']} on {request['device']}: could not be measured: {reason}"
        raise InputError(message)
    figures: dict[str, Any] = found["figures"]
    return figures
