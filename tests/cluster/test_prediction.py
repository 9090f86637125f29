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
from nnunet_ext.cluster.members import member_of
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
    write_model(tmp_path / "model")
    return tmp_path


def prediction(home, *models, folds=(), **more):
    images = home / "raw" / "Dataset001_Toy" / "imagesTs"
    members = tuple(member_of(model, folds) for model in models or [home / "model"])
    return Prediction(**{"images": images, "output": home / "out", "members": members, **more})


def write_model(folder, configurations=None):
    """Write what is looked at of a model before it is used."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "fold_0" / "checkpoint_final.pth").touch()
    (folder / "dataset.json").write_text("{}")
    (folder / "plans.json").write_text(json.dumps({"configurations": configurations or {}}))
    return folder


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
        home / "no_model",
        images=home / "no_images",
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


def pipeline(home, *configurations, folds=("0", "1"), compare=True, ensemble=False, go_on=False, **more):
    training = Training(dataset=find_dataset("1"), configurations=configurations, folds=folds, go_on=go_on)
    wanted = prediction(home, members=(), **more)
    check_pipeline(training, wanted, compare=compare, ensemble=ensemble)
    return by_name(pipeline_steps(training, wanted, lambda kind: 2, compare=compare, ensemble=ensemble))


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
    place = ["best_model.json", "0", str(home / "out"), "parts"]
    assert argv_of(steps["predict"])[2:8] == ["nnunet_ext.cluster.best_model", "predict", *place]
    assert argv_of(steps["merge"])[2:8] == ["nnunet_ext.cluster.best_model", "merge", *place]
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
    with pytest.raises(BadCasesError, match="--ensemble: expected several configurations"):
        pipeline(home, "2d", ensemble=True)
    with pytest.raises(BadCasesError, match="--ensemble: expected several configurations"):
        pipeline(home, "3d_lowres", "3d_cascade_fullres", compare=False, ensemble=True)


def test_a_cascade_is_predicted_after_its_first_stage(home):
    steps = pipeline(home, "3d_lowres", "3d_cascade_fullres", folds=tuple("01234"), parts=2)
    names = ["first_stage", "merge_first_stage", "predict", "merge", "postprocess"]
    assert list(steps) == ["train_3d_lowres", "train_3d_cascade_fullres", "find_best", *names]
    assert [steps[name].after[0] for name in names] == ["find_best", *names[:-1]]
    assert [steps[name].kind for name in names] == ["predict", "merge", "predict", "merge", "postprocess"]
    assert len(steps["first_stage"].tasks) == 2


def test_a_cascade_can_be_predicted_with_directly(home):
    steps = pipeline(home, "3d_lowres", "3d_cascade_fullres", folds=tuple("01234"), compare=False)
    assert list(steps) == ["train_3d_lowres", "train_3d_cascade_fullres", "first_stage", "predict"]
    first, second = argv_of(steps["first_stage"]), argv_of(steps["predict"])
    assert value(first, "-m").endswith("__3d_lowres")
    assert value(second, "-m").endswith("__3d_cascade_fullres")
    assert value(second, "-prev_stage_predictions") == value(first, "-o") == str(home / "out" / "first_stage")
    assert steps["first_stage"].after == ("train_3d_lowres", "train_3d_cascade_fullres")


def test_a_model_that_is_a_cascade_brings_its_first_stage(home):
    cascade = write_model(home / "T__nnUNetPlans__3d_cascade_fullres", PLANS)
    with pytest.raises(BadCasesError, match="T__nnUNetPlans__3d_lowres: no such folder"):
        check_prediction(prediction(home, cascade, folds=("0",)))
    write_model(home / "T__nnUNetPlans__3d_lowres", PLANS)
    wanted = prediction(home, cascade, folds=("0",), parts=3)
    check_prediction(wanted)
    steps = by_name(prediction_steps(wanted, lambda kind: 1))
    assert list(steps) == ["first_stage", "merge_first_stage", "predict", "merge"]
    assert value(argv_of(steps["first_stage"], 2), "-m").endswith("__3d_lowres")
    assert value(argv_of(steps["merge_first_stage"]), "-i") == value(argv_of(steps["first_stage"]), "-o")
    merged = value(argv_of(steps["merge_first_stage"]), "-o")
    assert value(argv_of(steps["predict"]), "-prev_stage_predictions") == merged
    (home / "out" / "first_stage").mkdir(parents=True)
    with pytest.raises(OutputExistsError, match="out/first_stage"):
        check_prediction(wanted)


def test_several_models_are_predicted_side_by_side_and_averaged(home):
    other = write_model(home / "other")
    wanted = prediction(home, home / "model", other, parts=2, file_ending=".mha")
    check_prediction(wanted)
    steps = by_name(prediction_steps(wanted, lambda kind: 1))
    assert list(steps) == ["predict", "merge", "ensemble"]
    argv = [argv_of(steps["predict"], index) for index in range(4)]
    assert [value(words, "-m") for words in argv] == [str(home / "model")] * 2 + [str(other)] * 2
    assert [value(words, "--part") for words in argv] == ["0", "1", "0", "1"]
    assert all("--save-probabilities" in words for words in argv)
    assert [value(words, "-o") for words in argv[::2]] == [str(home / "out" / f"parts_{n}") for n in (1, 2)]
    merged = [value(argv_of(steps["merge"], index), "-o") for index in range(2)]
    words = argv_of(steps["ensemble"])
    assert words[2:5] == ["-i", *merged]
    assert (value(words, "-o"), value(words, "--format")) == (str(home / "out" / "predictions"), ".mha")
    (home / "out" / "model_2").mkdir(parents=True)
    with pytest.raises(OutputExistsError, match="out/model_2"):
        check_prediction(wanted)


def test_cascades_with_different_first_stages_are_refused(home):
    models = [write_model(home / f"{trainer}__nnUNetPlans__3d_cascade_fullres", PLANS) for trainer in "AB"]
    with pytest.raises(BadCasesError, match=r"different first stages: .*A__nnUNetPlans__3d_lowres.*B__"):
        check_prediction(prediction(home, *models))


def test_an_ensemble_is_looked_for_with_probabilities_of_the_validation(home):
    steps = pipeline(home, "2d", "3d_fullres", ensemble=True, parts=2)
    assert all("--npz" in argv_of(steps[f"train_{name}"]) for name in ("2d", "3d_fullres"))
    assert "--disable_ensembling" not in argv_of(steps["find_best"])
    assert value(argv_of(steps["find_best"], command=1), "--most") == "2"
    assert [len(steps[name].tasks) for name in ("predict", "merge", "ensemble")] == [4, 2, 1]
    assert steps["postprocess"].after == ("ensemble",)


def test_folds_that_were_validated_without_probabilities_are_named(home):
    fold = home / "results" / "Dataset001_Toy" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_1"
    (fold / "validation").mkdir(parents=True)
    (fold / "validation" / "summary.json").touch()
    with pytest.raises(BadCasesError, match=r"fold_1/validation: no probabilities .*--val --npz"):
        pipeline(home, "2d", "3d_fullres", ensemble=True, go_on=True)
    (fold / "validation" / "case.npz").touch()
    pipeline(home, "2d", "3d_fullres", ensemble=True, go_on=True)


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
    model = str(tmp_path / "nnUNetTrainer__nnUNetPlans__2d")
    assert best["members"] == [{"model": model, "folds": ("0", "1"), "first_stage": None}]
    assert (best["configurations"], best["postprocessing"]) == (["2d"], "/r/postprocessing.pkl")


def test_a_pair_is_read_with_the_first_stage_that_a_cascade_needs(tmp_path):
    write_model(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_cascade_fullres", PLANS)
    pair = [{"configuration": name} for name in ("2d", "3d_cascade_fullres")]
    models = [{"trainer": "nnUNetTrainer", "plans": "nnUNetPlans", **model} for model in pair]
    found = information(tmp_path, considered_models=models)
    content = json.loads(found.read_text())
    content["best_model_or_ensemble"]["selected_model_or_models"] = pair
    found.write_text(json.dumps(content))
    names = ("nnUNetTrainer", "nnUNetPlans", ["2d", "3d_cascade_fullres"], ["0", "1"])
    best = choose(found, *names, most=2)
    assert [Path(member["model"]).name[-2:] for member in best["members"]] == ["2d", "es"]
    assert [member["first_stage"] and Path(member["first_stage"]).name for member in best["members"]] == [
        None,
        "nnUNetTrainer__nnUNetPlans__3d_lowres",
    ]
    with pytest.raises(InputError, match="ensemble of 2 models, expected one model"):
        choose(found, *names)


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
    member = {"model": str(tmp_path / "no_model"), "folds": ["0", "1"], "first_stage": None}
    best.write_text(json.dumps({"members": [member]}))
    done = best_model(tmp_path, "predict", best, 0, "out", "whole", "-i", "images")
    assert done.returncode == 1
    assert "nnunet_ext predict: error:" in done.stderr
    assert "no_model" in done.stderr


@pytest.mark.parametrize(("action", "index"), [("predict", 1), ("merge", 1), ("ensemble", 0), ("first_stage", 0)])
def test_what_the_best_does_not_need_is_done_at_once(tmp_path, action, index):
    best = tmp_path / "best_model.json"
    best.write_text(json.dumps({"members": [{"model": "m", "folds": ["0"], "first_stage": None}]}))
    done = best_model(tmp_path, action, best, index, "out", "parts", "--unknown")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to do" in done.stdout


def test_another_file_in_place_of_the_best_model_is_named(tmp_path):
    best = tmp_path / "best_model.json"
    best.write_text("{}")
    done = best_model(tmp_path, "predict", best, 0, "out", "whole")
    assert done.returncode == 1
    assert f"{best}: not what the step find_best writes" in done.stderr


def best_model(folder, *words):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "nnunet_ext.cluster.best_model", *map(str, words)],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_program_of_a_task_ends_with_one_line_and_1(tmp_path):
    words = [sys.executable, "-m", "nnunet_ext.cluster.best_model", "choose", "best.json", "missing.json"]
    words += ["-tr", "T", "-p", "P", "-c", "2d", "-f", "0"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("nnunet_ext.cluster.best_model: error: missing.json")
    assert len(done.stderr.splitlines()) == 1
