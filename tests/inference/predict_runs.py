"""Small images, and models that are predicted with in no time, for tests of `nnunet_ext predict`."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.imageio import write_volume
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.inference import case_prediction
from nnunet_ext.inference.sliding import Layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

SHAPE = (22, 18, 16)
SMALL: dict[str, Any] = {"patch": (10, 12, 10), "features": 2, "mirroring": False}


def voxels(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def write_image(folder: Path, name: str, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Path:
    folder.mkdir(exist_ok=True)
    write_volume(folder / name, voxels(shape, seed), Geometry((1.0, 1.0, 1.0)))
    return folder / name


def copied(model: Path, target: Path) -> Path:
    return shutil.copytree(model, target)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def force_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the sums over windows in scratch files, and close few planes at a time."""
    choose = case_prediction.choose_layout

    def chosen(grid: Any, **settings: Any) -> tuple[Layout, Any]:
        return Layout(grid.patch[0], 5, settings["scratch"]), choose(grid, **settings)[1]

    monkeypatch.setattr(case_prediction, "choose_layout", chosen)
