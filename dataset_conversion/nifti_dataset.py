"""Images and label maps in any layout of folders to an nnU-Net dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataset_conversion.merged_masks import LAST, OVERLAPS
from dataset_conversion.nifti_classes import parse_classes, parse_regions, region_labels
from dataset_conversion.nifti_pairing import Patterns, find_nifti_cases
from dataset_conversion.nifti_writer import ENDINGS, ConvertedNifti, Wanted, write_nifti_dataset
from dataset_conversion.raw_dataset import dataset_folder
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOURCE = "nifti"


def convert_nifti(
    folder: Path,
    *,
    image: Sequence[str],
    label: str | None = None,
    masks: Sequence[str] = (),
    test_image: Sequence[str] = (),
    test_label: str | None = None,
    dataset_id: int,
    name: str,
    channels: Sequence[str],
    classes: Sequence[str] | None = None,
    regions: Sequence[str] = (),
    overlap: str = LAST,
    missing_ok: bool = False,
    unlabelled_as_test: bool = False,
    file_format: str | None = None,
    output: Path | None = None,
    processes: int = 2,
    overwrite: bool = False,
    source: str = SOURCE,
) -> ConvertedNifti:
    """Convert images and label maps, found by patterns, to a dataset for nnU-Net.

    All inputs are checked before anything is written, and the dataset appears under its name only when it is
    complete. Files stay what they are, byte by byte, where they have the dataset's ending already and their values
    are labels already; ``.nii`` files are compressed.

    Parameters
    ----------
    folder
        Where the patterns begin.
    image
        Pattern of each channel, such as ``{case}/{case}.nii.gz``, see ``case_patterns.match_patterns``.
    label
        Pattern of the label maps.
    masks
        ``NAME=PATTERN`` of masks of one class each, in the order in which they are put over the label map, or over
        nothing. They may lie on other grids than the images.
    test_image, test_label
        Patterns of test cases; a label map is not needed there.
    dataset_id, name
        Of the dataset.
    channels
        Name of each channel, by which nnU-Net chooses the normalisation (``CT``; others: z-score).
    classes
        Names in the order of values, or ``NAME=VALUE``, see ``nifti_classes.parse_classes``; default: ``class_1``, …
        for the values that are found.
    regions
        ``NAME=CLASS,CLASS`` for training with regions that overlap, large ones first.
    overlap
        Where masks overlap: ``last`` wins, ``first`` wins, or ``error``.
    missing_ok
        Take a missing mask as one without voxels.
    unlabelled_as_test
        Take cases without label map or mask as test cases.
    file_format
        ``nii.gz``, ``nrrd`` or ``mha``; default: that of the images if it is one of these, else ``nii.gz``.
    output
        Folder of raw datasets; default: ``$nnUNet_raw``.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace a dataset of the same name.
    source
        Name of the converter, for the record.

    Returns
    -------
    ConvertedNifti
        The folder, the cases, and notes for the user.

    Raises
    ------
    BadCasesError
        If files do not pair, cannot be read, or have another grid or other values than expected; names all of it.
    InputError
        If an argument is not usable.
    MissingInputError
        If the folder is not there.
    OutputExistsError
        If the dataset exists and ``overwrite`` is false.
    """
    arguments = {
        "folder": str(folder.absolute()),
        "image": list(image),
        "label": label,
        "masks": list(masks),
        "test_image": list(test_image),
        "test_label": test_label,
        "channels": list(channels),
        "classes": None if classes is None else list(classes),
        "regions": list(regions),
        "overlap": overlap,
        "missing_ok": missing_ok,
        "unlabelled_as_test": unlabelled_as_test,
        "format": file_format,
    }
    if classes is not None and label is None:
        message = "--classes: names the values of --label; masks have their names already"
        raise InputError(message)
    named = tuple(_mask(text) for text in masks)
    names = tuple(mask for mask, _ in named)
    known = parse_classes(classes or (), names) if classes is not None or label is None else None
    wanted = Wanted(
        source, tuple(channels), known, parse_regions(regions), names, overlap, _checked_format(file_format)
    )
    if len(channels) != len(image):
        message = f"--channels {' '.join(channels)}: expected {len(image)} names, one for each --image"
        raise InputError(message)
    if overlap not in OVERLAPS:
        message = f"--overlap {overlap}: expected one of {', '.join(OVERLAPS)}"
        raise InputError(message)
    if known is not None and wanted.regions:
        region_labels(known, wanted.regions)
    target = dataset_folder(output, dataset_id, name, overwrite=overwrite)
    patterns = Patterns(tuple(image), label, named, tuple(test_image), test_label)
    cases, problems = find_nifti_cases(folder, patterns, unlabelled_as_test=unlabelled_as_test, missing_ok=missing_ok)
    return write_nifti_dataset(target, cases, problems, wanted, arguments, processes, overwrite=overwrite)


def _mask(text: str) -> tuple[str, str]:
    name, equals, pattern = text.partition("=")
    if not equals or not name or not pattern:
        message = f"--masks {text}: expected NAME=PATTERN, such as liver={{case}}/liver.nii.gz"
        raise InputError(message)
    return name, pattern


def _checked_format(file_format: str | None) -> str | None:
    if file_format is None:
        return None
    ending = f".{file_format.removeprefix('.')}".lower()
    if ending not in ENDINGS:
        message = f"--format {file_format}: expected one of {', '.join(ENDINGS)}"
        raise InputError(message)
    return ending
