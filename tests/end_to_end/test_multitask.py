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
from tests.end_to_end.commands import assert_predicted_alike, few_iterations, run_command
from tests.evaluation.label_folders import read_table
from tests.multitask.coupled_tasks import coupled_case

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.end_to_end

PLANS = "nnUNetStackedLabelPlansCPU"
CASES = 10
FRONT = "front={}:background=0,front=255"
ZONES = "zones={}:na=0,rock=64,glacier=127,ocean=254"
BOUNDARY = "boundary={}:background,boundary"
VALUES = {"front": [0, 255], "zones": [0, 64, 127, 254], "boundary": [0, 1]}


class Study(NamedTuple):
    """A dataset of generated cases and the configuration that is trained on it."""

    number: int
    tasks: tuple[str, ...]
    configuration: str

    @property
    def name(self) -> str:
        return f"Dataset{self.number:03d}_Study"


EARLY, LATE = "nnUNetTrainerMTLearly_2epochs", "nnUNetTrainerMTLlate_2epochs"
ATTEMPTS = 4
ITERATIONS = 120
TWO_TASKS_2D = Study(911, ("front", "zones"), "2d")
OTHERS = (
    pytest.param(Study(912, ("front", "zones", "boundary"), "3d_fullres"), id="3-tasks-3d"),
    pytest.param(Study(913, ("front", "zones"), "3d_fullres"), id="2-tasks-3d", marks=pytest.mark.slow),
    pytest.param(Study(914, ("front", "zones", "boundary"), "2d"), id="3-tasks-2d", marks=pytest.mark.slow),
)


def test_two_tasks_in_2d_with_everything_that_nnunet_does_with_a_model(tmp_path: Path) -> None:
    go_from_label_maps_to_scores(TWO_TASKS_2D, tmp_path)
    post_processing_is_not_chosen(TWO_TASKS_2D, tmp_path)
    a_model_from_a_zip_predicts_the_same(TWO_TASKS_2D, tmp_path)
    a_training_is_resumed(TWO_TASKS_2D, tmp_path)
    models_are_compared_and_drawn(TWO_TASKS_2D, tmp_path)


@pytest.mark.parametrize("study", OTHERS)
def test_other_tasks_and_dimensions(study: Study, tmp_path: Path) -> None:
    go_from_label_maps_to_scores(study, tmp_path)


def go_from_label_maps_to_scores(study: Study, folder: Path) -> None:
    """Stack, plan, train, predict, ensemble, evaluate and unstack."""
    variables = one_worker(folder) | few_iterations(ITERATIONS)
    output = [run_command(stack_command(study, folder), variables), plan(study, variables)]
    for fold, trainer in ((0, LATE), (0, EARLY), (1, EARLY)):
        output.append(train_until_learned(study, trainer, fold, variables, folder))

    members = [folder / "predicted0", folder / "predicted1"]
    for fold, member in enumerate(members):
        output.append(
            run_command([*predict(study, EARLY, member), "-f", fold, "--save_probabilities"], variables),
        )
    assert_predicted_alike(
        image_folder(study, folder), members[0], model_folder(study, EARLY, folder), folder / "ours0"
    )
    ensemble = folder / "ensemble"
    output.append(run_command(["nnUNetv2_ensemble", "-i", *members, "-o", ensemble, "-np", 1], variables))
    labels = folder / "nnUNet_raw" / study.name / "labelsTr"
    files = ["-djfile", ensemble / "dataset.json", "-pfile", members[0] / "plans.json"]
    output.append(run_command(["nnUNetv2_evaluate_folder", labels, ensemble, *files, "-np", 1], variables))
    stock = json.loads((ensemble / "summary.json").read_text())
    assert min(scores["Dice"] for scores in stock["mean"].values()) > 0.5

    scores = folder / "scores"
    run_command(["nnunet_ext", "evaluate", "-p", ensemble, "-g", labels, "-o", scores, "-np", 1], variables)
    ours = json.loads((scores / "summary.json").read_text())
    for region, of_region in stock["mean"].items():
        assert ours["mean"][region]["Dice"] == pytest.approx(of_region["Dice"], abs=1e-9)

    run_command(["nnunet_ext", "unstack", "-i", ensemble, "-o", folder / "maps"], variables)
    assert_label_maps_are_close(study, folder)
    complaints = [line for text in output for line in text.splitlines() if "arning" in line and "nnunet_ext" in line]
    assert complaints == []


