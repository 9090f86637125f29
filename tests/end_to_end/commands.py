"""Run commands of this environment as a user would, and say what they printed if they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.imageio import open_volume, read_volume
from nnunet_ext.imageio.grid import grid_differences, grid_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_command(words: Sequence[object], environment: dict[str, str] | None = None, timeout: int = 1500) -> str:
    """Run one command and return what it printed; a failure is an AssertionError with the end of its output."""
    folder = Path(sys.executable).parent
    clean = {name: value for name, value in os.environ.items() if not name.lower().startswith("nnunet")}
    variables = {**clean, "PATH": f"{folder}{os.pathsep}{clean.get('PATH', '')}", **(environment or {})}
    command = [str(word) for word in words]
    done = subprocess.run(
        command,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout[-6000:]}"
    return done.stdout


def few_iterations(training: int, validation: int = 5) -> dict[str, str]:
    """Return variables with which an epoch of any trainer has so many iterations instead of 250 and 50."""
    folder = Path(__file__).parent / "short_epochs"
    return {"PYTHONPATH": str(folder), "TEST_ITERATIONS": f"{training} {validation}"}


def assert_predicted_alike(images: Path, stock: Path, model: Path, output: Path, *options: object) -> None:
    """``nnunet_ext predict`` with fold 0 gives the labels and geometry of predictions that stock nnU-Net wrote."""
    words = ["nnunet_ext", "predict", "-i", images, "-o", output, "-m", model, "-f", 0, "-device", "cpu", *options]
    run_command(words)
    names = sorted(path.name for path in output.iterdir() if path.is_file() and path.suffix != ".json")
    assert names, f"{output} is empty"
    for name in names:
        with open_volume(output / name) as ours, open_volume(stock / name) as expected:
            assert grid_differences(grid_of(ours), grid_of(expected)) == [], name
        assert (read_volume(output / name)[0] == read_volume(stock / name)[0]).mean() >= 0.9999, name
