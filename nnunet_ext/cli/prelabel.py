"""First annotations of soil scans by a threshold on the middle slice."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_sample_flags(parser)
    parser.add_argument(
        "-id",
        dest="samples",
        nargs="+",
        metavar="SAMPLE",
        help="names of samples, as their images; default: all images",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace annotations that are there")


def add_sample_flags(parser: argparse.ArgumentParser) -> None:
    """Declare where images, annotations and classes are."""
    add = parser.add_argument
    add(
        "-i",
        dest="images",
        type=Path,
        required=True,
        metavar="IMAGES",
        help="folder of scans: tif, mha, nii.gz, or folders of slices",
    )
    add("-o", dest="annotations", type=Path, required=True, metavar="ANNOTATIONS", help="folder of annotations")
    add(
        "-c",
        dest="classes",
        type=Path,
        required=True,
        metavar="CLASSES.json",
        help="JSON file with ids, names and colours of the classes",
    )
    between = "what stands between sample name and ending of"
    add("--image-suffix", default="", metavar="S", help=f"{between} an image")
    add("--annotation-suffix", default="", metavar="S", help=f"{between} an annotation")


def run(args: argparse.Namespace) -> None:
    """Write the annotations, and print what was annotated."""
    from nnunet_ext.annotation.coverage import coverage_text
    from nnunet_ext.annotation.prelabel import prelabel

    for begun in prelabel(**vars(args)):
        print(f"{begun.annotation}: voxels above {begun.threshold:g} on the middle slice")
        print(coverage_text([row for row in begun.coverage if row.voxels]))
        for note in begun.notes:
            print(f"Note: {note}", file=sys.stderr)
