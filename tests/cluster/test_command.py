"""``nnunet_ext submit`` from the command line: plans, refusals, going on."""

from __future__ import annotations

import json

import pytest

from nnunet_ext.cli import main
from nnunet_ext.cluster.folder import now, read_plan, write_state
from tests.cluster.builders import FakeScheduler, option, toy_dataset

PLANS = {"2d": {"data_identifier": "p_2d"}, "3d_fullres": {"data_identifier": "p_3d"}}
TRAIN = ["submit", "train", "-d", "1", "-c", "2d", "3d_fullres"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    toy_dataset(tmp_path / "it's a home", monkeypatch, plans=PLANS)
    (tmp_path / "slurm.toml").write_text('scheduler = "slurm"\n[step.train]\ncpus = 3\ntime = 60\n')
    (tmp_path / "pbs.toml").write_text('scheduler = "pbs"\n[defaults]\nqueue = "gpu"\n')
    (tmp_path / "gpu.toml").write_text('scheduler = "slurm"\n[step.train]\ngpus = 1\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fake(home, monkeypatch):
    return FakeScheduler(home / "bin", monkeypatch)


def submissions(home):
    return sorted(home.glob("*/results/nnunet_ext_jobs/*"))


def test_a_training_is_submitted_and_shown(home, fake, capsys):
    assert main([*TRAIN, "--site", "slurm.toml"]) == 0
    said = capsys.readouterr().out
    assert "train_2d: job 101, 5 tasks" in said
    (folder,) = submissions(home)
    assert folder.name == "train_Dataset001_Toy_1"
    assert "#SBATCH --cpus-per-task=3" in (folder / "scripts" / "train_2d.sh").read_text()
    assert [option(call, "--array") for call in fake.calls("sbatch")] == ["0-4", "0-4"]
    fake.answer("squeue", "101_4|101|PENDING|Priority\n")
    assert main(["jobs"]) == 0
    assert "2d fold 4" in capsys.readouterr().out


def test_a_dry_run_needs_no_scheduler_and_can_be_submitted_later(home, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    assert main([*TRAIN, "--site", "slurm.toml", "--dry-run"]) == 0
    assert "--array=0-4" in capsys.readouterr().out
    fake = FakeScheduler(home / "bin", monkeypatch)
    assert main(["submit", "--resume"]) == 0
    assert len(fake.calls("sbatch")) == 2


def test_without_a_scheduler_nothing_is_written(home, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    assert main([*TRAIN, "--site", "slurm.toml"]) == 1
    assert "sbatch" in capsys.readouterr().err
    assert submissions(home) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "-d", "x; rm -rf ~", "-c", "2d", "--site", "slurm.toml"], "'x; rm -rf ~'"),
        (["train", "-d", "1", "-c", "3d_lowres", "--site", "slurm.toml"], "-c 3d_lowres: not in"),
        (["train", "-d", "1", "-c", "2d", "-f", "9", "--site", "slurm.toml"], "-f 9"),
        (["train", "-d", "1", "-c", "2d", "--site", "none.toml"], "none.toml: no such site file"),
        (["train", "-d", "1", "-c", "2d", "--site", "pbs.toml", "--scheduler", "slurm"], "the site file is for pbs"),
        (["train", "-d", "1", "-c", "2d", "--scheduler", "slurm"], "expected a site file"),
        (["train", "-d", "1", "-c", "2d"], "expected --scheduler"),
        (["train", "-d", "1", "-c", "2d", "--site", "slurm.toml", "--after", "$(x)"], "--after $(x)"),
        (["predict", "-i", "none", "-m", "none", "-o", "out", "--scheduler", "local"], "none"),
        (["pipeline", "-d", "1", "-c", "2d", "-i", "none", "-o", "out", "--scheduler", "local"], "none"),
        (["train", "-d", "1", "-c", "2d", "--scheduler", "local", "-np", "0"], "-np 0"),
        (["train", "-d", "1", "-c", "2d", "--site", "gpu.toml", "-num_gpus", "2"], "-num_gpus 2: expected 1 to 1, as"),
        ([], "expected train, predict or pipeline"),
        (["--resume", "nowhere"], "no plan.json"),
    ],
)
def test_what_cannot_be_submitted_is_refused_before_anything_is_written(home, fake, capsys, words, part):
    assert main(["submit", *words]) == 1
    assert part in capsys.readouterr().err
    assert submissions(home) == []
    assert fake.calls("sbatch", "qsub") == []


