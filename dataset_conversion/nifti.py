"""The converter for images and label maps in any layout of folders: its flags. The work is in ``nifti_dataset``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.command import add_writing_flags, run_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DESCRIPTION = "Images and label maps, or masks, in any layout of folders to an nnU-Net dataset."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert nifti``."""
    add = parser.add_argument
    add_folder(parser, "folder where the patterns begin")
    add(
        "--image",
        action="append",
        required=True,
        metavar="PATTERN",
        help="image of a case, once per channel: '{case}/{case}.nii.gz'; {case} stands for the name of the case, "
        "* for any text",
    )
    add("--label", metavar="PATTERN", help="label map of a case: '{case}/GT.nii.gz'")
    add(
        "--masks",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=PATTERN",
        help="once per class: a mask of this class alone; masks are put over the label map, or over nothing, in order",
    )
    add("--test-image", action="append", default=[], metavar="PATTERN", help="the same as --image for test cases")
    add("--test-label", metavar="PATTERN", help="label map of a test case, where there is one")
    add("-d", dest="dataset_id", type=int, required=True, help="dataset id")
    add("-n", dest="name", required=True, help="dataset name")
    add(
        "--channels",
        nargs="+",
        required=True,
        metavar="NAME",
        help="name of each channel, by which nnU-Net normalises: CT, or any other such as T1 T2",
    )
    add(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="names in the order of the values 1, 2, …, or NAME=VALUE; 'ignore' last for voxels without annotation; "
        "default: class_1, class_2, … for the values that are found",
    )
    add(
        "--regions",
        nargs="+",
        default=[],
        metavar="NAME=CLASSES",
        help="train with regions that overlap, large ones first: whole=core,rim core=core",
    )
    add(
        "--overlap",
        choices=("last", "first", "error"),
        default="last",
        help="which mask a voxel belongs to that is in several",
    )
    add("--missing-ok", action="store_true", help="a mask that has no file is one without voxels, instead of an error")
    add(
        "--unlabelled-as-test",
        action="store_true",
        help="cases without label map or mask are test cases, instead of an error",
    )
    add(
        "--format",
        dest="file_format",
        metavar="ENDING",
        help="of the dataset's files: nii.gz, nrrd or mha; default: that of the images, or nii.gz",
    )
    add_output(parser)
    add_writing_flags(parser, "a dataset of the same name")


def add_folder(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare ``-i``."""
    parser.add_argument("-i", dest="folder", type=Path, required=True, metavar="FOLDER", help=what)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare ``-o`` of a converter that makes a dataset."""
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="RAW", help="folder of raw datasets; default: $nnUNet_raw"
    )


def report(converted: Any) -> None:
    """Print what was made."""
    for note in converted.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"{converted.folder}: {len(converted.cases)} training cases, {len(converted.test_cases)} test cases")


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    from dataset_conversion.nifti_dataset import convert_nifti

    report(convert_nifti(**vars(args)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run this module as a script."""
    return run_command("nifti.py", DESCRIPTION, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
