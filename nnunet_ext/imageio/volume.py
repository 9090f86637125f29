"""What every readable volume offers, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError, NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Self

    from nnunet_ext.imageio.geometry import Geometry

SLAB_BYTES = 32 * 2**20
NOT_GIVEN = "not given in the file, 1 mm assumed"


@dataclass(frozen=True)
class VolumeInfo:
    """What a file says about its volume before any voxel is read.

    Parameters
    ----------
    shape
        Voxels along z, y, x.
    dtype
        Type of the voxels as they are given out, in native byte order.
    geometry
        Position in space.
    spacing_source
        Where the spacing comes from, in words for the user.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    geometry: Geometry
    spacing_source: str


class Volume(ABC):
    """A volume that is open for reading; ``with`` closes it.

    Parameters
    ----------
    path
        File, or folder of slices.
    info
        Shape, type, geometry and where the spacing comes from.
    """

    def __init__(self, path: Path, info: VolumeInfo) -> None:
        self.path = path
        self.info = info

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        return self.info.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels, in native byte order."""
        return self.info.dtype

    @property
    def geometry(self) -> Geometry:
        """Spacing, origin and direction."""
        return self.info.geometry

    @property
    def spacing_source(self) -> str:
        """Where the spacing comes from, in words for the user."""
        return self.info.spacing_source

    @property
    def has_spacing(self) -> bool:
        """Whether the spacing is known, from the file or from the caller, and not assumed."""
        return self.spacing_source != NOT_GIVEN

    def slab(self, start: int, stop: int) -> NDArray[Any]:
        """Read the slices ``start`` to ``stop`` (exclusive).

        Returns
        -------
        numpy.ndarray
            Shape (stop - start, y, x), the volume's dtype, C-contiguous, its own memory.

        Raises
        ------
        InputError
            If the range is not within the volume, or the file is damaged.
        """
        depth = self.shape[0]
        if not 0 <= start < stop <= depth:
            message = f"{self.path}: slices {start} to {stop} asked for, expected a range within 0 to {depth}"
            raise InputError(message)
        with library_errors(self.path):
            return np.ascontiguousarray(self._read(start, stop), dtype=self.dtype)

    def slabs(self, thickness: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read the volume from the first to the last slice.

        Parameters
        ----------
        thickness
            Slices per slab; by default as many as make about 32 MiB, at least one.

        Yields
        ------
        tuple of int and numpy.ndarray
            First slice of the slab, and its voxels.
        """
        depth = self.shape[0]
        step = self._default_thickness() if thickness is None else thickness
        if step < 1:
            message = f"{self.path}: slabs of {step} slices asked for, expected at least 1"
            raise InputError(message)
        for start in range(0, depth, step):
            yield start, self.slab(start, min(depth, start + step))

    def close(self) -> None:  # noqa: B027 - not every volume holds something open
        """Close what is open; reading afterwards is an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _read(self, start: int, stop: int) -> NDArray[Any]:
        """Return the slices of a valid range, (stop - start, y, x); byte order and dtype may differ."""

    def _default_thickness(self) -> int:
        return max(1, SLAB_BYTES // (prod(self.shape[1:]) * self.dtype.itemsize))


class WholeVolume(Volume):
    """A volume whose format allows no reading in parts: the first slab loads all of it.

    Parameters
    ----------
    path, info
        As for ``Volume``.
    load
        Returns all voxels, (z, y, x).
    """

    def __init__(self, path: Path, info: VolumeInfo, load: Callable[[], NDArray[Any]]) -> None:
        super().__init__(path, info)
        self._load = load
        self._voxels: NDArray[Any] | None = None

    def close(self) -> None:
        """Let go of the voxels."""
        self._voxels = None

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        if self._voxels is None:
            self._voxels = self._load().reshape(self.shape)
        return self._voxels[start:stop].copy()


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Turn whatever a library raises about a file into an ``InputError`` that names the file."""
    try:
        yield
    except (NnunetExtError, MemoryError):
        raise
    except Exception as error:
        # Damaged files end in any error at all: struct.error, RuntimeError, KeyError, zlib.error, …
        reason = " ".join(str(error).split())[-300:] or type(error).__name__
        message = f"{path}: cannot be read, expected an intact image file: {reason}"
        raise InputError(message) from error
