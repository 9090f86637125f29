"""Small graphs, datasets of nnU-Net without images, and schedulers that only write down how they are called."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from nnunet_ext.cluster.graph import Command, Step, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

HOSTILE = 'it\'s $(touch pwned) `touch pwned` "x" ; a&b'
SITES = {
    "slurm": {"scheduler": "slurm", "defaults": {"cpus": 2}},
    "torque": {"scheduler": "pbs", "dialect": "torque"},
    "openpbs": {"scheduler": "pbs", "dialect": "openpbs"},
}

_TOOL = """#!{python} -SE
import json, os, sys
from pathlib import Path
here = Path({here!r})
name = Path(sys.argv[0]).name
with (here / "calls.jsonl").open("a") as file:
    file.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
answer = here / (name + ".answer")
if answer.exists():
    print(answer.read_text(), end="")
if name in ("sbatch", "qsub"):
    calls = [json.loads(line) for line in (here / "calls.jsonl").read_text().splitlines()]
    number = sum(call[0] == name for call in calls)
    if (here / "refuse").exists() and number >= int((here / "refuse").read_text()):
        sys.exit("refused")
    array = name == "qsub" and any(flag in sys.argv for flag in ("-t", "-J"))
    print(str(100 + number) + ("[].server" if array else ".server" if name == "qsub" else ""))
sys.exit(int((here / "status").read_text()) if (here / "status").exists() else 0)
"""


class FakeScheduler:
    """Commands on the PATH that write down how they are called, and give numbers from 101."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "scontrol", "scancel", "qsub", "qstat", "qdel", "qrls"):
            tool = folder / name
            tool.write_text(_TOOL.format(python=sys.executable, here=str(folder)))
            tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def calls(self, *names: str) -> list[list[str]]:
        """Return the calls of some commands, in order."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call[0] in names]

    def forget(self) -> None:
        (self.folder / "calls.jsonl").unlink(missing_ok=True)

    def answer(self, name: str, text: str) -> None:
        """Let a command print something."""
        (self.folder / f"{name}.answer").write_text(text)

    def refuse_from(self, number: int) -> None:
        """Let submitting fail from the call ``number`` on."""
        (self.folder / "refuse").write_text(str(number))


def python(code: str, *, again: Sequence[str] = (), again_if: Sequence[str] = ()) -> Command:
    """Return a command that runs Python code."""
    return Command(("python", "-SEc", code), again=tuple(again), again_if=tuple(again_if))


def step(name: str, *codes: str, after: Sequence[str] = (), kind: str = "train") -> Step:
    """Return a step with a task for every piece of Python code."""
    tasks = tuple(Task(f"task {index}", (python(code),)) for index, code in enumerate(codes))
    return Step(name, kind, tasks, tuple(after))


def chain() -> list[Step]:
    """Return three folds, what follows them, and what follows that."""
    return [
        step("train_2d", "pass", "pass", "pass"),
        step("find_best", "pass", after=["train_2d"], kind="find_best"),
        step("predict", "pass", "pass", after=["find_best"], kind="predict"),
    ]


def option(call: Sequence[str], name: str) -> str | None:
    """Return the value of ``--name=value`` or ``-name value``."""
    for word, following in zip(call, [*call[1:], None], strict=True):
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
        if word == name:
            return following
    return None


def toy_dataset(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, plans: dict[str, dict[str, object]] | None = None
) -> None:
    """Make Dataset001_Toy with one test image, and plans with their preprocessed folders if given."""
    for name in ("raw", "preprocessed", "results"):
        (folder / name).mkdir(parents=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(folder / name))
    raw = folder / "raw" / "Dataset001_Toy"
    (raw / "imagesTs").mkdir(parents=True)
    (raw / "imagesTs" / "a_0000.nii.gz").touch()
    (raw / "dataset.json").write_text('{"labels": {"background": 0, "x": 1}, "file_ending": ".nii.gz"}')
    if plans is not None:
        preprocessed = folder / "preprocessed" / "Dataset001_Toy"
        preprocessed.mkdir()
        (preprocessed / "nnUNetPlans.json").write_text(json.dumps({"configurations": plans}))
        (preprocessed / "splits_final.json").write_text(json.dumps([{}] * 5))
        for content in plans.values():
            data = preprocessed / str(content.get("data_identifier", "none"))
            data.mkdir(exist_ok=True)
            (data / "case.b2nd").touch()
