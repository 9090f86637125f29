"""What an evaluation was made of: arguments, versions, and its input files with sizes and checksums."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from nnunet_ext.files import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

PACKAGES = ("nnunet_ext", "nnunetv2", "numpy", "SimpleITK", "tifffile", "nibabel")

_COMPANIONS = {".tif": (".json",), ".tiff": (".json",), ".mhd": (".raw", ".zraw")}


@dataclass(frozen=True)
class FileRecord:
    """An input file: its path, size in bytes, and SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


def file_records(path: Path) -> list[FileRecord]:
    """Return the record of a file and of what belongs to it, or of every file in a folder of slices."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    else:
        companions = [path.with_suffix(suffix) for suffix in _COMPANIONS.get(path.suffix.lower(), ())]
        files = [path, *(file for file in companions if file.is_file())]
    return [FileRecord(str(file), file.stat().st_size, sha256(file)) for file in files]


def manifest(command: str, arguments: Mapping[str, Any], inputs: Iterable[FileRecord]) -> dict[str, Any]:
    """Return the content of manifest.json.

    Parameters
    ----------
    command
        Name of the command.
    arguments
        What the command was asked to do; values that JSON knows.
    inputs
        Every file that was read; doubles are dropped.

    Returns
    -------
    dict
        ``command``, ``created`` (UTC), ``arguments``, ``versions`` and ``inputs``.
    """
    return {
        "command": command,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": dict(arguments),
        "versions": {"python": platform.python_version(), **_versions()},
        "inputs": [asdict(record) for record in dict.fromkeys(inputs)],
    }


def _versions() -> dict[str, str | None]:
    """Return the installed version of each package, without importing it."""
    return {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
