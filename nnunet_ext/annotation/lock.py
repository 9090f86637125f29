"""One window per sample: a lock that the system gives up by itself when a process ends, however it ends."""

from __future__ import annotations

import json
import os
import platform
from datetime import datetime
from typing import IO, TYPE_CHECKING

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

# Windows locks bytes against reading too, so that the locked one lies behind the text.
_LOCKED_BYTE = 2**20


class SampleLock:
    """Holds a lock file.

    Parameters
    ----------
    path
        The lock file; its folder is there.
    sample
        Name of the sample, for messages.

    Raises
    ------
    InputError
        If another process holds it.
    """

    def __init__(self, path: Path, sample: str) -> None:
        self._file: IO[str] | None = path.open("a+", encoding="utf-8")
        try:
            _lock(self._file)
        except BlockingIOError as error:
            message = f"sample '{sample}' is open in another window{_holder(self._file)}: close that one first"
            self._file.close()
            raise InputError(message) from error
        except OSError:
            # Some network file systems know no locks. That must not keep anybody from working.
            pass
        self._file.truncate(0)
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        json.dump({"process": os.getpid(), "computer": platform.node(), "since": started}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Let others in."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _lock(file: IO[str]) -> None:
    """Take the lock without waiting; ``BlockingIOError`` if it is taken."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        held = json.loads(file.read())
        return f" (process {held['process']} on {held['computer']} since {held['since']})"
    except (ValueError, KeyError, OSError):
        return ""
