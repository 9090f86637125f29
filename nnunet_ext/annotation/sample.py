"""A sample: its image, and the file that its annotation is written to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, listed
from nnunet_ext.imageio import STACK_ENDINGS, ending_of, find_volumes, volume_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """A sample that is annotated.

    Parameters
    ----------
    name
        Name of the sample: that of its image without ending and suffix.
    image
        File, or folder of slices.
    annotation
        File that the annotation is read from, if it is there, and written to.
    """

    name: str
    image: Path
    annotation: Path


def find_samples(
    images: Path,
    annotations: Path,
    names: Sequence[str] | None,
    *,
    image_suffix: str = "",
    annotation_suffix: str = "",
) -> list[Sample]:
    """Return the image and the annotation file of samples.

    Parameters
    ----------
    images
        Folder of images, folder of slices, or one image.
    annotations
        Folder of annotations; need not be there. A sample without annotation gets a ``.tif`` of its name.
    names
        Samples that are wanted; None means all.
    image_suffix, annotation_suffix
        What stands between the name of the sample and the ending, as for ``nnunet_ext convert soil_ct``.

    Raises
    ------
    MissingInputError
        If there is no image at all.
    BadCasesError
        If a sample has no image or several of them, or its annotation is there twice or in a format that can be
        read only; names all such samples.
    """
    images_of = _by_name(images, image_suffix)
    annotations_of = _by_name(annotations, annotation_suffix) if annotations.is_dir() else {}
    if annotations.exists() and not annotations.is_dir():
        message = f"{annotations}: expected a folder for annotations, found a file"
        raise InputError(message)
    if not images_of:
        ending = f" whose name ends in '{image_suffix}'" if image_suffix else ""
        message = f"{images}: no image{ending}"
        raise MissingInputError(message)
    problems = []
    samples = []
    for name in dict.fromkeys(images_of if names is None else names):
        found, there = images_of.get(name, []), annotations_of.get(name, [])
        if not found:
            problems.append(f"{images}: no image of sample '{name}', images are there for {listed(images_of)}")
        problems += [
            f"sample '{name}' is there more than once: {', '.join(str(path) for path in paths)}"
            for paths in (found, there)
            if len(paths) > 1
        ]
        if there and (there[0].is_dir() or not ending_of(there[0], STACK_ENDINGS)):
            formats = ", ".join(STACK_ENDINGS)
            problems.append(f"{there[0]}: cannot be continued in this format, expected one of {formats}")
        if found:
            file = there[0] if there else annotations / f"{name}{annotation_suffix}.tif"
            samples.append(Sample(name, found[0], file))
    if problems:
        raise BadCasesError(problems)
    return samples


def _by_name(folder: Path, suffix: str) -> dict[str, list[Path]]:
    by_name: dict[str, list[Path]] = {}
    for path in find_volumes(folder):
        name = volume_name(path)
        if name.endswith(suffix) and len(name) > len(suffix):
            by_name.setdefault(name.removesuffix(suffix), []).append(path)
    return by_name
