"""Steps of a prediction and of a pipeline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_ext.cluster.best_model import choose
from nnunet_ext.cluster.dataset import find_dataset
from nnunet_ext.cluster.graph import check_graph
from nnunet_ext.cluster.pipeline import check_pipeline, pipeline_steps
from nnunet_ext.cluster.prediction import Prediction, check_prediction, prediction_steps
from nnunet_ext.cluster.training import Training
from nnunet_ext.errors import BadCasesError, InputError, OutputExistsError
from tests.cluster.builders import toy_dataset

PLANS = {
    "2d": {"data_identifier": "p_2d"},
    "3d_fullres": {"data_identifier": "p_3d"},
    "3d_lowres": {"data_identifier": "p_low"},
    "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    toy_dataset(tmp_path, monkeypatch, plans=PLANS)
    model = tmp_path / "model"
    (model / "fold_0").mkdir(parents=True)
    (model / "fold_0" / "checkpoint_final.pth").touch()
    for name in ("dataset.json", "plans.json"):
        (model / name).write_text("{}")
    return tmp_path


def prediction(home, **more):
    images = home / "raw" / "Dataset001_Toy" / "imagesTs"
    return Prediction(**{"images": images, "output": home / "out", "model": home / "model", **more})


def by_name(steps):
    check_graph(steps)
    return {step.name: step for step in steps}


def argv_of(step, index=0, command=0):
    return list(step.tasks[index].commands[command].argv)


def value(argv, flag):
    return argv[argv.index(flag) + 1]


def test_parts_are_an_array_that_is_merged_exported_and_evaluated(home):
    wanted = prediction(
        home, parts=3, export="soil_ct", labels=home / "labels", folds=("0",), memory="8G", device="cpu"
    )
    steps = by_name(prediction_steps(wanted, lambda kind: 2))
    assert list(steps) == ["predict", "merge", "export", "evaluate"]
    parts = [argv_of(steps["predict"], index) for index in range(3)]
    assert [(value(argv, "--part"), value(argv, "--parts")) for argv in parts] == [("0", "3"), ("1", "3"), ("2", "3")]
    assert parts[0][:6] == ["nnunet_ext", "predict", "-m", str(home / "model"), "-f", "0"]
    assert (value(parts[0], "--memory"), value(parts[0], "-device")) == ("8G", "cpu")
    assert value(argv_of(steps["merge"]), "-i") == value(parts[0], "-o") == str(home / "out" / "parts")
    merged = value(argv_of(steps["merge"]), "-o")
    assert merged == str(home / "out" / "predictions")
    assert value(argv_of(steps["export"]), "-i") == value(argv_of(steps["evaluate"]), "-p") == merged
    assert [steps[name].after for name in ("merge", "export", "evaluate")] == [("predict",), ("merge",), ("merge",)]


def test_whole_images_need_no_merging(home):
    steps = by_name(prediction_steps(prediction(home), lambda kind: 2))
    assert list(steps) == ["predict"]
    assert "--part" not in argv_of(steps["predict"])
    assert value(argv_of(steps["predict"]), "-o") == str(home / "out" / "predictions")


def test_interrupted_predictions_are_resumed_and_later_steps_replace_their_own_output(home):
    wanted = prediction(home, parts=2, export="caffe", labels=home)
    again = {step.name: step.tasks[0].commands[0].again for step in prediction_steps(wanted, lambda kind: 1)}
    overwrite = ("--overwrite",)
    assert again == {"predict": ("--resume",), "merge": overwrite, "export": overwrite, "evaluate": overwrite}


def test_postprocessing_stands_between_merging_and_what_follows(home):
    wanted = prediction(home, parts=2, postprocessing=home / "p.pkl", export="caffe")
    steps = by_name(prediction_steps(wanted, lambda kind: 1))
    assert list(steps) == ["predict", "merge", "postprocess", "export"]
    assert value(argv_of(steps["postprocess"]), "--pkl") == str(home / "p.pkl")
    assert value(argv_of(steps["export"]), "-i") == str(home / "out" / "postprocessed")


def test_everything_missing_is_named_at_once(home):
    wanted = prediction(
        home,
        images=home / "no_images",
        model=home / "no_model",
        labels=home / "no_labels",
        postprocessing=home / "no.pkl",
        parts=0,
        step_size=2,
        memory="much",
        file_ending=".docx",
    )
    with pytest.raises(BadCasesError) as error:
        check_prediction(wanted)
    for part in (
        "no_images",
        "no_model",
        "no_labels",
        "no.pkl",
        "--parts 0",
        "-step_size 2",
        "--memory much",
        "--format .docx",
    ):
        assert part in str(error.value)


def test_an_output_that_is_there_is_refused(home):
    check_prediction(prediction(home))
    (home / "out" / "parts").mkdir(parents=True)
    with pytest.raises(OutputExistsError, match=r"out/parts\. Choose another output \(-o\)"):
        check_prediction(prediction(home))


def test_another_format_does_not_go_with_postprocessing(home):
    (home / "p.pkl").touch()
    with pytest.raises(BadCasesError, match=r"--format \.mha"):
        check_prediction(prediction(home, postprocessing=home / "p.pkl", file_ending=".mha"))


def pipeline(home, *configurations, folds=("0", "1"), compare=True, **more):
    training = Training(dataset=find_dataset("1"), configurations=configurations, folds=folds)
    wanted = prediction(home, model=None, **more)
    check_pipeline(training, wanted, compare=compare)
    return by_name(pipeline_steps(training, wanted, lambda kind: 2, compare=compare))


def test_a_pipeline_trains_compares_and_predicts_with_what_was_found_best(home):
    steps = pipeline(home, "2d", "3d_fullres", parts=2)
    assert list(steps) == ["train_2d", "train_3d_fullres", "find_best", "predict", "merge", "postprocess"]
    assert steps["find_best"].after == ("train_2d", "train_3d_fullres")
    assert steps["predict"].after == ("find_best",)
    find = "nnUNetv2_find_best_configuration Dataset001_Toy -c 2d 3d_fullres -f 0 1 -tr nnUNetTrainer -p nnUNetPlans"
    assert argv_of(steps["find_best"]) == [*find.split(), "--disable_ensembling", "-np", "2"]
    chosen = argv_of(steps["find_best"], command=1)
    assert chosen[2:6] == [
        "nnunet_ext.cluster.best_model",
        "choose",
        "best_model.json",
        str(home / "results" / "Dataset001_Toy" / "inference_information.json"),
    ]
    assert argv_of(steps["predict"])[2:5] == ["nnunet_ext.cluster.best_model", "predict", "best_model.json"]
    assert "-m" not in argv_of(steps["predict"])[2:]
    assert value(argv_of(steps["postprocess"]), "--best") == "best_model.json"


def test_one_configuration_can_be_predicted_with_directly(home):
    steps = pipeline(home, "2d", folds=("all",), compare=False)
    assert list(steps) == ["train_2d", "predict"]
    argv = argv_of(steps["predict"])
    assert value(argv, "-m").endswith("Dataset001_Toy/nnUNetTrainer__nnUNetPlans__2d")
    assert value(argv, "-f") == "all"
    assert steps["predict"].after == ("train_2d",)


def test_what_cannot_be_compared_or_predicted_is_refused(home):
    with pytest.raises(BadCasesError, match="-f all"):
        pipeline(home, "2d", folds=("all",))
    with pytest.raises(BadCasesError, match="expected one configuration"):
        pipeline(home, "2d", "3d_fullres", compare=False)
    with pytest.raises(BadCasesError, match="second stage of a cascade"):
        pipeline(home, "3d_lowres", "3d_cascade_fullres")


def information(folder: Path, **more: object) -> Path:
    model = {"plans": "nnUNetPlans", "configuration": "2d", "trainer": "nnUNetTrainer"}
    selected = [{"configuration": "2d", "trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans"}]
    content = {
        "folds": [0, 1],
        "considered_models": [model, {**model, "configuration": "3d_fullres"}],
        "best_model_or_ensemble": {
            "selected_model_or_models": selected,
            "postprocessing_file": "/r/postprocessing.pkl",
            "some_plans_file": "/r/plans.json",
            "result_on_crossval_pre_pp": 0.8,
            "result_on_crossval_post_pp": 0.81,
        },
        **more,
    }
    path = folder / "inference_information.json"
    path.write_text(json.dumps(content))
    return path


def test_the_best_model_is_read_from_what_nnunet_writes(tmp_path):
    best = choose(information(tmp_path), "nnUNetTrainer", "nnUNetPlans", ["3d_fullres", "2d"], ["0", "1"])
    assert best["model"] == str(tmp_path / "nnUNetTrainer__nnUNetPlans__2d")
    assert (best["folds"], best["postprocessing"]) == (["0", "1"], "/r/postprocessing.pkl")


@pytest.mark.parametrize(
    ("trainer", "configurations", "folds"),
    [
        ("nnUNetTrainerMTL", ["2d", "3d_fullres"], ["0", "1"]),
        ("nnUNetTrainer", ["2d"], ["0", "1"]),
        ("nnUNetTrainer", ["2d", "3d_fullres"], ["0"]),
    ],
)
def test_the_comparison_of_someone_else_is_not_taken(tmp_path, trainer, configurations, folds):
    with pytest.raises(InputError, match="another comparison"):
        choose(information(tmp_path), trainer, "nnUNetPlans", configurations, folds)


def test_an_ensemble_or_a_broken_file_is_refused(tmp_path):
    names = ("nnUNetTrainer", "nnUNetPlans", ["2d", "3d_fullres"], ["0", "1"])
    with pytest.raises(InputError, match="ensemble of 2"):
        choose(information(tmp_path, best_model_or_ensemble={"selected_model_or_models": [{}, {}]}), *names)
    with pytest.raises(InputError, match="not what nnUNetv2_find_best_configuration writes"):
        choose(information(tmp_path, considered_models=None), *names)


def test_the_best_model_is_predicted_with_by_the_command_itself(tmp_path):
    best = tmp_path / "best_model.json"
    best.write_text(json.dumps({"model": str(tmp_path / "no_model"), "folds": ["0", "1"]}))
    words = [sys.executable, "-m", "nnunet_ext.cluster.best_model", "predict", str(best), "-i", "images", "-o", "out"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "nnunet_ext predict: error:" in done.stderr


def test_a_program_of_a_task_ends_with_one_line_and_1(tmp_path):
    words = [sys.executable, "-m", "nnunet_ext.cluster.best_model", "choose", "best.json", "missing.json"]
    words += ["-tr", "T", "-p", "P", "-c", "2d", "-f", "0"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("nnunet_ext.cluster.best_model: error: missing.json")
    assert len(done.stderr.splitlines()) == 1
