"""What the schedulers have in common: commands to submit, hold, cancel and ask, as lists of words."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.site import Resources, Site


class SchedulerError(NnunetExtError, RuntimeError):
    """The scheduler cannot be reached, or refused what it was asked."""


@dataclass(frozen=True)
class Submission:
    """One call of the submitting command, for the tasks ``indices`` of a step."""

    argv: tuple[str, ...]
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Queued:
    """A task in the queue.

    Parameters
    ----------
    job
        Number of the job, or of the array.
    index
        Index in the array; None for a job that is no array, or for all tasks of an array that stay unlisted.
    state
        ``waiting`` or ``running``.
    reason
        Why it waits, in the scheduler's words.
    own
        Number of the task itself, where the scheduler gives array tasks numbers of their own.
    """

    job: str
    index: int | None
    state: str
    reason: str = ""
    own: str = ""


class Scheduler(Protocol):
    """A scheduler with job arrays and dependencies."""

    @property
    def programs(self) -> tuple[str, ...]:
        """The commands that must be there."""

    @property
    def index(self) -> str:
        """Shell expression for the index of a task."""

    def directives(self, step: Step, name: str, resources: Resources) -> list[str]:
        """Return the comment lines at the top of a script that ask for resources."""

    def submissions(
        self, step: Step, indices: Sequence[int], resources: Resources, after: Sequence[str], *, hold: bool
    ) -> list[Submission]:
        """Return the calls that submit tasks of a step; they run with the submission's folder as working directory.

        Parameters
        ----------
        step, indices
            The tasks.
        resources
            For the number of tasks side by side.
        after
            Jobs that must have succeeded before, as `dependency` names them.
        hold
            Whether the jobs wait until they are released.
        """

    def job_number(self, output: str) -> str:
        """Return the number of a job from what the submitting command printed."""

    def dependency(self, job: str, index: int | None) -> str:
        """Return what to wait for: a job, or one task of an array."""

    def release(self, jobs: Sequence[str]) -> tuple[str, ...]:
        """Return the call that lets held jobs go."""

    def cancel(self, jobs: Sequence[str]) -> tuple[str, ...]:
        """Return the call that cancels jobs."""

    def queue(self) -> list[Queued]:
        """Return what of the user's jobs still waits or runs."""

    def ended(self, jobs: Sequence[str]) -> dict[tuple[str, int], str]:
        """Return how tasks that have left the queue ended, as far as the scheduler remembers."""


def scheduler_of(name: str, site: Site) -> Scheduler | None:
    """Return a scheduler by name, or None for ``local``, which has none."""
    if name == "slurm":
        from nnunet_ext.cluster.slurm import Slurm

        return Slurm()
    if name == "pbs":
        from nnunet_ext.cluster.pbs import Pbs

        return Pbs(site.dialect)
    return None


def check_programs(scheduler: Scheduler) -> None:
    """Raise `SchedulerError` if a command of the scheduler is not on the PATH."""
    missing = [program for program in scheduler.programs if shutil.which(program) is None]
    if missing:
        message = f"{', '.join(missing)}: not on PATH; submit from a login node of the cluster, or use --dry-run"
        raise SchedulerError(message)


def call(argv: Sequence[str], folder: Path | None = None, *, allowed: Sequence[int] = (0,)) -> str:
    """Run a command of the scheduler and return what it printed.

    Raises
    ------
    SchedulerError
        If it cannot be started, takes longer than two minutes, or ends with a status that is not ``allowed``.
    """
    try:
        done = subprocess.run(
            argv, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"{argv[0]}: {error}"
        raise SchedulerError(message) from error
    if done.returncode not in allowed:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        message = f"{' '.join(argv)}: exit status {done.returncode}: {' / '.join(said[-5:]) or 'no message'}"
        raise SchedulerError(message)
    return done.stdout


def as_clock(minutes: int) -> str:
    """Return minutes as ``HH:MM:SS``."""
    return f"{minutes // 60:02}:{minutes % 60:02}:00"


def as_list(indices: Sequence[int]) -> str:
    """Return indices of an array as schedulers write them: ``0-4`` or ``0,2,5``."""
    if len(indices) > 2 and list(indices) == list(range(indices[0], indices[-1] + 1)):
        return f"{indices[0]}-{indices[-1]}"
    return ",".join(map(str, indices))
