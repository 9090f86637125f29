"""Predictions of soil CT back to the annotation's ids and colours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.command import add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("-i", dest="predictions", type=Path, required=True, help="folder that nnUNetv2_predict wrote")
    add("-o", dest="output", type=Path, required=True, help="folder for the exported volumes")
    add(
        "--dataset",
        type=Path,
        help="folder of dataset or model; default: dataset.json beside the predictions",
    )
    add(
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
