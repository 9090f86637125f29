"""The converter for raw datasets of nnU-Net v1: its flags. The work is done in ``v1_dataset``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_conversion.nifti import add_folder, add_output, report
from nnunet_ext.command import add_writing_flags, run_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DESCRIPTION = "A raw dataset of nnU-Net v1 (TaskXXX_Name) to one of nnU-Net v2, with its folds."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert v1``."""
    add_folder(parser, "TaskXXX_Name with dataset.json, imagesTr, labelsTr and, if there is one, imagesTs")
    parser.add_argument("-d", dest="dataset_id", type=int, help="dataset id; default: that of the task")
    parser.add_argument("-n", dest="name", help="dataset name; default: that of the task")
    parser.add_argument(
        "--splits", type=Path, metavar="FILE", help="splits_final.pkl of the preprocessed task, to keep its folds"
    )
    add_output(parser)
    add_writing_flags(parser, "a dataset of the same name, and folds in $nnUNet_preprocessed")


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    from dataset_conversion.v1_dataset import convert_v1

    report(convert_v1(**vars(args)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run this module as a script."""
    return run_command("v1.py", DESCRIPTION, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
