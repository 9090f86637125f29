"""One image to predict: its files, looked at before anything is computed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.errors import InputError
from nnunet_ext.imageio import create_volume, has_ending
from nnunet_ext.imageio.grid import grid_differences, grid_of
from nnunet_ext.imageio.names import PNG_ENDING
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_ext.imageio.geometry import Geometry
    from nnunet_ext.imageio.volume import Volume
    from nnunet_ext.inference.recipe import Recipe, Spacing
    from nnunet_ext.inference.tile_grid import Shape

SLICE_SPACING = (999.0, 1.0, 1.0)
"""Spacing that nnU-Net gives to pictures (z, y, x)."""


@dataclass(frozen=True)
class CaseImage:
    """An image that can be predicted.

    Parameters
    ----------
    name
        Name of the case.
    files
        One per channel.
    shape
        Voxels (z, y, x).
    geometry
        Position in space, for the prediction.
    spacing
        Voxel size in mm (z, y, x) that decides on resampling.
    note
        What the user should know of it, or an empty text.
    stage
        Labels of a cascade's first stage, or None.
    """

    name: str
    files: tuple[Path, ...]
    shape: Shape
    geometry: Geometry
    spacing: Spacing
    note: str = ""
    stage: Path | None = None

    def open(self, stack: ExitStack) -> list[Volume]:
        """Open all channels; ``stack`` closes them."""
        return [stack.enter_context(open_with_sidecar(path, self.name)) for path in self.files]

    def open_stage(self, stack: ExitStack) -> Volume | None:
        """Open the labels of the first stage, if there are any; ``stack`` closes them."""
        return None if self.stage is None else stack.enter_context(open_with_sidecar(self.stage, self.name))


def check_case(
    name: str, files: Sequence[Path], recipe: Recipe, output: Path, *, stage: Path | None = None
) -> CaseImage:
    """Look at the headers of an image, and whether a prediction can be written for it.

    Parameters
    ----------
    name
        Name of the case.
    files
        One per channel.
    recipe
        What the model expects.
    output
        File of the prediction.
    stage
        Labels of a cascade's first stage.

    Raises
    ------
    InputError
        If the channels are not those of the model, they or the first stage differ in shape or place, or cannot be
        read, or the output's format cannot hold the prediction.
    """
    if len(files) != len(recipe.channels):
        message = (
            f"{files[0]}: case '{name}' has {len(files)} channel{'s' if len(files) > 1 else ''}, the model expects "
            f"{len(recipe.channels)} ({', '.join(recipe.channels)})"
        )
        raise InputError(message)
    with ExitStack() as stack:
        volumes = [stack.enter_context(open_with_sidecar(path, name)) for path in files]
        first = volumes[0]
        for volume in volumes[1:]:
            if volume.shape != first.shape:
                message = f"{volume.path}: {volume.shape} voxels (z, y, x), expected {first.shape} as in {first.path}"
                raise InputError(message)
        if stage is not None:
            labels = stack.enter_context(open_with_sidecar(stage, name))
            if differences := grid_differences(grid_of(labels), grid_of(first)):
                message = (
                    f"{stage}: {', '.join(differences)} as in {first.path}; it is the first stage of another image"
                )
                raise InputError(message)
        # Only asks whether it could be written; the file is begun on entering.
        create_volume(output, first.shape, recipe.label_dtype, first.geometry, overwrite=True)
        spacing, note = _spacing(first)
        return CaseImage(name, tuple(files), first.shape, first.geometry, spacing, note, stage)


def _spacing(volume: Volume) -> tuple[Spacing, str]:
    if has_ending(volume.path, (PNG_ENDING,)):
        return SLICE_SPACING, ""
    spacing = volume.geometry.spacing
    if not volume.has_spacing:
        return spacing, f"{volume.path}: no spacing given, 1 mm assumed, as nnU-Net does"
    return spacing, ""
