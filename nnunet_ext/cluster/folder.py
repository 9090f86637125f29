"""The folder of a submission: the frozen plan, scripts, states and logs of tasks, and the numbers of jobs."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext import __version__
from nnunet_ext.cluster.graph import steps_from_json, steps_to_json
from nnunet_ext.errors import InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nnunet_ext.cluster.graph import Step

DEFAULT_FOLDER = "nnunet_ext_jobs"
"""Folder of submissions in ``$nnUNet_results``."""

_RESULTS = "nnUNet_results"

_PLAN = "plan.json"
_JOBS = "jobs.json"
_FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """What a submission runs; written once and never changed.

    Parameters
    ----------
    name
        Of the submission: that of its folder.
    arguments
        What the user asked for, with the defaults of the time, by name.
    scheduler
        ``slurm``, ``pbs`` or ``local``.
    site
        Content of the site file.
    environment
        Variables that every task has.
    after
        Jobs of the scheduler that the first steps wait for.
    steps
        The graph.
    """

    name: str
    arguments: Mapping[str, Any]
    scheduler: str
    site: Mapping[str, Any]
    environment: Mapping[str, str]
    after: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Job:
    """A job that was submitted: number by the scheduler, step, and the indices of its tasks."""

    step: str
    job: str
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Round:
    """What was submitted at one time: when, with which site, and the jobs."""

    time: str
    site: Mapping[str, Any]
    jobs: tuple[Job, ...] = ()


def create_folder(folder: Path | None, root: Path | None, name: str) -> Path:
    """Make a folder that no other submission has, also where two begin at the same time.

    Parameters
    ----------
    folder
        The folder to make, or None for ``<root>/<name>_<number>``.
    root
        Where folders of submissions lie.
    name
        Of the submission, without number.

    Raises
    ------
    OutputExistsError
        If ``folder`` exists.
    InputError
        If its path has a line break or another control character, which the tools of schedulers do not survive.
    """
    if folder is None:
        if root is None:
            message = "nnUNet_results is not set; set it, or choose a folder for the submission (--folder)"
            raise InputError(message)
        root.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            made = root.absolute() / f"{name}_{number}"
            try:
                made.mkdir()
            except FileExistsError:
                number += 1
            else:
                break
    else:
        made = folder.absolute()
        check_path(made)
        try:
            made.mkdir(parents=True)
        except FileExistsError as error:
            message = (
                f"{made}: exists already; choose another folder (--folder), or go on with it (nnunet_ext submit "
                f"--resume {shlex.quote(str(made))})"
            )
            raise OutputExistsError(message) from error
    for part in ("scripts", "state", "logs/scheduler"):
        (made / part).mkdir(parents=True)
    return made


def check_path(path: Path) -> None:
    """Raise ``InputError`` if a path holds a line break or another control character."""
    if not str(path).isprintable():
        message = f"{str(path)!r}: a path with a line break or control character; choose another one"
        raise InputError(message)


def newest_folder(root: Path) -> Path:
    """Return the folder of the newest submission.

    Raises
    ------
    MissingInputError
        If there is none.
    """
    found = all_folders(root)
    if not found:
        message = f"{root}: no submission in it; name the folder of one"
        raise MissingInputError(message)
    return found[-1]


def all_folders(root: Path) -> list[Path]:
    """Return the folders of all submissions, the newest last."""
    plans = root.glob(f"*/{_PLAN}")
    return [plan.parent for plan in sorted(plans, key=lambda plan: (plan.stat().st_mtime_ns, plan.parent.name))]


def write_plan(folder: Path, plan: Plan) -> None:
    """Freeze a plan."""
    content = {
        "format": _FORMAT,
        "nnunet_ext": __version__,
        "created": now(),
        "name": plan.name,
        "arguments": dict(plan.arguments),
        "scheduler": plan.scheduler,
        "site": dict(plan.site),
        "environment": dict(plan.environment),
        "after": list(plan.after),
        "steps": steps_to_json(plan.steps),
    }
    write_json(folder / _PLAN, content, overwrite=False)


def read_plan(folder: Path) -> Plan:
    """Read the plan of a submission.

    Raises
    ------
    MissingInputError
        If there is none.
    InputError
        If it is of another version or no plan.
    """
    if not (folder / _PLAN).is_file():
        message = f"{folder}: no {_PLAN} in it, expected the folder of a submission"
        raise MissingInputError(message)
    content = read_json(folder / _PLAN)
    try:
        if content["format"] != _FORMAT:
            message = f"{folder / _PLAN}: format {content['format']}, expected {_FORMAT}: made by another version"
            raise InputError(message)
        return Plan(
            name=content["name"],
            arguments=content["arguments"],
            scheduler=content["scheduler"],
            site=content["site"],
            environment=content["environment"],
            after=tuple(content["after"]),
            steps=steps_from_json(content["steps"]),
        )
    except (KeyError, TypeError) as error:
        message = f"{folder / _PLAN}: not the plan of a submission: {error!r}"
        raise InputError(message) from error


def read_rounds(folder: Path) -> list[Round]:
    """Return what was submitted from a folder, in order."""
    path = folder / _JOBS
    if not path.is_file():
        return []
    return [
        Round(
            time=content["time"],
            site=content["site"],
            jobs=tuple(Job(job["step"], job["job"], tuple(job["indices"])) for job in content["jobs"]),
        )
        for content in read_json(path)["submissions"]
    ]


def write_rounds(folder: Path, rounds: Sequence[Round]) -> None:
    """Write down what was submitted; called after every job, so that none is lost sight of."""
    write_json(folder / _JOBS, {"submissions": [asdict(submitted) for submitted in rounds]})


def script_path(folder: Path, step: str) -> Path:
    """Return the script of a step."""
    return folder / "scripts" / f"{step}.sh"


def log_path(folder: Path, step: str, index: int) -> Path:
    """Return the log of a task."""
    return folder / "logs" / f"{step}.{index}.log"


def scheduler_log_path(folder: Path, step: str, index: int) -> Path:
    """Return what the script of a task said outside its commands, and what the scheduler adds to it."""
    return folder / "logs" / "scheduler" / f"{step}.{index}.out"


def read_state(folder: Path, step: str, index: int) -> dict[str, Any]:
    """Return the state of a task, empty if it never began."""
    path = _state_path(folder, step, index)
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        message = f"{path}: not the state of a task: {error}"
        raise InputError(message) from error


def write_state(folder: Path, step: str, index: int, state: Mapping[str, Any]) -> None:
    """Write the state of a task in one step."""
    write_json(_state_path(folder, step, index), dict(state))


def now() -> str:
    """Return the time with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def default_root() -> Path | None:
    """Return where folders of submissions lie, or None if ``nnUNet_results`` is not set."""
    results = os.environ.get(_RESULTS)
    return Path(results) / DEFAULT_FOLDER if results else None


def _state_path(folder: Path, step: str, index: int) -> Path:
    return folder / "state" / f"{step}.{index}.json"
