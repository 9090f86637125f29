"""Two annotators' work to one annotation, with a table of their agreement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add(
        "-i",
        dest="annotations",
        type=Path,
        nargs=2,
        required=True,
        metavar=("FIRST", "SECOND"),
        help="two annotations, or two folders of them that are paired by name",
    )
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="folder for annotations and tables")
    add(
        "--on-conflict",
        choices=("error", "first", "second", "max"),
        default="error",
        help="what is taken where both annotated a voxel differently; max: the larger id",
    )
    add("-c", dest="classes", type=Path, metavar="CLASSES.json", help="class file, for names and colours")
    add("--missing-ok", action="store_true", help="take annotations that only one of the two has as they are")
    add("--overwrite", action="store_true", help="replace files that are there")


def run(args: argparse.Namespace) -> None:
    """Merge, and print what was made."""
    from nnunet_ext.annotation.merge import merge_annotations

    first, second = args.annotations
    merged = merge_annotations(
        first,
        second,
        args.output,
        on_conflict=args.on_conflict,
        classes=args.classes,
        missing_ok=args.missing_ok,
        overwrite=args.overwrite,
    )
    if merged.alone:
        print(f"Taken as they are, since only one annotator has them: {', '.join(merged.alone)}")
    overall = merged.agreement[0]
    kappa = "" if overall.kappa is None else f", Cohen's kappa {overall.kappa:.3f}"
    print(f"{merged.folder}: {len(merged.cases)} annotations, agreement.csv, confusion.csv")
    print(f"{overall.both_first:,} voxels annotated by both, {overall.agreed:,} with the same class{kappa}")
