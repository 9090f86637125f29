"""The converter for 3D Slicer: its flags. The work is done in ``slicer_dataset``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.command import add_writing_flags, run_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DESCRIPTION = "Images and segmentations of 3D Slicer (.seg.nrrd) to an nnU-Net dataset, classes by segment names."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert slicer_nrrd``."""
    add = parser.add_argument
    add(
        "-i",
        dest="images",
        required=True,
        metavar="IMAGES",
        help="folder of images (nrrd, mha, nii, nii.gz), one per case or with nnU-Net's channel numbers; or a pattern "
        "with * for the case; with --dicom a folder of one folder per case",
    )
    add(
        "-l",
        dest="segmentations",
        required=True,
        metavar="SEGMENTATIONS",
        help="folder (or pattern) of segmentations <case>.seg.nrrd or <case>.nrrd, or of label maps without names",
    )
    add("-d", dest="dataset_id", type=int, required=True, help="dataset id")
    add("-n", dest="name", required=True, help="dataset name")
    add("-o", dest="output", type=Path, metavar="RAW", help="folder of raw datasets; default: $nnUNet_raw")
    add(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="segment names in the order of the labels 1, 2, …; case and outer blanks do not matter; default: all "
        "names found, sorted",
    )
    add(
        "--classes-file",
        type=Path,
        metavar="FILE",
        help='JSON: {"classes": {"lungs": ["Lung", "lungs left"], "airways": []}, "drop": ["table"]}',
    )
    add("--missing-ok", action="store_true", help="a case may lack segments of the list")
    add("--drop-unlisted", action="store_true", help="leave out segments that are not in the list")
    add(
        "--overlap",
        choices=("error", "first", "last"),
        default="error",
        help="who gets a voxel of several segments: the first or the last in the order of the classes",
    )
    add("--as-tasks", action="store_true", help="one task per group of segments that do not overlap, see unstack")
    add("--test-fraction", type=float, default=0.0, metavar="F", help="part of the cases for imagesTs, drawn at random")
    add("--test-cases", type=Path, metavar="FILE", help="names of the cases for imagesTs, one per line, instead")
    add("--seed", type=int, default=0, help="of the draw for --test-fraction")
    add(
        "--channels",
        nargs="+",
        metavar="NAME",
        help="names of the channels, by which nnU-Net normalises (CT, noNorm, …); default: CT where DICOM says so, "
        "else image",
    )
    add("--format", dest="file_format", choices=("nrrd", "nii.gz"), default="nrrd", help="of the dataset's files")
    add("--dicom", action="store_true", help="images are DICOM series")
    add(
        "--series",
        nargs="+",
        default=[],
        metavar="UID",
        help="series to take where a folder holds several; default: an error that lists them",
    )
    add_writing_flags(parser, "a dataset of the same name")


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    from dataset_conversion.slicer_dataset import convert_slicer_nrrd

    converted = convert_slicer_nrrd(**vars(args))
    for note in converted.notes:
        print(f"Note: {note}", file=sys.stderr)
    for task, classes in converted.tasks.items():
        print(f"task {task}: {', '.join(classes)}")
    print(f"{converted.folder}: {len(converted.cases)} training cases, {len(converted.test_cases)} test cases")


def main(argv: Sequence[str] | None = None) -> int:
    """Run this module as a script."""
    return run_command("slicer_nrrd.py", DESCRIPTION, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
