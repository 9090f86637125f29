"""An image of which only those slices are read that the window shows."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.imageio.raw import RawVolume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nnunet_ext.imageio import Volume

_CACHE_BYTES = 256 * 2**20


class LazyImage:
    """What napari needs of an array, (z, y, x), over a volume that is read slice by slice.

    The slices shown last are kept, up to 256 MiB of them.

    Parameters
    ----------
    volume
        The image; stays open.
    """

    ndim = 3

    def __init__(self, volume: Volume) -> None:
        self.shape = volume.shape
        self.dtype = volume.dtype
        self._volume = volume
        self._lock = Lock()
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._most = max(1, _CACHE_BYTES // (self.shape[1] * self.shape[2] * self.dtype.itemsize))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        along_z, in_plane = _split(key)
        wanted = np.arange(self.shape[0])[along_z]
        if wanted.ndim == 0:
            return np.asarray(self._slice(int(wanted))[in_plane])
        if not wanted.size:
            return np.empty((0, *np.empty(self.shape[1:], dtype=np.bool_)[in_plane].shape), self.dtype)
        return np.stack([self._slice(int(index))[in_plane] for index in wanted])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        with self._lock:
            voxels = self._volume.slab(0, self.shape[0])
        return voxels if dtype is None else voxels.astype(dtype)

    def _slice(self, index: int) -> NDArray[Any]:
        # napari may slice in a thread of its own, and a volume has one position in its file.
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
            else:
                self._kept[index] = self._volume.slab(index, index + 1)[0]
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            return self._kept[index]


def image_array(volume: Volume) -> Any:
    """Return the voxels of an image as an array that is read where it is looked at.

    Parameters
    ----------
    volume
        The image; must stay open as long as the array is used.

    Returns
    -------
    numpy.memmap or LazyImage
        Uncompressed files in the machine's byte order are mapped into memory; of others, slices are read.
    """
    mapped = volume.mapped() if isinstance(volume, RawVolume) else None
    return LazyImage(volume) if mapped is None else mapped


def grey_range(volume: Volume, index: int) -> tuple[float, float]:
    """Return the grey values between which a slice is well seen: its percentiles 0.5 and 99.5, never equal."""
    plane = volume.slab(index, index + 1)
    finite = plane[np.isfinite(plane)]
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.5))) if finite.size else (0.0, 1.0)
    return (low, high) if high > low else (low, low + 1)


def _split(key: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the index along z, and those along y and x."""
    parts = key if isinstance(key, tuple) else (key,)
    if any(part is Ellipsis for part in parts):
        at = next(place for place, part in enumerate(parts) if part is Ellipsis)
        parts = (*parts[:at], *[slice(None)] * (4 - len(parts)), *parts[at + 1 :])
    parts = (*parts, *[slice(None)] * (3 - len(parts)))
    return parts[0], tuple(parts[1:])
