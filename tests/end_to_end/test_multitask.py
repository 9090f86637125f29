"""Several label maps per case, from their files to scores and back, with stock nnU-Net commands."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import nibabel
import numpy as np
import pytest
from PIL import Image

from nnunet_ext.demo.run import environment
from nnunet_ext.imageio import read_volume, write_volume
from nnunet_ext.imageio.geometry import Geometry
from tests.builders import SHARED_DATA
from tests.end_to_end.commands import run_command
from tests.multitask.coupled_tasks import coupled_case

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

PLANS = "nnUNetStackedLabelPlansCPU"
CASES = 10
FRONT = "front={}:background=0,front=255"
ZONES = "zones={}:na=0,rock=64,glacier=127,ocean=254"
BOUNDARY = "boundary={}:background,boundary"
VALUES = {"front": [0, 255], "zones": [0, 64, 127, 254], "boundary": [0, 1]}


class Study(NamedTuple):
    """A dataset and how it is trained."""

    number: int
    tasks: tuple[str, ...]
    configuration: str
    trainer: str

    @property
    def name(self) -> str:
        return f"Dataset{self.number:03d}_Study"


STUDIES = (
    Study(911, ("front", "zones"), "2d", "nnUNetTrainerMTLearly_1epochs"),
    Study(912, ("front", "zones", "boundary"), "2d", "nnUNetTrainerMTLlate_1epochs"),
    Study(913, ("front", "zones"), "3d_fullres", "nnUNetTrainerMTLlate_1epochs"),
    Study(914, ("front", "zones", "boundary"), "3d_fullres", "nnUNetTrainerMTLearly_1epochs"),
)


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: f"{len(study.tasks)}-tasks-{study.configuration}")
def test_stock_commands_go_from_label_maps_to_scores(study: Study, tmp_path: Path) -> None:
    variables = one_worker(tmp_path)
    output = [run_command(stack_command(study, tmp_path), variables)]
    output += plan(study, variables)
    for fold in (0, 1):
        output.append(run_command([*train(study, fold), "--npz"], variables))
    model = model_folder(study, tmp_path)
    for fold in (0, 1):
        assert_every_class_was_learned(model / f"fold_{fold}" / "validation" / "summary_tasks.json", study)

    for fold in (0, 1):
        output.append(
            run_command([*predict(study, tmp_path / f"fold{fold}"), "-f", fold, "--save_probabilities"], variables)
        )
    members = [tmp_path / f"fold{fold}" for fold in (0, 1)]
    ensemble = tmp_path / "ensemble"
    output.append(run_command(["nnUNetv2_ensemble", "-i", *members, "-o", ensemble, "-np", 1], variables))
    labels = tmp_path / "nnUNet_raw" / study.name / "labelsTr"
    files = ["-djfile", ensemble / "dataset.json", "-pfile", members[0] / "plans.json"]
    output.append(run_command(["nnUNetv2_evaluate_folder", labels, ensemble, *files, "-np", 1], variables))
    stock = json.loads((ensemble / "summary.json").read_text())
    assert min(scores["Dice"] for scores in stock["mean"].values()) > 0.5

    scores = tmp_path / "scores"
    run_command(["nnunet_ext", "evaluate", "-p", ensemble, "-g", labels, "-o", scores, "-np", 1], variables)
    ours = json.loads((scores / "summary.json").read_text())
    for region, of_region in stock["mean"].items():
        assert ours["mean"][region]["Dice"] == pytest.approx(of_region["Dice"], abs=1e-9)

    run_command(["nnunet_ext", "unstack", "-i", ensemble, "-o", tmp_path / "maps"], variables)
    assert_label_maps_are_close(study, tmp_path)
    complaints = [line for text in output for line in text.splitlines() if "arning" in line and "nnunet_ext" in line]
    assert complaints == []


def test_best_configuration_zip_and_resume(tmp_path: Path) -> None:
    study = Study(915, ("front", "zones"), "2d", "nnUNetTrainerMTLearlyUncertainty_1epochs")
    variables = one_worker(tmp_path)
    run_command(stack_command(study, tmp_path), variables)
    plan(study, variables)
    for fold in (0, 1):
        run_command(train(study, fold), variables)

    best = ["nnUNetv2_find_best_configuration", study.number, "-p", PLANS, "-c", study.configuration]
    run_command([*best, "-tr", study.trainer, "-f", 0, 1, "-np", 1], variables)
    chosen = json.loads(
        (model_folder(study, tmp_path) / "crossval_results_folds_0_1" / "postprocessing.json").read_text()
    )
    assert chosen["postprocessing_fns"] == []

    archive = tmp_path / "model.zip"
    of_model = ["-d", study.number, "-c", study.configuration, "-tr", study.trainer, "-p", PLANS]
    run_command(["nnUNetv2_export_model_to_zip", *of_model, "-o", archive, "-f", 0, 1], variables)
    elsewhere = variables | {"nnUNet_results": str(tmp_path / "elsewhere")}
    (tmp_path / "elsewhere").mkdir()
    run_command(["nnUNetv2_install_pretrained_model_from_zip", archive], elsewhere)
    for name, at in (("here", variables), ("there", elsewhere)):
        run_command([*predict(study, tmp_path / name), "-f", 0, 1], at)
    for path in sorted((tmp_path / "here").glob("*.png")):
        np.testing.assert_array_equal(read_volume(path)[0], read_volume(tmp_path / "there" / path.name)[0])

    longer = study._replace(trainer="nnUNetTrainerMTLearlyUncertainty_2epochs")
    shutil.copytree(model_folder(study, tmp_path) / "fold_0", model_folder(longer, tmp_path) / "fold_0")
    printed = run_command([*train(longer, 0), "--c"], variables)
    assert "Epoch 1" in printed
    assert "Epoch 0" not in printed


@pytest.mark.skipif(not (SHARED_DATA / "hippocampus").is_dir(), reason="real data are not there")
@pytest.mark.parametrize("trainer", ["nnUNetTrainerMTLearly_2epochs", "nnUNetTrainerMTLlate_2epochs"])
def test_hippocampus_and_its_parts_are_learned_together(trainer: str, tmp_path: Path) -> None:
    variables = one_worker(tmp_path)
    source = SHARED_DATA / "hippocampus"
    for path in sorted((source / "labels").glob("*.nii.gz")):
        parts, geometry = read_volume(path)
        write_volume(tmp_path / "whole" / path.name, (parts > 0).astype(np.uint8), geometry)
        write_volume(tmp_path / "parts" / path.name, parts.astype(np.uint8), geometry)
    study = Study(916, ("whole", "parts"), "3d_fullres", trainer)
    tasks = ["--task", f"whole={tmp_path / 'whole'}", "--task", f"parts={tmp_path / 'parts'}:rest,anterior,posterior"]
    images = source / "images"
    run_command(
        ["nnunet_ext", "stack", "-i", images, *tasks, "-d", study.number, "-n", "Study", "--channels", "MRI"], variables
    )
    plan(study, variables)
    run_command(train(study, 0), variables)
    means = json.loads((model_folder(study, tmp_path) / "fold_0" / "validation" / "summary_tasks.json").read_text())[
        "mean"
    ]
    found = {f"{task}/{name}": v["Dice"] for task, of_task in means.items() for name, v in of_task["classes"].items()}
    assert min(found.values()) > 0.6, found


def one_worker(folder: Path) -> dict[str, str]:
    """Return nnU-Net's variables; a second worker takes longer to start than these few small cases need."""
    return environment(folder) | {"nnUNet_def_n_proc": "1"}


