"""Builders of label folders for the tests of the evaluation."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SHAPE = (4, 5, 6)


def random_labels(seed: int, values: Sequence[int], shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).choice(values, size=shape).astype(np.uint8)


def write_label(
    path: Path,
    array: np.ndarray[Any, Any],
    *,
    spacing: tuple[float, float, float] = (1.0, 2.0, 3.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    direction: tuple[float, ...] | None = None,
) -> Path:
    """Write a volume; spacing and origin in SimpleITK's x, y, z order."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path), useCompression=path.suffix in (".gz", ".nrrd"))
    return path


def write_folder(folder: Path, cases: Mapping[str, np.ndarray[Any, Any]], ending: str = ".nii.gz") -> Path:
    for case, array in cases.items():
        write_label(folder / f"{case}{ending}", array)
    return folder


def write_dataset_json(folder: Path, labels: Mapping[str, Any], **more: Any) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz", **more}))
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
