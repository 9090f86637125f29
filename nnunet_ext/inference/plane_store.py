"""Finished planes of a case on disk, and how far it is: what a run that was killed goes on from."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json, write_json
from nnunet_ext.inference.disk import clear_disk_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

STATE = "state.json"
LABELS = "labels.raw"
PROBABILITIES = "probabilities.raw"


class PlaneStore:
    """Labels, and if wanted probabilities, of planes ``first`` to ``last`` in the order of the network's axes.

    A plane counts as finished when it is on disk; ``state.json`` says how many are, and what they were made of.

    Parameters
    ----------
    folder
        Folder of the case; made if it is not there.
    identity
        What the planes are made of (model, input, settings), as JSON holds it.
    first, last
        Range of planes.
    plane
        Height and width.
    dtype
        Of labels.
    heads
        Channels of probabilities (float16); 0 for none.

    Raises
    ------
    InputError
        If the folder holds planes that were made of something else, which is named, or fewer than it says.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        first: int,
        last: int,
        plane: tuple[int, int],
        dtype: np.dtype[Any],
        heads: int = 0,
    ) -> None:
        self.folder = folder
        self.first = first
        self.last = last
        self._identity = dict(identity)
        self.plane = plane
        self._sizes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {LABELS: (plane, dtype)}
        if heads:
            self._sizes[PROBABILITIES] = ((heads, *plane), np.dtype(np.float16))
        folder.mkdir(parents=True, exist_ok=True)
        self.closed = first
        state = folder / STATE
        if state.exists():
            self.closed = self._continue(read_json(state), state)
        for name, (shape, kind) in self._sizes.items():
            with (folder / name).open("ab") as file:
                size = (self.closed - first) * prod(shape) * kind.itemsize
                if file.tell() < size:
                    message = (
                        f"{folder / name}: {file.tell()} bytes, expected {size} at least, as {STATE} beside it says; "
                        "begin anew (--overwrite)"
                    )
                    raise InputError(message)
                # What was written after the last state is of no use.
                file.truncate(size)
        self._save()

    @property
    def is_complete(self) -> bool:
        """Whether all planes are there."""
        return self.closed == self.last

    def append(self, labels: NDArray[Any], probabilities: NDArray[Any] | None = None) -> None:
        """Add the next planes.

        Parameters
        ----------
        labels
            Shape (n, height, width).
        probabilities
            Shape (heads, n, height, width), if the store has them.

        Raises
        ------
        OutputError
            If the disk is full.
        """
        self._write(LABELS, labels)
        if probabilities is not None:
            self._write(PROBABILITIES, np.moveaxis(probabilities, 0, 1))
        self.closed += len(labels)
        self._save()

    def labels(self) -> NDArray[Any]:
        """Return all labels (n, height, width), mapped from disk."""
        return self._mapped(LABELS)

    def probabilities(self) -> NDArray[Any]:
        """Return all probabilities (n, heads, height, width), mapped from disk."""
        return self._mapped(PROBABILITIES)

    def _mapped(self, name: str) -> NDArray[Any]:
        shape, kind = self._sizes[name]
        count = self.last - self.first
        if count == 0:
            return np.zeros((0, *shape), kind)
        return np.memmap(self.folder / name, kind, "r", shape=(count, *shape))

    def _write(self, name: str, planes: NDArray[Any]) -> None:
        path, (_, kind) = self.folder / name, self._sizes[name]
        with clear_disk_errors(path, planes.size * kind.itemsize), path.open("ab") as file:
            file.write(np.ascontiguousarray(planes, dtype=kind).data)
            file.flush()
            os.fsync(file.fileno())

    def _continue(self, state: dict[str, Any], path: Path) -> int:
        then, now = state.get("identity", {}), self._identity
        different = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        if different:
            listed = "; ".join(f"{key} was {_shown(then.get(key))}, is {_shown(now.get(key))}" for key in different)
            message = (
                f"{path}: cannot go on with it, it is of another image or other settings: {listed}; give the same, or "
                "begin anew (--overwrite)"
            )
            raise InputError(message)
        return int(state["closed"])

    def _save(self) -> None:
        path = self.folder / STATE
        with clear_disk_errors(path):
            write_json(path, {"identity": self._identity, "closed": self.closed})


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
