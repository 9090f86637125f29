"""Slurm: directives, sbatch, and the queue."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from nnunet_ext.cluster.scheduler import Queued, SchedulerError, Submission, as_clock, as_list, call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.site import Resources

_TASK = re.compile(r"(\d+)(?:_(\d+))?")
_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING", "RESIZING"}
_ENDED = {
    "TIMEOUT": "timed out",
    "OUT_OF_MEMORY": "out of memory",
    "CANCELLED": "cancelled",
    "NODE_FAIL": "node failed",
    "PREEMPTED": "preempted",
    "DEADLINE": "cancelled",
    "BOOT_FAIL": "node failed",
    "FAILED": "failed",
}


class Slurm:
    """Every step is an array here, also of one task, so that all tasks find their index in the same place."""

    programs = ("sbatch", "squeue", "scontrol", "scancel")
    index = "${SLURM_ARRAY_TASK_ID:-0}"

    def directives(self, step: Step, name: str, resources: Resources) -> list[str]:
        """See `Scheduler`."""
        options = [f"--job-name={name}.{step.name}", "--nodes=1", "--ntasks=1"]
        if resources.account:
            options.append(f"--account={resources.account}")
        if resources.partition:
            options.append(f"--partition={resources.partition}")
        if resources.cpus:
            options.append(f"--cpus-per-task={resources.cpus}")
        if resources.gpus and resources.gpus.count:
            kind = f"{resources.gpus.kind}:" if resources.gpus.kind else ""
            options.append(f"--gres=gpu:{kind}{resources.gpus.count}")
        if resources.memory:
            options.append(f"--mem={_memory(resources.memory)}")
        if resources.memory_per_cpu:
            options.append(f"--mem-per-cpu={_memory(resources.memory_per_cpu)}")
        if resources.time:
            options.append(f"--time={as_clock(resources.time)}")
        return [f"#SBATCH {option}" for option in (*options, *resources.extra)]

    def submissions(
        self, step: Step, indices: Sequence[int], resources: Resources, after: Sequence[str], *, hold: bool
    ) -> list[Submission]:
        """See `Scheduler`."""
        limit = f"%{resources.max_parallel}" if resources.max_parallel else ""
        argv = [
            "sbatch",
            "--parsable",
            # A task that is requeued writes on behind what it wrote before.
            "--open-mode=append",
            f"--output=logs/scheduler/{step.name}.%a.out",
            f"--array={as_list(indices)}{limit}",
        ]
        if after:
            argv += [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
        if hold:
            argv.append("--hold")
        return [Submission((*argv, f"scripts/{step.name}.sh"), tuple(indices))]

    def job_number(self, output: str) -> str:
        """See `Scheduler`."""
        lines = output.strip().splitlines()
        # Behind the number can stand the name of a cluster.
        number = lines[-1].split(";")[0].strip() if lines else ""
        if not number.isdecimal():
            message = f"sbatch: expected the number of a job, found {output.strip()!r}"
            raise SchedulerError(message)
        return number

    def dependency(self, job: str, index: int | None) -> str:
        """See `Scheduler`."""
        return job if index is None else f"{job}_{index}"

    def release(self, jobs: Sequence[str]) -> tuple[str, ...]:
        """See `Scheduler`."""
        return ("scontrol", "release", ",".join(jobs))

    def cancel(self, jobs: Sequence[str]) -> tuple[str, ...]:
        """See `Scheduler`."""
        return ("scancel", *jobs)

    def queue(self) -> list[Queued]:
        """See `Scheduler`."""
        output = call(["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i|%A|%T|%r"])
        found = []
        for line in output.splitlines():
            name, own, state, reason = (line.split("|") + [""] * 3)[:4]
            match = _TASK.fullmatch(name.strip())
            if match is None or state not in _WAITING | _RUNNING:
                continue
            index = int(match[2]) if match[2] else None
            found.append(Queued(match[1], index, "running" if state in _RUNNING else "waiting", reason.strip(), own))
        return found

    def ended(self, jobs: Sequence[str]) -> dict[tuple[str, int], str]:
        """See `Scheduler`."""
        return {**_remembered(jobs), **_accounted(jobs)}


def _memory(mib: int) -> str:
    return f"{mib // 1024}G" if mib % 1024 == 0 else f"{mib}M"


def _accounted(jobs: Sequence[str]) -> dict[tuple[str, int], str]:
    """Ask the accounting, which not every cluster has."""
    if not jobs or shutil.which("sacct") is None:
        return {}
    try:
        argv = [
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--jobs={','.join(jobs)}",
            "--format=JobID,State",
        ]
        output = call(argv)
    except SchedulerError:
        return {}
    return _endings(line.split("|")[:2] for line in output.splitlines() if "|" in line)


def _remembered(jobs: Sequence[str]) -> dict[tuple[str, int], str]:
    """Ask the controller, which remembers jobs for some minutes."""
    found: dict[tuple[str, int], str] = {}
    for job in jobs:
        try:
            output = call(["scontrol", "--oneliner", "show", "job", job])
        except SchedulerError:
            continue
        for line in output.splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            name = f"{fields.get('ArrayJobId', fields.get('JobId', ''))}_{fields.get('ArrayTaskId', '0')}"
            found.update(_endings([[name, fields.get("JobState", "")]]))
    return found


def _endings(rows: object) -> dict[tuple[str, int], str]:
    found = {}
    for name, state in rows:  # type: ignore[attr-defined]
        match = _TASK.fullmatch(name)
        words = state.split()
        if match and match[2] and words and words[0] in _ENDED:
            found[match[1], int(match[2])] = _ENDED[words[0]]
    return found
