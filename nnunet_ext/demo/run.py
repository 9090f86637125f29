"""Run the soil workflow on a phantom: convert, plan, train, prepare, predict, export, evaluate, picture."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.demo.phantom import CLASS_FILE, soil_phantom, sparse_annotation
from nnunet_ext.demo.picture import draw_picture
from nnunet_ext.demo.threshold import ThresholdBaseline
from nnunet_ext.errors import InputError, NnunetExtError
from nnunet_ext.files import refuse_existing, write_json
from nnunet_ext.imageio import Geometry, write_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TRAINING_SCANS, TEST_SCANS = 5, 2
SHAPE = (32, 72, 72)
SPACING = (0.05, 0.05, 0.05)
SCRIPT = "commands.sh"


class CommandFailedError(NnunetExtError, RuntimeError):
    """A command of the workflow ended with an exit status other than 0."""


def run_demo(
    folder: Path, *, say: Callable[[str], None], device: str = "cpu", epochs: int = 3, overwrite: bool = False
) -> str:
    """Run the demonstration.

    Parameters
    ----------
    folder
        Folder for all that is made.
    say
        Told the command that comes next; the commands themselves print as they always do.
    device
        ``cpu``, ``cuda`` or ``mps``.
    epochs
        Length of the training.
    overwrite
        Replace the folder of an earlier demonstration.

    Returns
    -------
    str
        Scores, where everything is, and the commands.

    Raises
    ------
    CommandFailedError
        If a command fails; names it and its exit status.
    InputError, OutputExistsError
        If the folder exists, or ``epochs`` is below 1.
    """
    if epochs < 1:
        message = f"--epochs: expected 1 or more, found {epochs}"
        raise InputError(message)
    folder = folder.absolute()
    _make_room(folder, overwrite=overwrite)
    started = time.monotonic()
    make_scans(folder)
    variables = environment(folder)
    commands = workflow(folder, device, f"nnUNetTrainer_betterIgnoreSampling_{epochs}epochs")
    write_script(folder / SCRIPT, variables, commands)
    for number, command in enumerate(commands, start=1):
        say(f"\n=== {number}/{len(commands)}: {shlex.join(command)}")
        status = subprocess.run(command, env=os.environ | variables | {"PATH": _path()}, check=False).returncode
        if status:
            message = f"{shlex.join(command)} failed with exit status {status}; what it printed stands above"
            raise CommandFailedError(message)
    draw_picture(folder)
    return summary(folder, time.monotonic() - started)


def make_scans(folder: Path) -> None:
    """Write the phantom: annotated scans, unseen scans with their truth, and what a threshold makes of them."""
    rng = np.random.default_rng(20)
    geometry = Geometry(spacing=SPACING)
    write_json(folder / "classes.json", CLASS_FILE)
    images: list[NDArray[np.uint8]] = []
    annotations: list[NDArray[np.uint8]] = []
    for number in range(TRAINING_SCANS):
        phantom = soil_phantom(SHAPE, rng)
        images.append(phantom.image)
        annotations.append(sparse_annotation(phantom.truth, rng))
        write_volume(folder / "scans" / f"column_{number}.tif", images[-1], geometry)
        write_volume(folder / "annotations" / f"column_{number}.tif", annotations[-1], geometry)
    baseline = ThresholdBaseline.fit(images, annotations)
    for number in range(TRAINING_SCANS, TRAINING_SCANS + TEST_SCANS):
        phantom = soil_phantom(SHAPE, rng)
        name = f"column_{number}.tif"
        write_volume(folder / "unseen" / name, phantom.image, geometry)
        write_volume(folder / "unseen_truth" / name, phantom.truth, geometry)
        write_volume(folder / "threshold" / name, baseline.predict(phantom.image), geometry)


def environment(folder: Path) -> dict[str, str]:
    """Return the variables that nnU-Net needs, and those that suit a small machine."""
    return {
        "nnUNet_raw": str(folder / "nnUNet_raw"),
        "nnUNet_preprocessed": str(folder / "nnUNet_preprocessed"),
        "nnUNet_results": str(folder / "nnUNet_results"),
        "nnUNet_compile": "f",
        "nnUNet_def_n_proc": "2",
        "nnUNet_n_proc_DA": "2",
    }


def workflow(folder: Path, device: str, trainer: str) -> list[list[str]]:
    """Return the commands of the workflow, each as a list of words."""
    dataset, plans = str(CLASS_FILE["TaskID"]), "nnUNetPlansCPU"
    model = (
        folder / "nnUNet_results" / f"Dataset{dataset}_{CLASS_FILE['DatasetName']}" / f"{trainer}__{plans}__3d_fullres"
    )
    lines = [
        f"nnunet_ext convert soil_ct -i {_q(folder / 'scans')} -a {_q(folder / 'annotations')} "
        f"-c {_q(folder / 'classes.json')} -o {_q(folder / 'nnUNet_raw')}",
        f"nnUNetv2_plan_and_preprocess -d {dataset} -c 3d_fullres -pl ExperimentPlannerCPU -npfp 2 -np 2 "
        "--verify_dataset_integrity",
        f"nnUNetv2_train {dataset} 3d_fullres 0 -p {plans} -tr {trainer} -device {device}",
        f"nnunet_ext prepare soil_ct -i {_q(folder / 'unseen')} -o {_q(folder / 'prepared')} -m {_q(model)}",
        f"nnUNetv2_predict -i {_q(folder / 'prepared')} -o {_q(folder / 'predictions')} -d {dataset} -c 3d_fullres "
        f"-p {plans} -tr {trainer} -f 0 -npp 1 -nps 1 -device {device}",
        f"nnunet_ext export soil_ct -i {_q(folder / 'predictions')} -o {_q(folder / 'exported')}",
        f"nnunet_ext evaluate -p network={_q(folder / 'exported')} threshold={_q(folder / 'threshold')} "
        f"-g {_q(folder / 'unseen_truth')} -o {_q(folder / 'scores')} --classes {_q(folder / 'classes.json')}",
    ]
    return [shlex.split(line) for line in lines]


def write_script(path: Path, variables: dict[str, str], commands: list[list[str]]) -> None:
    """Write the commands so that they can be pasted, or run again as one script."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    path.write_text("\n".join(["#!/usr/bin/env bash", "set -e", *exports, *map(shlex.join, commands)]) + "\n")


