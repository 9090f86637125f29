"""Which tasks of a submission still wait or run, by the scheduler's queue."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster.folder import read_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.cluster.folder import Round
    from nnunet_ext.cluster.scheduler import Queued, Scheduler

_NUMBER = re.compile(r"\d+")


def active_tasks(folder: Path, scheduler: Scheduler, rounds: Sequence[Round]) -> dict[tuple[str, int], Queued]:
    """Return the tasks that wait or run, by step and index, with the job's number as it was submitted.

    Raises
    ------
    SchedulerError
        If the scheduler does not answer.
    """
    queue = scheduler.queue()
    by_index = {(entry.job, entry.index): entry for entry in queue}
    listed = {entry.job for entry in queue if entry.index is not None}
    by_own = {entry.own: entry for entry in queue if entry.own}
    began = {job.job: submitted.time for submitted in rounds for job in submitted.jobs}
    found: dict[tuple[str, int], Queued] = {}
    for (step, index), job in submitted_tasks(rounds).items():
        number = _NUMBER.match(job)
        entry = by_index.get((number[0], index)) if number else None
        if entry is None:
            # Some schedulers give a task of an array a number of its own once it runs, and list only the array before.
            state = read_state(folder, step, index)
            entry = by_own.get(own[0]) if (own := _NUMBER.match(str(state.get("job", "")))) else None
            if entry is None and number and number[0] not in listed and not _ended_since(state, began[job]):
                entry = by_index.get((number[0], None))
        if entry is not None:
            found[step, index] = replace(entry, job=job)
    return found


def submitted_tasks(rounds: Sequence[Round]) -> dict[tuple[str, int], str]:
    """Return the job that each task was last submitted with, by step and index."""
    return {(job.step, index): job.job for submitted in rounds for job in submitted.jobs for index in job.indices}


def is_alive(state: Mapping[str, Any]) -> bool:
    """Return whether a task that says so still runs, as far as this machine can tell: on another one, it does."""
    if state.get("host") != os.uname().nodename:
        return True
    try:
        os.kill(int(state["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ended_since(state: Mapping[str, Any], time: str) -> bool:
    ended = state.get("end")
    return ended is not None and datetime.fromisoformat(ended) >= datetime.fromisoformat(time)