def test_a_pipeline_on_pbs(home, fake):
    words = ["-d", "Dataset001_Toy", "-c", "2d", "3d_fullres", "-o", "my out", "--parts", "3", "--export", "caffe"]
    assert main(["submit", "pipeline", *words, "--site", "pbs.toml", "--after", "7.server", "-np", "2"]) == 0
    steps = read_plan(submissions(home)[0]).steps
    names = ["train_2d", "train_3d_fullres", "find_best", "predict", "merge", "postprocess", "export"]
    assert [step.name for step in steps] == names
    calls = fake.calls("qsub")
    assert [call[-1] for call in calls] == [f"scripts/{name}.sh" for name in names]
    assert option(calls[0], "-W") == option(calls[1], "-W") == "depend=afterok:7.server"
    assert option(calls[2], "-W") == "depend=afterokarray:101[].server:102[].server"
    assert str(home / "my out") in steps[3].tasks[0].commands[0].argv
    assert str(home / "it's a home" / "raw" / "Dataset001_Toy" / "imagesTs") in steps[3].tasks[0].commands[0].argv


def test_the_same_command_with_resume_goes_on_with_its_own_submission(home, fake, capsys):
    assert main([*TRAIN, "--site", "slurm.toml"]) == 0
    assert main(["submit", "train", "-d", "1", "-c", "2d", "-f", "0", "--site", "slurm.toml"]) == 0
    first = submissions(home)[0]
    for name in ("train_2d", "train_3d_fullres"):
        for index in range(5):
            if (name, index) != ("train_2d", 3):
                write_state(first, name, index, {"state": "done", "start": now(), "end": now()})
    fake.forget()
    # What has begun must not keep it from going on.
    fold = home / "it's a home" / "results" / "Dataset001_Toy" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_3"
    fold.mkdir(parents=True)
    (fold / "checkpoint_latest.pth").touch()
    (home / "slurm.toml").write_text('scheduler = "slurm"\n[step.train]\ntime = "3-00:00:00"\n')
    assert main([*TRAIN, "--site", "slurm.toml", "--resume"]) == 0
    (call,) = fake.calls("sbatch")
    assert option(call, "--array") == "3"
    assert "#SBATCH --time=72:00:00" in (first / "scripts" / "train_2d.sh").read_text()
    assert len(submissions(home)) == 2
    assert main([*TRAIN, "-tr", "nnUNetTrainer_9epochs", "--site", "slurm.toml", "--resume"]) == 1
    assert "no submission with exactly these arguments" in capsys.readouterr().err


def test_resuming_with_a_folder_and_a_site(home, fake):
    assert main([*TRAIN, "--site", "slurm.toml", "--folder", "my jobs"]) == 0
    (home / "more.toml").write_text('scheduler = "slurm"\n[defaults]\nmemory = "99G"\n')
    fake.forget()
    assert main(["submit", "--resume", "my jobs", "--site", "more.toml"]) == 0
    assert len(fake.calls("sbatch")) == 2
    assert "--mem=99G" in (home / "my jobs" / "scripts" / "train_2d.sh").read_text()


def test_the_plan_is_frozen_with_what_was_given(home, fake):
    assert main([*TRAIN, "--site", "slurm.toml", "-pretrained_weights", str(home / "slurm.toml")]) == 0
    content = json.loads((submissions(home)[0] / "plan.json").read_text())
    arguments = content["arguments"]
    assert (arguments["workflow"], arguments["configurations"]) == ("train", ["2d", "3d_fullres"])
    assert (arguments["trainer"], arguments["folds"]) == ("nnUNetTrainer", list("01234"))
    assert content["site"]["step"]["train"]["time"] == 60
    assert content["environment"]["nnUNet_raw"] == str(home / "it's a home" / "raw")


@pytest.mark.parametrize(
    ("table", "given", "memory"),
    [
        ('memory = "10G"', [], "8192M"),
        ('memory_per_cpu = "5G"\ncpus = 2', [], "8192M"),
        ('memory = "10G"', ["--memory", "1G"], "1G"),
        ("cpus = 2", [], None),
    ],
)
def test_a_prediction_goes_by_the_memory_of_its_job(home, fake, table, given, memory):
    (home / "slurm.toml").write_text(f'scheduler = "slurm"\n[step.predict]\n{table}\n')
    words = ["submit", "pipeline", "-d", "1", "-c", "2d", "-o", "out", "--site", "slurm.toml", "--folder", "s"]
    assert main([*words, *given]) == 0
    (predict,) = [step for step in read_plan(home / "s").steps if step.name == "predict"]
    assert option(predict.tasks[0].commands[0].argv, "--memory") == memory


@pytest.mark.parametrize(
    ("site", "device", "noted"),
    [("slurm.toml", "cuda", True), ("slurm.toml", "cpu", False), ("gpu.toml", "cuda", False)],
)
def test_a_training_on_a_gpu_that_is_not_asked_for_is_noted(home, fake, capsys, site, device, noted):
    assert main([*TRAIN, "--site", site, "-device", device]) == 0
    assert ("asks for no GPU for train_2d, train_3d_fullres" in capsys.readouterr().err) == noted


def test_help_of_a_workflow_names_its_flags(capsys):
    with pytest.raises(SystemExit):
        main(["submit", "pipeline", "--help"])
    text = capsys.readouterr().out
    for flag in ("--parts", "--no-find-best", "-pretrained_weights", "--after", "--site"):
        assert flag in text