def stack_command(study: Study, folder: Path) -> list[object]:
    """Write images and label maps as a user has them, and return the command that makes a dataset of them."""
    head = ["nnunet_ext", "stack", "-i", folder / "images", "-d", study.number, "-n", "Study"]
    if study.configuration == "2d":
        write_images(study, folder)
        tasks = [entry.format(folder / name) for name, entry in entries(study)]
        return [*head, *(word for task in tasks for word in ("--task", task))]
    write_layers(study, folder)
    return [*head, "--layers", folder / "layers", "--tasks", folder / "tasks.json"]


def entries(study: Study) -> list[tuple[str, str]]:
    known = {"front": FRONT, "zones": ZONES, "boundary": BOUNDARY}
    return [(name, known[name]) for name in study.tasks]


def write_images(study: Study, folder: Path) -> None:
    """2D images and label maps as PNG files with grey levels."""
    for number in range(CASES):
        image, stack = coupled_case((1, 64, 64), number)
        maps = dict(zip(("front", "zones", "boundary"), stack, strict=True))
        arrays = {"images": image} | {task: np.array(VALUES[task], np.uint8)[maps[task]] for task in study.tasks}
        for name, array in arrays.items():
            (folder / name).mkdir(exist_ok=True)
            Image.fromarray(array[0]).save(folder / name / f"scene{number}.png")


