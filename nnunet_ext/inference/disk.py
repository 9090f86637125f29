"""What a full disk says to the user."""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnunet_ext.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def clear_disk_errors(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn the error of a full disk, or of one that cannot be written to, into one that names file and space.

    Parameters
    ----------
    path
        File that is written.
    size
        Bytes that it needs, if known.

    Raises
    ------
    OutputError
        If the disk is full or refuses to be written to.
    """
    try:
        yield
    except OSError as error:
        needed = "" if size is None else f", {size / 1e9:.2f} GB needed"
        if error.errno in _FULL:
            free = shutil.disk_usage(_existing(path)).free
            message = f"{path}: no space left on the disk{needed}, {free / 1e9:.2f} GB free"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message = f"{path}: cannot be written ({error.strerror})"
        else:
            raise
        raise OutputError(message) from error


def _existing(path: Path) -> Path:
    """Return the file's folder, or the next one above that exists."""
    return next(folder for folder in path.absolute().parents if folder.is_dir())
