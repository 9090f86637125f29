"""Figures of a benchmark by hand, and what is refused before anything is measured."""

from __future__ import annotations

import json

import pytest

from nnunet_ext.benchmark.figures import StepTimes, step_figures, table
from nnunet_ext.benchmark.run import benchmark
from nnunet_ext.benchmark.worker import timed_steps
from nnunet_ext.cli import main
from nnunet_ext.errors import InputError, MissingInputError, OutputExistsError


def test_figures_of_three_steps():
    found = step_figures(StepTimes((0.5, 0.0, 0.5), (0.5, 0.5, 1.5), patches=2))
    assert found["steps"] == 3
    # Steps of 1, 0.5 and 2 seconds: 6 patches in 3.5 s.
    assert found["patches_per_second"]["mean"] == pytest.approx(6 / 3.5)
    assert found["patches_per_second"]["median"] == pytest.approx(2.0)
    assert found["patches_per_second"]["min"] == pytest.approx(1.0)
    assert found["patches_per_second"]["max"] == pytest.approx(4.0)
    assert found["latency_ms"]["p50"] == pytest.approx(1000)
    assert found["latency_ms"]["p90"] == pytest.approx(1800)
    assert found["latency_ms"]["mean"] == pytest.approx(3500 / 3)
    assert found["loading_share"] == pytest.approx(1 / 3.5)


def test_steps_before_the_measured_ones_are_run_and_not_counted(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("nnunet_ext.benchmark.worker.time.perf_counter", lambda: float(next(clock)))
    events = []

    def load():
        events.append("load")
        return len(events)

    loading, computing = timed_steps(load, lambda _: events.append("compute"), lambda: events.append("wait"), 2, 3)
    assert loading == computing == [1.0, 1.0, 1.0]
    assert events == ["load", "compute", "wait"] * 5


def test_the_table_has_a_line_per_kind_of_step():
    figures = step_figures(StepTimes((0.1,), (0.4,), patches=1))
    text = table(
        {"train": figures, "validation": figures, "peak_memory_bytes": {"process": 2**31}, "epoch_seconds": 12.34}
    )
    first, train, validation, memory, epoch = text.splitlines()
    assert first.split() == ["mean", "median", "min", "max", "p95", "[ms]", "p99", "[ms]", "loading"]
    assert train.split() == ["train", "[patches/s]", "2.00", "2.00", "2.00", "2.00", "500.0", "500.0", "20.0", "%"]
    assert validation.startswith("validation")
    assert memory == "peak memory, process: 2.00 GB"
    assert epoch == "an epoch: 12.3 s"


@pytest.fixture
def preprocessed(tmp_path, monkeypatch):
    folder = tmp_path / "preprocessed" / "Dataset042_Test"
    folder.mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps({"configurations": {"2d": {}}}))
    (folder / "dataset.json").write_text("{}")
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    return folder


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"dataset": "43"}, "no dataset 43 there; run nnUNetv2_plan_and_preprocess -d 43 first"),
        ({"dataset": "Dataset043_No"}, "no dataset Dataset043_No there; run nnUNetv2_plan_and_preprocess -d 043 first"),
        ({"dataset": "Task43"}, "-d ID first"),
        ({"plans": "nnUNetResEncUNetMPlans"}, r"nnUNetResEncUNetMPlans\.json: no such file"),
        ({"configuration": "3d_fullres"}, "no configuration 3d_fullres, found: 2d"),
        ({"batches": 0}, "--batches 0: expected 1 or more"),
        ({"warmup": -1}, "--warmup -1: expected 0 or more"),
        ({"batch_size": 0}, "--batch-size 0: expected 1 or more"),
    ],
)
def test_what_is_not_there_is_named_before_anything_starts(preprocessed, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.setattr("nnunet_ext.benchmark.run._run", lambda _: pytest.fail("measured"))
    words = {"mode": "train", "dataset": "42", "configuration": "2d", "output": tmp_path / "out"} | arguments
    with pytest.raises((InputError, MissingInputError), match=reason):
        benchmark(**words)
    assert not (tmp_path / "out").exists()


def test_without_the_folder_of_datasets_the_variable_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    with pytest.raises(MissingInputError, match="nnUNet_preprocessed is not set"):
        benchmark("train", "42", "2d", tmp_path)


def test_the_request_and_the_result(preprocessed, tmp_path, monkeypatch, capsys):
    figures = step_figures(StepTimes((0.1,), (0.4,), patches=1))
    requests = []

    def run(request):
        requests.append(request)
        return {"predict": figures, "peak_memory_bytes": {"process": 1}}

    monkeypatch.setattr("nnunet_ext.benchmark.run._run", run)
    words = ["benchmark", "predict", "-d", "42", "-c", "2d", "-tr", "T", "-device", "cpu", "-o", str(tmp_path / "out")]
    assert main([*words, "--batches", "7", "--warmup", "3", "--batch-size", "5", "--disable_tta", "--synthetic"]) == 0
    assert requests == [
        {
            "mode": "predict",
            "dataset": 42,
            "configuration": "2d",
            "trainer": "T",
            "plans": "nnUNetPlans",
            "fold": 0,
            "device": "cpu",
            "batches": 7,
            "warmup": 3,
            "batch_size": 5,
            "synthetic": True,
            "mirroring": False,
        }
    ]
    assert "predict [patches/s]" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "benchmark.json").read_text())["predict"] == figures
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(OutputExistsError):
        benchmark("predict", "42", "2d", tmp_path / "out")


def test_the_error_of_a_trainer_reaches_the_user(preprocessed, tmp_path):
    with pytest.raises(InputError, match="nnUNetTrainerNoSuch on cpu: could not be measured"):
        benchmark("train", "42", "2d", tmp_path / "out", trainer="nnUNetTrainerNoSuch", device="cpu")
    assert not (tmp_path / "out").exists()
