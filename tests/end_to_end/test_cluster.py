"""Submissions to a real scheduler: a whole pipeline, tasks that end before their time, and several side by side."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nnunet_ext.demo.run import environment
from nnunet_ext.files import write_json
from nnunet_ext.imageio import read_volume, write_volume
from nnunet_ext.imageio.geometry import Geometry
from tests.builders import fake_package, soil_folder
from tests.end_to_end import cluster_classes
from tests.end_to_end.commands import run_command
from tests.end_to_end.slurm import wait_until
from tests.inference.predict_runs import SMALL, edit, write_image
from tests.inference.trained_model import write_trained_model

if TYPE_CHECKING:
    from tests.end_to_end.slurm import Slurm

pytestmark = pytest.mark.end_to_end

DATASET, PLANS, TRAINER = "Dataset931_Cluster", "nnUNetPlansCPU", "nnUNetTrainerShort"
PLANNING = ("-pl", "ExperimentPlannerCPU", "-npfp", 1, "-np", 1)
PATIENCE = 600
"""Seconds for a submission; far more than it takes, since other things run on the machine."""


@dataclass(frozen=True)
class Site:
    """A folder for all that a test makes, and the cluster that it is submitted to."""

    folder: Path
    slurm: Slurm

    def run(self, *words: object) -> str:
        """Run a command with what is set where the user types."""
        few = {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1"}
        ours = {"PYTHONPATH": str(self.folder / "classes"), cluster_classes.HOLD: str(self.folder / "hold")}
        return run_command(words, environment(self.folder) | few | ours | self.slurm.environment)

    def submit(self, *words: object, name: str = "jobs") -> Path:
        """Submit, and return the folder of the submission."""
        folder = self.folder / name
        self.run("nnunet_ext", "submit", *words, "--site", self.folder / "site.toml", "--folder", folder)
        return folder

    def report(self, jobs: Path) -> dict[str, str]:
        """Return the state of every task as ``nnunet_ext jobs`` tells it: ``train_2d.1`` is task 1 of a step."""
        [content] = json.loads(self.run("nnunet_ext", "jobs", jobs, "--json"))
        return {f"{task['step']}.{task['index']}": task["state"] for task in content["tasks"]}

    def hold(self, what: str, *indices: int) -> None:
        """Let tasks wait in the middle of their work."""
        for index in indices:
            (self.folder / "hold" / f"{what}.{index}").touch()

    def wait_until_held(self, what: str, index: int, *jobs: Path) -> list[int]:
        """Return the processes of held tasks of some submissions once they are in the middle of their work."""

        def held() -> list[int]:
            return [int(path.suffix[1:]) for path in (self.folder / "hold").glob(f"{what}.{index}.reached.*")]

        wait_until(lambda: len(held()) == len(jobs), PATIENCE, lambda: "\n".join(map(story, jobs)))
        return held()

    def release(self) -> None:
        for file in (self.folder / "hold").iterdir():
            file.unlink()


def make_site(folder: Path, slurm: Slurm, scheduler: str = "slurm") -> Site:
    """Write a site file, and register the classes that can be held as another package would."""
    site = Site(folder, slurm)
    for name in ("hold", "classes"):
        (folder / name).mkdir(parents=True)
    shutil.copy(cluster_classes.__file__, folder / "classes" / "cluster_test_classes.py")
    entries = {TRAINER: f"cluster_test_classes:{TRAINER}"}
    fake_package(folder / "classes", "cluster_test_classes", "nnunetv2.trainers", entries)
    lines = [
        f'scheduler = "{scheduler}"',
        "[defaults]",
        "cpus = 1",
        'memory = "1500M"',
        'time = "00:30:00"',
        "[environment]",
        'OMP_NUM_THREADS = "1"',
    ]
    (folder / "site.toml").write_text("\n".join(lines) + "\n")
    return site


def write_dataset(folder: Path, cases: int = 5, slices: int = 3) -> None:
    """Noisy slices with a bright disc, at another place in every case."""
    rng = np.random.default_rng(7)
    y, x = np.indices((32, 32))
    for case in range(cases):
        disc = np.hypot(y - rng.uniform(10, 22), x - rng.uniform(10, 22)) < 7
        labels = disc.astype(np.uint8)[None].repeat(slices, 0)
        image = np.array([100, 180])[labels] + rng.normal(0, 15, labels.shape)
        geometry = Geometry(spacing=(3.0, 1.0, 1.0))
        write_volume(folder / "imagesTr" / f"case{case}_0000.nii.gz", image.astype(np.float32), geometry)
        write_volume(folder / "labelsTr" / f"case{case}.nii.gz", labels, geometry)
    content = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "disc": 1}, "numTraining": cases}
    write_json(folder / "dataset.json", {**content, "file_ending": ".nii.gz"})


def write_held_model(folder: Path, seed: int) -> Path:
    """Write a model whose network can be held, with random weights."""
    model = write_trained_model(folder, **SMALL, seed=seed)

    def replace_network(plans: dict[str, Any]) -> None:
        [configuration] = plans["configurations"].values()
        configuration["architecture"]["network_class_name"] = "cluster_test_classes.HeldUNet"

    edit(model / "plans.json", replace_network)
    return model


def states(jobs: Path) -> dict[str, dict[str, Any]]:
    """Return what is written down about every task: ``train_2d.1`` is task 1 of a step."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((jobs / "state").glob("*.json"))}


