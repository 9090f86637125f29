"""What became of the images of a run: the table fronts.csv."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from nnunet_ext.files import written_when_complete

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TABLE = "fronts.csv"
COLUMNS = ("stem", "state", "length_m", "parts", "predicted_pixels", "message")
FAILED, NOT_DONE = "failed", "not done"


@dataclass(frozen=True)
class ImageFront:
    """What became of an image; a row of fronts.csv.

    Parameters
    ----------
    stem
        Its name.
    state
        ``front``, ``no front``, ``failed``, or ``not done`` where a run was interrupted.
    length_m
        Length of all lines in metres; None without a result.
    parts
        Number of 8-connected parts of the front.
    predicted_pixels
        Number of pixels of the front.
    message
        Why it failed.
    """

    stem: str
    state: str
    length_m: float | None = None
    parts: int | None = None
    predicted_pixels: int | None = None
    message: str = ""


@dataclass(frozen=True)
class CalvingFronts:
    """What became of all images.

    Parameters
    ----------
    images
        In natural order of their names.
    skipped
        Number of those that were finished before.
    """

    images: tuple[ImageFront, ...]
    skipped: int

    @property
    def failed(self) -> tuple[ImageFront, ...]:
        """Images without a result."""
        return tuple(image for image in self.images if image.state == FAILED)


def write_table(path: Path, rows: Sequence[ImageFront]) -> None:
    """Write one row per image; a table that is there is replaced."""
    with (
        written_when_complete(path, overwrite=True) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(astuple, rows))


def is_table(path: Path) -> bool:
    """Return whether a file begins as a table of this kind."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\r\n") == ",".join(COLUMNS)
