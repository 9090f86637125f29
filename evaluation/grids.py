"""Compare the voxel grids of a prediction and its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.errors import NnunetExtError
from nnunet_ext.imageio.grid import Grid, grid_differences, grid_of
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from pathlib import Path

    from evaluation.pairs import Pair


def grid_problems(pair: Pair) -> list[str]:
    """Compare the voxel grids of a prediction and its reference, from the headers alone.

    Returns
    -------
    list of str
        One message per file that cannot be opened, or one with all in which the grids differ; else none.
    """
    found, expected = _grid(pair.prediction), _grid(pair.reference)
    if isinstance(found, str) or isinstance(expected, str):
        return [problem for problem in (found, expected) if isinstance(problem, str)]
    differences = grid_differences(found, expected)
    return [f"{pair.prediction}: {', '.join(differences)} (z, y, x) as in {pair.reference}"] if differences else []


def _grid(path: Path) -> Grid | str:
    """Return the grid of a volume, or why there is none."""
    try:
        with open_with_sidecar(path) as volume:
            return grid_of(volume)
    except NnunetExtError as error:
        return str(error)
