"""The converter for calving fronts (CaFFe benchmark): its flags. The work is done in ``caffe_dataset``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.command import add_writing_flags, run_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DESCRIPTION = "SAR images, calving fronts and zones (CaFFe) to an nnU-Net dataset of one of several tasks."
TASKS = ("fused", "front", "zones", "mtl", "mtl_recon", "mtl_boundary", "inference")
FORMATS = ("png", "nii.gz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert caffe``."""
    add = parser.add_argument
    add(
        "--root",
        type=Path,
        required=True,
        metavar="DATA_RAW",
        help="folder with sar_images, fronts and zones, each with train and test; for inference also a folder of PNGs",
    )
    add("--task", required=True, choices=TASKS, help="what the network is to learn; inference: images only")
    add("-d", dest="dataset_id", type=int, help="dataset id; default: 500 (fused) to 505 (mtl_boundary), by task")
    add("-n", dest="name", help="dataset name; default: by task, such as CaFFeMTL")
    add(
        "-o",
        dest="output",
        type=Path,
        metavar="RAW",
        help="folder of raw datasets; default: $nnUNet_raw. For inference the folder of the images; default: "
        "$nnUNet_raw/CaFFe_inference",
    )
    add("--front-width", type=int, default=5, metavar="PIXELS", help="width of dilated fronts and boundaries, odd")
    add("--format", dest="file_format", choices=FORMATS, default="png", help="of the files in the dataset")
    add(
        "--pixel-size-as-spacing",
        action="store_true",
        help="write the metres per pixel of the name as spacing; with --format nii.gz only",
    )
    add("--tolerance", type=int, default=0, metavar="N", help="take grey values up to N away as the nearest level")
    add("--fraction", type=float, default=1.0, help="part of the images of train and of test to take, drawn at random")
    add("--seed", type=int, default=0, help="of the draw for --fraction; every task gets the same images")
    add(
        "--folds-by",
        choices=("glacier",),
        help="write splits_final.json with folds that keep the images of a glacier together; default: nnU-Net's folds",
    )
    add_writing_flags(parser, "a dataset of the same name")


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    from dataset_conversion.caffe_dataset import convert_caffe

    converted = convert_caffe(**vars(args))
    for note in converted.notes:
        print(f"Note: {note}", file=sys.stderr)
    if args.task == "inference":
        print(f"{converted.folder}: {len(converted.test_cases)} images")
    else:
        print(f"{converted.folder}: {len(converted.cases)} training cases, {len(converted.test_cases)} test cases")


def main(argv: Sequence[str] | None = None) -> int:
    """Run this module as a script."""
    return run_command("caffe.py", DESCRIPTION, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
