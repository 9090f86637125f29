"""Images and several label maps per case to an nnU-Net dataset with joint labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.command import add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add(
        "-i",
        dest="images",
        required=True,
        metavar="IMAGES",
        help="folder of images, one per case or with nnU-Net's channel numbers; or a pattern with * for the case",
    )
    add(
        "--task",
        action="append",
        default=[],
        metavar="NAME=LABELS:CLASSES",
        help="once per task: folder (or pattern with * for the case) of its label maps, and, if wanted, its classes "
        "class0,class1,… in the order of their values, background first, 'ignore' last; 'class=value' for other values "
        "in the files; default: the values in the files are the classes",
    )
    add("--layers", metavar="LABELS", help="folder or pattern of files with a layer per task, instead of --task")
    add(
        "--tasks",
        type=Path,
        metavar="TASKS.json",
        help="tasks with labels, weight, deep_supervision, values; or a dataset.json with tasks",
    )
    add("-d", dest="dataset_id", type=int, required=True, help="dataset id")
    add("-n", dest="name", required=True, help="dataset name")
    add("-o", dest="output", type=Path, help="folder of raw datasets; default: $nnUNet_raw")
    add(
        "--missing-as-ignore",
        action="store_true",
        help="a case without file for a task is not annotated for it, instead of an error",
    )
    add(
        "--channels",
        nargs="+",
        metavar="NAME",
        help="names of the channels, by which nnU-Net normalises (CT, noNorm, …); default: image",
    )
    add(
        "--format",
        dest="file_format",
        metavar="ENDING",
        help="of the dataset's files: .nii.gz, .nrrd, .mha, .tif, .tiff or .png; default: that of the images",
    )
    add_writing_flags(parser, "a dataset of the same name")


def run(args: argparse.Namespace) -> None:
    """Stack, and print what was made."""
    from dataset_conversion.stack_labels import stack_labels

    converted = stack_labels(**vars(args))
    for note in converted.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"{converted.folder}: {len(converted.cases)} training cases")
