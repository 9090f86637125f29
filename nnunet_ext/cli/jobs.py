"""State, runtime, peak memory and logs of submitted jobs."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from nnunet_ext.cluster.status import SubmissionStatus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="folder of a submission; default: the newest one in $nnUNet_results/nnunet_ext_jobs",
    )
    add("--all", dest="show_all", action="store_true", help="all submissions in $nnUNet_results/nnunet_ext_jobs")
    add("--tail", type=int, default=10, metavar="N", help="lines of the log of tasks that ended without being done")
    add("--json", dest="as_json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Print what became of every task."""
    from nnunet_ext.cluster.folder import all_folders, default_root, newest_folder
    from nnunet_ext.cluster.status import submission_status
    from nnunet_ext.errors import InputError

    folders = args.folders
    if not folders:
        root = default_root()
        if root is None:
            message = "nnUNet_results is not set; set it, or name the folder of a submission"
            raise InputError(message)
        folders = all_folders(root) if args.show_all else [newest_folder(root)]
    found = [submission_status(folder, args.tail) for folder in folders]
    if args.as_json:
        print(json.dumps([{**asdict(status), "folder": str(status.folder)} for status in found], indent=2))
        return
    print("\n\n".join(_as_text(status) for status in found))


def _as_text(status: SubmissionStatus) -> str:
    rows = [("step", "index", "what", "state", "runtime", "memory", "attempt", "job", "")]
    for task in status.tasks:
        row = (task.step, str(task.index), task.what, task.state, _clock(task.seconds), _gigabytes(task.peak_memory))
        rows.append((*row, str(task.attempt or "-"), task.job or "-", task.reason))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"{status.folder} ({status.scheduler})"]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    counts = Counter(task.state for task in status.tasks)
    lines.append(", ".join(f"{number} {state}" for state, number in counts.items()))
    if status.note:
        lines.append(f"Note: {status.note}")
    for task in status.tasks:
        if task.tail:
            lines += ["", f"--- {task.step} {task.index} ({task.what}): {task.state}", *task.tail]
    if any(task.tail for task in status.tasks):
        lines += ["", f"Go on with what is not done: nnunet_ext submit --resume {shlex.quote(str(status.folder))}"]
    return "\n".join(lines)


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _gigabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**30:.2f} GiB"
