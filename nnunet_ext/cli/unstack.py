"""Joint labels back to one label map per task."""

from __future__ import annotations

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
        dest="predictions",
        type=Path,
        required=True,
        metavar="PREDICTIONS",
        help="folder of joint labels: predictions or labelsTr",
    )
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="for OUT/<task>/<case>")
    add(
        "--dataset",
        type=Path,
        help="folder of the dataset or the model; default: dataset.json beside the predictions, or up to two above",
    )
    add(
        "--format",
        dest="file_format",
        metavar="ENDING",
        help="of the label maps: .nii.gz, .nii, .nrrd, .mha, .tif, .tiff or .png; default: that of the predictions",
    )
    add(
        "--values",
        choices=("indices", "original"),
        default="original",
        help="values of the classes as in the files the dataset was made of, or 0, 1, … in the order of classes",
    )
    add_writing_flags(parser, "files of the same name")


def run(args: argparse.Namespace) -> None:
    """Unstack, and print what was made."""
    from dataset_conversion.unstack_labels import unstack_labels

    done = unstack_labels(**vars(args))
    for folder, (task, values) in zip(done.folders, done.values.items(), strict=True):
        print(f"{folder}: {len(done.cases)} label maps of task '{task}', values {', '.join(map(str, values))}")
