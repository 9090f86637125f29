"""The napari window for the annotation of one sample."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nnunet_ext.cli.prelabel import add_sample_flags

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add_sample_flags(parser)
    add("-id", dest="sample", required=True, metavar="SAMPLE", help="name of the sample, as its image")
    add("--autosave", type=float, default=60.0, metavar="SECONDS", help="time between two saves")
    add(
        "--keep",
        type=int,
        default=20,
        metavar="N",
        help="last versions that are kept, beside the first and each day's last",
    )
    add("--empty", action="store_true", help="begin with nothing annotated instead of a threshold on the middle slice")


def run(args: argparse.Namespace) -> None:
    """Show the window until it is closed, and print what is annotated."""
    from nnunet_ext.annotation.coverage import coverage_text
    from nnunet_ext.annotation.window import annotate

    done = annotate(**vars(args))
    for notice in done.notices:
        print(f"Note: {notice}", file=sys.stderr)
    print(f"{done.annotation}: written")
    print(coverage_text(done.coverage))
