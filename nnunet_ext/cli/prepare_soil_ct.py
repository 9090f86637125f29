"""Unseen soil CT scans to the input of ``nnUNetv2_predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_conversion.soil_ct import add_scan_flags
from nnunet_ext.command import add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("-i", dest="scans", type=Path, required=True, help="folder of scans, folder of slices, or one file")
    add(
        "-o",
        dest="output",
        type=Path,
        required=True,
        help="folder for the images, the -i of nnUNetv2_predict",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("-m", dest="model", type=Path, help="folder of the trained model")
    source.add_argument("--dataset", type=Path, help="folder of the dataset, instead of the model")
    add_scan_flags(parser)
    add_writing_flags(parser, "images of the same name")


def run(args: argparse.Namespace) -> None:
    """Prepare, and print what was made."""
    from dataset_conversion.prepare_scans import prepare_soil_ct

    prepared = prepare_soil_ct(
        args.scans,
        args.output,
        args.model or args.dataset,
        spacing=tuple(args.spacing) if args.spacing else None,
        image_suffix=args.image_suffix,
        processes=args.processes,
        overwrite=args.overwrite,
    )
    for note in prepared.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"{prepared.folder}: {len(prepared.cases)} scans")
