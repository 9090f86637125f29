"""A job graph: steps, their tasks and commands, and which step waits for which."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KINDS = ("preprocess", "train", "find_best", "predict", "merge", "postprocess", "export", "evaluate")
"""What a step does; a site file can give resources to each."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Command:
    """One command of a task.

    Parameters
    ----------
    argv
        Program and arguments; never seen by a shell.
    again
        Arguments added from the second attempt on.
    again_if
        Files of which one must be there for ``again`` to be added; empty: always added.
    """

    argv: tuple[str, ...]
    again: tuple[str, ...] = ()
    again_if: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """Commands that one job runs one after the other; ``what`` says in a word or two what they are about."""

    what: str
    commands: tuple[Command, ...]


@dataclass(frozen=True)
class Step:
    """Tasks that may run side by side, as one array of jobs.

    Parameters
    ----------
    name
        Letters, digits and underscores.
    kind
        One of `KINDS`.
    tasks
        At least one; the index of a task is its place here.
    after
        Names of the steps that must have succeeded before.
    """

    name: str
    kind: str
    tasks: tuple[Task, ...]
    after: tuple[str, ...] = ()


def check_graph(steps: Sequence[Step]) -> None:
    """Check names, kinds and order: a step may only wait for steps that come before it.

    Raises
    ------
    InputError
        If a name is not a plain word or is there twice, a kind is unknown, a step has no task, or a step waits
        for itself, for a later or for an unknown step.
    """
    known: set[str] = set()
    for step in steps:
        if not _NAME.fullmatch(step.name) or step.name in known:
            message = f"step {step.name!r}: expected another name, of letters, digits and _ and only once"
            raise InputError(message)
        if step.kind not in KINDS:
            message = f"step {step.name}: kind {step.kind!r}, expected one of {', '.join(KINDS)}"
            raise InputError(message)
        if not step.tasks or not all(task.commands for task in step.tasks):
            message = f"step {step.name}: without a task, or with a task without command"
            raise InputError(message)
        if missing := [name for name in step.after if name not in known]:
            message = f"step {step.name}: waits for {', '.join(missing)}, expected only steps that come before it"
            raise InputError(message)
        known.add(step.name)


def dependants(steps: Iterable[Step], changed: Iterable[str]) -> set[str]:
    """Return the names of the steps that wait, directly or not, for one of the steps ``changed``."""
    reached = set(changed)
    found: set[str] = set()
    for step in steps:
        if reached & set(step.after):
            reached.add(step.name)
            found.add(step.name)
    return found


def steps_to_json(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Return steps as lists and dictionaries, as they stand in plan.json."""
    return [
        {
            "name": step.name,
            "kind": step.kind,
            "after": list(step.after),
            "tasks": [
                {"what": task.what, "commands": [_command_to_json(c) for c in task.commands]} for task in step.tasks
            ],
        }
        for step in steps
    ]


def steps_from_json(content: Iterable[dict[str, Any]]) -> tuple[Step, ...]:
    """Return the steps of a plan.json; the inverse of `steps_to_json`."""
    return tuple(
        Step(
            name=step["name"],
            kind=step["kind"],
            after=tuple(step["after"]),
            tasks=tuple(Task(task["what"], tuple(map(_command_from_json, task["commands"]))) for task in step["tasks"]),
        )
        for step in content
    )


def _command_to_json(command: Command) -> dict[str, list[str]]:
    content = {"argv": command.argv, "again": command.again, "again_if": command.again_if}
    return {key: list(words) for key, words in content.items() if words}


def _command_from_json(content: dict[str, list[str]]) -> Command:
    return Command(**{key: tuple(words) for key, words in content.items()})
