"""Builders of folders with predicted and labelled fronts."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from evaluation.evaluate_fronts import main

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SHAPE = (40, 60)
A, B, C = "COL_2011-11-13_TDX_20_1_092", "Mapple_2011-11-13_TSX_7_1_001", "Mapple_2011-06-13_TSX_7_1_002"


def line(*pixels: tuple[int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray[Any, Any]:
    mask = np.zeros(shape, dtype=bool)
    for row, column in pixels:
        mask[row, column] = True
    return mask


def row(number: int, columns: Iterable[int] = range(10), shape: tuple[int, int] = SHAPE) -> np.ndarray[Any, Any]:
    return line(*[(number, column) for column in columns], shape=shape)


def write(path: Path, array: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)
    return path


def write_front(folder: Path, stem: str, mask: np.ndarray[Any, Any]) -> Path:
    return write(folder / f"{stem}_front.png", mask * 255)


def write_images_a_b_c(folder: Path) -> tuple[Path, Path]:
    """A: 20 m, single pixels 3 px apart; B: 7 m, identical lines of 5 px; C: no prediction."""
    predictions, labels = folder / "predictions", folder / "fronts"
    identical = row(4, range(5))
    for stem, predicted, label in (
        (A, line((2, 2)), line((2, 5))),
        (B, identical, identical),
        (C, line(), identical),
    ):
        write_front(predictions, stem, predicted)
        write_front(labels, stem, label)
    return predictions, labels


def evaluated(output: Path, *words: object) -> None:
    """Run the command without a filter of lengths, in this process."""
    status = main([*map(str, words), "-o", str(output), "-np", "1", "--min-length", "0", "--worst", "1"])
    assert status == 0


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_summary(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return content
