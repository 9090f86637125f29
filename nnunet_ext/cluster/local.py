"""Run a graph on this machine: every task as soon as the steps before it are done."""

from __future__ import annotations

import signal
import subprocess
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnunet_ext.cluster.folder import script_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.cluster.graph import Step


def run_here(
    folder: Path,
    steps: Sequence[Step],
    pending: Mapping[str, Sequence[int]],
    parallel: int,
    report: Callable[[str], object],
) -> bool:
    """Run tasks; a failed one does not stop others that do not wait for its step.

    Parameters
    ----------
    folder
        Folder of the submission.
    steps
        The graph.
    pending
        Indices of the tasks to run, by step; steps that are not in it count as done.
    parallel
        How many tasks run side by side.
    report
        Called with a line for every task that begins or ends, and for every step that is left out.

    Returns
    -------
    bool
        Whether everything succeeded.
    """
    running: dict[Future[int], tuple[str, int]] = {}
    processes: set[subprocess.Popen[bytes]] = set()
    stopping = threading.Event()
    waiting = {step.name: list(pending[step.name]) for step in steps if pending.get(step.name)}
    unfinished = {name: len(indices) for name, indices in waiting.items()}
    failed: set[str] = set()

    def run(step: str, index: int) -> int:
        if stopping.is_set():
            return 1
        report(f"{step} {index}: begins")
        # Ctrl-C reaches the whole foreground group; only this process is to decide who ends.
        process = subprocess.Popen(["/bin/sh", str(script_path(folder, step)), str(index)], start_new_session=True)
        processes.add(process)
        if stopping.is_set():
            process.terminate()
        try:
            return process.wait()
        finally:
            processes.discard(process)

    with ThreadPoolExecutor(parallel) as pool, _sigterm_as_interrupt():
        try:
            while waiting or running:
                for step in steps:
                    if step.name in waiting and failed & set(step.after):
                        report(f"{step.name}: left out, a step before it failed")
                        failed.add(step.name)
                        del waiting[step.name]
                    elif step.name in waiting and not any(unfinished.get(before) for before in step.after):
                        for index in waiting.pop(step.name):
                            running[pool.submit(run, step.name, index)] = (step.name, index)
                if not running:
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name, index = running.pop(future)
                    status = future.result()
                    unfinished[name] -= 1
                    report(f"{name} {index}: {'done' if status == 0 else f'failed, exit status {status}'}")
                    if status:
                        failed.add(name)
        except BaseException:
            stopping.set()
            for process in list(processes):
                process.terminate()
            raise
    return not failed


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does; signals reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
