"""Compare the voxel grid of a label map with that of its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.grids import geometry_differences
from nnunet_ext.imageio import Geometry, has_ending
from nnunet_ext.imageio.names import PNG_ENDING, TIFF_ENDINGS

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_ext.imageio import Volume


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
    """Return the grid of an open volume; TIFF and PNG hold no origin and direction."""
    placed = not volume.path.is_dir() and not has_ending(volume.path, (*TIFF_ENDINGS, PNG_ENDING))
    return Grid(volume.path, volume.shape, volume.geometry, volume.has_spacing, placed)


def grid_problems(found: Grid, image: Grid) -> list[str]:
    """Return one message if a grid is not that of the image; what one of them does not say is not compared."""
    fields = ["spacing"] if found.has_spacing and image.has_spacing else []
    fields += ["origin", "direction"] if found.is_placed and image.is_placed else []
    differences = geometry_differences(found.geometry, image.geometry, fields)
    if found.shape != image.shape:
        differences.insert(0, f"shape {found.shape} instead of {image.shape}")
    return [f"{found.path}: {', '.join(differences)} (z, y, x) as in the image {image.path}"] if differences else []
