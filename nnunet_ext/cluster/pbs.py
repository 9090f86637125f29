"""PBS, in the dialects of Torque and OpenPBS: directives, qsub, and the queue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.cluster.scheduler import Queued, SchedulerError, Submission, as_clock, as_list, call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.site import Resources

_NUMBER = re.compile(r"(\d+)(\[\])?(\.[A-Za-z0-9_.-]+)?")
_ROW = re.compile(r"(\d+)(?:\[(\d*)\])?\S*\s.*\s([A-Z])\s+\S+\s*")
_LONGEST_NAME = 15
_WAITING = "QHWT"
_RUNNING = "RBES"
_NOTHING_FOUND = 153


@dataclass(frozen=True)
class Pbs:
    """Steps of one task are single jobs; others are arrays.

    OpenPBS knows arrays of ranges only, and none of one task: there, tasks that make up no range are single jobs.
    """

    dialect: str
    programs = ("qsub", "qstat", "qdel", "qrls")
    index = "${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-${SLURM_ARRAY_TASK_ID:-${nnunet_ext_task:-0}}}}"

    def directives(self, step: Step, name: str, resources: Resources) -> list[str]:
        """See `Scheduler`."""
        # Older servers take no longer name.
        options = [f"-N {step.name[:_LONGEST_NAME]}", "-j oe", "-o logs/scheduler/"]
        if resources.account:
            options.append(f"-A {resources.account}")
        if resources.partition:
            options.append(f"-q {resources.partition}")
        if resources.time:
            options.append(f"-l walltime={as_clock(resources.time)}")
        options += self._chunk(resources)
        return [f"#PBS {option}" for option in (*options, *resources.extra)]

    def _chunk(self, resources: Resources) -> list[str]:
        gpus = resources.gpus if resources.gpus and resources.gpus.count else None
        if self.dialect == "openpbs":
            memory = resources.memory or (resources.memory_per_cpu or 0) * (resources.cpus or 1)
            parts = ["select=1"]
            parts += [f"ncpus={resources.cpus}"] if resources.cpus else []
            parts += [f"ngpus={gpus.count}"] if gpus else []
            parts += [f"gpu_model={gpus.kind}"] if gpus and gpus.kind else []
            parts += [f"mem={_memory(memory)}"] if memory else []
            return [f"-l {':'.join(parts)}"]
        nodes = f"nodes=1:ppn={resources.cpus or 1}"
        if gpus:
            nodes += f":gpus={gpus.count}" + (f":{gpus.kind}" if gpus.kind else "")
        options = [f"-l {nodes}"]
        if resources.memory:
            options.append(f"-l mem={_memory(resources.memory)}")
        if resources.memory_per_cpu:
            options.append(f"-l pmem={_memory(resources.memory_per_cpu)}")
        return options

    def submissions(
        self, step: Step, indices: Sequence[int], resources: Resources, after: Sequence[str], *, hold: bool
    ) -> list[Submission]:
        """See `Scheduler`."""
        argv = ["qsub"]
        if after:
            argv += ["-W", f"depend={self._dependencies(after)}"]
        if hold:
            argv.append("-h")
        script = f"scripts/{step.name}.sh"
        limit = f"%{resources.max_parallel}" if resources.max_parallel else ""
        if len(step.tasks) == 1:
            return [Submission((*argv, script), tuple(indices))]
        if self.dialect == "torque":
            return [Submission((*argv, "-t", f"{as_list(indices)}{limit}", script), tuple(indices))]
        first, last = indices[0], indices[-1]
        if len(indices) > 1 and list(indices) == list(range(first, last + 1)):
            return [Submission((*argv, "-J", f"{first}-{last}{limit}", script), tuple(indices))]
        return [Submission((*argv, "-v", f"nnunet_ext_task={index}", script), (index,)) for index in indices]

    def job_number(self, output: str) -> str:
        """See `Scheduler`."""
        lines = output.strip().splitlines()
        number = lines[-1].strip() if lines else ""
        if not _NUMBER.fullmatch(number):
            message = f"qsub: expected the number of a job, found {output.strip()!r}"
            raise SchedulerError(message)
        return number

    def dependency(self, job: str, index: int | None) -> str:
        """See `Scheduler`."""
        if index is None:
            return job
        # Slurm's own qsub gives arrays numbers without brackets.
        return job.replace("[]", f"[{index}]") if "[]" in job else f"{job}_{index}"

    def _dependencies(self, jobs: Sequence[str]) -> str:
        """Return jobs to wait for; Torque has a word of its own for whole arrays."""
        arrays = [job for job in jobs if "[]" in job and self.dialect == "torque"]
        others = [job for job in jobs if job not in arrays]
        kinds = {"afterok": others, "afterokarray": arrays}
        return ",".join(f"{kind}:{':'.join(found)}" for kind, found in kinds.items() if found)

    def release(self, jobs: Sequence[str]) -> tuple[str, ...]:
        """See `Scheduler`."""
        return ("qrls", *jobs)

    def cancel(self, jobs: Sequence[str]) -> tuple[str, ...]:
        """See `Scheduler`."""
        return ("qdel", *jobs)

    def queue(self) -> list[Queued]:
        """See `Scheduler`."""
        try:
            output = call(["qstat", "-t"], allowed=(0, _NOTHING_FOUND))
        except SchedulerError:
            # Slurm's own qstat cannot list the tasks of arrays.
            output = call(["qstat"], allowed=(0, _NOTHING_FOUND))
        found = []
        for line in output.splitlines():
            match = _ROW.fullmatch(line)
            if match and match[3] in _WAITING + _RUNNING:
                state = "running" if match[3] in _RUNNING else "waiting"
                own = match[1] if match[2] is None else ""
                found.append(Queued(match[1], int(match[2]) if match[2] else None, state, own=own))
        return found

    def ended(self, jobs: Sequence[str]) -> dict[tuple[str, int], str]:
        """See `Scheduler`; PBS forgets a job that has ended."""
        return {}


def _memory(mib: int) -> str:
    return f"{mib // 1024}gb" if mib % 1024 == 0 else f"{mib}mb"
