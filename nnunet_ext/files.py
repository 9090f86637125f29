"""Write files and folders so that they appear under their final name only when complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError, MissingInputError, OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def temporary_sibling(path: Path) -> Path:
    """Return an unused hidden name beside ``path`` that keeps its full ending (``.nii.gz``)."""
    return path.with_name(f".partial-{uuid.uuid4().hex[:8]}-{path.name}")


@contextmanager
def written_when_complete(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary name for a file or folder; rename it to ``path`` if the block succeeds.

    Parameters
    ----------
    path
        Final name. Its parent folders are created.
    overwrite
        Whether an existing file or folder of that name may be replaced.

    Yields
    ------
    Path
        A name beside ``path`` on the same file system; nothing exists under it yet.

    Raises
    ------
    OutputExistsError
        If ``path`` exists and ``overwrite`` is false.
    """
    refuse_existing([path], overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary_sibling(path)
    try:
        yield partial
        _replace(partial, path)
    finally:
        _remove(partial)


def refuse_existing(paths: list[Path], *, overwrite: bool) -> None:
    """Raise ``OutputExistsError`` naming every path that exists, unless ``overwrite`` is true."""
    existing = [] if overwrite else [path for path in paths if os.path.lexists(path)]
    if existing:
        listed = ", ".join(str(path) for path in existing[:10])
        more = f" and {len(existing) - 10} more" if len(existing) > 10 else ""
        message = f"output exists already: {listed}{more}. Choose another output or give --overwrite."
        raise OutputExistsError(message)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If the file is not JSON, or its top level is not an object.
    """
    if not path.is_file():
        message = f"{path}: no such file"
        raise MissingInputError(message)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        message = f"{path}: not a JSON file: {error}"
        raise InputError(message) from error
    if not isinstance(content, dict):
        message = f"{path}: expected a JSON object at the top, found {type(content).__name__}"
        raise InputError(message)
    return content


def write_json(path: Path, content: object, *, overwrite: bool = True) -> None:
    """Write ``content`` as indented UTF-8 JSON; an existing file is replaced in one step."""
    with written_when_complete(path, overwrite=overwrite) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _replace(partial: Path, path: Path) -> None:
    """Move ``partial`` to ``path``; a folder in the way is set aside first and removed afterwards."""
    if path.is_dir() and not path.is_symlink():
        aside = temporary_sibling(path)
        path.rename(aside)
        try:
            partial.rename(path)
        except OSError:
            aside.rename(path)
            raise
        shutil.rmtree(aside)
    else:
        partial.replace(path)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)
