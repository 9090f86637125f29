"""Calving fronts of SAR images by a trained model: zones, fronts, overlays and lines (GeoJSON)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from evaluation.arguments import add_process_flag
from evaluation.evaluate_fronts import MIN_LENGTH, Compat, Source

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``calving_front``."""
    add = parser.add_argument
    add("-i", dest="images", type=Path, required=True, metavar="IMAGES", help="folder of 8-bit grey PNG or TIFF images")
    add("-m", dest="model", type=Path, required=True, metavar="MODEL_FOLDER", help="folder of a model, with fold_…")
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="folder to write")
    add("-f", dest="folds", nargs="+", metavar="FOLD", help="folds to predict with; default: all that are there")
    add("-chk", dest="checkpoint", default="checkpoint_final.pth", metavar="NAME", help="name of the checkpoint")
    add("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="where to predict")
    add("-step_size", type=float, default=0.5, help="step of the window over the image, as part of the patch")
    add("--disable_tta", action="store_true", help="predict without mirrored images; faster, less accurate")
    add("--boxes", type=Path, help="folder of bounding boxes, <stem>*.txt; a front outside does not count")
    add(
        "--resolution",
        type=float,
        metavar="METRES",
        help="pixel size of images whose names (CaFFe) and georeferencing do not say it",
    )
    add(
        "--from",
        dest="source",
        choices=get_args(Source),
        help="what the front is extracted from; default: the zones, if the model predicts them",
    )
    add("--compat", choices=get_args(Compat), help="clean up zones and clip boxes exactly as the benchmark's own code")
    add("--min-length", type=float, default=MIN_LENGTH, metavar="METRES", help="drop fronts that are not longer")
    add(
        "--strait-width",
        type=int,
        default=0,
        metavar="PIXELS",
        help="no front along straits of up to this width; zones only",
    )
    add("--bridged-gap", type=int, default=0, metavar="PIXELS", help="gaps up to this do not divide a front")
    add("--crs", metavar="EPSG:CODE", help="coordinate system of world files, which do not name it")
    add("--pixel-coordinates", action="store_true", help="leave georeferencing alone and write lines in pixels")
    add_process_flag(parser)
    add("--overwrite", action="store_true", help="predict images again whose files are there")


def run(args: argparse.Namespace) -> int:
    """Do what the arguments say; return 1 if an image failed."""
    from nnunet_ext.front_lines.calving_front import calving_front
    from nnunet_ext.front_lines.table import TABLE

    words = vars(args)
    found = calving_front(processes=words.pop("np"), **words)
    for image in found.failed:
        print(f"failed: {image.message}", file=sys.stderr)
    states = [image.state for image in found.images]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    skipped = f" ({found.skipped} finished before)" if found.skipped else ""
    print(f"{args.output / TABLE}: {counts}{skipped}")
    return 1 if found.failed else 0
