"""One task: state, log, second attempts, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunet_ext.cluster.folder import log_path, read_state, write_state
from nnunet_ext.cluster.graph import Command, Step, Task
from nnunet_ext.cluster.submit import create_submission
from tests.cluster.builders import HOSTILE, python, step


def submission(tmp_path, *commands, environment=None):
    steps = [Step("train_2d", "train", (Task("2d fold 0", commands),))]
    site = {"environment": environment or {}}
    return create_submission(steps, name="x", scheduler="local", site=site, arguments={}, folder=tmp_path / "s x")


def words(folder):
    return [sys.executable, "-m", "nnunet_ext.cluster.task", str(folder), "train_2d", "0"]


def run(folder, **more):
    return subprocess.run(words(folder), capture_output=True, text=True, timeout=60, check=False, **more)


def state_of(folder):
    return read_state(folder, "train_2d", 0)


def log_of(folder):
    return log_path(folder, "train_2d", 0).read_text()


def wait_for(folder, text):
    log = log_path(folder, "train_2d", 0)
    deadline = time.monotonic() + 20
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_task_that_succeeds_leaves_state_and_log_and_is_not_run_twice(tmp_path):
    folder = submission(tmp_path, python("print('one')"), python("print('two')"))
    assert run(folder).returncode == 0
    state = state_of(folder)
    assert (state["state"], state["exit_status"], state["attempt"]) == ("done", 0, 1)
    assert state["peak_memory"] > 2**20
    assert state["start"] <= state["end"]
    assert log_of(folder).index("one\n") < log_of(folder).index("two\n")
    before = log_of(folder)
    assert run(folder).returncode == 0
    assert log_of(folder) == before


def test_the_first_command_that_fails_ends_the_task_with_its_status(tmp_path):
    folder = submission(tmp_path, python("import sys; sys.exit(7)"), python("print('never')"))
    assert run(folder).returncode == 7
    assert (state_of(folder)["state"], state_of(folder)["exit_status"]) == ("failed", 7)
    assert "exit status 7" in state_of(folder)["reason"]
    assert "never\n" not in log_of(folder)


def test_arguments_reach_commands_as_they_are(tmp_path):
    odd = ["a b", "$(touch pwned)", "x'\"y", "line\nbreak", "--", "*", "ü"]
    code = "import sys, json; print(json.dumps(sys.argv[1:]))"
    folder = submission(tmp_path, Command(("python", "-c", code, *odd)))
    assert run(folder).returncode == 0
    assert json.dumps(odd) in log_of(folder)


def test_from_the_second_attempt_on_a_training_goes_on_if_there_is_a_checkpoint(tmp_path):
    checkpoint = tmp_path / f"checkpoint {HOSTILE.replace('/', '')}"
    code = "import sys; print('got', sys.argv[1:]); sys.exit(1)"
    folder = submission(tmp_path, python(code, again=["--c"], again_if=["/nowhere", str(checkpoint)]))
    run(folder)
    run(folder)
    checkpoint.touch()
    run(folder)
    assert [line for line in log_of(folder).splitlines() if line.startswith("got")] == [
        "got []",
        "got []",
        "got ['--c']",
    ]
    assert state_of(folder)["attempt"] == 3
    assert log_of(folder).count("=== attempt") == 3


def test_a_first_attempt_ignores_an_older_checkpoint(tmp_path):
    (tmp_path / "checkpoint").touch()
    code = "import sys; print('got', sys.argv[1:])"
    folder = submission(tmp_path, python(code, again=["--c"], again_if=[str(tmp_path / "checkpoint")]))
    run(folder)
    assert "got []" in log_of(folder)


def test_an_argument_that_is_there_is_not_added_again(tmp_path):
    code = "import sys; print('got', sys.argv[1:]); sys.exit(1)"
    folder = submission(tmp_path, Command(("python", "-c", code, "--c"), again=("--c",)))
    run(folder)
    run(folder)
    assert "['--c', '--c']" not in log_of(folder)


def test_frozen_variables_reach_commands_where_nothing_else_sets_them(tmp_path):
    code = "import os; print(os.environ['A'], os.environ['B'])"
    folder = submission(tmp_path, python(code), environment={"A": "frozen", "B": "frozen"})
    environment = {key: value for key, value in os.environ.items() if key != "A"} | {"B": "by a line of the site"}
    assert run(folder, env=environment).returncode == 0
    assert "frozen by a line of the site\n" in log_of(folder)


def test_a_program_that_is_not_there_is_named(tmp_path):
    folder = submission(tmp_path, Command(("no-such-program", "x")))
    assert run(folder).returncode == 127
    assert "no-such-program" in state_of(folder)["reason"]


def test_a_command_that_was_killed_is_said_to_have_run_out_of_memory_most_likely(tmp_path):
    folder = submission(tmp_path, python("import os; os.kill(os.getpid(), 9)"))
    assert run(folder).returncode == 137
    assert "SIGKILL, most likely because memory ran out" in state_of(folder)["reason"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_its_children_and_is_written_down(tmp_path, number):
    child = "import os, time; print('child', os.getpid(), flush=True); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-SEc', {child!r}])"
    folder = submission(tmp_path, python(code))
    process = subprocess.Popen(words(folder), stdout=subprocess.DEVNULL)
    wait_for(folder, "\nchild ")
    assert state_of(folder)["state"] == "running"
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    state = state_of(folder)
    assert (state["state"], state["exit_status"]) == ("terminated", 128 + number)
    assert f"=== ended by {number.name}" in log_of(folder)
    grandchild = int(next(line for line in log_of(folder).splitlines() if line.startswith("child")).split()[1])
    time.sleep(0.2)
    arguments = Path(f"/proc/{grandchild}/cmdline")
    # One that nobody has waited for yet is there without arguments.
    assert not arguments.exists() or not arguments.read_bytes()


def test_a_command_that_ignores_the_signal_is_ended_all_the_same(tmp_path):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    folder = submission(tmp_path, python(code))
    starter = (
        "from pathlib import Path; from nnunet_ext.cluster import task; task._GRACE = 0.3; "
        f"task.run_task(Path({str(folder)!r}), 'train_2d', 0)"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.DEVNULL)
    wait_for(folder, "\ndeaf\n")
    process.terminate()
    process.wait(10)
    assert state_of(folder)["state"] == "terminated"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot ask for it")
def test_a_command_does_not_outlive_a_task_that_was_killed(tmp_path):
    folder = submission(tmp_path, python("import os, time; print('pid', os.getpid(), flush=True); time.sleep(60)"))
    process = subprocess.Popen(words(folder))
    wait_for(folder, "\npid ")
    process.kill()
    process.wait(20)
    time.sleep(0.3)
    number = int(next(line for line in log_of(folder).splitlines() if line.startswith("pid")).split()[1])
    arguments = Path(f"/proc/{number}/cmdline")
    assert not arguments.exists() or not arguments.read_bytes()


@pytest.mark.parametrize("arguments", [[], ["{}", "train_2d", "x"], ["{}", "train_2d", "5"], ["{}", "no_step", "0"]])
def test_a_task_that_is_not_in_the_plan_is_refused(tmp_path, arguments):
    folder = submission(tmp_path, python("pass"))
    given = [argument.format(folder) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "nnunet_ext.cluster.task", *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage" in done.stderr or "no task" in done.stderr


def test_the_state_of_an_earlier_attempt_counts_attempts_on(tmp_path):
    folder = submission(tmp_path, python("pass"))
    write_state(folder, "train_2d", 0, {"state": "running", "attempt": 4})
    run(folder)
    assert state_of(folder)["attempt"] == 5


def test_memory_of_workers_is_counted_together(tmp_path):
    worker = "x = bytearray(60 * 2**20); import time; time.sleep(4)"
    code = (
        "import subprocess, sys; "
        f"workers = [subprocess.Popen([sys.executable, '-SEc', {worker!r}]) for _ in range(2)]; "
        "[worker.wait() for worker in workers]"
    )
    folder = submission(tmp_path, step("a", code).tasks[0].commands[0])
    run(folder)
    assert state_of(folder)["peak_memory"] > 120 * 2**20
