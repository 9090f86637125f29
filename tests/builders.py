"""Small builders of what tests need: packages, scans, class files, datasets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = Path(os.environ.get("NNUNET_EXT_TEST_DATA", ROOT.parent / "shared" / "data"))
FIVE_CLASSES = {str(value): name for value, name in enumerate(["ToPredict", "Matrix", "Stone", "Root", "Pore", "Wall"])}


def fake_package(folder: Path, name: str, group: str, entries: dict[str, str]) -> None:
    """Make a distribution that registers entry points, as an installer would leave it in a folder of sys.path."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def class_file(path: Path, names: dict[str, str] | None = None, **more: object) -> Path:
    """Write a class file in the form that is in circulation."""
    labels = names or FIVE_CLASSES
    colors = {key: [10 * int(key), 255 - int(key), int(key)] for key in labels}
    content = {
        "TaskID": 777,
        "DatasetName": "Soil",
        "norm_type": "zscore",
        "labels": labels,
        "colors": colors,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **more}))
    return path


def write_tif(path: Path, array: np.ndarray, **more: object) -> Path:
    """Write a TIFF volume, (z, y, x)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, photometric="minisblack", **more)
    return path


def asymmetric_labels(shape: tuple[int, int, int], classes: int = 5) -> np.ndarray:
    """Return class ids 1…K without any symmetry, so that a flip or a swap of axes shows."""
    z, y, x = np.indices(shape)
    return ((z * 3 + y * y + 7 * x * (x > y) + (y > shape[1] // 3)) % classes + 1).astype(np.uint8)


def soil_folder(
    folder: Path,
    cases: int = 5,
    shape: tuple[int, int, int] = (12, 16, 20),
    annotated: tuple[int, ...] = (5,),
) -> tuple[Path, Path, Path]:
    """Write images, annotations (dense on the slices ``annotated``) and a class file; return their paths."""
    rng = np.random.default_rng(0)
    for case in range(cases):
        labels = np.zeros(shape, dtype=np.uint8)
        labels[list(annotated)] = asymmetric_labels(shape)[list(annotated)]
        write_tif(folder / "images" / f"S{case}.tif", rng.integers(0, 255, shape, dtype=np.uint8))
        write_tif(folder / "annotations" / f"S{case}.tif", labels)
    return folder / "images", folder / "annotations", class_file(folder / "classes.json")
