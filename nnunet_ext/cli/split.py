"""Large images to pieces that stock nnUNetv2_predict can hold."""

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
        dest="images",
        type=Path,
        required=True,
        metavar="IMAGES",
        help="folder of images as nnUNetv2_predict takes them, <case>_0000.<ending>; folder of slices; or one file",
    )
    add(
        "-o",
        dest="output",
        type=Path,
        required=True,
        metavar="PIECES",
        help="folder for the pieces and split_manifest.json, the -i of nnUNetv2_predict",
    )
    add(
        "-m",
        dest="model",
        type=Path,
        metavar="MODEL_FOLDER",
        help="trained model: its patch and voxel size say how far pieces overlap, its dataset their ending; default: a "
        "patch of 224 x 224 x 48 voxels (x, y, z) of the image itself, whatever their size",
    )
    add(
        "-c",
        dest="configuration",
        metavar="CONFIGURATION",
        help="configuration of the model's plans; default: that in the name of its folder, else 3d_fullres",
    )
    add("-s", dest="pieces", type=int, default=8, metavar="NUMBER", help="number of pieces of each image")
    add("-a", dest="axis", choices=("z", "y", "x"), default="z", help="axis to cut")
    add(
        "--format",
        dest="file_format",
        metavar="ENDING",
        help="of the pieces: .nii.gz, .nii, .mha, .nrrd, .tif, .tiff or .png; default: that of the model's dataset, "
        "else that of the images",
    )
    add_writing_flags(parser, "a folder of pieces")


def run(args: argparse.Namespace) -> None:
    """Split, and print what was made."""
    from nnunet_ext.inference.split import split_images

    done = split_images(**vars(args))
    for note in done.notes:
        print(f"Note: {note}", file=sys.stderr)
    pieces = sum(len(case.pieces) for case in done.cases)
    print(f"{done.folder}: {len(done.cases)} images in {pieces} pieces; merge with --manifest {done.manifest}")
