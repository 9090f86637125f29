"""Labels that know which of their slices were written to, whoever writes: brush, bucket, undo or another plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray


class TrackedLabels(np.ndarray):
    """An array (z, y, x) that reports the slices it is written to; ``tracked`` makes one.

    What is read from it is an ordinary array, writing to which is not reported.
    """

    _report: Callable[[Iterable[int]], None] | None = None

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        np.asarray(self)[key] = value
        if self._report is not None:
            self._report(touched_slices(key, len(self)))


def tracked(labels: NDArray[np.uint8], report: Callable[[Iterable[int]], None]) -> TrackedLabels:
    """Return a view of ``labels`` that calls ``report`` with the slices (first axis) after every write."""
    view = labels.view(TrackedLabels)
    view._report = report
    return view


def touched_slices(key: Any, depth: int) -> Iterable[int]:
    """Return the indices along the first axis that ``array[key] = …`` may change.

    Parameters
    ----------
    key
        Anything that numpy takes as an index.
    depth
        Length of the first axis.
    """
    everything = range(depth)
    first = key[0] if isinstance(key, tuple) and key else key
    if isinstance(first, slice):
        return everything[first]
    if isinstance(first, (int, np.integer)) and not isinstance(first, (bool, np.bool_)):
        return [range(depth)[int(first)]]
    indices = np.asarray(first) if isinstance(first, (list, np.ndarray)) else None
    if indices is not None and indices.dtype.kind in "iu":
        return sorted({int(index) % depth for index in indices.ravel()})
    if indices is not None and indices.dtype.kind == "b" and indices.ndim:
        return np.flatnonzero(indices.reshape(len(indices), -1).any(axis=1)).tolist()
    return everything
