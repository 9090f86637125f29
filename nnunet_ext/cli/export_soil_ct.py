"""Predictions of soil CT back to the annotation's ids and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.command import add_prediction_flags, add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_prediction_flags(parser, "folder that nnUNetv2_predict wrote", "folder for the exported volumes")
    parser.add_argument(
        "--format",
        dest="file_format",
        choices=("tif", "mha", "nii.gz", "nrrd"),
        default="tif",
        help="output format",
    )
    add_writing_flags(parser, "files of the same name")


def run(args: argparse.Namespace) -> None:
    """Export, and print what was made."""
    from dataset_conversion.export_labels import export_soil_ct

    written = export_soil_ct(**vars(args))
    print(f"{args.output}: {len(written)} volumes")
