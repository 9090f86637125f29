"""Graphs on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from nnunet_ext.cluster.folder import now, read_state, write_state
from nnunet_ext.cluster.submit import create_submission, send
from nnunet_ext.errors import InputError
from tests.cluster.builders import step


def made(tmp_path, steps, **site):
    return create_submission(steps, name="x", scheduler="local", site=site, arguments={}, folder=tmp_path / "s")


def states(folder, *names):
    return [read_state(folder, name, 0).get("state") for name in names]


def test_what_waits_for_a_failed_step_is_left_out_and_the_rest_runs(tmp_path):
    steps = [
        step("a", "import sys; sys.exit(1)", "pass"),
        step("b", "pass", after=["a"]),
        step("c", "pass", after=["b"]),
        step("d", "pass"),
    ]
    folder = made(tmp_path, steps)
    said = []
    sent = send(folder, report=said.append)
    assert not sent.succeeded
    assert states(folder, "a", "b", "c", "d") == ["failed", None, None, "done"]
    assert read_state(folder, "a", 1)["state"] == "done"
    assert "b: left out, a step before it failed" in said
    assert "c: left out, a step before it failed" in said


def test_going_on_runs_only_what_is_not_done(tmp_path):
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    fail = f"import os, sys; sys.exit(not os.path.exists({str(tmp_path / 'flag')!r}))"
    folder = made(tmp_path, [step("a", count), step("b", fail, after=["a"]), step("c", "pass", after=["b"])])
    assert not send(folder).succeeded
    (tmp_path / "flag").touch()
    assert send(folder).succeeded
    assert (tmp_path / "count").read_text() == "x"
    assert states(folder, "a", "b", "c") == ["done", "done", "done"]
    assert send(folder).nothing_to_do


def test_steps_run_in_order(tmp_path):
    log = str(tmp_path / "log")
    write = "import time; time.sleep({0}); open({1!r}, 'a').write({2!r})"
    steps = [
        step("a", write.format(0.3, log, "a"), write.format(0, log, "a")),
        step("b", write.format(0, log, "b"), after=["a"]),
    ]
    assert send(made(tmp_path, steps, parallel=3)).succeeded
    assert (tmp_path / "log").read_text() == "aab"


def test_as_many_tasks_run_side_by_side_as_the_site_says(tmp_path):
    code = (
        "import os, time, pathlib; p = pathlib.Path({0!r}); (p / str(os.getpid())).touch(); time.sleep(0.5); "
        "print('beside', len(list(p.iterdir()))); (p / str(os.getpid())).unlink()"
    )
    for parallel in (1, 3):
        here = tmp_path / str(parallel)
        (here / "now").mkdir(parents=True)
        folder = made(here, [step("a", *[code.format(str(here / "now"))] * 3)], parallel=parallel)
        assert send(folder).succeeded
        found = max(int(p.read_text().split("beside ")[1].split()[0]) for p in (folder / "logs").glob("*.log"))
        assert found == parallel


def test_a_task_that_still_runs_is_not_begun_again(tmp_path):
    folder = made(tmp_path, [step("a", "pass")])
    state = {"state": "running", "host": os.uname().nodename, "pid": os.getpid(), "start": now()}
    write_state(folder, "a", 0, state)
    with pytest.raises(InputError, match="still running: a 0"):
        send(folder)
    write_state(folder, "a", 0, {**state, "pid": 2**22 + 1})
    assert send(folder).succeeded


def test_a_dry_run_runs_nothing(tmp_path):
    folder = made(tmp_path, [step("a", "pass")])
    assert send(folder, dry_run=True).calls == (("sh", "scripts/a.sh", "0"),)
    assert states(folder, "a") == [None]


def test_the_end_of_the_command_ends_its_tasks(tmp_path):
    folder = made(tmp_path, [step("a", "import time; print('here', flush=True); time.sleep(60)"), step("b", "pass")])
    code = "from pathlib import Path; from nnunet_ext.cluster.submit import send; send(Path({!r}))"
    process = subprocess.Popen([sys.executable, "-c", code.format(str(folder))], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    log = folder / "logs" / "a.0.log"
    while not (log.exists() and "here" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = read_state(folder, "a", 0)["pid"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) != 0
    assert states(folder, "a", "b") == ["terminated", None]
    assert not os.path.exists(f"/proc/{pid}")  # noqa: PTH110
    assert not (folder / "submitting").exists()
