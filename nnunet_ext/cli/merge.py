"""Predicted pieces or parts of large images to whole predictions."""

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
        dest="predictions",
        type=Path,
        required=True,
        metavar="PREDICTED_PIECES",
        help="folder that nnUNetv2_predict wrote from pieces, or 'nnunet_ext predict --part' with parts",
    )
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="folder for the whole predictions")
    add(
        "--manifest",
        type=Path,
        metavar="FILE",
        help="split_manifest.json, or the folder of pieces that holds it; default: beside the predicted pieces",
    )
    add(
        "--by-names",
        action="store_true",
        help="go by the names of the pieces, without a manifest: for those of the published soil workflow. Gaps are "
        "errors, but a missing last piece cannot be noticed",
    )
    add(
        "--blend",
        action="store_true",
        help="blend the probabilities of neighbouring pieces where they overlap, in place of a hard border; needs "
        "the .npz files of nnUNetv2_predict --save_probabilities",
    )
    add(
        "--format",
        dest="file_format",
        metavar="ENDING",
        help="of the whole predictions: .nii.gz, .nii, .mha, .nrrd, .tif, .tiff or .png; default: that of the pieces",
    )
    add_writing_flags(parser, "predictions of the same name")


def run(args: argparse.Namespace) -> None:
    """Merge parts, or pieces by their manifest, and print what was made."""
    from nnunet_ext.inference.merge_parts import holds_parts

    if args.manifest is None and holds_parts(args.predictions):
        _merge_parts(args)
    else:
        _merge_pieces(args)


def _merge_parts(args: argparse.Namespace) -> None:
    from nnunet_ext.errors import InputError
    from nnunet_ext.inference.merge_parts import merge_parts

    if args.blend:
        message = "--blend: parts of 'nnunet_ext predict' have no seams to blend"
        raise InputError(message)
    files = merge_parts(args.predictions, args.output, file_ending=args.file_format, overwrite=args.overwrite)
    print(f"{args.output}: {len(files)} whole predictions")


def _merge_pieces(args: argparse.Namespace) -> None:
    from nnunet_ext.inference.merge_pieces import merge_pieces

    merged = merge_pieces(**vars(args))
    for note in merged.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"{args.output}: {len(merged.files)} whole predictions")
