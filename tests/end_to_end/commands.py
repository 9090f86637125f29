"""Run commands of this environment as a user would, and say what they printed if they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
