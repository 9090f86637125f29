"""Read the curves of a training out of nnU-Net's checkpoints, and put them together with those of its logs."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluation.training.logs import (
    EPOCH_TIME,
    LEARNING_RATE,
    MEAN_PSEUDO_DICE,
    PSEUDO_DICE,
    TRAIN_LOSS,
    VAL_LOSS,
    Curve,
    Epochs,
)
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")


@dataclass(frozen=True)
class CheckpointCurves:
    """The curves in a checkpoint.

    Parameters
    ----------
    path
        The file.
    epochs
        Values by epoch.
    ended
        When its last epoch ended, in seconds since 1970; -inf if it does not say.
    """

    path: Path
    epochs: Epochs
    ended: float


def read_checkpoint(path: Path) -> CheckpointCurves:
    """Read the curves that nnU-Net keeps in a checkpoint.

    The file is a pickle, which can run any code, and is loaded as nnU-Net loads it: trust where it comes from. The
    weights stay on disk.

    Raises
    ------
    InputError
        If the file cannot be read or has no curves.
    """
    import torch

    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=False, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # whatever torch and pickle raise on a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"{path}: cannot be read as a checkpoint: {reason}"
        raise InputError(message) from error
    logging = checkpoint.get("logging") if isinstance(checkpoint, dict) else None
    if not isinstance(logging, dict):
        message = f"{path}: expected nnU-Net's curves under the key 'logging', found none"
        raise InputError(message)
    try:
        ends = logging.get("epoch_end_timestamps") or [-math.inf]
        return CheckpointCurves(path, curves_of(logging), float(ends[-1]))
    except (TypeError, ValueError) as error:
        message = f"{path}: its curves are not one value per epoch, as nnU-Net keeps them: {error}"
        raise InputError(message) from error


def newest(checkpoints: Sequence[CheckpointCurves]) -> CheckpointCurves | None:
    """Return the checkpoint whose last epoch ended last, or None if there is none.

    The furthest one may be left from an earlier training in the same folder.
    """
    return max(checkpoints, key=lambda checkpoint: (checkpoint.ended, len(checkpoint.epochs)), default=None)


def curves_of(logging: Mapping[str, Any]) -> Epochs:
    """Turn nnU-Net's lists of one value per epoch into values by epoch.

    Parameters
    ----------
    logging
        ``logging`` of a checkpoint. Lists of numbers under names that nnU-Net does not have are curves of their
        names; what follows a ``/`` in a name is the task.

    Returns
    -------
    dict
        Values by epoch; the classes of pseudo Dice are numbered from 1. Times are in seconds.
    """
    epochs: Epochs = {}
    for key, values in _columns(logging).items():
        for number, value in enumerate(values):
            if value is not None:
                epochs.setdefault(number, {})[key] = value
    return dict(sorted(epochs.items()))


def merge(logged: Epochs, saved: Epochs) -> tuple[Epochs, int | None]:
    """Put the curves of log and checkpoint of one fold together.

    A checkpoint holds the exact values, a log rounded ones; so the checkpoint wins as long as both tell of the same
    epochs. The first epoch in which their losses differ by more than the rounding was trained again after the
    checkpoint was written; from there on, the log alone counts.

    Parameters
    ----------
    logged, saved
        Values by epoch of the log and of the checkpoint.

    Returns
    -------
    epochs : dict
        Values by epoch, sorted.
    parted : int or None
        The first epoch in which they differ.
    """
    parted = next((n for n in sorted(logged.keys() & saved.keys()) if not _same(logged[n], saved[n])), None)
    exact = {number: values for number, values in saved.items() if parted is None or number < parted}
    numbers = sorted(logged.keys() | exact.keys())
    return {number: {**logged.get(number, {}), **exact.get(number, {})} for number in numbers}, parted


_NAMES = {
    "train_losses": Curve(TRAIN_LOSS),
    "val_losses": Curve(VAL_LOSS),
    "mean_fg_dice": Curve(MEAN_PSEUDO_DICE),
    "lrs": Curve(LEARNING_RATE),
}
# the average is of use while a training runs, and a log has it now and then only
_PASSED_OVER = ("ema_fg_dice", "epoch_start_timestamps", "epoch_end_timestamps", "dice_per_class_or_region")
_TASK_DICE = "dice"
_ROUNDING = 1e-4


def _columns(logging: Mapping[str, Any]) -> dict[Curve, list[float | None]]:
    columns = {
        _named(key): [_number(value) for value in values]
        for key, values in logging.items()
        if key not in _PASSED_OVER and isinstance(values, (list, tuple))
    }
    starts, ends = logging.get("epoch_start_timestamps") or [], logging.get("epoch_end_timestamps") or []
    columns[Curve(EPOCH_TIME)] = [float(end - start) for start, end in zip(starts, ends, strict=False)]
    dice = [list(values) for values in logging.get("dice_per_class_or_region") or []]
    for position in range(max(map(len, dice), default=0)):
        columns[Curve(PSEUDO_DICE, str(position + 1))] = [
            _number(values[position]) if position < len(values) else None for values in dice
        ]
    return columns


def _named(key: str) -> Curve:
    if key in _NAMES:
        return _NAMES[key]
    name, _, task = key.partition("/")
    return Curve(MEAN_PSEUDO_DICE if task and name == _TASK_DICE else name, task)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _same(logged: Mapping[Curve, float], saved: Mapping[Curve, float]) -> bool:
    """Return whether the losses, as far as both have them, agree within the rounding of the log."""
    pairs = [(logged.get(curve), saved.get(curve)) for curve in (Curve(TRAIN_LOSS), Curve(VAL_LOSS))]
    return all(_close(a, b) for a, b in pairs if a is not None and b is not None)


def _close(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=_ROUNDING)
