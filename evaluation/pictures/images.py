"""Find the image of each case, to be shown behind labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluation.folders import volumes_by_case
from nnunet_ext.errors import NnunetExtError
from nnunet_ext.imageio.grid import grid_differences, grid_of
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from evaluation.pairs import Pair


def find_images(folder: Path, pairs: Sequence[Pair]) -> tuple[dict[str, Path], list[str]]:
    """Find the images of cases and compare their voxel grids with those of the references.

    Parameters
    ----------
    folder
        Folder of images, named as the case or as its channel 0 (``case_0000``).
    pairs
        The cases; their references can be opened.

    Returns
    -------
    dict of str to Path
        Image of each case that has one.
    list of str
        One message per case without image, image on another grid, and file that cannot be opened.

    Raises
    ------
    MissingInputError
        If there is no such folder.
    """
    found, problems = volumes_by_case(folder)
    images: dict[str, Path] = {}
    for case, reference in sorted({pair.case: pair.reference for pair in pairs}.items()):
        image = found.get(f"{case}_0000", found.get(case))
        if image is not None:
            images[case] = image
            problems += _grid_problems(case, image, reference)
        elif found:
            problems.append(f"case {case!r}: no image in {folder}, expected {case}_0000 or {case} with any ending")
    return images, problems


def _grid_problems(case: str, image: Path, reference: Path) -> list[str]:
    with open_with_sidecar(reference) as volume:
        expected = grid_of(volume)
    try:
        with open_with_sidecar(image, case) as volume:
            differences = grid_differences(grid_of(volume), expected)
    except NnunetExtError as error:
        return [str(error)]
    return [f"{image}: {', '.join(differences)} (z, y, x) as in {reference}"] if differences else []