def post_processing_is_not_chosen(study: Study, folder: Path) -> None:
    words = ["nnUNetv2_find_best_configuration", study.number, "-p", PLANS, "-c", study.configuration]
    run_command([*words, "-tr", EARLY, "-f", 0, 1, "-np", 1], one_worker(folder))
    results = model_folder(study, EARLY, folder) / "crossval_results_folds_0_1"
    assert json.loads((results / "postprocessing.json").read_text())["postprocessing_fns"] == []


def a_model_from_a_zip_predicts_the_same(study: Study, folder: Path) -> None:
    """Prediction leaves no trace of the folder that a model was trained in."""
    archive, elsewhere = folder / "model.zip", folder / "elsewhere"
    of_model = ["-d", study.number, "-c", study.configuration, "-tr", EARLY, "-p", PLANS]
    run_command(["nnUNetv2_export_model_to_zip", *of_model, "-o", archive, "-f", 0, 1], one_worker(folder))
    elsewhere.mkdir()
    variables = one_worker(folder) | {"nnUNet_results": str(elsewhere)}
    run_command(["nnUNetv2_install_pretrained_model_from_zip", archive], variables)
    run_command([*predict(study, EARLY, folder / "from_zip"), "-f", 0], variables)
    for path in sorted((folder / "predicted0").glob("*.png")):
        np.testing.assert_array_equal(read_volume(path)[0], read_volume(folder / "from_zip" / path.name)[0])


def a_training_is_resumed(study: Study, folder: Path) -> None:
    longer = EARLY.replace("_2epochs", "_3epochs")
    first, second = (model_folder(study, trainer, folder) for trainer in (EARLY, longer))
    shutil.copytree(first / "fold_0", second / "fold_0")
    printed = run_command([*train(study, longer, 0), "--c"], one_worker(folder) | few_iterations(20))
    assert "Epoch 2" in printed
    assert "Epoch 1" not in printed


def models_are_compared_and_drawn(study: Study, folder: Path) -> None:
    """Scores by fold, curves per task, pictures and phase fractions from what nnU-Net left of the trainings."""
    models = [f"{name}={model_folder(study, trainer, folder)}" for name, trainer in (("early", EARLY), ("late", LATE))]
    dataset, out = folder / "nnUNet_raw" / study.name, folder / "paper"
    labels, images = dataset / "labelsTr", dataset / "imagesTr"
    run_command(["nnunet_ext", "evaluate", "-p", *models, "-g", labels, "-o", out / "scores", "-np", 1])
    summary = read_table(out / "scores" / "summary.csv")
    folds = {(row["model"], row["group"]) for row in summary if row["grouping"] == "fold"}
    assert folds == {("early", "0"), ("early", "1"), ("late", "0")}
    assert {row["task"] for row in summary if row["metric"] == "front_error"} == set()
    compared = read_table(out / "scores" / "comparison.csv")
    assert {(row["first"], row["second"], row["n"]) for row in compared if row["metric"] == "Dice"} == {
        ("early", "late", "2")
    }
    assert (out / "scores" / "report.html").read_text().count("data:image/png;base64,") >= 3

    run_command(["nnunet_ext", "curves", "-i", *models, "-o", out / "curves"])
    values = read_table(out / "curves" / "curves.csv")
    assert {row["fold"] for row in values if row["model"] == "early"} == {"0", "1"}
    dice = {row["class_or_task"] for row in values if row["curve"] == "pseudo_dice"}
    assert dice == {"front/front", "zones/rock", "zones/glacier", "zones/ocean"}
    tasks = {row["class_or_task"] for row in values if row["curve"] == "train_loss"}
    assert tasks == {"", "front", "zones"}

    predicted = folder / "ensemble"
    more = ["-p", predicted, "-g", labels, "-np", 1]
    run_command(["nnunet_ext", "overlay", *more, "-i", images, "-o", out / "pictures", "--worst", 2])
    assert len(list((out / "pictures").glob("*.png"))) == 2
    run_command(["nnunet_ext", "phase_fractions", *more, "-o", out / "fractions"])
    fractions = read_table(out / "fractions" / "phase_fractions.csv")
    assert len(fractions) == CASES * (2 + 4)
    assert not any(row["collapsed"] == "True" for row in fractions)


