"""Plain NIfTI files of a folder to ``.nii.gz``: the flags. The work is in ``nifti_folder``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_conversion.nifti import add_folder
from nnunet_ext.command import add_writing_flags, run_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DESCRIPTION = "All .nii files and .hdr/.img pairs of a folder to .nii.gz, headers and voxels unchanged."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert nii_to_niigz``."""
    add_folder(parser, "folder, searched with all folders within; nothing in it is changed")
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        metavar="OUT",
        help="new folder with the same folders within; default: FOLDER_niigz beside FOLDER",
    )
    add_writing_flags(parser, "the folder OUT")


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    from dataset_conversion.nifti_folder import nii_to_niigz

    done = nii_to_niigz(**vars(args))
    for note in done.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(f"{done.folder}: {len(done.compressed)} files compressed, {len(done.copied)} copied")


def main(argv: Sequence[str] | None = None) -> int:
    """Run this module as a script."""
    return run_command("nii_to_niigz.py", DESCRIPTION, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
