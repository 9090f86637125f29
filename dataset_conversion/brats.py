"""BraTS, gliomas in brain MR, to an nnU-Net dataset with the regions that the challenge scores: a preset of ``nifti``.

nnU-Net wants labels without a gap. The classes get the labels 1 (necrosis and core without enhancement), 2 (oedema), 3
(enhancing tumour), whatever their values in the files: 1, 2, 4 until 2021; 1, 2, 3 from 2023 on; 2, 1, 3 in the Medical
Segmentation Decathlon.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_conversion.nifti import add_folder, add_output, report
from nnunet_ext.command import add_writing_flags, run_command
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from dataset_conversion.nifti_writer import ConvertedNifti

DESCRIPTION = "BraTS (gliomas in brain MR) to an nnU-Net dataset with regions."
CHANNELS = ("T1", "T1ce", "T2", "FLAIR")
REGIONS = (
    "whole_tumor=necrosis,edema,enhancing",
    "tumor_core=necrosis,enhancing",
    "enhancing_tumor=enhancing",
)
DATASET_ID, NAME = 137, "BraTS"


@dataclass(frozen=True)
class Layout:
    """Where the files of a release are.

    Parameters
    ----------
    images
        Patterns of T1, T1 with contrast agent, T2 and FLAIR.
    label
        Pattern of the label map.
    values
        Values of necrosis, oedema and enhancing tumour.
    """

    images: tuple[str, ...]
    label: str
    values: tuple[int, int, int]


LAYOUTS = {
    "2021": Layout(
        tuple(f"{{case}}/{{case}}_{name}.nii*" for name in ("t1", "t1ce", "t2", "flair")),
        "{case}/{case}_seg.nii*",
        (1, 2, 4),
    ),
    "2023": Layout(
        tuple(f"{{case}}/{{case}}-{name}.nii*" for name in ("t1n", "t1c", "t2w", "t2f")),
        "{case}/{case}-seg.nii*",
        (1, 2, 3),
    ),
    # What nnUNetv2_convert_MSD_dataset makes of Task01: one file per channel, FLAIR first.
    "msd": Layout(
        tuple(f"imagesTr/{{case}}_{number:04d}.nii.gz" for number in (1, 2, 3, 0)),
        "labelsTr/{case}.nii.gz",
        (2, 1, 3),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``nnunet_ext convert brats``."""
    add_folder(parser, "folder with one folder per case")
    parser.add_argument(
        "--layout",
        choices=tuple(LAYOUTS),
        default="2021",
        help="2021: <case>_{t1,t1ce,t2,flair,seg}, until 2021; 2023: <case>-{t1n,t1c,t2w,t2f,seg}; msd: Task01 of the "
        "Medical Segmentation Decathlon after nnUNetv2_convert_MSD_dataset",
    )
    parser.add_argument("-d", dest="dataset_id", type=int, default=DATASET_ID, help="dataset id")
    parser.add_argument("-n", dest="name", default=NAME, help="dataset name")
    parser.add_argument(
        "--unlabelled-as-test", action="store_true", help="cases without label map are test cases, instead of an error"
    )
    add_output(parser)
    add_writing_flags(parser, "a dataset of the same name")


def convert_brats(
    folder: Path,
    *,
    layout: str = "2021",
    dataset_id: int = DATASET_ID,
    name: str = NAME,
    unlabelled_as_test: bool = False,
    output: Path | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> ConvertedNifti:
    """Convert BraTS, with the regions whole tumour, tumour core and enhancing tumour.

    Parameters
    ----------
    folder
        Folder with one folder per case (``msd``: with ``imagesTr`` and ``labelsTr``).
    layout
        ``2021``, ``2023`` or ``msd``, see ``LAYOUTS``.
    dataset_id, name, unlabelled_as_test, output, processes, overwrite
        As for ``nifti_dataset.convert_nifti``, whose result and errors these are.
    """
    from dataset_conversion.nifti_dataset import convert_nifti

    if layout not in LAYOUTS:
        message = f"--layout {layout}: expected one of {', '.join(LAYOUTS)}"
        raise InputError(message)
    files = LAYOUTS[layout]
    names = ("necrosis", "edema", "enhancing")
    return convert_nifti(
        folder,
        image=files.images,
        label=files.label,
        dataset_id=dataset_id,
        name=name,
        channels=CHANNELS,
        classes=[f"{name}={value}" for name, value in zip(names, files.values, strict=True)],
        regions=REGIONS,
        unlabelled_as_test=unlabelled_as_test,
        file_format="nii.gz",
        output=output,
        processes=processes,
        overwrite=overwrite,
        source="brats",
    )


def run(args: argparse.Namespace) -> None:
    """Convert, and print what was made."""
    report(convert_brats(**vars(args)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run this module as a script."""
    return run_command("brats.py", DESCRIPTION, add_arguments, run, argv)


if __name__ == "__main__":
    sys.exit(main())
