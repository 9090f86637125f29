"""Predictions to segmentations of 3D Slicer, with the names and colours of the training segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.command import add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("-i", dest="predictions", type=Path, required=True, metavar="PREDICTIONS", help="predictions or labelsTr")
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="for OUT/<case>.seg.nrrd")
    add(
        "--dataset",
        type=Path,
        metavar="DATASET_FOLDER",
        help="folder of dataset or model; default: dataset.json beside the predictions, or up to two above",
    )
    add(
        "--format",
        dest="file_format",
        choices=("seg.nrrd", "nrrd"),
        default="seg.nrrd",
        help="ending of the files; what is in them is the same",
    )
    add_writing_flags(parser, "files of the same name")


def run(args: argparse.Namespace) -> None:
    """Export, and print what was made."""
    from dataset_conversion.export_slicer import export_slicer_nrrd

    written = export_slicer_nrrd(**vars(args))
    print(f"{args.output}: {len(written)} segmentations")
