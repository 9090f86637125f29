"""The converter for soil X-ray CT: its flags. The work is done in ``sparse_dataset``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.command import add_writing_flags, run_command

if TYPE_CHECKING:
    import argparse

SCHEMES = ("noNorm", "zscore", "rescale_to_0_1", "rgb_to_0_1")
FORMATS = ("nii.gz", "mha", "tif")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert soil_ct``."""
    add = parser.add_argument
    add(
        "-i",
        dest="images",
        type=Path,
        required=True,
        help="folder of scans: tif, mha, nii.gz, or folders of slices",
    )
    add("-a", dest="annotations", type=Path, required=True, help="folder of annotations, paired by name")
    add(
        "-c",
        dest="classes",
        type=Path,
        required=True,
        help="JSON file with ids, names and colours of the classes",
    )
    add("-d", dest="dataset_id", type=int, help="dataset id; default: TaskID of the class file")
    add("-n", dest="name", help="dataset name; default: DatasetName of the class file")
    add("-o", dest="output", type=Path, help="folder of raw datasets; default: $nnUNet_raw")
    add("--normalization", choices=SCHEMES, help="per scan; default: norm_type of the class file, else zscore")
    crop = parser.add_mutually_exclusive_group()
    crop.add_argument("--context", type=int, default=48, help="slices kept beside the annotated ones, along z")
    crop.add_argument("--no-crop", action="store_true", help="keep whole scans")
    add_scan_flags(parser)
    add("--annotation-suffix", default="", metavar="S", help="the same for annotations")
    add("--format", dest="file_format", choices=FORMATS, default="nii.gz", help="of the files in the dataset")
    add(
        "--matrix-as-class",
        action="store_true",
        help="keep class 1 as foreground instead of nnU-Net's background",
    )
    add(
        "--unknown-as-ignore",
        action="store_true",
        help="treat ids that the class file lacks as not annotated",
    )
    add("--split-annotated", type=int, default=1, metavar="N", help="cut each scan into up to N cases along z")
    add("--allow-few-cases", action="store_true", help="accept fewer than five cases (train with fold 'all')")
    add_writing_flags(parser, "a dataset of the same name")


def add_scan_flags(parser: argparse.ArgumentParser) -> None:
    """Declare how scans are read, for training and for prediction alike."""
    size = "voxel size in mm instead of the files' own"
    parser.add_argument("--spacing", type=float, nargs=3, metavar=("Z", "Y", "X"), help=size)
    between = "what stands between case name and ending of an image"
    parser.add_argument("--image-suffix", default="", metavar="S", help=between)


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    from dataset_conversion.sparse_dataset import convert_soil_ct

    options = vars(args)
    options["context"] = None if options.pop("no_crop") else options["context"]
    options["spacing"] = tuple(args.spacing) if args.spacing else None
    converted = convert_soil_ct(**options)
    for note in converted.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"{converted.folder}: {len(converted.cases)} training cases")


def main() -> int:
    """Run this module as a script."""
    return run_command("soil_ct.py", "Soil CT scans and sparse annotations to an nnU-Net dataset.", add_arguments, run)


if __name__ == "__main__":
    sys.exit(main())
