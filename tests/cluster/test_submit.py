"""What the schedulers are asked: arrays, dependencies, holding, cancelling, going on."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

import pytest

from nnunet_ext.cluster.folder import now, read_plan, read_rounds, write_state
from nnunet_ext.cluster.scheduler import SchedulerError
from nnunet_ext.cluster.submit import create_submission, send
from nnunet_ext.errors import InputError, OutputExistsError
from tests.cluster.builders import HOSTILE, SITES, FakeScheduler, chain, option, step


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return FakeScheduler(tmp_path / "bin", monkeypatch)


def made(tmp_path, kind, steps=None, **more):
    site = {**SITES[kind], **more.pop("site", {})}
    return create_submission(
        steps or chain(),
        name="x",
        scheduler=site["scheduler"],
        site=site,
        arguments={"workflow": "train"},
        folder=tmp_path / HOSTILE,
        **more,
    )


def finish(folder, step_name, *indices, state="done"):
    for index in indices:
        write_state(folder, step_name, index, {"state": state, "attempt": 1, "start": now(), "end": now()})


def test_slurm_gets_arrays_that_wait_for_each_other(tmp_path, fake):
    folder = made(tmp_path, "slurm", site={"defaults": {"max_parallel": 2}})
    jobs = send(folder).jobs
    assert [(job.step, job.job, job.indices) for job in jobs] == [
        ("train_2d", "101", (0, 1, 2)),
        ("find_best", "102", (0,)),
        ("predict", "103", (0, 1)),
    ]
    train, best, predict = fake.calls("sbatch")
    assert [option(call, "--array") for call in (train, best, predict)] == ["0-2%2", "0%2", "0,1%2"]
    assert [option(call, "--dependency") for call in (train, best, predict)] == [None, "afterok:101", "afterok:102"]
    assert all(option(call, "--kill-on-invalid-dep") == "yes" for call in (best, predict))
    assert [call[-1] for call in (train, best, predict)] == [
        "scripts/train_2d.sh",
        "scripts/find_best.sh",
        "scripts/predict.sh",
    ]


def test_nothing_begins_before_everything_is_submitted(tmp_path, fake):
    send(made(tmp_path, "slurm"))
    calls = fake.calls("sbatch", "scontrol")
    assert [call[0] for call in calls] == ["sbatch"] * 3 + ["scontrol"]
    assert ["--hold" in call for call in calls] == [True, False, False, False]
    assert calls[-1] == ["scontrol", "release", "101"]


def test_torque_has_a_word_of_its_own_for_arrays(tmp_path, fake):
    send(made(tmp_path, "torque"))
    train, best, predict = fake.calls("qsub")
    assert (option(train, "-t"), option(best, "-t"), option(predict, "-t")) == ("0-2", None, "0,1")
    assert option(best, "-W") == "depend=afterokarray:101[].server"
    assert option(predict, "-W") == "depend=afterok:102.server"
    assert fake.calls("qrls") == [["qrls", "101[].server"]]


def test_openpbs_gets_single_jobs_where_tasks_make_up_no_range(tmp_path, fake):
    folder = made(tmp_path, "openpbs")
    send(folder)
    train, best, _ = fake.calls("qsub")
    assert option(train, "-J") == "0-2"
    assert option(best, "-W") == "depend=afterok:101[].server"
    fake.forget()
    fake.answer("qstat", "")
    finish(folder, "train_2d", 1)
    send(folder)
    first, second, best, _ = fake.calls("qsub")
    assert [option(call, "-v") for call in (first, second)] == ["nnunet_ext_task=0", "nnunet_ext_task=2"]
    assert option(best, "-W") == "depend=afterok:101.server:102.server"


def test_commands_run_in_the_folder_and_name_no_path(tmp_path, fake):
    """Slurm's own qsub hands its words to a shell."""
    for kind in SITES:
        (tmp_path / kind).mkdir()
        send(made(tmp_path / kind, kind))
    words = [word for call in fake.calls("sbatch", "qsub") for word in call]
    assert not [word for word in words if HOSTILE in word or " " in word]


def test_first_steps_wait_for_the_jobs_that_are_named(tmp_path, fake):
    send(made(tmp_path, "slurm", after=["17", "18_3"]))
    assert [option(call, "--dependency") for call in fake.calls("sbatch")][:2] == ["afterok:17:18_3", "afterok:101"]


