"""Builders of model folders with training logs and checkpoints, for the tests of the training curves."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

STAMP = "2026-11-21 17:49:33.183774: "
HEAD = "\n#######\nPlease cite the following paper when using nnU-Net:\n#######\n \n"


def epoch_lines(
    number: int, loss: float | str, *, dice: str = "[np.float32(0.5), np.float32(0.7)]", rate: str = "0.01"
) -> str:
    """Return an epoch as nnU-Net 2.8.1 logs it; the validation loss is called as the training loss is."""
    lines = ["", f"Epoch {number}", f"Current learning rate: {rate}", f"train_loss {loss}", f"val_loss {loss}"]
    lines += [f"Pseudo dice {dice}", "Epoch time: 9.44 s", "Yayy! New best EMA pseudo Dice: 0.9373999834060669"]
    return "".join(f"{STAMP}{line} \n" for line in lines)


def write_log(fold: Path, losses: Mapping[int, float], name: str = "training_log_2026_11_21_17_49_23.txt") -> Path:
    """Write a log with a loss per epoch."""
    return write_text(fold / name, HEAD + "".join(epoch_lines(number, loss) for number, loss in losses.items()))


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def nnunet_logging(losses: Sequence[float], *, ended: float = 1000.0) -> dict[str, list[Any]]:
    """Return ``logging`` as nnU-Net keeps it; the epochs take 10 s each, the last one up to ``ended``."""
    import numpy as np

    count = len(losses)
    ends = [ended - 10 * (count - 1 - number) for number in range(count)]
    return {
        "mean_fg_dice": [np.float32(0.6)] * count,
        "ema_fg_dice": [np.float32(0.6)] * count,
        "dice_per_class_or_region": [[np.float32(0.5), np.float32(0.7)]] * count,
        "train_losses": [np.float64(loss) for loss in losses],
        "val_losses": [np.float64(loss) for loss in losses],
        "lrs": [0.00536] * count,
        "epoch_start_timestamps": [end - 10.0 for end in ends],
        "epoch_end_timestamps": ends,
    }


def write_checkpoint(path: Path, logging: object, **other: object) -> Path:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"network_weights": {"w": torch.zeros(2)}, "logging": logging, **other}, path)
    return path


def write_classes(model: Path, labels: Mapping[str, object], tasks: Iterable[str] = ()) -> None:
    content: dict[str, Any] = {"labels": dict(labels), "channel_names": {"0": "CT"}, "file_ending": ".tif"}
    write_text(model / "dataset.json", json.dumps(content | ({"tasks": {task: {} for task in tasks}} if tasks else {})))


def read_rows(path: Path, *columns: str, **wanted: str) -> list[tuple[str, ...]]:
    """Return some columns of the rows that have the wanted values."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [tuple(row[c] for c in columns) for row in rows if all(row[k] == v for k, v in wanted.items())]
