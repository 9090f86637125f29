"""Call one function for many cases, in several processes, behind a progress bar."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, TypeVar

from nnunet_ext.errors import InputError, WorkerEndedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Key = TypeVar("Key")
Result = TypeVar("Result")


def run_jobs(
    jobs: Mapping[Key, tuple[Any, ...]], function: Callable[..., Result], processes: int, description: str
) -> dict[Key, Result]:
    """Call ``function`` with the arguments of each job, in parallel, behind a progress bar.

    Parameters
    ----------
    jobs
        Arguments by name of the case.
    function
        A function of a module, so that processes can import it.
    processes
        Number of processes, started by ``spawn``: they import the calling script, which needs
        ``if __name__ == "__main__":``. With 1, or fewer than two jobs, everything runs in this process.
    description
        Shown before the bar.

    Returns
    -------
    dict
        The results under the keys of their jobs, in the order of the jobs.

    Raises
    ------
    InputError
        If there is to be no process at all.
    WorkerEndedError
        If the system ended a process.
    """
    from tqdm import tqdm

    if processes < 1:
        message = f"expected 1 or more processes (-np), found {processes}"
        raise InputError(message)
    bar = tqdm(total=len(jobs), desc=description, unit="case", disable=None)
    results: dict[Key, Result] = {}
    with bar:
        if processes == 1 or len(jobs) < 2:
            for case, arguments in jobs.items():
                results[case] = function(*arguments)
                bar.update()
            return results
        with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(function, *arguments): case for case, arguments in jobs.items()}
            try:
                for future in as_completed(futures):
                    results[futures[future]] = future.result()
                    bar.update()
            except BrokenProcessPool as error:
                message = (
                    f"{description}: a worker process was ended by the system, most likely because memory ran out: use "
                    f"fewer processes than {processes} (-np). In a script of your own that prints a RuntimeError about "
                    "bootstrapping above, what starts it must stand below: if __name__ == '__main__':"
                )
                raise WorkerEndedError(message) from error
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return {case: results[case] for case in jobs}