@pytest.mark.parametrize("job", ["x", "1;rm", "--wrap", "1 2", ""])
def test_a_number_of_a_job_that_is_none_is_refused(tmp_path, job):
    with pytest.raises(InputError, match="--after"):
        made(tmp_path, "slurm", after=[job])
    assert not (tmp_path / HOSTILE).exists()


def test_jobs_that_were_submitted_are_cancelled_and_named_if_a_later_one_is_refused(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    fake.refuse_from(3)
    with pytest.raises(SchedulerError, match=r"refused\n.*cancelled: 101, 102"):
        send(folder)
    assert fake.calls("scancel") == [["scancel", "101", "102"]]
    assert fake.calls("scontrol") == []
    assert read_rounds(folder)[-1].jobs == ()


def test_jobs_that_could_not_be_cancelled_stay_on_record(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    fake.refuse_from(3)
    (fake.folder / "scancel").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SchedulerError, match=r"refused\n.*by hand: 101, 102"):
        send(folder)
    assert [job.job for job in read_rounds(folder)[-1].jobs] == ["101", "102"]


def test_jobs_to_wait_for_are_waited_for_until_the_first_submission_succeeds_and_no_longer(tmp_path, fake):
    folder = made(tmp_path, "slurm", after=["17"])
    fake.refuse_from(2)
    with pytest.raises(SchedulerError):
        send(folder)
    (fake.folder / "refuse").unlink()
    fake.forget()
    send(folder)
    assert option(fake.calls("sbatch")[0], "--dependency") == "afterok:17"
    fake.forget()
    send(folder)
    assert option(fake.calls("sbatch")[0], "--dependency") is None


def test_a_dry_run_asks_the_scheduler_for_nothing(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    calls = send(folder, dry_run=True).calls
    assert len(calls) == 3
    assert "--dependency=afterok:<train_2d>" in calls[1]
    assert fake.calls("sbatch", "scontrol") == []
    assert read_rounds(folder) == []
    assert len(send(folder).jobs) == 3


def test_without_the_scheduler_only_a_dry_run_works(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = made(tmp_path, "slurm")
    with pytest.raises(SchedulerError, match=r"sbatch.*not on PATH"):
        send(folder)
    assert len(send(folder, dry_run=True).calls) == 3


def test_only_what_is_not_done_is_submitted_again_with_what_depends_on_it(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    send(folder)
    fake.forget()
    finish(folder, "train_2d", 0, 2)
    finish(folder, "train_2d", 1, state="failed")
    send(folder)
    train, best, predict = fake.calls("sbatch")
    assert option(train, "--array") == "1"
    assert option(best, "--dependency") == "afterok:101"
    assert option(predict, "--array") == "0,1"
    assert len(read_rounds(folder)) == 2


def test_done_steps_are_left_out_and_not_waited_for(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    send(folder)
    fake.forget()
    finish(folder, "train_2d", 0, 1, 2)
    finish(folder, "find_best", 0)
    finish(folder, "predict", 0)
    send(folder)
    (predict,) = fake.calls("sbatch")
    assert option(predict, "--array") == "1"
    assert option(predict, "--dependency") is None
    assert "--hold" not in predict


def test_what_runs_is_left_alone_and_waited_for_by_its_index(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    send(folder)
    fake.forget()
    finish(folder, "train_2d", 1, state="failed")
    finish(folder, "train_2d", 2)
    fake.answer("squeue", "101_0|101|RUNNING|None\n102_0|102|PENDING|Dependency\n103_0|103|PENDING|Dependency\n")
    send(folder)
    train, best, predict = fake.calls("sbatch")
    assert option(train, "--array") == "1"
    assert option(best, "--dependency") == "afterok:101:101_0"
    # What waited for the array that failed would wait for ever.
    assert fake.calls("scancel") == [["scancel", "102", "103"]]
    assert option(predict, "--array") == "0,1"


def test_while_everything_waits_or_runs_there_is_nothing_to_do(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    send(folder)
    fake.forget()
    lines = [f"101_{i}|101|PENDING|Resources" for i in range(3)]
    lines += ["102_0|102|PENDING|Dependency", "103_0|103|PENDING|Dependency", "103_1|103|PENDING|Dependency"]
    fake.answer("squeue", "\n".join(lines) + "\n")
    assert send(folder).nothing_to_do
    assert fake.calls("sbatch", "scancel") == []


def test_a_job_of_the_same_number_with_another_index_does_not_count(tmp_path, fake):
    folder = made(tmp_path, "torque")
    send(folder)
    fake.forget()
    fake.answer(
        "qstat",
        "Job ID                    Name             User            Time Use S Queue\n"
        "------------------------- ---------------- --------------- -------- - -----\n"
        "101[1].server             train_2d         me              00:10:00 R gpu\n"
        "102.server                find_best        me                     0 H gpu\n",
    )
    finish(folder, "train_2d", 0, state="failed")
    finish(folder, "train_2d", 2, state="failed")
    for index in (0, 2):
        write_state(folder, "train_2d", index, {"state": "failed", "job": f"101[{index}].server", "end": now()})
    send(folder)
    train, best, _ = fake.calls("qsub")
    assert option(train, "-t") == "0,2"
    assert option(best, "-W") == "depend=afterok:101[1].server,afterokarray:101[].server"
    assert fake.calls("qdel") == [["qdel", "102.server"]]


def test_a_task_that_ended_is_not_taken_for_waiting_where_the_queue_names_the_array_only(tmp_path, fake):
    folder = made(tmp_path, "openpbs", [step("train_2d", "pass", "pass")])
    send(folder)
    fake.forget()
    fake.answer("qstat", "101[].server   train_2d   me   0 B gpu\n")
    later = (datetime.now().astimezone() + timedelta(seconds=5)).isoformat(timespec="seconds")
    write_state(folder, "train_2d", 0, {"state": "failed", "job": "101[0].server", "end": later})
    (job,) = send(folder).jobs
    assert job.indices == (0,)


def test_a_task_that_is_missing_among_the_listed_ones_of_its_array_is_gone(tmp_path, fake):
    folder = made(tmp_path, "openpbs", [step("train_2d", "pass", "pass")])
    send(folder)
    fake.forget()
    fake.answer("qstat", "101[].server   train_2d   me   0 B gpu\n101[1].server  train_2d   me   0 R gpu\n")
    (job,) = send(folder).jobs
    assert job.indices == (0,)


def test_a_task_with_a_number_of_its_own_is_found_by_it(tmp_path, fake):
    """Slurm's own qstat lists running tasks of arrays so."""
    folder = made(tmp_path, "openpbs", [step("train_2d", "pass", "pass")])
    send(folder)
    fake.forget()
    fake.answer("qstat", "555            train_2d   me   0 R gpu\n")
    write_state(folder, "train_2d", 1, {"state": "running", "job": "555", "start": now()})
    (job,) = send(folder).jobs
    assert job.indices == (0,)


def test_another_site_file_gives_more_time_and_is_kept_for_the_next_time(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    send(folder)
    longer = {"scheduler": "slurm", "defaults": {"time": "40:00:00"}}
    send(folder, site=longer)
    assert "#SBATCH --time=40:00:00" in (folder / "scripts" / "train_2d.sh").read_text()
    assert read_rounds(folder)[-1].site == longer
    send(folder)
    assert read_rounds(folder)[-1].site == longer
    assert read_plan(folder).site == {**SITES["slurm"]}


def test_a_site_file_of_another_scheduler_is_refused(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    with pytest.raises(InputError, match="for pbs"):
        send(folder, site={"scheduler": "pbs"})


def test_two_commands_cannot_submit_from_one_folder_at_once(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    (folder / "submitting").mkdir()
    with pytest.raises(OutputExistsError, match="another command"):
        send(folder)
    assert fake.calls("sbatch") == []


def test_the_folder_is_free_again_after_an_error(tmp_path, fake):
    folder = made(tmp_path, "slurm")
    fake.refuse_from(1)
    with pytest.raises(SchedulerError):
        send(folder)
    assert not (folder / "submitting").exists()


def test_the_plan_freezes_the_folders_of_nnunet_as_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("nnUNet_raw", "my raw")
    monkeypatch.setenv("nnUNet_compile", "f")
    monkeypatch.setenv("nnUNet_extTrainer", f"mine{os.pathsep}/theirs")
    folder = made(tmp_path, "slurm", site={"environment": {"MORE": "1"}})
    environment = read_plan(folder).environment
    assert environment["nnUNet_raw"] == os.fspath(tmp_path / "my raw")
    assert environment["nnUNet_extTrainer"] == f"{tmp_path / 'mine'}{os.pathsep}/theirs"
    assert (environment["nnUNet_compile"], environment["MORE"]) == ("f", "1")


def test_a_scheduler_that_answers_nonsense_is_quoted(tmp_path, fake, monkeypatch):
    folder = made(tmp_path, "slurm")
    (fake.folder / "sbatch").write_text("#!/bin/sh\necho Welcome to the cluster\n")
    with pytest.raises(SchedulerError, match="Welcome to the cluster"):
        send(folder)
