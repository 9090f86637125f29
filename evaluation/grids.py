"""Open label maps with the spacing nnU-Net gives them, and compare the voxel grids of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from nnunet_ext.errors import InputError, NnunetExtError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import has_ending, open_volume, volume_name
from nnunet_ext.imageio.names import TIFF_ENDINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from evaluation.pairs import Pair
    from nnunet_ext.imageio import Geometry, Volume

TOLERANCE = 1e-3
"""Largest accepted difference of direction components, of origins in mm, and of spacings in mm. Of spacings
below 1 mm it is a fraction of the spacing, since 1e-3 mm is a lot in microscopy."""


def open_labels(path: Path) -> Volume:
    """Open a label map; the spacing of a TIFF file comes from nnU-Net's ``<case>.json`` where there is one.

    Raises
    ------
    NnunetExtError
        If the file cannot be read, or the spacing in the side-car is not three numbers.
    """
    return open_volume(path, spacing=_side_car_spacing(path))


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
        with open_labels(path) as volume:
            return volume
    except NnunetExtError as error:
        return str(error)


def _side_car_spacing(path: Path) -> tuple[float, float, float] | None:
    side_car = path.with_name(f"{volume_name(path)}.json")
    if not _is_tiff(path) or not side_car.is_file():
        return None
    spacing = read_json(side_car).get("spacing")
    if spacing is None:
        return None
    if not isinstance(spacing, list) or not all(isinstance(value, (int, float)) for value in spacing):
        message = f"{side_car}: spacing {spacing!r} found, expected three positive numbers of mm (z, y, x)"
        raise InputError(message)
    # open_volume checks how many there are.
    return cast("tuple[float, float, float]", tuple(float(value) for value in spacing))


def _knows(volume: Volume, field: str) -> bool:
    """Return whether the file says what a field of its geometry is."""
    if field == "spacing":
        return "assumed" not in volume.spacing_source
    return not _is_tiff(volume.path)


def _is_tiff(path: Path) -> bool:
    return path.is_dir() or has_ending(path, TIFF_ENDINGS)


def _rounded(values: npt.NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values.ravel()) + ")"
