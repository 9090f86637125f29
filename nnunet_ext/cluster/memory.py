"""Memory of a process and all its descendants."""

from __future__ import annotations

import resource
import sys
from collections import defaultdict
from pathlib import Path

_PROC = Path("/proc")


def memory_of_tree(root: int) -> int:
    """Return the memory of a process and its descendants in bytes, 0 where the system does not tell.

    Pages that processes share, as nnU-Net's workers do, are counted once (proportional set size of Linux).
    """
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in _PROC.glob("[0-9]*"):
        try:
            # The name of the program stands in brackets and can hold anything.
            fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            children[int(fields[1])].append(int(entry.name))
        except (OSError, IndexError, ValueError):
            continue
    total, pending = 0, [root]
    while pending:
        process = pending.pop()
        pending += children[process]
        total += _proportional_size(process)
    return total


def largest_child() -> int:
    """Return the largest resident size in bytes that one descendant that has ended ever had."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _proportional_size(process: int) -> int:
    try:
        text = (_PROC / str(process) / "smaps_rollup").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith("Pss:")]
    return int(sizes[0]) * 1024 if sizes else 0
