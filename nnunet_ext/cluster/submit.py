"""Submit a graph: freeze it, render its scripts, hand what is not done to the scheduler."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster.folder import (
    Job,
    Plan,
    Round,
    create_folder,
    default_root,
    now,
    read_plan,
    read_rounds,
    read_state,
    script_path,
    write_plan,
    write_rounds,
)
from nnunet_ext.cluster.graph import check_graph, dependants
from nnunet_ext.cluster.local import run_here
from nnunet_ext.cluster.scheduler import call, check_programs, scheduler_of
from nnunet_ext.cluster.script import render_script
from nnunet_ext.cluster.sending import Sending
from nnunet_ext.cluster.site import parse_site
from nnunet_ext.cluster.waiting import active_tasks, is_alive
from nnunet_ext.errors import InputError, OutputExistsError
from nnunet_ext.plugins.lookup import EXTERNAL_TRAINERS
from nnunet_ext.variables import NNUNET_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.scheduler import Queued
    from nnunet_ext.cluster.site import Site


_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", EXTERNAL_TRAINERS)
_JOB = re.compile(r"\d+(?:_\d+|\[\d*\])?(?:\.[A-Za-z0-9_.-]+)?")


@dataclass(frozen=True)
class Sent:
    """What became of a submission.

    Parameters
    ----------
    folder
        Its folder.
    jobs
        Jobs that were submitted; none after a dry run and on this machine.
    calls
        The calls that submit, as lists of words; after a dry run, ``<step>`` stands for a number of a job.
    succeeded
        Whether nothing failed; known on this machine only.
    nothing_to_do
        Whether everything is done, or waits and runs already.
    """

    folder: Path
    jobs: tuple[Job, ...] = ()
    calls: tuple[tuple[str, ...], ...] = ()
    succeeded: bool = True
    nothing_to_do: bool = False


def create_submission(
    steps: Sequence[Step],
    *,
    name: str,
    scheduler: str,
    site: Mapping[str, Any],
    arguments: Mapping[str, Any],
    folder: Path | None = None,
    after: Sequence[str] = (),
) -> Path:
    """Make the folder of a submission: the frozen plan and its scripts. Nothing is submitted yet.

    Parameters
    ----------
    steps
        The graph.
    name
        Of the submission, for folder and jobs.
    scheduler
        ``slurm``, ``pbs`` or ``local``.
    site
        Content of the site file.
    arguments
        What the user asked for, by name, for the record.
    folder
        Folder to make. Default: ``$nnUNet_results/nnunet_ext_jobs/<name>_<number>``.
    after
        Jobs of the scheduler that the first steps wait for.

    Raises
    ------
    InputError
        If the graph or a job's number is not as it should be.
    OutputExistsError
        If ``folder`` is there.
    """
    check_graph(steps)
    read = parse_site(site, "site file")
    if wrong := [job for job in after if not _JOB.fullmatch(job)]:
        message = f"--after {', '.join(wrong)}: expected numbers of jobs, such as 1234"
        raise InputError(message)
    if after and scheduler == "local":
        message = "--after: jobs on this machine have no numbers; leave it out"
        raise InputError(message)
    made = create_folder(folder, default_root(), name)
    plan = Plan(
        name=re.sub(r"[^A-Za-z0-9_.-]", "_", made.name),
        arguments=arguments,
        scheduler=scheduler,
        site=site,
        environment=_frozen_environment(read),
        after=tuple(after),
        steps=tuple(steps),
    )
    _write_scripts(made, plan, read)
    # The plan comes last: a folder with a plan is complete.
    write_plan(made, plan)
    return made


def send(
    folder: Path,
    *,
    site: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> Sent:
    """Submit all tasks of a submission that are not done and neither wait nor run, and what depends on them.

    Parameters
    ----------
    folder
        Folder of the submission.
    site
        Content of another site file, to go on with more time or memory. Default: the one that was used last.
    dry_run
        Whether only to say what would be submitted.
    report
        Called with a line of text for every job.

    Raises
    ------
    SchedulerError
        If the scheduler refuses something; what was submitted just now is cancelled and named.
    """
    plan = read_plan(folder)
    rounds = read_rounds(folder)
    content = site if site is not None else rounds[-1].site if rounds else plan.site
    read = parse_site(content, "site file")
    check_scheduler(content, plan.scheduler)
    if site is not None:
        _write_scripts(folder, plan, read)
    scheduler = scheduler_of(plan.scheduler, read)
    missing = {
        step.name: [i for i in range(len(step.tasks)) if read_state(folder, step.name, i).get("state") != "done"]
        for step in plan.steps
    }
    if scheduler is None:
        return _run_here(folder, plan, read, missing, dry_run=dry_run, report=report)
    if not dry_run:
        check_programs(scheduler)
    with _alone(folder):
        active = active_tasks(folder, scheduler, rounds) if rounds else {}
        first = not any(submitted.jobs for submitted in rounds)
        stale = _split(plan.steps, missing, active)
        if dry_run:
            calls = Sending(folder, plan, read, scheduler, missing, active, first=first)
            return Sent(folder, calls=tuple(calls.rehearse()), nothing_to_do=not any(missing.values()))
        if not any(missing.values()):
            return Sent(folder, nothing_to_do=True)
        if stale:
            report(f"cancelled, to wait for the new jobs: {', '.join(stale)}")
            call(scheduler.cancel(stale))
        sending = Sending(folder, plan, read, scheduler, missing, active, first=first)
        return Sent(folder, jobs=tuple(sending.submit([*rounds, Round(now(), content)], report)))


def check_scheduler(site: Mapping[str, Any], scheduler: str) -> None:
    """Raise ``InputError`` if a site file is for another scheduler; ``local`` runs with any."""
    named = site.get("scheduler", scheduler)
    if scheduler not in ("local", named):
        message = (
            f"--site: the site file is for {named}, but the scheduler is {scheduler}; give a site file for {scheduler}"
        )
        raise InputError(message)


def _frozen_environment(site: Site) -> dict[str, str]:
    found = {name: os.environ[name] for name in NNUNET_VARIABLES if os.environ.get(name)}
    # nnU-Net takes them as they are, and jobs start in another folder. Links stay links.
    for name in found.keys() & set(_FOLDERS):
        parts = found[name].split(os.pathsep) if name == EXTERNAL_TRAINERS else [found[name]]
        found[name] = os.pathsep.join(os.fspath(Path(part).absolute()) for part in parts)
    return {**found, **site.environment}


def _write_scripts(folder: Path, plan: Plan, site: Site) -> None:
    scheduler = scheduler_of(plan.scheduler, site)
    for step in plan.steps:
        resources = site.resources(step)
        directives = scheduler.directives(step, plan.name, resources) if scheduler else []
        index = scheduler.index if scheduler else "0"
        text = render_script(folder.absolute(), step, site, resources, plan.environment, directives, index)
        path = script_path(folder, step.name)
        path.write_text(text, encoding="utf-8", newline="\n")
        path.chmod(0o755)


def _run_here(
    folder: Path,
    plan: Plan,
    site: Site,
    missing: Mapping[str, Sequence[int]],
    *,
    dry_run: bool,
    report: Callable[[str], object],
) -> Sent:
    pending = {name: indices for name, indices in missing.items() if indices}
    if dry_run or not pending:
        calls = tuple(
            ("sh", f"scripts/{step}.sh", str(index)) for step, indices in pending.items() for index in indices
        )
        return Sent(folder, calls=calls, nothing_to_do=not pending)
    states = {(step, index): read_state(folder, step, index) for step, found in pending.items() for index in found}
    alive = [
        f"{step} {index} (process {state['pid']} of {state['host']})"
        for (step, index), state in states.items()
        if state.get("state") == "running" and is_alive(state)
    ]
    if alive:
        message = f"{folder}: still running: {', '.join(alive)}; wait for it, or end it"
        raise InputError(message)
    with _alone(folder):
        write_rounds(folder, [*read_rounds(folder), Round(now(), plan.site)])
        succeeded = run_here(folder, plan.steps, pending, site.parallel, report)
    return Sent(folder, succeeded=succeeded)


def _split(steps: Sequence[Step], missing: dict[str, list[int]], active: dict[tuple[str, int], Queued]) -> list[str]:
    """Take tasks that wait or run out of ``missing``, and return jobs that wait for others that will not succeed.

    What waits for a step of which tasks are submitted again would wait for the old ones, so it is submitted again too.
    """
    lost = {step.name for step in steps if any((step.name, index) not in active for index in missing[step.name])}
    again = dependants(steps, lost)
    stale: dict[str, None] = {}
    for step in steps:
        for index in list(missing[step.name]):
            queued = active.get((step.name, index))
            if queued is None:
                continue
            if step.name in again and queued.state == "waiting":
                stale[queued.job] = None
                del active[step.name, index]
            else:
                missing[step.name].remove(index)
    return list(stale)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep two commands from submitting the same tasks at the same time."""
    lock = folder / "submitting"
    try:
        lock.mkdir()
    except FileExistsError as error:
        message = f"{lock}: another command submits from this folder; if there is none (any more), remove {lock}"
        raise OutputExistsError(message) from error
    try:
        yield
    finally:
        lock.rmdir()
