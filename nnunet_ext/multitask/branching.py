"""Where the decoders of a network's tasks part: one decoder for all (late), or one for each (early)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EARLY = "early"
LATE = "late"


def branching_of_tasks(branching: str | Mapping[str, Any], tasks: Sequence[str]) -> dict[str, str]:
    """Return the branching of every task.

    Parameters
    ----------
    branching
        ``"early"`` or ``"late"`` for all, or from task to one of them; tasks that are not mentioned are early.
    tasks
        Names of the tasks.

    Raises
    ------
    InputError
        If it names another task or another way to branch.
    """
    by_task = dict.fromkeys(tasks, branching) if isinstance(branching, str) else dict(branching)
    unknown = sorted(set(by_task) - set(tasks))
    if unknown:
        message = f"branching: unknown tasks {unknown}, expected some of {list(tasks)}"
        raise InputError(message)
    wrong = {task: mode for task, mode in by_task.items() if mode not in (EARLY, LATE)}
    if wrong:
        message = f"branching: expected '{EARLY}' or '{LATE}' for each task, found {wrong}"
        raise InputError(message)
    return {task: by_task.get(task, EARLY) for task in tasks}
