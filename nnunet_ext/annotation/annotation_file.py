"""Files of annotations: written as ``nnunet_ext convert soil_ct -a`` takes them, and read with their ids checked."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.imageio import Geometry, create_volume, open_volume
from nnunet_ext.imageio.grid import grid_differences, grid_of
from nnunet_ext.imageio.names import TIFF_ENDINGS, has_ending

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.annotation.classes import AnnotationClass
    from nnunet_ext.imageio import Volume, VolumeWriter


def create_annotation(
    path: Path, image: Volume, classes: Sequence[AnnotationClass], *, overwrite: bool = False
) -> AbstractContextManager[VolumeWriter]:
    """Begin an annotation of uint8 on the voxels of an image.

    Parameters
    ----------
    path
        File to write. A TIFF file gets the colours, and of the geometry the spacing alone, which is all that TIFF
        holds: wherever the image lies in space, the voxels are the same.
    image
        The open image.
    classes
        For the colours.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    context manager of VolumeWriter
        As ``imageio.create_volume``, whose exceptions it shares.
    """
    tiff = has_ending(path, TIFF_ENDINGS)
    geometry = Geometry(spacing=image.geometry.spacing) if tiff else image.geometry
    colors = {one.id: one.color for one in classes} if tiff else None
    return create_volume(path, image.shape, "uint8", geometry, colors=colors, overwrite=overwrite)


def check_grid(annotation: Path, image: Volume) -> None:
    """Raise ``InputError`` if an annotation is not on the voxels of its image."""
    with open_volume(annotation) as marks:
        differences = grid_differences(grid_of(marks), grid_of(image))
    if differences:
        message = f"{annotation}: {', '.join(differences)} (z, y, x) as in the image {image.path}"
        raise InputError(message)


def read_annotation(path: Path, labels: NDArray[np.uint8], largest_id: int) -> None:
    """Read an annotation, slab by slab.

    Parameters
    ----------
    path
        The annotation, of any integer or real type.
    labels
        Where it goes: zeros of its shape, (z, y, x).
    largest_id
        The class file's.

    Raises
    ------
    BadCasesError
        If it has values that are no ids of the class file; names them with their counts.
    """
    unknown: Counter[float] = Counter()
    with open_volume(path) as marks:
        for start, slab in marks.slabs():
            if slab.any():
                known = np.isin(slab, np.arange(largest_id + 1))
                unknown.update(
                    dict(zip(*(part.tolist() for part in np.unique(slab[~known], return_counts=True)), strict=True))
                )
                labels[start : start + len(slab)] = np.where(known, slab, 0).astype(np.uint8)
    if unknown:
        found = ", ".join(f"{value} ({count} voxels)" for value, count in sorted(unknown.items()))
        message = f"{path}: ids {found} are not in the class file, which has 0 to {largest_id}; correct the annotation"
        raise BadCasesError([message])
