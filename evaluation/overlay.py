"""The command ``overlay``: pictures of label and prediction outlines, worst cases first."""

from __future__ import annotations

import csv
import math
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.arguments import add_class_flags, add_folder_flags, add_process_flag, parse_predictions
from evaluation.folders import check_output_folder, raise_problems
from evaluation.labels import choose_labels, find_declaration
from evaluation.pictures.case_picture import CaseSurvey, Overlay, case_overlay, draw_slice, slice_title, survey_case
from nnunet_ext.command import run_command
from nnunet_ext.errors import InputError, NnunetExtError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from evaluation.labels import LabelSet
    from evaluation.pairs import Pair

__all__ = ["Overlay", "case_overlay", "main", "overlay"]

DESCRIPTION = "Draw the outlines of labels and predictions over the image, worst cases first."
AXES = ("z", "y", "x")
TABLE = "overlay.csv"
COLUMNS = ("rank", "model", "case", "axis", "slice", "mean_dice", "differing_voxels", "file")
LONGEST_NAME = 250
"""Bytes that a file system takes in one name, less a few; rank and slice make it longer than the case's own file."""


def overlay(
    predictions: Mapping[str, Path],
    labels: Path,
    output: Path,
    *,
    images: Path | None = None,
    label_values: Sequence[int] | None = None,
    classes: Path | None = None,
    background: bool = False,
    ignore_label: int | None = None,
    axis: str = "z",
    slices: int = 1,
    worst: int | None = None,
    subset: bool = False,
    processes: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Draw pictures of all cases, or of the worst ones, and write overlay.csv.

    Parameters
    ----------
    predictions
        Folder of predictions of each model, by the model's name.
    labels
        Folder of the references; files are paired by case name.
    output
        Folder to write; several models have a sub-folder each.
    images
        Folder of images, named as the case or as its channel 0 (``case_0000``). Default: no image is shown.
    label_values
        Labels to draw; every other value is background. Default: those of ``classes``.
    classes
        JSON file that names labels and regions. Default: the dataset.json of the predictions or labels.
    background
        Whether to draw class 0 as well.
    ignore_label
        Reference value whose voxels are left out. Default: the one declared.
    axis
        Array axis that the slices are perpendicular to: ``z``, ``y`` or ``x``.
    slices
        Slices per case: those with most differing voxels, some distance apart.
    worst
        Number of cases per model. Default: all.
    subset
        Whether references without prediction are left out rather than refused.
    processes
        Number of cases at a time. More than one are processes that import the calling script, which needs
        ``if __name__ == "__main__":``.
    overwrite
        Whether the output of an earlier run may be replaced.

    Returns
    -------
    list of Path
        The pictures, by model and rank.

    Raises
    ------
    BadCasesError
        With every case that cannot be drawn; nothing is written then.
    InputError, MissingInputError
        If folders, labels or numbers cannot be used.
    OutputExistsError
        If the output is there and may not be replaced.
    """
    from nnunet_ext.files import written_when_complete
    from nnunet_ext.jobs import run_jobs

    folders = {model: Path(folder) for model, folder in predictions.items()}
    labels, output = Path(labels), Path(output)
    images = Path(images) if images is not None else None
    _check_request(folders, axis=axis, slices=slices, worst=worst)
    inputs = [*folders.values(), labels, *([images] if images is not None else [])]
    check_output_folder(output, inputs, _is_own, overwrite=overwrite)
    declaration = Path(classes) if classes is not None else find_declaration([*folders.values(), labels])
    label_set = choose_labels(
        declaration=declaration, labels=label_values, background=background, ignore_label=ignore_label
    )
    pairs, image_of = _checked_pairs(folders, labels, images, axis=axis, subset=subset)
    survey = partial(survey_case, label_set=label_set, axis=axis, slices=slices)
    surveys = list(run_jobs({i: (pair,) for i, pair in enumerate(pairs)}, survey, processes, "Comparing").values())
    raise_problems([problem for found in surveys for problem in found.problems])
    pictures = _plan(surveys, image_of, worst=worst, axis=axis)
    with written_when_complete(output, overwrite=overwrite) as folder:
        folder.mkdir()
        for planned in pictures:
            (folder / planned.file).parent.mkdir(exist_ok=True)
        draw = partial(_draw, folder=folder, label_set=label_set, axis=axis)
        problems = run_jobs({planned.file: (planned,) for planned in pictures}, draw, processes, "Drawing")
        raise_problems([problem for problem in problems.values() if problem])
        _write_table(folder / TABLE, pictures, axis)
    return [output / planned.file for planned in pictures]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``overlay``."""
    add_folder_flags(parser)
    parser.add_argument(
        "-i", type=Path, metavar="IMAGES", help="folder of images to draw on (channel 0); without it, plain grey"
    )
    add_class_flags(parser)
    parser.add_argument("--axis", choices=AXES, default="z", help="array axis that the slices are perpendicular to")
    parser.add_argument("--slices", type=int, default=1, metavar="N", help="slices per case, most errors first")
    parser.add_argument("--worst", type=int, metavar="N", help="draw only so many cases per model, lowest Dice first")
    add_process_flag(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the pictures of an earlier run")


def run(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    written = overlay(
        parse_predictions(args.p),
        args.g,
        args.o,
        images=args.i,
        label_values=args.labels,
        classes=args.classes,
        background=args.background,
        ignore_label=args.ignore_label,
        axis=args.axis,
        slices=args.slices,
        worst=args.worst,
        subset=args.subset,
        processes=args.np,
        overwrite=args.overwrite,
    )
    print(f"written: {len(written)} pictures and {TABLE} in {args.o}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("overlay", DESCRIPTION, add_arguments, run, argv)


@dataclass(frozen=True)
class _Picture:
    """A picture to draw: its place in the ranking, what it shows, and its file relative to the output."""

    rank: int
    survey: CaseSurvey
    index: int
    differing: int
    image: Path | None
    file: str


def _check_request(predictions: Mapping[str, Path], *, axis: str, slices: int, worst: int | None) -> None:
    if not predictions:
        message = "no predictions given"
        raise InputError(message)
    if axis not in AXES:
        message = f"axis {axis!r} given, expected one of {', '.join(AXES)}"
        raise InputError(message)
    for flag, number in (("--slices", slices), ("--worst", worst)):
        if number is not None and number < 1:
            message = f"{flag} {number} given, expected 1 or more"
            raise InputError(message)
    for model in predictions if len(predictions) > 1 else ():
        if model in ("", ".", "..", TABLE) or "/" in model or os.sep in model:
            message = f"model {model!r}: no name for a folder, where its pictures go; rename it, as in -p NAME=FOLDER"
            raise InputError(message)


def _is_own(path: Path) -> bool:
    if len(path.parts) == 1 and path.name == TABLE:
        return True
    return len(path.parts) <= 2 and path.suffix == ".png" and path.name.partition("_")[0].isdecimal()


def _checked_pairs(
    predictions: Mapping[str, Path], labels: Path, images: Path | None, *, axis: str, subset: bool
) -> tuple[list[Pair], dict[str, Path]]:
    """Pair predictions, labels and images, and compare their voxel grids.

    Raises
    ------
    BadCasesError
        With all that does not fit.
    """
    from evaluation.grids import grid_problems
    from evaluation.pairs import find_pairs
    from evaluation.pictures.images import find_images

    pairs, problems = find_pairs(predictions, labels, subset=subset)
    unfit = {pair.reference: grid_problems(pair) or _axis_problems(pair, axis) for pair in pairs}
    problems += [problem for of_pair in unfit.values() for problem in of_pair]
    image_of: dict[str, Path] = {}
    if images is not None:
        image_of, of_images = find_images(images, [pair for pair in pairs if not unfit[pair.reference]])
        problems += of_images
    raise_problems(problems)
    return pairs, image_of


def _axis_problems(pair: Pair, axis: str) -> list[str]:
    """Return why a 2D case has no slices along an axis."""
    from nnunet_ext.imageio.sidecar import open_with_sidecar

    with open_with_sidecar(pair.reference) as volume:
        shape = volume.shape
    if shape[0] == 1 and axis != "z":
        return [f"{pair.reference}: a single slice of {shape[1:]} pixels, expected --axis z"]
    return []


def _plan(
    surveys: Sequence[CaseSurvey], image_of: Mapping[str, Path], *, worst: int | None, axis: str
) -> list[_Picture]:
    """Rank the cases of each model, and name the pictures."""
    models = list(dict.fromkeys(found.pair.model for found in surveys))
    pictures = []
    for model in models:
        ranked = sorted((found for found in surveys if found.pair.model == model), key=_badness)[:worst]
        digits = max(3, len(str(len(ranked))))
        for rank, found in enumerate(ranked, start=1):
            for index, differing in found.slices:
                name = _file_name(f"{rank:0{digits}d}_", found.pair.case, f"_{axis}{index:03d}.png")
                file = f"{model}/{name}" if len(models) > 1 else name
                pictures.append(_Picture(rank, found, index, differing, image_of.get(found.pair.case), file))
    return pictures


def _badness(found: CaseSurvey) -> tuple[bool, float, object]:
    """Sort by Dice, lowest first; last come the cases that have no class at all."""
    from nnunet_ext.imageio import natural_key

    nothing = math.isnan(found.mean_dice)
    return nothing, 0.0 if nothing else found.mean_dice, natural_key(found.pair.case)


def _file_name(prefix: str, case: str, suffix: str) -> str:
    """Return the name of a picture; what is too long for a file name is cut out of the case."""
    room = LONGEST_NAME - len(prefix) - len(suffix)
    while len(os.fsencode(case)) > room:
        case = case[:-1]
    return f"{prefix}{case}{suffix}"


def _draw(planned: _Picture, *, folder: Path, label_set: LabelSet, axis: str) -> str:
    """Draw and write one picture; return what went wrong, if anything."""
    from PIL import Image

    try:
        title = slice_title(planned.survey, planned.index, axis)
        picture = draw_slice(planned.survey, planned.index, title, label_set=label_set, image=planned.image, axis=axis)
    except NnunetExtError as error:
        return f"case {planned.survey.pair.case!r}: {error}"
    Image.fromarray(picture).save(folder / planned.file)
    return ""


def _write_table(path: Path, pictures: Sequence[_Picture], axis: str) -> None:
    # Names of files may hold bytes that are no text; they stay what they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in pictures:
            pair = row.survey.pair
            where = (axis, row.index, row.survey.mean_dice, row.differing)
            writer.writerow((row.rank, pair.model, pair.case, *where, row.file))


if __name__ == "__main__":
    sys.exit(main())