def outcomes(jobs: Path) -> dict[str, str]:
    return {task: state["state"] for task, state in states(jobs).items()}


def submitted(jobs: Path) -> dict[str, list[int]]:
    """Return the tasks of the latest submission from a folder."""
    latest = json.loads((jobs / "jobs.json").read_text())["submissions"][-1]["jobs"]
    return {job["step"]: job["indices"] for job in latest}


def job_of(jobs: Path, step: str) -> str:
    """Return the scheduler's number of the latest job of a step."""
    latest = json.loads((jobs / "jobs.json").read_text())["submissions"][-1]["jobs"]
    [number] = [job["job"] for job in latest if job["step"] == step]
    return str(number)


def story(jobs: Path) -> str:
    """Return what became of a submission, and the ends of its logs."""
    logs = [path for path in sorted(jobs.glob("logs/**/*")) if path.is_file()]
    ends = [f"--- {path.relative_to(jobs)}\n{path.read_text(errors='replace')[-1500:]}" for path in logs]
    return "\n".join([f"{jobs}: {outcomes(jobs)}", *ends])


def predictions_in(folder: Path) -> dict[str, bytes]:
    """Return the label maps in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".json"}


def predict_by_hand(site: Site, model: Path, images: Path, output: Path) -> dict[str, bytes]:
    site.run("nnunet_ext", "predict", "-i", images, "-o", output, "-m", model, "-device", "cpu")
    return predictions_in(output)


def test_a_pipeline_goes_from_a_raw_dataset_to_its_scores(tmp_path: Path, slurm: Slurm) -> None:
    site = make_site(tmp_path, slurm)
    output = tmp_path / "output"
    scans, annotations, classes = soil_folder(tmp_path / "soil", annotated=(3, 8))
    site.run("nnunet_ext", "convert", "soil_ct", "-i", scans, "-a", annotations, "-c", classes, "-np", 1)
    [raw] = (tmp_path / "nnUNet_raw").iterdir()
    training = ["-d", raw.name, "-c", "2d", "-f", 0, 1, "-tr", TRAINER, "-pl", "ExperimentPlannerCPU", "-p", PLANS]
    prediction = ["-i", raw / "imagesTr", "-o", output, "--parts", 2, "--export", "soil_ct", "-g", raw / "labelsTr"]
    jobs = site.submit("pipeline", *training, *prediction, "-device", "cpu", "-np", 1)
    slurm.wait_for_jobs(PATIENCE)
    steps = ("preprocess", "train_2d", "find_best", "predict", "merge", "postprocess", "export", "evaluate")
    assert set(site.report(jobs).values()) == {"done"}, story(jobs)
    assert {task.split(".")[0] for task in site.report(jobs)} == set(steps)

    # The same by hand, from the predictions on.
    model = tmp_path / "nnUNet_results" / raw.name / f"{TRAINER}__{PLANS}__2d"
    by_hand = predict_by_hand(site, model, raw / "imagesTr", tmp_path / "by_hand")
    assert len(by_hand) == 5
    assert predictions_in(output / "predictions") == by_hand
    found = output / "postprocessed"
    site.run("nnunet_ext", "export", "soil_ct", "-i", found, "-o", tmp_path / "exported", "-np", 1)
    assert predictions_in(output / "exported") == predictions_in(tmp_path / "exported")
    site.run("nnunet_ext", "evaluate", "-p", found, "-g", raw / "labelsTr", "-o", tmp_path / "scores", "-np", 1)
    for name in ("cases.csv", "summary.csv"):
        assert (output / "evaluation" / name).read_bytes() == (tmp_path / "scores" / name).read_bytes()
    ours, expected = (
        json.loads((at / "summary.json").read_text()) for at in (output / "evaluation", tmp_path / "scores")
    )
    assert ours == expected


def test_killed_folds_go_on_and_only_they_and_what_waits_for_them(tmp_path: Path, slurm: Slurm) -> None:
    site = make_site(tmp_path, slurm)
    raw, output = tmp_path / "nnUNet_raw" / DATASET, tmp_path / "output"
    write_dataset(raw)
    site.run("nnUNetv2_plan_and_preprocess", "-d", 931, "-c", "2d", *PLANNING)
    # Fold 1 is killed, fold 2 runs into its time limit.
    site.hold("train", 1, 2)
    training = ["-d", 931, "-c", "2d", "-f", 0, 1, 2, "-tr", TRAINER, "-p", PLANS, "-device", "cpu"]
    jobs = site.submit("pipeline", *training, "-i", raw / "imagesTr", "-o", output, "-np", 1)
    array = job_of(jobs, "train_2d")
    site.wait_until_held("train", 2, jobs)
    slurm.run("scontrol", "update", f"JobId={array}_2", "TimeLimit=1")
    [process] = site.wait_until_held("train", 1, jobs)
    os.kill(process, signal.SIGKILL)
    slurm.wait_for_jobs(PATIENCE)
    # Data and plans were there; what was left to prepare are the splits, which folds must not write side by side.
    prepared = {"preprocess.0": "done", "train_2d.0": "done"}
    assert outcomes(jobs) == {**prepared, "train_2d.1": "failed", "train_2d.2": "terminated"}, story(jobs)
    assert (slurm.ended()[f"{array}_1"], slurm.ended()[f"{array}_2"]) == ("FAILED", "TIMEOUT")
    waiting = dict.fromkeys(("find_best.0", "predict.0", "postprocess.0"), "blocked")
    assert site.report(jobs) == {**prepared, "train_2d.1": "failed", "train_2d.2": "timed out", **waiting}
    assert not output.exists()

    site.release()
    finished = tmp_path / "nnUNet_results" / DATASET / f"{TRAINER}__{PLANS}__2d" / "fold_0" / "checkpoint_final.pth"
    written = finished.stat().st_mtime_ns
    site.run("nnunet_ext", "submit", "--resume", jobs)
    assert submitted(jobs) == {"train_2d": [1, 2], "find_best": [0], "predict": [0], "postprocess": [0]}
    slurm.wait_for_jobs(PATIENCE)
    assert set(outcomes(jobs).values()) == {"done"}, story(jobs)
    assert finished.stat().st_mtime_ns == written
    for index in (1, 2):
        first, second = (jobs / "logs" / f"train_2d.{index}.log").read_text().split("=== attempt ")[1:]
        assert "Epoch 1" in first
        assert "Epoch 2" in second
        assert "Epoch 1" not in second
        assert " --c\n" in second
    assert len(predictions_in(output / "predictions")) == 5


def plan_a_cascade(site: Site) -> None:
    """Plan 3d_fullres, and add to it what the planner adds for large images; two folds."""
    site.run("nnUNetv2_plan_and_preprocess", "-d", 931, "-c", "3d_fullres", *PLANNING)
    preprocessed = site.folder / "nnUNet_preprocessed" / DATASET

    def add(plans: dict[str, Any]) -> None:
        configurations = plans["configurations"]
        z, y, x = configurations["3d_fullres"]["spacing"]
        low = {"data_identifier": f"{PLANS}_3d_lowres", "spacing": [z, 1.5 * y, 1.5 * x]}
        configurations["3d_lowres"] = {"inherits_from": "3d_fullres", **low, "next_stage": "3d_cascade_fullres"}
        configurations["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}

    edit(preprocessed / f"{PLANS}.json", add)
    cases = [f"case{number}" for number in range(5)]
    splits = [{"train": cases[2:], "val": cases[:2]}, {"train": cases[:2], "val": cases[2:]}]
    write_json(preprocessed / "splits_final.json", splits)


def test_a_cascade_and_an_ensemble_are_predicted_as_by_stock_commands(tmp_path: Path, slurm: Slurm) -> None:
    site = make_site(tmp_path, slurm)
    raw = tmp_path / "nnUNet_raw" / DATASET
    write_dataset(raw, slices=8)
    plan_a_cascade(site)
    images, configurations = raw / "imagesTr", ("3d_lowres", "3d_cascade_fullres")
    training = ["-d", 931, "-c", *configurations, "-f", 0, 1, "-tr", TRAINER, "-p", PLANS, "--ensemble"]
    options = ["-i", images, "-device", "cpu", "-np", 1, "--disable_tta"]
    jobs = site.submit("pipeline", *training, *options, "-o", tmp_path / "best", "--parts", 2)
    slurm.wait_for_jobs(PATIENCE)
    steps = ["preprocess", *(f"train_{name}" for name in configurations), "find_best", "first_stage"]
    steps += ["merge_first_stage", "predict", "merge", "ensemble", "postprocess"]
    assert set(outcomes(jobs).values()) == {"done"}, story(jobs)
    assert {task.split(".")[0] for task in outcomes(jobs)} == set(steps)
    # Both of them, whatever was found best.
    results = tmp_path / "nnUNet_results" / DATASET
    models = [results / f"{TRAINER}__{PLANS}__{name}" for name in configurations]
    pair = site.submit("predict", "-m", *models, *options, "-o", tmp_path / "pair", name="jobs_of_pair")
    slurm.wait_for_jobs(PATIENCE)
    assert set(outcomes(pair).values()) == {"done"}, story(pair)

    stock = [tmp_path / f"stock_{name}" for name in configurations]
    for name, output in zip(configurations, stock, strict=True):
        words = ["-i", images, "-o", output, "-d", 931, "-c", name, "-tr", TRAINER, "-p", PLANS, "-f", 0, 1]
        words += ["-device", "cpu", "-npp", 1, "-nps", 1, "--disable_tta", "--save_probabilities"]
        site.run("nnUNetv2_predict", *words, *(["-prev_stage_predictions", stock[0]] if output != stock[0] else []))
    site.run("nnUNetv2_ensemble", "-i", *stock, "-o", tmp_path / "stock_pair", "-np", 1)
    expected = {models[0].name: stock[0], models[1].name: stock[1]}
    chosen = [Path(member["model"]).name for member in json.loads((jobs / "best_model.json").read_text())["members"]]
    best = expected[chosen[0]] if len(chosen) == 1 else tmp_path / "stock_pair"
    for ours, theirs in ((tmp_path / "best", best), (tmp_path / "pair", tmp_path / "stock_pair")):
        for case in range(5):
            found, wanted = (read_volume(at / f"case{case}.nii.gz")[0] for at in (ours / "predictions", theirs))
            # Probabilities are kept in half precision.
            assert np.mean(found == wanted) >= 0.999


def make_predicted(site: Site, name: str, seed: int, cases: int = 1) -> tuple[Path, Path]:
    """Write a model and images of its own; return their folders."""
    model = write_held_model(site.folder / f"model_{name}", seed)
    for case in range(cases):
        images = write_image(site.folder / f"images_{name}", f"{name}{case}_0000.nii.gz", seed=10 * seed + case).parent
    return model, images


def submit_prediction(site: Site, model: Path, images: Path, name: str) -> tuple[Path, Path]:
    """Submit a prediction in two parts; return the folder of the submission and that of its output."""
    output = site.folder / f"output_{name}"
    words = ["-i", images, "-m", model, "-o", output, "--parts", 2, "-device", "cpu"]
    return site.submit("predict", *words, name=f"jobs_{name}"), output


def test_a_cancelled_prediction_leaves_nothing_half_written_and_goes_on(tmp_path: Path, slurm: Slurm) -> None:
    site = make_site(tmp_path, slurm)
    model, images = make_predicted(site, "a", seed=1)
    site.hold("predict", 0, 1)
    jobs, output = submit_prediction(site, model, images, "a")
    processes = [process for index in (0, 1) for process in site.wait_until_held("predict", index, jobs)]
    slurm.run("scancel", job_of(jobs, "predict"))
    slurm.wait_for_jobs(PATIENCE)
    assert outcomes(jobs) == {"predict.0": "terminated", "predict.1": "terminated"}, story(jobs)
    assert site.report(jobs) == {"predict.0": "cancelled", "predict.1": "cancelled", "merge.0": "blocked"}
    assert not any(map(alive, processes))
    parts = output / "parts"
    files = {path.relative_to(parts) for path in parts.rglob("*") if path.is_file()}
    whole = {path for path in files if path.parts[0] != "predict_state"}
    # What is there is what every part needs, and is complete.
    assert {str(path) for path in whole} == {"dataset.json", "plans.json"}
    assert all(json.loads((parts / path).read_text()) == json.loads((model / path).read_text()) for path in whole)
    assert files > whole
    assert not (output / "predictions").exists()

    site.release()
    site.run("nnunet_ext", "submit", "--resume", jobs)
    slurm.wait_for_jobs(PATIENCE)
    assert outcomes(jobs) == {"predict.0": "done", "predict.1": "done", "merge.0": "done"}, story(jobs)
    assert predictions_in(output / "predictions") == predict_by_hand(site, model, images, tmp_path / "by_hand")


def test_a_task_that_could_not_say_that_it_ended_goes_on(tmp_path: Path, slurm: Slurm) -> None:
    site = make_site(tmp_path, slurm)
    model, images = make_predicted(site, "a", seed=1)
    site.hold("predict", 0)
    jobs, output = submit_prediction(site, model, images, "a")
    [process] = site.wait_until_held("predict", 0, jobs)
    os.kill(states(jobs)["predict.0"]["pid"], signal.SIGKILL)
    slurm.wait_for_jobs(PATIENCE)
    # What it had started must have ended with it: two that write to one folder would disturb each other.
    wait_until(lambda: not alive(process), 10, lambda: f"process {process} is left: {story(jobs)}")
    assert outcomes(jobs) == {"predict.0": "running", "predict.1": "done"}, story(jobs)
    assert site.report(jobs) == {"predict.0": "failed", "predict.1": "done", "merge.0": "blocked"}
    assert not (output / "predictions").exists()

    site.release()
    site.run("nnunet_ext", "submit", "--resume", jobs)
    assert submitted(jobs) == {"predict": [0], "merge": [0]}
    slurm.wait_for_jobs(PATIENCE)
    assert set(outcomes(jobs).values()) == {"done"}, story(jobs)
    assert predictions_in(output / "predictions") == predict_by_hand(site, model, images, tmp_path / "by_hand")


def alive(process: int) -> bool:
    """Return whether a process runs; one that ended and that nobody waited for does not."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def test_submissions_side_by_side_do_not_disturb_each_other(tmp_path: Path, slurm: Slurm) -> None:
    site = make_site(tmp_path, slurm)
    made = {name: make_predicted(site, name, seed) for name, seed in (("a", 1), ("b", 2))}
    # All four tasks are in the middle of their work at the same time.
    site.hold("predict", 0, 1)
    folders = {name: submit_prediction(site, *made[name], name) for name in made}
    for index in (0, 1):
        site.wait_until_held("predict", index, *(jobs for jobs, _ in folders.values()))
    site.release()
    slurm.wait_for_jobs(PATIENCE)
    predicted = {}
    for name, (jobs, output) in folders.items():
        assert outcomes(jobs) == {"predict.0": "done", "predict.1": "done", "merge.0": "done"}, story(jobs)
        predicted[name] = predictions_in(output / "predictions")
        assert predicted[name] == predict_by_hand(site, *made[name], tmp_path / f"by_hand_{name}")
    assert predicted["a"].keys().isdisjoint(predicted["b"])


def test_pbs_runs_and_resumes_a_prediction(tmp_path: Path, slurm: Slurm) -> None:
    site = make_site(tmp_path, slurm, scheduler="pbs")
    model, images = make_predicted(site, "a", seed=1)
    site.hold("predict", 1)
    jobs, output = submit_prediction(site, model, images, "a")
    [process] = site.wait_until_held("predict", 1, jobs)
    os.kill(process, signal.SIGKILL)
    # What waits for it stays in the queue; PBS itself would keep or delete it, as it is set up.
    slurm.wait_for_jobs(PATIENCE, job_of(jobs, "predict"))
    assert site.report(jobs) == {"predict.0": "done", "predict.1": "failed", "merge.0": "blocked"}, story(jobs)
    assert not (output / "predictions").exists()

    site.release()
    site.run("nnunet_ext", "submit", "--resume", jobs)
    assert submitted(jobs) == {"predict": [1], "merge": [0]}
    slurm.wait_for_jobs(PATIENCE)
    assert set(outcomes(jobs).values()) == {"done"}, story(jobs)
    assert predictions_in(output / "predictions") == predict_by_hand(site, model, images, tmp_path / "by_hand")