def read_dice(folder: Path) -> dict[str, dict[str, float]]:
    """Return the mean Dice over the unseen scans as ``{model: {class: value}}``."""
    values: dict[str, dict[str, list[float]]] = {}
    with (folder / "scores" / "cases.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["metric"].lower() == "dice":
                values.setdefault(row["model"], {}).setdefault(row["class"], []).append(float(row["value"]))
    return {
        model: {name: float(np.nanmean(dice)) for name, dice in classes.items()} for model, classes in values.items()
    }


def summary(folder: Path, seconds: float) -> str:
    """Return scores, where everything is, and the commands, as text."""
    classes = [name for key, name in CLASS_FILE["labels"].items() if key != "0"]
    places = {
        "picture": folder / "demo.png",
        "exported predictions": folder / "exported",
        "scores": folder / "scores",
        "trained model": folder / "nnUNet_results",
        "commands": folder / SCRIPT,
    }
    lines = [
        f"\nMean Dice on {TEST_SCANS} unseen scans, after {seconds:.0f} s in all:",
        f"  {'':<12}" + "".join(f"{name:>12}" for name in classes),
    ]
    for model, dice in read_dice(folder).items():
        lines.append(f"  {model:<12}" + "".join(f"{dice.get(name, float('nan')):>12.3f}" for name in classes))
    lines += ["\nWhere everything is:", *(f"  {what:<22}{place}" for what, place in places.items())]
    return "\n".join([*lines, "\nThe commands, to be pasted:\n", (folder / SCRIPT).read_text()])


def _make_room(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that exists, or remove it if it is that of an earlier demonstration."""
    refuse_existing([folder], overwrite=overwrite)
    if folder.exists():
        if not (folder / SCRIPT).is_file():
            message = f"{folder}: not removed, because it does not look like a folder of this demo (no {SCRIPT} in it)"
            raise InputError(message)
        shutil.rmtree(folder)


def _path() -> str:
    """Return PATH with this environment's commands first."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def _q(path: Path) -> str:
    return shlex.quote(str(path))
