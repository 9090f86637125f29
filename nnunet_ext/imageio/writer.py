"""Take slabs in order, check them, and hand them to the encoder of a format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.geometry import Geometry


@dataclass(frozen=True)
class OutputSpec:
    """What is to be written.

    Parameters
    ----------
    path
        Final name of the file, for messages; encoders write to another one.
    shape
        Voxels along z, y, x.
    dtype
        Type of the voxels, little-endian.
    geometry
        Position in space.
    colors
        Colours (red, green, blue; 0 to 255) of voxel values, or None.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    geometry: Geometry
    colors: Mapping[int, tuple[int, int, int]] | None


class VolumeWriter:
    """Writes a volume from its first slice to its last; ``create_volume`` makes one.

    Parameters
    ----------
    spec
        What is to be written.
    append
        Encodes a checked slab.
    """

    def __init__(self, spec: OutputSpec, append: Callable[[NDArray[Any]], None]) -> None:
        self.path = spec.path
        self.shape = spec.shape
        self.written = 0
        self._dtype = spec.dtype
        self._append = append

    def write(self, slab: NDArray[Any]) -> None:
        """Write the next slices.

        Parameters
        ----------
        slab
            Shape (n, y, x); of the volume's dtype, or one that converts to it without loss.

        Raises
        ------
        InputError
            If shape or dtype do not fit, or more slices come than the volume has.
        """
        if slab.ndim != 3 or slab.shape[1:] != self.shape[1:]:
            message = f"{self.path}: slab of shape {slab.shape}, expected (n, {self.shape[1]}, {self.shape[2]})"
            raise InputError(message)
        if not np.can_cast(slab.dtype, self._dtype, casting="safe"):
            name = self._dtype.name
            message = f"{self.path}: slab of {slab.dtype}, expected {name} or what converts to it without loss"
            raise InputError(message)
        if self.written + len(slab) > self.shape[0]:
            message = f"{self.path}: {self.written + len(slab)} slices given, expected {self.shape[0]}"
            raise InputError(message)
        if len(slab):
            self._append(np.ascontiguousarray(slab, dtype=self._dtype))
            self.written += len(slab)

    def check_complete(self) -> None:
        """Raise ``InputError`` unless all slices are written."""
        if self.written != self.shape[0]:
            message = f"{self.path}: {self.written} slices written, expected {self.shape[0]}; nothing was kept"
            raise InputError(message)
