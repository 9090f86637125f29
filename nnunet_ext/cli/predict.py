"""Predict volumes larger than memory, with the labels that nnUNetv2_predict would give."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
        metavar="IN",
        help="folder of images <case>_0000<ending>, as for nnUNetv2_predict; a folder of slices; or one file",
    )
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="folder for the predictions")
    add("-m", dest="model", type=Path, required=True, metavar="MODEL_FOLDER", help="folder of a model, with fold_…")
    add("-f", dest="folds", nargs="+", metavar="FOLD", help="folds whose mean counts; default: all that are there")
    add("-chk", dest="checkpoint", default="checkpoint_final.pth", metavar="NAME", help="name of the checkpoint")
    add("-step_size", type=float, default=0.5, help="step of the window over the image, as part of the patch")
    add("--disable_tta", action="store_true", help="predict without mirrored images; faster, less accurate")
    add("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="where to predict")
    add(
        "--memory",
        metavar="SIZE",
        help="memory to use in all, such as 8G; where sums over windows do not fit, they go to scratch files in OUT; "
        "default: four fifths of what is free and of what a job may have",
    )
    add(
        "--format",
        dest="file_ending",
        metavar="ENDING",
        help="of the label maps: .nii.gz, .nii, .mha, .nrrd, .tif, .tiff or .png; default: that of the dataset",
    )
    add(
        "-prev_stage_predictions",
        type=Path,
        metavar="FOLDER",
        help="for the second stage of a cascade: label maps that the first one predicted",
    )
    add("--resume", action="store_true", help="go on where an unfinished run of the same model and images stopped")
    add("--part", type=int, metavar="I", help="predict part I (from 0) of every image only, for a job array")
    add("--parts", type=int, metavar="N", help="number of parts; 'nnunet_ext merge' puts them together")
    add(
        "--save-probabilities",
        action="store_true",
        help="write <case>.b2nd as well, a blosc2 array (heads, z, y, x) of float16; of parts, 'merge' writes it",
    )
    add("--overwrite", action="store_true", help="replace predictions of the same name, and begin unfinished runs anew")


def run(args: argparse.Namespace) -> int:
    """Predict; return 1 if a case failed."""
    from nnunet_ext.inference.predict import predict

    found = predict(**vars(args), report=lambda line: print(line, flush=True))
    for note in found.notes:
        print(f"Note: {note}", file=sys.stderr)
    for case, reason in found.failed.items():
        print(f"failed: {case}: {reason}", file=sys.stderr)
    skipped = f", {len(found.skipped)} finished before" if found.skipped else ""
    failed = f", {len(found.failed)} failed" if found.failed else ""
    print(f"{args.output}: {len(found.files)} predicted{skipped}{failed}")
    return 1 if found.failed else 0
