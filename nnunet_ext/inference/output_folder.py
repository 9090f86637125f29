"""The folder that a command writes to: whether it can be written, and no trace of it after an error."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_output_folder(folder: Path) -> None:
    """Raise ``InputError`` if a folder cannot be made or written.

    Parameters
    ----------
    folder
        A folder, which need not exist.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        message = f"{there}: is no folder, so {folder} cannot be written there"
        raise InputError(message)
    if not os.access(there, os.W_OK | os.X_OK):
        message = f"{there}: may not be written, so {folder} cannot be made; choose another output (-o)"
        raise InputError(message)


@contextmanager
def made_for_output(folder: Path) -> Iterator[None]:
    """Make a folder if it is not there; if the block fails, remove what was made, as far as it is empty."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in made:
            if any(path.iterdir()):
                break
            path.rmdir()
        raise
