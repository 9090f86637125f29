"""What holds the planes of a volume that a row of windows can touch, wherever it keeps them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import torch


class HeldPlanes(ABC):
    """Planes ``start`` to ``start + depth`` of a volume with several channels; all zeros at first.

    Parameters
    ----------
    channels, depth, height, width
        Size of what is held at one time.
    start
        First plane that is held.
    """

    def __init__(self, channels: int, depth: int, height: int, width: int, *, start: int = 0) -> None:
        self.shape = (channels, depth, height, width)
        self.start = start

    @property
    def depth(self) -> int:
        """Number of planes that are held."""
        return self.shape[1]

    def lines(self, first: int, last: int, top: int, bottom: int) -> AbstractContextManager[torch.Tensor]:
        """Give lines ``top`` to ``bottom`` of the volume's planes ``first`` to ``last`` (both exclusive) to change.

        Returns
        -------
        context manager of torch.Tensor
            (channels, planes, lines, width); what is in it at the end of the context, is held.

        Raises
        ------
        IndexError
            If the planes are not held.
        """
        self._check(first, last)
        return self._changed(first, last, top, bottom)

    def read_lines(self, first: int, last: int, top: int, bottom: int) -> torch.Tensor:
        """Return the same lines to look at only."""
        self._check(first, last)
        return self._read(first, last, top, bottom)

    def move_to(self, start: int) -> None:
        """Give up the planes before ``start``; the new ones at the end are zeros."""
        step = start - self.start
        if step < 0:
            message = f"cannot move back from plane {self.start} to {start}"
            raise IndexError(message)
        if step:
            self._move(step)
            self.start = start

    def give_up(self, first: int, last: int, top: int, bottom: int) -> None:
        """Let go of lines before their planes are moved out of; what is in them until then is undefined."""
        self._check(first, last)
        self._give_up(first, last, top, bottom)

    @abstractmethod
    def close(self) -> None:
        """Give up all planes."""

    def _check(self, first: int, last: int) -> None:
        if not self.start <= first <= last <= self.start + self.depth:
            message = f"planes {first} to {last} asked for, held are {self.start} to {self.start + self.depth}"
            raise IndexError(message)

    @contextmanager
    def _changed(self, first: int, last: int, top: int, bottom: int) -> Iterator[torch.Tensor]:
        values = self._read(first, last, top, bottom)
        yield values
        self._keep(values, first, top)

    @abstractmethod
    def _read(self, first: int, last: int, top: int, bottom: int) -> torch.Tensor:
        """Return lines of planes that are held."""

    @abstractmethod
    def _keep(self, values: torch.Tensor, first: int, top: int) -> None:
        """Hold what was read from a plane and a line on, and changed."""

    @abstractmethod
    def _move(self, step: int) -> None:
        """Move on by some planes, 1 at least."""

    @abstractmethod
    def _give_up(self, first: int, last: int, top: int, bottom: int) -> None:
        """Let go of lines of planes that are held."""
