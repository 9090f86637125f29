"""Predicted calving fronts, zones and boundaries back to pictures with the grey levels of the benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.command import add_prediction_flags, add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_prediction_flags(
        parser,
        "folder of predictions or labelsTr, also of NIfTI files with one layer per label map",
        "for OUT/<stem>_zone.png, _front.png, …",
    )
    parser.add_argument(
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
