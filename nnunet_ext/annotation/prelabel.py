"""Begin the annotations of samples without a window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.annotation.annotation_file import create_annotation
from nnunet_ext.annotation.classes import annotation_classes
from nnunet_ext.annotation.coverage import Coverage
from nnunet_ext.annotation.otsu import MATRIX, FirstLabels, label_middle_slice
from nnunet_ext.annotation.sample import find_samples
from nnunet_ext.class_table import read_class_table
from nnunet_ext.errors import BadCasesError, NnunetExtError
from nnunet_ext.files import refuse_existing
from nnunet_ext.imageio import open_volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_ext.annotation.classes import AnnotationClass
    from nnunet_ext.annotation.coverage import ClassCoverage
    from nnunet_ext.annotation.sample import Sample


@dataclass(frozen=True)
class Prelabelled:
    """An annotation that was begun.

    Parameters
    ----------
    sample
        Name of the sample.
    annotation
        The file.
    threshold
        Otsu's grey value.
    coverage
        One row per class.
    notes
        What the user should know.
    """

    sample: str
    annotation: Path
    threshold: float
    coverage: list[ClassCoverage]
    notes: list[str] = field(default_factory=list)


def prelabel(
    images: Path,
    annotations: Path,
    samples: Sequence[str] | None,
    classes: Path,
    *,
    image_suffix: str = "",
    annotation_suffix: str = "",
    overwrite: bool = False,
) -> list[Prelabelled]:
    """Write first annotations: on the middle slice, voxels above Otsu's threshold are class 1, all else is 0.

    Parameters
    ----------
    images, annotations
        Folder of images, and folder to write to; see ``sample.find_samples``.
    samples
        Names; None takes all images.
    classes
        JSON file with ids, names and colours, see ``nnunet_ext.class_table.read_class_table``.
    image_suffix, annotation_suffix
        What stands between the name of the sample and the ending.
    overwrite
        Replace annotations that are there.

    Returns
    -------
    list of Prelabelled
        One per sample.

    Raises
    ------
    MissingInputError, InputError
        If there is no image, or the class file is not usable.
    BadCasesError
        If samples are not there or cannot be read; names all of them.
    OutputExistsError
        If a sample has an annotation and ``overwrite`` is false.
    """
    entries = annotation_classes(read_class_table(classes))
    found = find_samples(images, annotations, samples, image_suffix=image_suffix, annotation_suffix=annotation_suffix)
    refuse_existing([sample.annotation for sample in found], overwrite=overwrite)
    first_labels: dict[str, FirstLabels] = {}
    problems = []
    for sample in found:
        try:
            with open_volume(sample.image) as volume:
                first_labels[sample.name] = label_middle_slice(volume)
        except NnunetExtError as error:
            problems.append(str(error))
    if problems:
        raise BadCasesError(problems)
    return [_write(sample, first_labels[sample.name], entries, overwrite=overwrite) for sample in found]


def _write(sample: Sample, first: FirstLabels, entries: list[AnnotationClass], *, overwrite: bool) -> Prelabelled:
    nothing = np.zeros((1, *first.labels.shape), dtype=np.uint8)
    with open_volume(sample.image) as volume:
        with create_annotation(sample.annotation, volume, entries, overwrite=overwrite) as writer:
            for index in range(volume.shape[0]):
                writer.write(first.labels[np.newaxis] if index == first.index else nothing)
        coverage = Coverage(volume.shape)
        notes = [] if volume.has_spacing else [f"spacing of {sample.name}: {volume.spacing_source}"]
    coverage.count(first.index, first.labels)
    if not (first.labels == MATRIX).any():
        notes.append(f"{sample.name}: slice {first.index} has one grey value only, nothing is annotated")
    return Prelabelled(sample.name, sample.annotation, first.threshold, coverage.table(entries), notes)
