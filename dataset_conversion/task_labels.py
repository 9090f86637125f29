"""Read the label maps of a case, one per task: from files of their own, or from the layers of one file."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dataset_conversion.layered_labels import Layers, read_layers
from nnunet_ext.errors import InputError
from nnunet_ext.imageio.grid import Grid, grid_of
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dataset_conversion.task_options import TaskOption
    from nnunet_ext.imageio import Volume

LabelPaths = tuple["Path | None", ...]


class CaseLabels(Protocol):
    """The label maps of a case, open for reading."""

    def grids(self) -> list[Grid]:
        """Return the grid of each file."""

    def name(self, task: int) -> str:
        """Return the file of a task, for messages."""

    def values(self, task: int, start: int, stop: int) -> NDArray[Any] | None:
        """Return the values of a task in a range of slices, (n, y, x), as whole numbers; None if it has no file."""

    def by_name(self) -> bool:
        """Return whether values are positions of classes, whatever the task's values in files are."""


@contextmanager
def open_labels(labels: LabelPaths | Path, options: Sequence[TaskOption], image: Grid) -> Iterator[CaseLabels]:
    """Open the label maps of a case.

    Parameters
    ----------
    labels
        One file per task, None where there is none; or one file with a layer per task.
    options
        The tasks.
    image
        Grid of the image.

    Raises
    ------
    InputError
        If a file cannot be read, or has other layers than expected.
    """
    if not isinstance(labels, tuple):
        yield _FromLayers(read_layers(labels, [option.task for option in options if option.task], image))
        return
    with ExitStack() as stack:
        volumes = [None if path is None else stack.enter_context(open_with_sidecar(path)) for path in labels]
        yield _FromFiles(volumes)


def positions(values: NDArray[Any], known: Sequence[int]) -> NDArray[np.int16]:
    """Return the position of each value in ``known``.

    Raises
    ------
    InputError
        If a value is not there.
    """
    order = np.argsort(known)
    in_order = np.asarray(known, np.int64)[order]
    found = np.minimum(np.searchsorted(in_order, values), len(in_order) - 1)
    wrong = in_order[found] != values
    if wrong.any():
        message = f"values {np.unique(values[wrong])[:10].tolist()} found, expected {sorted(known)}"
        raise InputError(message)
    return order.astype(np.int16)[found]


def whole_numbers(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return labels as integers, which some programs store as floating-point numbers.

    Raises
    ------
    InputError
        If a value is not whole.
    """
    if values.dtype.kind in "iu":
        return values
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if not np.array_equal(whole, values):
        wrong = np.unique(values[whole != values])[:5].tolist()
        message = f"{name}: values {wrong} found, expected whole numbers as labels"
        raise InputError(message)
    return whole


class _FromFiles:
    def __init__(self, volumes: Sequence[Volume | None]) -> None:
        self._volumes = volumes

    def grids(self) -> list[Grid]:
        return [grid_of(volume) for volume in self._volumes if volume is not None]

    def name(self, task: int) -> str:
        volume = self._volumes[task]
        return "no file" if volume is None else str(volume.path)

    def values(self, task: int, start: int, stop: int) -> NDArray[Any] | None:
        volume = self._volumes[task]
        return None if volume is None else whole_numbers(volume.slab(start, stop), str(volume.path))

    def by_name(self) -> bool:
        return False


class _FromLayers:
    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def grids(self) -> list[Grid]:
        return [self._layers.grid]

    def name(self, task: int) -> str:
        return f"{self._layers.grid.path}, layer {task}"

    def values(self, task: int, start: int, stop: int) -> NDArray[Any] | None:
        return whole_numbers(self._layers.maps[task, start:stop], self.name(task))

    def by_name(self) -> bool:
        return self._layers.by_name
