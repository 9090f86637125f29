"""Submit the missing tasks of a plan, step by step: all of them, or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nnunet_ext.cluster.folder import Job, write_rounds
from nnunet_ext.cluster.scheduler import SchedulerError, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.cluster.folder import Plan, Round
    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.scheduler import Queued, Scheduler, Submission
    from nnunet_ext.cluster.site import Site


@dataclass(frozen=True)
class Sending:
    """Submitting the missing tasks once, step by step.

    Parameters
    ----------
    folder, plan, site, scheduler
        What is submitted, and where.
    missing
        Indices of the tasks to submit, by step.
    active
        Tasks that wait or run already, by step and index.
    first
        Whether nothing was submitted from the folder before.
    """

    folder: Path
    plan: Plan
    site: Site
    scheduler: Scheduler
    missing: Mapping[str, Sequence[int]]
    active: Mapping[tuple[str, int], Queued]
    first: bool

    def rehearse(self) -> list[tuple[str, ...]]:
        """Return the calls with the names of steps in place of numbers."""
        calls = []
        named: dict[str, list[str]] = {}
        for step in self._steps():
            found = self._submissions(step, named, hold=False)
            named[step.name] = [f"<{step.name}>"] * len(found)
            calls += [submission.argv for submission in found]
        return calls

    def submit(self, rounds: list[Round], report: Callable[[str], object]) -> list[Job]:
        """Submit everything; nothing begins before all of it is in the queue, and all of it is cancelled otherwise."""
        jobs: list[Job] = []
        held: list[str] = []
        named: dict[str, list[str]] = {}
        hold = len(list(self._steps())) > 1
        try:
            for step in self._steps():
                is_root = hold and not any(named.get(before) for before in step.after)
                for submission in self._submissions(step, named, hold=is_root):
                    number = self.scheduler.job_number(call(submission.argv, self.folder))
                    jobs.append(Job(step.name, number, submission.indices))
                    named.setdefault(step.name, []).append(number)
                    held += [number] if is_root else []
                    write_rounds(self.folder, [*rounds[:-1], replace(rounds[-1], jobs=tuple(jobs))])
            if held:
                call(self.scheduler.release(held))
        except BaseException as error:
            self._give_up([job.job for job in jobs], rounds, error)
            raise
        for job in jobs:
            report(f"{job.step}: job {job.job}, {len(job.indices)} task{'s' if len(job.indices) > 1 else ''}")
        return jobs

    def _steps(self) -> Iterator[Step]:
        return (step for step in self.plan.steps if self.missing[step.name])

    def _submissions(self, step: Step, named: Mapping[str, Sequence[str]], *, hold: bool) -> list[Submission]:
        after = [self.scheduler.dependency(job, None) for before in step.after for job in named.get(before, ())]
        after += [
            self.scheduler.dependency(queued.job, queued.index)
            for (name, _), queued in self.active.items()
            if name in step.after
        ]
        if self.first and not step.after:
            after += self.plan.after
        indices = self.missing[step.name]
        return self.scheduler.submissions(step, indices, self.site.resources(step), after, hold=hold)

    def _give_up(self, numbers: Sequence[str], rounds: Sequence[Round], error: BaseException) -> None:
        """Cancel what was submitted, forget it, and say so."""
        if not numbers:
            return
        listed = ", ".join(numbers)
        try:
            call(self.scheduler.cancel(numbers))
        except SchedulerError as again:
            message = f"{error}\nSubmitted before that, and to be cancelled by hand: {listed} ({again})"
        else:
            write_rounds(self.folder, rounds)
            message = f"{error}\nSubmitted before that, and cancelled: {listed}"
        if isinstance(error, Exception):
            raise SchedulerError(message) from error
