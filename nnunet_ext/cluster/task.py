"""Run one task of a submission; every script ends with ``python -m nnunet_ext.cluster.task FOLDER STEP INDEX``.

Everything that a user gave comes from the frozen plan and goes to the commands as lists of words; no shell sees it.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster.folder import log_path, now, read_plan, read_state, write_state
from nnunet_ext.cluster.memory import largest_child, memory_of_tree
from nnunet_ext.errors import InputError, NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType
    from typing import BinaryIO

    from nnunet_ext.cluster.graph import Command, Task

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_GRACE = 10.0
"""Seconds between asking the commands to end and ending them; schedulers give about 30 in all."""
_LOOK = 2.0
"""Seconds between two looks at the memory."""

_PR_SET_PDEATHSIG = 1
# Linux only. Looked up here, since a process that has just been forked should do as little as possible.
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None


class _Stopped(Exception):  # noqa: N818 - a way out, not an error
    """The scheduler or the user asked the task to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def run_task(folder: Path, step_name: str, index: int) -> int:
    """Run the commands of a task one after the other, and write down what became of them.

    A task that is done is not run again. From the second attempt on, commands get the arguments that let them go on
    where they stopped.

    Parameters
    ----------
    folder
        Folder of the submission.
    step_name, index
        Which task.

    Returns
    -------
    int
        Exit status: that of the command that failed, 128 + number after a signal, or 0.

    Raises
    ------
    InputError
        If the plan has no such task.
    """
    plan = read_plan(folder)
    task = _find(folder, plan.steps, step_name, index)
    before = read_state(folder, step_name, index)
    if before.get("state") == "done":
        print(f"{step_name} {index}: done before, nothing to do")
        return 0
    attempt = int(before.get("attempt", 0)) + 1
    environment = _environment(plan.environment)
    state: dict[str, Any] = {
        "state": "running",
        "what": task.what,
        "attempt": attempt,
        "start": now(),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "job": os.environ.get("PBS_JOBID") or os.environ.get("SLURM_JOB_ID", ""),
        "peak_memory": 0,
    }
    began = time.monotonic()
    for number in _SIGNALS:
        signal.signal(number, _stop)
    write_state(folder, step_name, index, state)
    try:
        with log_path(folder, step_name, index).open("ab", buffering=0) as log:
            title = (
                f"=== attempt {attempt}, {state['start']}, {state['host']}, job {state['job'] or 'none'}: {task.what}"
            )
            log.write(f"{title}\n".encode())
            status, reason = _run_commands(task.commands, folder, environment, log, state)
            log.write(f"=== {reason or 'done'}, {now()}\n".encode())
        result = "failed" if status else "done"
    except _Stopped as stopped:
        status, result, reason = 128 + stopped.number, "terminated", f"ended by {stopped}"
        with log_path(folder, step_name, index).open("ab", buffering=0) as log:
            log.write(f"=== {reason}, {now()}\n".encode())
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    state.update(
        state=result,
        end=now(),
        seconds=round(time.monotonic() - began, 1),
        exit_status=status,
        reason=reason,
        peak_memory=max(state["peak_memory"], largest_child()),
    )
    write_state(folder, step_name, index, state)
    print(f"{step_name} {index}: {result}{f', {reason}' if reason else ''}")
    return status


def _find(folder: Path, steps: Sequence[Any], step_name: str, index: int) -> Task:
    for step in steps:
        if step.name == step_name and 0 <= index < len(step.tasks):
            task: Task = step.tasks[index]
            return task
    message = f"{folder}: its plan has no task {index} of step {step_name!r}"
    raise InputError(message)


def _environment(frozen: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for the commands.

    The script has set the frozen ones already, and a line of the site may have changed one on purpose; a container
    that keeps the environment out has none of them.
    """
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    return {**frozen, **os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def _run_commands(
    commands: Sequence[Command], folder: Path, environment: dict[str, str], log: BinaryIO, state: dict[str, Any]
) -> tuple[int, str]:
    """Return exit status and reason of the first command that fails, or 0 and an empty reason."""
    for command in commands:
        words = list(command.argv)
        if state["attempt"] > 1 and (not command.again_if or any(Path(path).exists() for path in command.again_if)):
            words += [word for word in command.again if word not in words]
        program = sys.executable if words[0] == "python" else shutil.which(words[0], path=environment["PATH"])
        log.write(f"+ {shlex.join(words)}\n".encode(errors="surrogateescape"))
        if program is None:
            return 127, f"{words[0]}: no such program"
        status = _run_command([program, *words[1:]], folder, environment, log, state)
        if status < 0:
            killed = signal.Signals(-status).name
            hint = ", most likely because memory ran out" if -status == signal.SIGKILL else ""
            return 128 - status, f"{words[0]}: ended by {killed}{hint}"
        if status:
            return status, f"{words[0]}: exit status {status}"
    return 0, ""


def _run_command(
    words: list[str], folder: Path, environment: dict[str, str], log: BinaryIO, state: dict[str, Any]
) -> int:
    """Run a command in a process group of its own, so that its workers end with it."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    try:
        while True:
            try:
                return process.wait(_LOOK)
            except subprocess.TimeoutExpired:
                state["peak_memory"] = max(state["peak_memory"], memory_of_tree(process.pid))
    except _Stopped:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_with_parent() -> None:
    """Let a command end when this process is killed: it would write on while its next attempt begins."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the way out.
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise _Stopped(number)


def _main() -> int:
    try:
        folder, step, index = sys.argv[1:]
        return run_task(Path(folder), step, int(index))
    except ValueError as error:
        if isinstance(error, NnunetExtError):
            print(f"nnunet_ext.cluster.task: error: {error}", file=sys.stderr)
        else:
            print("usage: python -m nnunet_ext.cluster.task FOLDER STEP INDEX", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(_main())
