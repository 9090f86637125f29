"""Predictions to segmentations of 3D Slicer, with the names and colours of the training segmentations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.command import add_prediction_flags, add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_prediction_flags(parser, "folder of predictions or labelsTr", "for OUT/<case>.seg.nrrd")
    parser.add_argument(
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
