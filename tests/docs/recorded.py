"""What commands a page names, as bash understands them, without running any."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Nothing can run: PATH is empty, so that every command, even `cp`, ends in the handler, which writes its words down.
RECORDER = """
record() { printf '%s\\0' "$@" >> "$recorded"; printf '\\n\\0' >> "$recorded"; }
command_not_found_handle() { record "$@"; }
source() { record source "$@"; }
.() { record . "$@"; }
cd() { record cd "$@"; }
PATH=/nothing
"""
VARIABLES = {
    **{name: name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "HOME")},
    **{"SLURM_ARRAY_TASK_ID": "0", "PBS_ARRAY_INDEX": "0", "PBS_O_WORKDIR": "work"},
}


def recorded_commands(blocks: Sequence[str]) -> list[list[str]]:
    """Return the words of every command in blocks of bash, after loops, variables and line ends were resolved.

    The blocks share variables, like those that a reader pastes into one shell. A variable that is used without having
    been set, and wrong syntax, are AssertionErrors.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "recorded"
        log.touch()
        script = "\n".join([RECORDER, "set -u", *blocks])
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=folder,
            env={**VARIABLES, "recorded": str(log)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        text = log.read_text(encoding="utf-8")
    assert done.stderr == "", done.stderr
    commands = [entry.split("\0")[:-1] for entry in text.split("\n\0")]
    return [words for words in commands if words]
