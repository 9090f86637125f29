"""Pair images with their annotations, exactly, by case name."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, listed
from nnunet_ext.imageio import find_volumes, volume_name

if TYPE_CHECKING:
    from pathlib import Path


def named_volumes(folder: Path, suffix: str = "") -> dict[str, Path]:
    """Return the volumes of a folder by case name.

    Parameters
    ----------
    folder
        A folder of volumes, a folder of slices, or one file.
    suffix
        What stands between the case name and the ending (``_image``). With a suffix, volumes without it are left
        out, so that images and annotations may share a folder.

    Raises
    ------
    InputError
        If no volume is left.
    BadCasesError
        If two volumes have the same case name, or a name consists of the suffix alone.
    """
    volumes = find_volumes(folder)
    by_case: defaultdict[str, list[Path]] = defaultdict(list)
    for path in volumes:
        if volume_name(path).endswith(suffix):
            by_case[volume_name(path).removesuffix(suffix)].append(path)
    if not by_case:
        wanted = f"a volume whose name ends in '{suffix}'" if suffix else "at least one volume"
        message = f"{folder}: expected {wanted}, found {len(volumes)} volumes: {listed(p.name for p in volumes)}"
        raise InputError(message)
    problems = [
        f"{folder}: case '{case}' is there more than once: {', '.join(path.name for path in paths)}"
        for case, paths in by_case.items()
        if len(paths) > 1
    ]
    problems += [f"{paths[0]}: nothing is left of the name without '{suffix}'" for c, paths in by_case.items() if not c]
    if problems:
        raise BadCasesError(problems)
    return {case: paths[0] for case, paths in by_case.items()}


def pair(images: dict[str, Path], annotations: dict[str, Path]) -> dict[str, tuple[Path, Path]]:
    """Return image and annotation of every case.

    Raises
    ------
    BadCasesError
        If a case has only one of them; names all such cases.
    """
    problems = [
        f"{images[case]}: no annotation of case '{case}'; annotations are there for {listed(annotations)}"
        for case in images.keys() - annotations.keys()
    ]
    problems += [
        f"{annotations[case]}: no image of case '{case}'; images are there for {listed(images)}"
        for case in annotations.keys() - images.keys()
    ]
    if problems:
        raise BadCasesError(sorted(problems))
    return {case: (images[case], annotations[case]) for case in images}
