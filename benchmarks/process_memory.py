"""Run a command and measure the memory of its whole process tree: of the benchmarks, and of a test (Linux)."""

from __future__ import annotations

import math
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLE_S = 0.02
SLACK = 64 * 2**20


@dataclass(frozen=True)
class Run:
    """Wall time in s and peak memory in bytes; NaN where it was not run."""

    seconds: float = math.nan
    peak: float = math.nan


def measure(words: Sequence[object], variables: Mapping[str, str], folder: Path) -> Run:
    """Run a command in a folder; a failure is a RuntimeError with the end of what it printed.

    The peak is that of the sum of what all its processes hold (Pss): a page that several of them share counts once.
    """
    command = [str(word) for word in words]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=dict(variables), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    peaks = [0.0]
    watcher = threading.Thread(target=watch, args=(process, peaks))
    watcher.start()
    printed, _ = process.communicate()
    seconds = time.perf_counter() - start
    watcher.join()
    if process.returncode:
        message = f"{' '.join(command)} ended with status {process.returncode}:\n{printed[-3000:]}"
        raise RuntimeError(message)
    return Run(seconds, peaks[0] or math.nan)


def watch(process: subprocess.Popen, peaks: list[float]) -> None:
    """Note the peak memory of a process tree while it runs."""
    while process.poll() is None:
        start = time.perf_counter()
        peaks[0] = tree_peak(process.pid, peaks[0])
        # To read the shares of a large process holds it up.
        time.sleep(max(SAMPLE_S, 3 * (time.perf_counter() - start)))


def tree_peak(pid: int, before: float) -> float:
    """Return the bytes that a process and all below it hold now, or the former peak if that was higher."""
    members = process_tree(pid)
    # Shares take long to read; so they are left alone where they cannot be more. Files are mostly the same ones.
    own = sum(memory_of(member, "status", ("RssAnon",)) for member in members)
    files = [memory_of(member, "status", ("RssFile", "RssShmem")) for member in members]
    if own + max(files) + SLACK <= before:
        return before
    return max(before, sum(memory_of(member, "smaps_rollup", ("Pss",)) for member in members))


def memory_of(pid: int, file: str, fields: tuple[str, ...]) -> float:
    """Return the sum of fields in bytes; 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(1024.0 * int(line.split()[1]) for line in lines if line.split(":")[0] in fields)


def process_tree(pid: int) -> list[int]:
    """Return a process and all processes below it."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        for children in Path("/proc").glob(f"{found[-1]}/task/*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except OSError:
                continue
    return found
