"""Small builders of images, label maps and masks in folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.imageio import Geometry, write_volume

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (4, 6, 8)
GEOMETRY = Geometry((2.5, 0.7, 0.9), (-3.0, 10.0, 4.5), ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)))


def image_of(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return an image with more than a hundred values."""
    return np.random.default_rng(seed).normal(0, 300, shape).astype(np.int16)


def label_of(*values: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return a label map in which value number n fills row n of every slice, from the second row on."""
    label = np.zeros(shape, np.uint8)
    for row, value in enumerate(values, 1):
        label[:, row] = value
    return label


def put(path: Path, array: np.ndarray, geometry: Geometry = GEOMETRY) -> Path:
    """Write a volume."""
    write_volume(path, array, geometry, overwrite=True)
    return path


def cases(folder: Path, *names: str, values: tuple[int, ...] = (1, 2), ending: str = ".nii.gz") -> Path:
    """Write ``<case>/image<ending>`` and ``<case>/label<ending>``."""
    for seed, name in enumerate(names):
        put(folder / name / f"image{ending}", image_of(seed))
        put(folder / name / f"label{ending}", label_of(*values))
    return folder


def names_in(folder: Path) -> list[str]:
    """Return all files and folders in a folder and within, sorted."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
