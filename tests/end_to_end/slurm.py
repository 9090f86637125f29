"""A Slurm of one node for a test session, PBS's commands on top, and what the tests ask it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCRIPTS = Path(__file__).resolve().parents[1] / "cluster" / "slurm_here"
REQUIRED = "NNUNET_EXT_TEST_SLURM"
"""Set to ``required``, the tests fail where Slurm does not start, in place of being skipped."""

CANNOT_START = 77


@dataclass(frozen=True)
class Slurm:
    """A running Slurm: the folder of its configuration and logs."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs in order to find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *words: object) -> str:
        """Run a command of Slurm or PBS and return what it printed."""
        command = [str(word) for word in words]
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command} exited with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return the state of every job that has not ended, by its name: ``17_1`` is task 1 of array 17."""
        printed = self.run("squeue", "--noheader", "--array", "--format=%i %T")
        return dict(line.split() for line in printed.splitlines())

    def ended(self) -> dict[str, str]:
        """Return the last state of every job that has ended, from the file where Slurm notes them."""
        file = self.folder / "jobs.txt"
        found: dict[str, str] = {}
        for line in file.read_text().splitlines() if file.exists() else ():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            task = f"_{fields['ArrayTaskId']}" if "ArrayTaskId" in fields else ""
            found[f"{fields.get('ArrayJobId', fields['JobId'])}{task}"] = fields["JobState"]
        return found

    def wait_for_jobs(self, seconds: float, *arrays: str) -> None:
        """Wait until the jobs of some arrays have ended; without a name, until all have."""

        def left() -> list[str]:
            return [job for job in self.jobs() if not arrays or job.split("_")[0] in arrays]

        wait_until(lambda: not left(), seconds, lambda: f"jobs are left: {self.run('squeue')}")


def wait_until(holds: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Wait until a condition holds, or fail with what ``otherwise`` says."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"after {seconds:.0f} s: {otherwise()}"
        time.sleep(0.3)


@contextmanager
def slurm_here(cpus: int) -> Iterator[Slurm]:
    """Start a Slurm and end it afterwards, also after failures; skip the test where none can start.

    Parameters
    ----------
    cpus
        How many one-core jobs run side by side, whatever the machine has.
    """
    # Sockets have short names, hence no folder of pytest's.
    folder = Path(tempfile.mkdtemp(prefix="slurm_here_"))
    try:
        # A file and no pipe: the daemons keep it open.
        with tempfile.TemporaryFile("w+") as printed:
            words = [SCRIPTS / "start", folder, str(cpus)]
            status = subprocess.run(words, stdout=printed, stderr=printed, timeout=180, check=False).returncode
            printed.seek(0)
            message = printed.read().strip()
        if status == CANNOT_START and os.environ.get(REQUIRED) != "required":
            pytest.skip(f"no Slurm: {message}")
        assert status == 0, f"Slurm does not start: {message}"
        yield Slurm(folder)
    finally:
        subprocess.run([SCRIPTS / "stop", folder], timeout=180, check=False)
        shutil.rmtree(folder, ignore_errors=True)
