"""Small folders with images and a class file, for the tests of annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.annotation.session import AnnotationSession, open_session
from nnunet_ext.imageio import Geometry, write_volume
from tests.builders import class_file

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (10, 12, 16)
SPACING = (0.02, 0.02, 0.02)


def two_phase_image(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Grey 50 in the left half and 200 in the right one, with a little noise."""
    grey = np.random.default_rng(0).integers(0, 10, shape) + 50
    grey[:, :, shape[2] // 2 :] += 150
    return grey.astype(np.uint8)


def image_folder(folder: Path, names: tuple[str, ...] = ("S1",), ending: str = ".tif") -> tuple[Path, Path, Path]:
    """Write images and a class file; return folder of images, folder for annotations (not there), class file."""
    (folder / "images").mkdir(parents=True)
    for name in names:
        write_volume(folder / "images" / f"{name}{ending}", two_phase_image(), Geometry(spacing=SPACING))
    return folder / "images", folder / "annotations", class_file(folder / "classes.json")


def session_in(folder: Path, **options: object) -> AnnotationSession:
    """Open sample S1 of ``image_folder``."""
    if not (folder / "images").exists():
        image_folder(folder)
    return open_session(folder / "images", folder / "annotations", "S1", folder / "classes.json", **options)
