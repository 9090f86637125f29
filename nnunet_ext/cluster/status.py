"""What became of the tasks of a submission: state, runtime, memory, and the end of the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster.folder import log_path, read_plan, read_rounds, read_state, scheduler_log_path
from nnunet_ext.cluster.scheduler import SchedulerError, scheduler_of
from nnunet_ext.cluster.site import parse_site
from nnunet_ext.cluster.waiting import active_tasks, is_alive, submitted_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.cluster.scheduler import Queued

BAD_STATES = (
    "failed",
    "terminated",
    "timed out",
    "out of memory",
    "cancelled",
    "node failed",
    "preempted",
    "lost",
)
"""States of tasks that ended without being done."""

_BLOCKED = "DependencyNeverSatisfied"
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class TaskStatus:
    """One task.

    Parameters
    ----------
    step, index, what
        Which one.
    state
        ``done``, ``running``, ``waiting``, ``blocked`` (a step before it failed), ``not submitted``, or one of
        `BAD_STATES`.
    seconds
        Runtime of the last attempt.
    peak_memory
        In bytes; of the last attempt, once it has ended.
    job
        Number of the last job.
    attempt
        How many times it began.
    reason
        What is known beyond the state.
    tail
        Last lines of the log, for tasks that ended without being done.
    """

    step: str
    index: int
    what: str
    state: str
    seconds: float | None = None
    peak_memory: int | None = None
    job: str = ""
    attempt: int = 0
    reason: str = ""
    tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class SubmissionStatus:
    """All tasks of a submission; ``note`` says why the scheduler did not answer, if so."""

    folder: Path
    name: str
    scheduler: str
    tasks: tuple[TaskStatus, ...]
    note: str = ""


def submission_status(folder: Path, tail: int = 10) -> SubmissionStatus:
    """Look at all tasks of a submission.

    Parameters
    ----------
    folder
        Folder of the submission.
    tail
        Number of lines of the log to show of tasks that ended without being done.
    """
    plan = read_plan(folder)
    rounds = read_rounds(folder)
    site = parse_site(rounds[-1].site if rounds else plan.site, "site file")
    scheduler = scheduler_of(plan.scheduler, site)
    jobs = submitted_tasks(rounds)
    active: dict[tuple[str, int], Queued] = {}
    ended: dict[tuple[str, int], str] = {}
    note = ""
    if scheduler is not None and jobs:
        try:
            # The queue comes before the states: a task that ends in between is then seen as done, not as lost.
            active = active_tasks(folder, scheduler, rounds)
            gone = [job for key, job in jobs.items() if key not in active and _unfinished(folder, *key)]
            ended = scheduler.ended(sorted(set(gone)))
        except SchedulerError as error:
            note = f"the scheduler does not answer, so what runs and waits is not known: {error}"
    tasks: list[TaskStatus] = []
    troubled: set[str] = set()
    for step in plan.steps:
        for index, task in enumerate(step.tasks):
            state = read_state(folder, step.name, index)
            job = jobs.get((step.name, index), "")
            name, reason = _judge(
                state,
                active.get((step.name, index)),
                ended.get((job, index), ""),
                submitted=bool(job) or (scheduler is None and bool(rounds)),
                here=scheduler is None,
                known=not note,
                limit=site.resources(step).time,
                blocked=bool(troubled & set(step.after)),
            )
            tasks.append(
                TaskStatus(
                    step=step.name,
                    index=index,
                    what=task.what,
                    state=name,
                    seconds=_seconds(state, name),
                    peak_memory=state.get("peak_memory") or None,
                    job=job,
                    attempt=state.get("attempt", 0),
                    reason=reason,
                    tail=_tail(folder, step.name, index, tail) if name in BAD_STATES else (),
                )
            )
        if any(task.step == step.name and task.state in (*BAD_STATES, "blocked") for task in tasks):
            troubled.add(step.name)
    return SubmissionStatus(folder, plan.name, plan.scheduler, tuple(tasks), note)


def _unfinished(folder: Path, step: str, index: int) -> bool:
    return read_state(folder, step, index).get("state") not in ("done", "failed")


def _judge(
    state: Mapping[str, Any],
    queued: Queued | None,
    ended: str,
    *,
    submitted: bool,
    here: bool,
    known: bool,
    limit: int | None,
    blocked: bool,
) -> tuple[str, str]:
    """Return the state of a task and what is known beyond it."""
    own = state.get("state")
    reason = str(state.get("reason") or "")
    if own == "done":
        return "done", ""
    if queued is not None:
        if queued.reason == _BLOCKED or (blocked and queued.state == "waiting"):
            return "blocked", "a step before it failed"
        return queued.state, "" if queued.reason == "None" else queued.reason
    if not submitted:
        return "not submitted", ""
    if own == "failed":
        return "failed", reason
    if own == "terminated":
        over = limit is not None and float(state.get("seconds", 0)) >= 60 * limit - 30
        return ended or ("timed out" if over else "terminated"), reason
    if own == "running" and (not known or (here and is_alive(state))):
        return "running", ""
    if blocked:
        return "blocked", "a step before it failed"
    if own is None and not known:
        return "waiting", ""
    if own is None and here:
        return "waiting", ""
    return ended or "lost", "" if ended else "left the queue without a word; see the log of the script"


def _seconds(state: Mapping[str, Any], name: str) -> float | None:
    if name == "running" and "start" in state:
        return (datetime.now(timezone.utc) - datetime.fromisoformat(state["start"])).total_seconds()
    return state.get("seconds")


def _tail(folder: Path, step: str, index: int, lines: int) -> tuple[str, ...]:
    """Return the end of the log of the task and of what the scheduler and the script said."""
    found: list[str] = []
    for path in (log_path(folder, step, index), scheduler_log_path(folder, step, index)):
        found += _last_lines(path, lines)
    return tuple(found)


def _last_lines(path: Path, lines: int) -> Sequence[str]:
    if lines < 1 or not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        text = file.read().decode(errors="replace")
    # A progress bar overwrites its line; its last state is what counts.
    return [line.rsplit("\r", 1)[-1] for line in text.rstrip("\n").split("\n")][-lines:]
