"""Memory of this process, of the machine, and how much of it this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_GUESSED = 8 * 2**30
_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def resident_memory() -> int:
    """Return the bytes of memory that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return peak_memory()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """Return the most bytes of memory that this process has held; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def free_memory() -> int:
    """Return the bytes of memory that nothing on this machine uses; a guess where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return _GUESSED
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def memory_limits() -> list[int]:
    """Return the limits in bytes that a container or a scheduler set for this process; empty without any.

    They are those of its control group and all groups above, and what Slurm granted the job, which not every cluster
    enforces by a group.
    """
    return [*_limits_of_groups(), *_limits_of_slurm()]


def _limits_of_groups() -> list[int]:
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        lines = []
    # "0::/a/b" in the second version of control groups, "4:memory:/a/b" in the first.
    groups = {(_CGROUPS, "memory.max"): "/", (_CGROUPS / "memory", "memory.limit_in_bytes"): "/"}
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            groups[_CGROUPS, "memory.max"] = group
        elif "memory" in controllers.split(","):
            groups[_CGROUPS / "memory", "memory.limit_in_bytes"] = group
    found = []
    for (root, name), group in groups.items():
        lowest = root / group.lstrip("/")
        for folder in (lowest, *(above for above in lowest.parents if above.is_relative_to(root))):
            try:
                found.append(int((folder / name).read_text()))
            except (OSError, ValueError):  # no such file within a container, or "max"
                continue
    return found


def _limits_of_slurm() -> list[int]:
    """Return the limit of a Slurm job in bytes; sizes are in MiB there, and 0 is all of a node."""
    per_node, per_cpu = (_number(name) for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU"))
    granted = per_node or per_cpu * _number("SLURM_CPUS_ON_NODE")
    return [granted * 2**20] if granted else []


def _number(variable: str) -> int:
    value = os.environ.get(variable, "")
    return int(value) if value.isdecimal() else 0
