"""Predicted calving fronts, zones and boundaries back to pictures with the grey levels of the benchmark."""

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
        help="folder of predictions or labelsTr, also of NIfTI files with one layer per label map",
    )
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="for OUT/<stem>_zone.png, _front.png, …")
    add(
        "--dataset",
        type=Path,
        metavar="DATASET_FOLDER",
        help="folder of dataset or model; default: dataset.json beside the predictions, or up to two above",
    )
    add(
        "--format",
        dest="file_format",
        choices=("png", "stacked.nii.gz"),
        default="png",
        help="pictures, or <stem>.nii.gz with front, zones and boundary along z as older datasets have them",
    )
    add_writing_flags(parser, "files of the same name")


def run(args: argparse.Namespace) -> None:
    """Export, and print what was made."""
    from dataset_conversion.export_caffe import export_caffe

    written = export_caffe(**vars(args))
    print(f"{args.output}: {len(written)} files")
