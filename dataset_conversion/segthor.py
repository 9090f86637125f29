"""SegTHOR, organs at risk in thoracic CT, to an nnU-Net dataset: a preset of ``nifti``.

Layout: ``train/Patient_XX/Patient_XX.nii.gz`` with ``GT.nii.gz`` beside it, and ``test/Patient_XX.nii.gz``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dataset_conversion.nifti import add_folder, add_output, report
from nnunet_ext.command import add_writing_flags, run_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from dataset_conversion.nifti_writer import ConvertedNifti

DESCRIPTION = "SegTHOR (organs at risk in thoracic CT) to an nnU-Net dataset."
CLASSES = ("oesophagus", "heart", "trachea", "aorta")
DATASET_ID, NAME = 55, "SegTHOR"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert segthor``."""
    add_folder(parser, "folder with train and, if there is one, test")
    parser.add_argument("-d", dest="dataset_id", type=int, default=DATASET_ID, help="dataset id")
    parser.add_argument("-n", dest="name", default=NAME, help="dataset name")
    parser.add_argument(
        "--unlabelled-as-test", action="store_true", help="cases without label map are test cases, instead of an error"
    )
    add_output(parser)
    add_writing_flags(parser, "a dataset of the same name")


def convert_segthor(
    folder: Path,
    *,
    dataset_id: int = DATASET_ID,
    name: str = NAME,
    unlabelled_as_test: bool = False,
    output: Path | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> ConvertedNifti:
    """Convert SegTHOR; parameters, result and errors are those of ``nifti_dataset.convert_nifti``."""
    from dataset_conversion.nifti_dataset import convert_nifti

    return convert_nifti(
        folder,
        image=["train/{case}/{case}.nii.gz"],
        label="train/{case}/GT.nii.gz",
        test_image=["test/{case}.nii.gz"] if (folder / "test").is_dir() else [],
        dataset_id=dataset_id,
        name=name,
        channels=["CT"],
        classes=CLASSES,
        unlabelled_as_test=unlabelled_as_test,
        output=output,
        processes=processes,
        overwrite=overwrite,
        source="segthor",
    )


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    report(convert_segthor(**vars(args)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run this module as a script."""
    return run_command("segthor.py", DESCRIPTION, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