def write_layers(study: Study, folder: Path) -> None:
    """3D images, and one 4D NIfTI per case with a layer per task."""
    geometry = Geometry(spacing=(2.0, 1.0, 1.0), origin=(5.0, -3.0, 7.0))
    (folder / "layers").mkdir()
    for number in range(CASES):
        image, stack = coupled_case((12, 32, 32), number)
        path = folder / "images" / f"scene{number}.nii.gz"
        write_volume(path, image, geometry)
        layers = np.stack([layer.T for layer in stack[: len(study.tasks)]], axis=-1)
        nibabel.save(nibabel.Nifti1Image(layers, nibabel.load(path).affine), folder / "layers" / path.name)
    names = {
        "front": ["background", "front"],
        "zones": ["na", "rock", "glacier", "ocean"],
        "boundary": ["background", "boundary"],
    }
    tasks = {task: {"labels": {name: i for i, name in enumerate(names[task])}} for task in study.tasks}
    (folder / "tasks.json").write_text(json.dumps(tasks))


def plan(study: Study, variables: dict[str, str]) -> list[str]:
    words = ["nnUNetv2_plan_and_preprocess", "-d", study.number, "-pl", "StackedLabelPlannerCPU"]
    return [
        run_command([*words, "-c", study.configuration, "--verify_dataset_integrity", "-npfp", 1, "-np", 1], variables)
    ]


def train(study: Study, fold: int) -> list[object]:
    words = ["nnUNetv2_train", study.number, study.configuration, fold]
    return [*words, "-tr", study.trainer, "-p", PLANS, "-device", "cpu"]


def predict(study: Study, output: Path) -> list[object]:
    images = output.parent / "nnUNet_raw" / study.name / "imagesTr"
    words = ["nnUNetv2_predict", "-i", images, "-o", output, "-d", study.number, "-c", study.configuration]
    return [*words, "-tr", study.trainer, "-p", PLANS, "-device", "cpu", "-npp", 1, "-nps", 1]


def model_folder(study: Study, folder: Path) -> Path:
    return folder / "nnUNet_results" / study.name / f"{study.trainer}__{PLANS}__{study.configuration}"


def assert_every_class_was_learned(path: Path, study: Study) -> None:
    """A swapped task, head or code gives a class the shape of another one, which overlaps it little or not at all."""
    means: dict[str, Any] = json.loads(path.read_text())["mean"]
    assert list(means) == list(study.tasks)
    found = {f"{task}/{name}": v["Dice"] for task, of_task in means.items() for name, v in of_task["classes"].items()}
    assert min(found.values()) > 0.5, found


def assert_label_maps_are_close(study: Study, folder: Path) -> None:
    """The label maps have the values of the files that they came from, and mostly at the same voxels."""
    for number in range(CASES):
        shape = (1, 64, 64) if study.configuration == "2d" else (12, 32, 32)
        _, stack = coupled_case(shape, number)
        for task, expected in zip(study.tasks, stack, strict=False):
            found = next((folder / "maps" / task).glob(f"scene{number}.*"))
            values = VALUES[task] if study.configuration == "2d" else range(4)
            array = read_volume(found)[0]
            assert np.mean(array == np.array(values)[expected]) > 0.8, found
