"""Images and label maps of several tasks, written as people have them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.imageio import Geometry, write_volume

if TYPE_CHECKING:
    from pathlib import Path

TURNED = Geometry((2.5, 0.5, 0.75), (-7.0, 11.0, 300.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
FRONT = "background=0,front=255"
ZONES = "na=0,rock=64,glacier=127,ocean=254"
FRONT_VALUES, ZONE_VALUES = (0, 255), (0, 64, 127, 254)


def values_of(values, shape, seed=0) -> np.ndarray:
    """Return a map in which each of the values occurs, if there is room."""
    count = int(np.prod(shape))
    array = np.random.default_rng(seed).choice(np.array(values), count)
    array[: len(values)] = values[:count]
    return np.random.default_rng(seed).permutation(array).reshape(shape)


def write(path: Path, array: np.ndarray, geometry: Geometry | None = None) -> Path:
    write_volume(path, array, geometry or Geometry(), overwrite=True)
    return path


def glaciers(folder: Path, cases=("a", "b"), shape=(1, 6, 5), ending=".png", geometry=None) -> dict[str, np.ndarray]:
    """Write ``images``, ``fronts`` and ``zones`` with grey levels; return the label maps by ``<task>/<case>``."""
    maps = {}
    for seed, case in enumerate(cases):
        write(folder / "images" / f"{case}{ending}", values_of(range(200), shape, seed).astype(np.uint8), geometry)
        for name, values in (("front", FRONT_VALUES), ("zones", ZONE_VALUES)):
            maps[f"{name}/{case}"] = values_of(values, shape, seed + 10).astype(np.uint8)
            write(folder / f"{name}s" / f"{case}_{name}{ending}", maps[f"{name}/{case}"], geometry)
    return maps


def glacier_tasks(folder: Path, ending=".png") -> list[str]:
    return [f"front={folder}/fronts/*_front{ending}:{FRONT}", f"zones={folder}/zoness/*_zones{ending}:{ZONES}"]


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def read_json(path: Path):
    return json.loads(path.read_text())
