"""Joint labels back to one label map per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.command import add_prediction_flags, add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_prediction_flags(parser, "folder of joint labels: predictions or labelsTr", "for OUT/<task>/<case>")
    add = parser.add_argument
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
