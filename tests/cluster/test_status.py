"""What ``nnunet_ext jobs`` says of tasks."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta

import pytest

from nnunet_ext.cli import main
from nnunet_ext.cluster.folder import log_path, now, write_state
from nnunet_ext.cluster.status import submission_status
from nnunet_ext.cluster.submit import create_submission, send
from tests.cluster.builders import SITES, FakeScheduler, chain, step


@pytest.fixture
def fake(tmp_path, monkeypatch):
    found = FakeScheduler(tmp_path / "bin", monkeypatch)
    (found.folder / "sacct").write_text("#!/bin/sh\nexit 1\n")
    (found.folder / "sacct").chmod(0o755)
    return found


@pytest.fixture
def sent(tmp_path, fake):
    site = {**SITES["slurm"], "defaults": {"time": 10}}
    folder = create_submission(chain(), name="x", scheduler="slurm", site=site, arguments={}, folder=tmp_path / "s")
    send(folder)
    return folder


def states(folder):
    return {f"{task.step}.{task.index}": task.state for task in submission_status(folder).tasks}


def test_before_and_after_submitting(tmp_path, fake, sent):
    other = create_submission(
        chain(), name="x", scheduler="slurm", site=SITES["slurm"], arguments={}, folder=tmp_path / "t"
    )
    assert set(states(other).values()) == {"not submitted"}
    fake.answer("squeue", "101_0|104|RUNNING|None\n101_1|101|PENDING|Resources\n102_0|102|PENDING|Dependency\n")
    write_state(sent, "train_2d", 0, {"state": "running", "start": now(), "attempt": 1})
    write_state(sent, "train_2d", 2, {"state": "done"})
    found = states(sent)
    assert (found["train_2d.0"], found["train_2d.1"], found["train_2d.2"]) == ("running", "waiting", "done")
    assert found["find_best.0"] == "waiting"
    # In neither queue nor state: gone without a trace.
    assert found["predict.0"] == "lost"


def test_what_waits_for_a_failed_task_is_blocked(fake, sent):
    write_state(sent, "train_2d", 0, {"state": "done"})
    write_state(sent, "train_2d", 1, {"state": "failed", "reason": "x: exit status 1"})
    write_state(sent, "train_2d", 2, {"state": "done"})
    fake.answer("squeue", "102_0|102|PENDING|DependencyNeverSatisfied\n")
    found = states(sent)
    assert (found["train_2d.1"], found["find_best.0"], found["predict.1"]) == ("failed", "blocked", "blocked")
    # PBS does not say that what a job waits for cannot come.
    fake.answer("squeue", "102_0|102|PENDING|Dependency\n")
    assert states(sent)["find_best.0"] == "blocked"


def test_a_task_that_says_running_but_has_left_the_queue_is_lost(fake, sent):
    write_state(sent, "train_2d", 0, {"state": "running", "start": now(), "attempt": 1})
    assert states(sent)["train_2d.0"] == "lost"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("TIMEOUT", "timed out"),
        ("OUT_OF_MEMORY", "out of memory"),
        ("CANCELLED by 0", "cancelled"),
        ("NODE_FAIL", "node failed"),
    ],
)
def test_the_scheduler_says_how_a_lost_task_ended(fake, sent, said, state):
    write_state(sent, "train_2d", 0, {"state": "running", "start": now(), "attempt": 1})
    (fake.folder / "sacct").write_text(f"#!/bin/sh\necho '101_0|{said}'\n")
    assert states(sent)["train_2d.0"] == state
    (fake.folder / "sacct").write_text("#!/bin/sh\nexit 1\n")
    fake.answer(
        "scontrol", f"JobId=104 ArrayJobId=101 ArrayTaskId=0 JobName=x JobState={said.split()[0]} Reason=None\n"
    )
    assert states(sent)["train_2d.0"] == state


def test_without_accounting_a_task_ended_at_its_limit_is_said_to_have_timed_out(sent):
    write_state(sent, "train_2d", 0, {"state": "terminated", "seconds": 599.0, "reason": "ended by SIGTERM"})
    write_state(sent, "train_2d", 1, {"state": "terminated", "seconds": 100.0, "reason": "ended by SIGTERM"})
    found = states(sent)
    assert (found["train_2d.0"], found["train_2d.1"]) == ("timed out", "terminated")


def test_a_scheduler_that_does_not_answer_makes_no_task_lost(fake, sent):
    (fake.folder / "status").write_text("1")
    write_state(sent, "train_2d", 0, {"state": "running", "start": now(), "attempt": 1})
    status = submission_status(sent)
    assert "does not answer" in status.note
    assert status.tasks[0].state == "running"
    assert not [task for task in status.tasks if task.state == "lost"]


def test_a_local_task_whose_process_is_gone_is_lost(tmp_path):
    folder = create_submission(
        [step("a", "pass", "pass")], name="x", scheduler="local", site={}, arguments={}, folder=tmp_path / "s"
    )
    send(folder)
    here = {"state": "running", "start": now(), "host": os.uname().nodename}
    write_state(folder, "a", 0, {**here, "pid": os.getpid()})
    write_state(folder, "a", 1, {**here, "pid": 2**22 + 1})
    assert states(folder) == {"a.0": "running", "a.1": "lost"}


def test_runtime_of_a_running_task_counts_from_its_start(fake, sent):
    start = (datetime.now().astimezone() - timedelta(hours=1)).isoformat(timespec="seconds")
    write_state(sent, "train_2d", 0, {"state": "running", "start": start, "attempt": 1})
    fake.answer("squeue", "101_0|104|RUNNING|None\n")
    assert submission_status(sent).tasks[0].seconds == pytest.approx(3600, abs=30)


def test_the_table_shows_runtime_memory_and_the_end_of_the_log(fake, sent, capsys):
    failed = {"state": "failed", "seconds": 3725, "peak_memory": 3 * 2**30, "attempt": 2, "reason": "x: exit status 1"}
    write_state(sent, "train_2d", 1, failed)
    log_path(sent, "train_2d", 1).write_text("first\n" + "epoch 1\repoch 2\rbar at 100 %\n" + "the error\n")
    assert main(["jobs", str(sent), "--tail", "2"]) == 0
    text = capsys.readouterr().out
    (row,) = [line for line in text.splitlines() if line.startswith("train_2d   1")]
    for part in ("task 1", "failed", "1:02:05", "3.00 GiB", "101", "x: exit status 1"):
        assert part in row
    assert "bar at 100 %\nthe error\n" in text
    assert "epoch 1" not in text
    assert "first" not in text
    assert f"submit --resume {sent}" in text


def test_json_holds_the_same(fake, sent, capsys):
    write_state(sent, "train_2d", 0, {"state": "done", "seconds": 5, "attempt": 1})
    assert main(["jobs", str(sent), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(sent)
    assert found["tasks"][0] | {"state": "done", "seconds": 5, "job": "101"} == found["tasks"][0]
    assert len(found["tasks"]) == 6


def test_the_newest_submission_is_shown_by_default_and_all_on_demand(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    made = [create_submission(chain(), name=n, scheduler="local", site={}, arguments={}) for n in ("a", "b")]
    os.utime(made[0] / "plan.json", (1, 1))
    assert main(["jobs"]) == 0
    text = capsys.readouterr().out
    assert "b_1" in text
    assert "a_1" not in text
    assert main(["jobs", "--all"]) == 0
    assert "a_1" in capsys.readouterr().out


def test_a_folder_without_a_plan_is_named(tmp_path, capsys):
    assert main(["jobs", str(tmp_path)]) == 1
    assert f"{tmp_path}: no plan.json" in capsys.readouterr().err
