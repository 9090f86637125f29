"""Former states of an annotation: what their files are called, and which of them are kept."""

from __future__ import annotations

import filecmp
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TIME = "%Y-%m-%d_%H-%M-%S"
_NAME = re.compile(r"(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:_(\d+))?(?:_([a-z]+))?\.(?:[a-z.]+)")

FOUND = "found"
UNSAVED = "unsaved"


@dataclass(frozen=True)
class Version:
    """A former state.

    Parameters
    ----------
    path
        The file, named after the time it was written.
    time
        When.
    number
        Tells versions of one second apart.
    note
        ``found`` for a file that something else had put in the place of the annotation, ``unsaved`` for work left by
        a window that was not closed; else empty. These are always kept.
    """

    path: Path
    time: datetime
    number: int
    note: str


def list_versions(folder: Path) -> list[Version]:
    """Return all versions in a folder, the oldest first; other files are left out."""
    versions = []
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match:
            versions.append(Version(path, datetime.strptime(match[1], _TIME), int(match[2] or 0), match[3] or ""))
    return sorted(versions, key=lambda version: (version.time, version.number))


def new_version(folder: Path, ending: str, time: datetime, note: str = "") -> Path:
    """Return the name of a version to be written.

    Parameters
    ----------
    folder
        Folder of the versions of one sample.
    ending
        ``.tif``, or that of the annotation.
    time
        When it is written.
    note
        See ``Version``.
    """
    stamp = time.strftime(_TIME)
    taken = [version.number for version in list_versions(folder) if version.time.strftime(_TIME) == stamp]
    number = f"_{max(taken) + 1}" if taken else ""
    return folder / f"{stamp}{number}{f'_{note}' if note else ''}{ending}"


def superseded(versions: Sequence[Version], keep: int) -> list[Version]:
    """Return the versions that need not be kept.

    Kept are the first one, the last one of every day, the last ``keep``, and those with a note.

    Parameters
    ----------
    versions
        All, the oldest first.
    keep
        Number of the last ones that are kept, at least 1.
    """
    last_of_day = {version.time.date(): version for version in versions}
    kept = {version.path for version in [*versions[:1], *versions[-keep:], *last_of_day.values()]}
    return [version for version in versions if version.path not in kept and not version.note]


def is_among(path: Path, versions: Sequence[Version]) -> bool:
    """Return whether a file has the very bytes of a version."""
    return any(filecmp.cmp(path, version.path, shallow=False) for version in reversed(versions))
