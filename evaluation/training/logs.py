"""Read the curves of a training out of its logs, ``training_log_*.txt``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

TRAIN_LOSS = "train_loss"
VAL_LOSS = "val_loss"
PSEUDO_DICE = "pseudo_dice"
MEAN_PSEUDO_DICE = "mean_pseudo_dice"
LEARNING_RATE = "learning_rate"
EPOCH_TIME = "epoch_time"
LOG_VARIANCE = "log_variance"

LOG_PATTERN = "training_log_*.txt"


class Curve(NamedTuple):
    """A value that a training has once per epoch: what it is, and of which class or task.

    ``class_or_task`` is empty for what belongs to the training as a whole. As long as the classes have no names, it
    is their number, from ``"1"``.
    """

    name: str
    class_or_task: str = ""


Values = dict[Curve, float]
Epochs = dict[int, Values]


@dataclass(frozen=True)
class LoggedTraining:
    """What the logs of one fold say.

    Parameters
    ----------
    epochs
        Values of every epoch, in the order of the epochs.
    left_out
        Epochs that a log has, but that the training went back before and has not reached again.
    classes
        Names of the classes as ``task/class``, in the order of the pseudo Dice; empty if the logs do not say.
    """

    epochs: Epochs
    left_out: tuple[int, ...]
    classes: tuple[str, ...] = ()


def read_logs(paths: Iterable[Path]) -> LoggedTraining:
    """Read all logs of one fold.

    Parameters
    ----------
    paths
        The files, in any order, see `in_order`.

    Returns
    -------
    LoggedTraining
        See `combine_runs`.
    """
    texts = [_read(path) for path in in_order(paths)]
    epochs, left_out = combine_runs([epoch for text in texts for epoch in parse_log(text)])
    classes: tuple[str, ...] = ()
    for text in texts:
        classes = class_names(text) or classes
    return LoggedTraining(epochs, left_out, classes)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sort logs by the time in their names, else by the first time in the text."""
    return sorted(paths, key=_started)


def parse_log(text: str) -> list[tuple[int, Values]]:
    """Read the epochs of one log.

    Parameters
    ----------
    text
        Content of the file. Lines that say nothing about an epoch are passed over, and so is a last line that the
        end of a killed training has cut off.

    Returns
    -------
    list of (int, dict)
        Number of the epoch, and its values as far as they are there, in the order of the file. Times are in seconds.
    """
    epochs: list[tuple[int, Values]] = []
    for line in _complete_lines(text):
        started = _EPOCH.fullmatch(line)
        if started:
            epochs.append((int(started[1]), {}))
        elif epochs:
            epochs[-1][1].update(_values(line))
    return epochs


def class_names(text: str) -> tuple[str, ...]:
    """Return the classes that the log of a multi-task training names, as ``task/class``; empty in other logs."""
    names: dict[str, list[str]] = {}
    for line in _complete_lines(text):
        found = _TASK_DICE.fullmatch(line)
        if found:
            names[found["task"]] = [f"{found['task']}/{name}" for name, _ in _NAMED_NUMBER.findall(found["values"])]
    return tuple(name for task in names.values() for name in task)


def combine_runs(epochs: Iterable[tuple[int, Values]]) -> tuple[Epochs, tuple[int, ...]]:
    """Make one training out of runs that went on where an earlier one, or a checkpoint of it, had ended.

    An epoch that was trained again replaces what it was before, and everything that came after it: the training went
    back to the epoch before, so the later epochs are no part of it. An epoch that was begun, but has no loss and no
    Dice, replaces nothing.

    Parameters
    ----------
    epochs
        Number and values, in the order in which they were trained.

    Returns
    -------
    epochs : dict
        Values by epoch, sorted.
    left_out : tuple of int
        Epochs that were trained, but are no part of the training.
    """
    kept: Epochs = {}
    trained: set[int] = set()
    for number, values in epochs:
        if any(curve.name in _RESULTS for curve in values):
            if max(kept, default=-1) >= number:
                kept = {epoch: before for epoch, before in kept.items() if epoch < number}
            kept[number] = values
            trained.add(number)
        elif values:
            kept.setdefault(number, values)
    return dict(sorted(kept.items())), tuple(sorted(trained - kept.keys()))


