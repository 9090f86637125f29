"""Compare the voxel grids of a prediction and its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import NnunetExtError
from nnunet_ext.imageio import has_ending
from nnunet_ext.imageio.names import TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from evaluation.pairs import Pair
    from nnunet_ext.imageio import Geometry, Volume

TOLERANCE = 1e-3
"""Largest accepted difference of direction components, of origins in mm, and of spacings in mm. Of spacings
below 1 mm it is a fraction of the spacing, since 1e-3 mm is a lot in microscopy."""


def grid_problems(pair: Pair) -> list[str]:
    """Compare the voxel grids of a prediction and its reference, from the headers alone.

    TIFF files have no origin and direction, and some no spacing; what is not there is not compared.

    Returns
    -------
    list of str
        One message per file that cannot be opened, or one with all in which the grids differ; else none.
    """
    found, expected = _header(pair.prediction), _header(pair.reference)
    if isinstance(found, str) or isinstance(expected, str):
        return [problem for problem in (found, expected) if isinstance(problem, str)]
    fields = [field for field in ("spacing", "origin", "direction") if _knows(found, field) and _knows(expected, field)]
    differences = geometry_differences(found.geometry, expected.geometry, fields)
    if found.shape != expected.shape:
        differences.insert(0, f"shape {found.shape} instead of {expected.shape}")
    if not differences:
        return []
    return [f"{pair.prediction}: {', '.join(differences)} (z, y, x) as in {pair.reference}"]


def geometry_differences(found: Geometry, expected: Geometry, fields: Sequence[str]) -> list[str]:
    """Describe which of ``spacing``, ``origin`` and ``direction`` differ by more than ``TOLERANCE``.

    Parameters
    ----------
    found, expected
        The two geometries.
    fields
        What to compare.

    Returns
    -------
    list of str
        One text per field that differs.
    """
    texts = []
    for field in fields:
        ours, theirs = np.asarray(getattr(found, field)), np.asarray(getattr(expected, field))
        allowed = TOLERANCE * np.minimum(1, theirs) if field == "spacing" else TOLERANCE
        if (np.abs(ours - theirs) > allowed).any():
            texts.append(f"{field} {_rounded(ours)} instead of {_rounded(theirs)}")
    return texts


def _header(path: Path) -> Volume | str:
    """Return a volume of which only the header is of use, or why there is none."""
    try:
        with open_with_sidecar(path) as volume:
            return volume
    except NnunetExtError as error:
        return str(error)


def _knows(volume: Volume, field: str) -> bool:
    """Return whether the file says what a field of its geometry is."""
    if field == "spacing":
        return volume.has_spacing
    return not _is_tiff(volume.path)


def _is_tiff(path: Path) -> bool:
    return path.is_dir() or has_ending(path, TIFF_ENDINGS)


def _rounded(values: npt.NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values.ravel()) + ")"
