"""Voxel grids: shape and place in space of volumes that belong together, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.imageio.names import PNG_ENDING, TIFF_ENDINGS, has_ending

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.volume import Volume

TOLERANCE = 1e-3
"""Largest accepted difference of direction components, of origins in mm, and of spacings in mm. Of spacings
below 1 mm it is a fraction of the spacing, since 1e-3 mm is a lot in microscopy."""


@dataclass(frozen=True)
class Grid:
    """Shape and place of a volume, and what of it the file says.

    Parameters
    ----------
    path
        The file.
    shape
        Voxels along z, y, x.
    geometry
        Position in space.
    has_spacing, is_placed
        Whether spacing, and origin and direction, come from the file.
    """

    path: Path
    shape: tuple[int, int, int]
    geometry: Geometry = Geometry()  # noqa: RUF009 - it is frozen
    has_spacing: bool = False
    is_placed: bool = False


def grid_of(volume: Volume) -> Grid:
    """Return the grid of a volume; TIFF and PNG hold no origin and direction."""
    placed = not volume.path.is_dir() and not has_ending(volume.path, (*TIFF_ENDINGS, PNG_ENDING))
    return Grid(volume.path, volume.shape, volume.geometry, volume.has_spacing, placed)


def grid_differences(found: Grid, expected: Grid) -> list[str]:
    """Describe in what two grids differ; what one of the files does not say is not compared.

    Parameters
    ----------
    found, expected
        The two grids.

    Returns
    -------
    list of str
        One text for each of shape, spacing, origin and direction (z, y, x) that differ.
    """
    fields = ["spacing"] if found.has_spacing and expected.has_spacing else []
    fields += ["origin", "direction"] if found.is_placed and expected.is_placed else []
    texts = [f"shape {found.shape} instead of {expected.shape}"] if found.shape != expected.shape else []
    for field in fields:
        ours, theirs = (np.asarray(getattr(grid.geometry, field)) for grid in (found, expected))
        allowed = TOLERANCE * np.minimum(1, theirs) if field == "spacing" else TOLERANCE
        if (np.abs(ours - theirs) > allowed).any():
            texts.append(f"{field} {_rounded(ours)} instead of {_rounded(theirs)}")
    return texts


def _rounded(values: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values.ravel()) + ")"
