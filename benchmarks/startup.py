"""Time what this package costs when nothing is asked of it, and the look-up of its trainers beside nnU-Net's own.

hook       What the ``.pth`` file adds to every start of an interpreter: read, import, install.
help       ``nnunet_ext … --help``, the whole process, for every verb.
look-up    From `nnUNetv2_train` having imported its modules to it having the class: a trainer of this package, and
           one of nnU-Net's own variants by nnU-Net's own search.

Everything runs in fresh processes. The exit status is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from nnunet_ext.cli import VERBS, Verb

HOOK_GOAL, HELP_GOAL = 2.0, 500.0  # ms
OWN_TRAINER, STOCK_TRAINER = "nnUNetTrainer_betterIgnoreSampling", "nnUNetTrainerDA5"

# The interpreter's own start-up code without the one file first, then that file alone, as often as it would have been
# read: twice in a virtual environment.
HOOK = """
import pathlib, site, time
add, hooks = site.addpackage, []
def add_others(folder, name, known_paths):
    file = pathlib.Path(folder, name)
    if "nnunet_ext.plugins.startup" in file.read_text():
        hooks.append((folder, name))
        return known_paths
    return add(folder, name, known_paths)
site.addpackage = add_others
site.main()
import sys
assert hooks and "nnunet_ext" not in sys.modules, hooks
start = time.perf_counter()
for folder, name in hooks:
    add(folder, name, set())
print(1000 * (time.perf_counter() - start))
assert "nnunet_ext.plugins.startup" in sys.modules
"""
HELP = "import sys; from nnunet_ext.cli import main; sys.exit(main(sys.argv[1:]))"
LOOK_UP = """
import sys, time
from nnunet_ext.plugins.startup import deactivate
if sys.argv[2] == "stock":
    deactivate()
import nnunetv2.run.run_training
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
start = time.perf_counter()
assert recursive_find_trainer_class_by_name(sys.argv[1]).__name__ == sys.argv[1]
print(1000 * (time.perf_counter() - start))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="few turns: does it run at all?")
    parser.add_argument("--starts", type=int, default=40, help="starts of the interpreter with the hook")
    parser.add_argument("--turns", type=int, default=5, help="turns of each help text and look-up")
    args = parser.parse_args()
    starts, turns = (3, 1) if args.quick else (args.starts, args.turns)
    print(f"{'':<54}{'median ms':>11}{'min ms':>10}   goal")
    met = [hook(starts), help_texts(turns), look_up(turns)]
    return 0 if all(met) else 1


def hook(starts: int) -> bool:
    """Time the hook and, in turns with it, a whole start of the interpreter to compare it with."""
    added, whole = [], []
    for _ in range(starts):
        added.append(printed_ms(["-S", "-c", HOOK]))
        whole.append(process_ms(["-c", "pass"]))
    row("start-up hook", added, goal=HOOK_GOAL)
    row("`python -c pass`, hook included", whole)
    return statistics.median(added) < HOOK_GOAL


def help_texts(turns: int) -> bool:
    """Time the help text of every verb, in turns."""
    verbs = [["--help"], *([*words, "--help"] for words in commands())]
    times: dict[str, list[float]] = {" ".join(words): [] for words in verbs}
    for _ in range(turns):
        for words in verbs:
            times[" ".join(words)].append(process_ms(["-c", HELP, *words]))
    for name, taken in times.items():
        row(f"nnunet_ext {name}", taken, goal=HELP_GOAL)
    return all(statistics.median(taken) < HELP_GOAL for taken in times.values())


def look_up(turns: int) -> bool:
    """Time our trainer through the seam, and nnU-Net's own with and without it, in turns."""
    ways = [(OWN_TRAINER, "seam"), (STOCK_TRAINER, "stock"), (STOCK_TRAINER, "seam")]
    times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way in ways:
            times[way].append(printed_ms(["-W", "ignore", "-c", LOOK_UP, *way]))
    goal = statistics.median(times[STOCK_TRAINER, "stock"])
    for way in ways:
        row(f"look-up of {way[0]}, {way[1]}", times[way], goal=goal if way == ways[0] else None)
    return statistics.median(times[ways[0]]) < goal


def commands() -> list[list[str]]:
    """Return the words of every verb, with and without a source."""
    found: list[list[str]] = []
    for name, verb in VERBS.items():
        found.append([name])
        found += [] if isinstance(verb, Verb) else [[name, source] for source in verb]
    return found


def printed_ms(arguments: list[str]) -> float:
    """Run Python and return the number that it prints."""
    done = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def process_ms(arguments: list[str]) -> float:
    """Run Python and return how long that took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - start)


def row(name: str, times: list[float], goal: float | None = None) -> None:
    """Print one line of the table."""
    median = statistics.median(times)
    verdict = "" if goal is None else f"   < {goal:.0f}: {'met' if median < goal else 'MISSED'}"
    print(f"{name:<54}{median:>11.2f}{min(times):>10.2f}{verdict}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
