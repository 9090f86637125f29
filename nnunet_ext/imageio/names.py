"""File names of volumes: their endings, the name without it, and their natural order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TIFF_ENDINGS = (".tif", ".tiff")
PNG_ENDING = ".png"
ZARR_ENDINGS = (".ome.zarr", ".zarr")
"""Endings of folders that are Zarr stores."""

SUPPORTED_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", *TIFF_ENDINGS, PNG_ENDING)
STACK_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd", *TIFF_ENDINGS)
"""Endings that `create_volume` writes with any number of slices."""

OUTPUT_ENDINGS = (*STACK_ENDINGS, PNG_ENDING)
"""All endings that `create_volume` writes; PNG holds one slice."""


def ending_of(path: Path, endings: Iterable[str] = SUPPORTED_ENDINGS) -> str:
    """Return which of ``endings`` the name has, in lower case, or an empty string; case does not matter."""
    name = path.name.lower()
    matches = [ending for ending in endings if name.endswith(ending) and len(name) > len(ending)]
    return max(matches, key=len, default="")


def has_ending(path: Path, endings: Iterable[str]) -> bool:
    """Return whether the name ends with one of ``endings`` (given in lower case), whatever its case."""
    return ending_of(path, endings) != ""


def is_supported(path: Path) -> bool:
    """Return whether the name of a file has an ending that ``open_volume`` reads."""
    return has_ending(path, SUPPORTED_ENDINGS)


def is_zarr(path: Path) -> bool:
    """Return whether a folder is a Zarr store by its name."""
    return path.is_dir() and has_ending(path, ZARR_ENDINGS)


def volume_name(path: Path) -> str:
    """Return the name of a volume without its ending; ``.nii.gz`` counts as one ending.

    The name of a folder of slices is the folder's name, dots and all; that of a Zarr store loses ``.zarr``.
    """
    ending = ending_of(path, ZARR_ENDINGS) if path.is_dir() else ending_of(path)
    return path.name[: len(path.name) - len(ending)]


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return a sort key that puts ``slice2`` before ``slice10``.

    Parameters
    ----------
    name
        A file name; letters are compared without regard to case.
    """
    # A digit here is what int() understands: str.isdigit also holds for superscripts.
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    # The name itself comes last, so that a01 and a1 have a fixed order too.
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts], name