HIPPOCAMPUS = Study(915, ("whole", "parts"), "3d_fullres")
HIPPOCAMPUS_TRAININGS = (
    pytest.param(HIPPOCAMPUS, "nnUNetTrainerMTLlate", 4, id="3d"),
    pytest.param(HIPPOCAMPUS._replace(configuration="2d"), "nnUNetTrainerMTLearly", 8, id="2d"),
)
HIPPOCAMPUS_IS_THERE = pytest.mark.skipif(not (SHARED_DATA / "hippocampus").is_dir(), reason="real data are not there")


@HIPPOCAMPUS_IS_THERE
def test_real_volumes_with_two_tasks_are_trained_and_predicted(tmp_path: Path) -> None:
    variables = one_worker(tmp_path) | few_iterations(60)
    prepare_hippocampus(HIPPOCAMPUS, variables, tmp_path)
    found = dice_after_training(HIPPOCAMPUS, "nnUNetTrainerMTLlate", 1, variables, tmp_path)
    assert set(found) == {"whole/class1", "parts/anterior", "parts/posterior"}


@HIPPOCAMPUS_IS_THERE
@pytest.mark.slow
@pytest.mark.parametrize(("study", "trainer", "epochs"), HIPPOCAMPUS_TRAININGS)
def test_hippocampus_and_its_parts_are_learned_together(
    study: Study, trainer: str, epochs: int, tmp_path: Path
) -> None:
    """The two parts are learned one after the other, which takes minutes."""
    variables = one_worker(tmp_path)
    prepare_hippocampus(study, variables, tmp_path)
    found = dice_after_training(study, trainer, epochs, variables, tmp_path)
    if min(found.values()) <= 0.6:
        # nnU-Net draws weights and patches anew in every run; in some, a part is learned only later.
        found = dice_after_training(study, trainer, 2 * epochs, variables, tmp_path)
    assert min(found.values()) > 0.6, found


def prepare_hippocampus(study: Study, variables: dict[str, str], folder: Path) -> None:
    """Make a dataset of the whole organ and of its parts, and plan it."""
    source = SHARED_DATA / "hippocampus"
    for path in sorted((source / "labels").glob("*.nii.gz")):
        parts, geometry = read_volume(path)
        write_volume(folder / "whole" / path.name, (parts > 0).astype(np.uint8), geometry)
        write_volume(folder / "parts" / path.name, parts.astype(np.uint8), geometry)
    tasks = ["--task", f"whole={folder / 'whole'}", "--task", f"parts={folder / 'parts'}:rest,anterior,posterior"]
    dataset = ["-d", study.number, "-n", "Study", "--channels", "MRI"]
    run_command(["nnunet_ext", "stack", "-i", source / "images", *tasks, *dataset], variables)
    plan(study, variables)


