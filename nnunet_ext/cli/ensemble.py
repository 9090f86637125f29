"""The mean of several models' probabilities to labels, in bounded memory."""

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
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="folders of predictions, one per model: of 'nnunet_ext predict --save-probabilities' or of "
        "'nnUNetv2_predict --save_probabilities'",
    )
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="folder for the labels of the means")
    add(
        "--format",
        dest="file_format",
        metavar="ENDING",
        help="of the label maps: .nii.gz, .nii, .mha, .nrrd, .tif, .tiff or .png; default: that of the dataset",
    )
    add(
        "--save-probabilities",
        action="store_true",
        help="write the means as well: <case>.b2nd, a blosc2 array (heads, z, y, x) of float16",
    )
    add_writing_flags(parser, "label maps of the same name")


def run(args: argparse.Namespace) -> None:
    """Average, and print what was made."""
    from nnunet_ext.inference.ensemble import ensemble

    files = ensemble(**vars(args))
    print(f"{args.output}: {len(files)} predictions by {len(args.predictions)} models")
