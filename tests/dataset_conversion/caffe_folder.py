"""A small folder in the layout of the CaFFe benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

TRAIN = [f"{glacier}_20{number:02d}-02-03_TDX_7_1_092" for number, glacier in enumerate(["Crane", "DBE", "SI"] * 2, 10)]
TEST = ["COL_2011-11-13_TDX_7_1_092", "Mapple_2012-01-02_S1_20_3_014"]
SHAPE = (12, 16)


def write_png(path: Path, pixels: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def scene(number: int = 0) -> dict[str, np.ndarray]:
    """Return image, front and zones: rock above, then glacier to the left of a front, ocean to the right of it."""
    image = np.random.default_rng(number).integers(0, 256, SHAPE, dtype=np.uint8)
    zones = np.full(SHAPE, 127, np.uint8)
    zones[:, 7:] = 254
    zones[:2] = 64
    zones[-1, :3] = 0
    front = np.zeros(SHAPE, np.uint8)
    front[4:, 7] = 255  # dilated by 5 it reaches the rock, and does not cover it
    return {"image": image, "front": front, "zones": zones}


def add_scene(root: Path, split: str, stem: str, *, number: int = 0) -> None:
    parts = scene(number)
    write_png(root / "sar_images" / split / f"{stem}.png", parts["image"])
    write_png(root / "fronts" / split / f"{stem}_front.png", parts["front"])
    write_png(root / "zones" / split / f"{stem}_zones.png", parts["zones"])


def caffe_folder(folder: Path, train: list[str] | None = None, test: list[str] | None = None) -> Path:
    """Write ``data_raw`` with six training images of three glaciers and two test images, or with others."""
    root = folder / "data_raw"
    for number, stem in enumerate(TRAIN if train is None else train):
        add_scene(root, "train", stem, number=number)
    for number, stem in enumerate(TEST if test is None else test):
        add_scene(root, "test", stem, number=100 + number)
    return root


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L", f"{path}: mode {image.mode}"
        return np.array(image)