def dice_after_training(
    study: Study, trainer: str, epochs: int, variables: dict[str, str], folder: Path
) -> dict[str, float]:
    """Train fold 0 for some epochs and return the Dice of every class in its validation."""
    trainer = f"{trainer}_{epochs}epochs"
    run_command(train(study, trainer, 0), variables)
    model = model_folder(study, trainer, folder)
    validated = model / "fold_0" / "validation"
    first = min(validated.glob("*.nii.gz")).name.replace(".nii.gz", "_0000.nii.gz")
    assert_predicted_alike(image_folder(study, folder) / first, validated, model, folder / f"{trainer}_ours")
    return validation_dice(study, model / "fold_0")


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


def case_of(study: Study, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image and its label maps; a front of two pixels is learned late, if at all in these short trainings."""
    if study.configuration == "2d":
        return coupled_case((1, 64, 64), number, front_width=6)
    return coupled_case((12, 32, 32), number, front_width=4)


def write_images(study: Study, folder: Path) -> None:
    """2D images and label maps as PNG files with grey levels."""
    for number in range(CASES):
        image, stack = case_of(study, number)
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
        image, stack = case_of(study, number)
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


def plan(study: Study, variables: dict[str, str]) -> str:
    words = ["nnUNetv2_plan_and_preprocess", "-d", study.number, "-pl", "StackedLabelPlannerCPU"]
    workers = ["-npfp", 1, "-np", 1]
    return run_command([*words, "-c", study.configuration, "--verify_dataset_integrity", *workers], variables)


def train(study: Study, trainer: str, fold: int) -> list[object]:
    words = ["nnUNetv2_train", study.number, study.configuration, fold]
    return [*words, "-tr", trainer, "-p", PLANS, "-device", "cpu"]


def predict(study: Study, trainer: str, output: Path) -> list[object]:
    images = image_folder(study, output.parent)
    words = ["nnUNetv2_predict", "-i", images, "-o", output, "-d", study.number, "-c", study.configuration]
    return [*words, "-tr", trainer, "-p", PLANS, "-device", "cpu", "-npp", 1, "-nps", 1]


def image_folder(study: Study, folder: Path) -> Path:
    return folder / "nnUNet_raw" / study.name / "imagesTr"


def model_folder(study: Study, trainer: str, folder: Path) -> Path:
    return folder / "nnUNet_results" / study.name / f"{trainer}__{PLANS}__{study.configuration}"


def train_until_learned(study: Study, trainer: str, fold: int, variables: dict[str, str], folder: Path) -> str:
    """Train a fold and return what was printed last.

    A swapped task, head or code gives a class the shape of another one, which overlaps it little or not at all, however
    often it is trained. Beside that, nnU-Net draws weights and patches anew in every run, and in a few of these short
    ones the thin front is still empty at the end.
    """
    found: dict[str, float] = {}
    for _ in range(ATTEMPTS):
        printed = run_command([*train(study, trainer, fold), "--npz"], variables)
        found = validation_dice(study, model_folder(study, trainer, folder) / f"fold_{fold}")
        if min(found.values()) > 0.5:
            return printed
    raise AssertionError(found)


def validation_dice(study: Study, fold: Path) -> dict[str, float]:
    means: dict[str, Any] = json.loads((fold / "validation" / "summary_tasks.json").read_text())["mean"]
    assert list(means) == list(study.tasks)
    return {f"{task}/{name}": v["Dice"] for task, of_task in means.items() for name, v in of_task["classes"].items()}


def assert_label_maps_are_close(study: Study, folder: Path) -> None:
    """The label maps have the values of the files that they came from, and mostly at the same voxels."""
    for number in range(CASES):
        _, stack = case_of(study, number)
        for task, expected in zip(study.tasks, stack, strict=False):
            found = next((folder / "maps" / task).glob(f"scene{number}.*"))
            values = VALUES[task] if study.configuration == "2d" else range(4)
            array = read_volume(found)[0]
            assert np.mean(array == np.array(values)[expected]) > 0.8, found
