"""Predictions after rules, such as: fewer than 45 voxels of enhancing tumour are necrosis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.command import add_prediction_flags, add_writing_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_prediction_flags(parser, "folder of predictions", "folder for the predictions after the rules")
    parser.add_argument(
        "--rules",
        type=Path,
        required=True,
        metavar="FILE",
        help='JSON file: {"rules": [{"from": CLASS, "to": CLASS, "below_voxels": N}]}; CLASS is a name or value of '
        "dataset.json; below_mm3 instead of below_voxels; per_component true for each connected component by itself",
    )
    add_writing_flags(parser, "files of the same name")


def run(args: argparse.Namespace) -> None:
    """Postprocess, and print what each rule changed."""
    from dataset_conversion.postprocess import postprocess
    from nnunet_ext.errors import listed

    done = postprocess(**vars(args))
    print(f"{done.folder}: {len(done.changed)} predictions")
    for number, rule in enumerate(done.rules):
        cases = done.cases_of(number)
        voxels = sum(done.changed[case][number] for case in cases)
        print(f"{rule}: {voxels} voxels in {len(cases)} cases{': ' if cases else ''}{listed(cases) if cases else ''}")