def mean_of_known(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


_RESULTS = (TRAIN_LOSS, VAL_LOSS, PSEUDO_DICE)

_TIMESTAMP = re.compile(r"\s*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?:\s*")
_TIME_IN_NAME = re.compile(r"training_log_(\d+)_(\d+)_(\d+)_(\d+)_(\d+)_(\d+)")
_TIME_IN_TEXT = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)")

_PLAIN = r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf)"
# numpy 2 shows the numbers in a list with their type: np.float32(0.963)
_ITEM = re.compile(rf"\s*(?:[A-Za-z_][\w.]*\(\s*)?({_PLAIN})(?:\s*\))?\s*")
_EPOCH = re.compile(r"Epoch (\d+)")
_SINGLE = {
    TRAIN_LOSS: re.compile(rf"train_loss ({_PLAIN})"),
    VAL_LOSS: re.compile(rf"val_loss ({_PLAIN})"),
    LEARNING_RATE: re.compile(rf"Current learning rate: ({_PLAIN})"),
    EPOCH_TIME: re.compile(rf"Epoch time: ({_PLAIN}) s"),
}
_DICE = re.compile(r"Pseudo dice \[(.*)\]")
# lines of our multi-task trainers
_TASK_LOSSES = re.compile(rf"(.+): train_loss ({_PLAIN}), val_loss ({_PLAIN})")
_TASK_VARIANCE = re.compile(rf"(.+): log of variance ({_PLAIN})")
_NAMED_NUMBER = re.compile(rf"(.+?) ({_PLAIN})(?:, |$)")
_TASK_DICE = re.compile(rf"(?P<task>[^:]+): pseudo Dice (?P<values>(?:.+? {_PLAIN}, )*.+? {_PLAIN})")


def _complete_lines(text: str) -> list[str]:
    """Return the lines without timestamp and surrounding space."""
    *lines, last = text.split("\n")
    # nnU-Net ends each value with a space: a number at the very end of the file may lack digits.
    if last.endswith((" ", "]", " s")):
        lines.append(last)
    return [_TIMESTAMP.sub("", line, count=1).strip() for line in lines]


def _values(line: str) -> Values:
    """Return the values that a line of an epoch has."""
    for name, pattern in _SINGLE.items():
        if found := pattern.fullmatch(line):
            return {Curve(name): float(found[1])}
    if found := _DICE.fullmatch(line):
        return _dice([_ITEM.fullmatch(item) for item in found[1].split(",")])
    if found := _TASK_LOSSES.fullmatch(line):
        return {Curve(TRAIN_LOSS, found[1]): float(found[2]), Curve(VAL_LOSS, found[1]): float(found[3])}
    if found := _TASK_DICE.fullmatch(line):
        values = [float(value) for _, value in _NAMED_NUMBER.findall(found["values"])]
        return {Curve(MEAN_PSEUDO_DICE, found["task"]): mean_of_known(values)}
    if found := _TASK_VARIANCE.fullmatch(line):
        return {Curve(LOG_VARIANCE, found[1]): float(found[2])}
    return {}


def _dice(items: Sequence[re.Match[str] | None]) -> Values:
    """Give the pseudo Dice of the classes numbers, and add their mean, which nnU-Net does not write into the log."""
    numbers = [float(item[1]) for item in items if item is not None]
    if len(numbers) < len(items):
        return {}
    dice = {Curve(PSEUDO_DICE, str(number)): value for number, value in enumerate(numbers, start=1)}
    return {**dice, Curve(MEAN_PSEUDO_DICE): mean_of_known(numbers)}


def _started(path: Path) -> tuple[tuple[int, ...], str]:
    """Return the time when a log begins; numbers, since month and day in its name have no leading zeros."""
    found = _TIME_IN_NAME.match(path.name) or _TIME_IN_TEXT.search(_read(path))
    return (tuple(map(int, found.groups())) if found else ()), path.name


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
