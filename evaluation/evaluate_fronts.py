"""The command ``evaluate_fronts``: distances between predicted and labelled calving fronts, per image and group."""

from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from evaluation.arguments import add_process_flag, parse_predictions
from evaluation.folders import check_output_folder, raise_problems
from nnunet_ext.command import run_command
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from evaluation.front_scores.inputs import FrontCase
    from evaluation.front_scores.measure import Extraction
    from evaluation.front_scores.results import FrontEvaluation, ImageResult

DESCRIPTION = "Distances between predicted and labelled calving fronts, per image and group of images."
MIN_LENGTH = 750.0
"""That of ``evaluation.front_extraction``, which would have to import numpy for ``--help``."""

Source = Literal["front", "zone"]
Compat = Literal["caffe"]


def evaluate_fronts(
    predictions: Mapping[str, Path],
    fronts: Path,
    output: Path,
    *,
    zones: Path | None = None,
    boxes: Path | None = None,
    images: Path | None = None,
    source: Source | None = None,
    compat: Compat | None = None,
    min_length: float = MIN_LENGTH,
    strait_width: int = 0,
    bridged_gap: int = 0,
    resolution: float | None = None,
    worst: int = 6,
    subset: bool = False,
    processes: int = 1,
    overwrite: bool = False,
) -> FrontEvaluation:
    """Measure the errors of fronts; write images.csv, summary.csv and .json, table.tex, report.html, manifest.json.

    With ``zones``, zones.csv and zones_summary.csv are written as well.

    Parameters
    ----------
    predictions
        Folder of predictions of each model, by the model's name: ``<stem>_front.png`` and ``<stem>_zone.png``, or
        label maps with class indices.
    fronts
        Folder of the labels ``<stem>_front.png``.
    zones
        Folder of the labels ``<stem>_zones.png``, with which predicted zones are compared.
    boxes
        Folder of the bounding boxes ``<stem>*.txt``; a predicted front outside does not count.
    images
        Folder of the images, to lie behind the fronts of the worst images in the report.
    source
        What the front is extracted from. Default: from the masks of fronts where a folder has any, else from zones.
    compat
        ``caffe`` for islands, lakes and overflowing boxes as in the code of the benchmark.
    min_length
        Fronts that are not longer are dropped, in metres.
    strait_width
        Straits of up to this number of pixels have no front.
    bridged_gap
        Gaps of up to this number of pixels do not divide a front.
    resolution
        Metres per pixel of images whose names do not follow the benchmark; without it these are an error.
    worst
        Number of images per model that the report shows.
    subset
        Whether labels without prediction are left out rather than refused.
    processes
        Number of images at a time. More than one are processes that import the calling script, which needs
        ``if __name__ == "__main__":``.
    overwrite
        Whether the output of an earlier evaluation may be replaced.

    Returns
    -------
    FrontEvaluation
        Errors of every image and group.

    Raises
    ------
    BadCasesError
        With every image that cannot be measured; nothing is written then.
    InputError, MissingInputError
        If folders or numbers cannot be used.
    OutputExistsError
        If the output is there and may not be replaced.
    """
    from evaluation.front_scores.groups import group_rows
    from evaluation.front_scores.measure import Extraction, image_row
    from evaluation.front_scores.output import is_output, write_fronts
    from evaluation.front_scores.results import FrontEvaluation
    from evaluation.front_scores.zones import image_zone_rows, zone_summary_rows
    from evaluation.manifest import file_records, manifest

    folders = {model: Path(folder) for model, folder in predictions.items()}
    fronts, output = Path(fronts), Path(output)
    zones, boxes, images = (None if folder is None else Path(folder) for folder in (zones, boxes, images))
    _check_options(folders, source=source, compat=compat, resolution=resolution, worst=worst)
    _check_numbers(min_length=min_length, strait_width=strait_width, bridged_gap=bridged_gap)
    inputs = [folder for folder in (*folders.values(), fronts, zones, boxes, images) if folder is not None]
    check_output_folder(output, inputs, is_output, overwrite=overwrite)
    extraction = Extraction(compat == "caffe", min_length, strait_width, bridged_gap)
    cases = _cases(
        folders,
        fronts,
        zones=zones,
        boxes=boxes,
        images=images,
        source=source,
        resolution=resolution,
        subset=subset,
    )
    results = _measure(cases, extraction, processes=processes)
    found = FrontEvaluation(
        tuple(image_row(result) for result in results),
        tuple(group_rows(results)),
        tuple(image_zone_rows(results)),
        tuple(zone_summary_rows(results)),
    )
    arguments = {
        "predictions": {model: str(folder) for model, folder in folders.items()},
        "fronts": str(fronts),
        "output": str(output),
        "zones": None if zones is None else str(zones),
        "boxes": None if boxes is None else str(boxes),
        "images": None if images is None else str(images),
        "source": source,
        "compat": compat,
        "min_length": min_length,
        "strait_width": strait_width,
        "bridged_gap": bridged_gap,
        "resolution": resolution,
        "worst": worst,
        "subset": subset,
        "processes": processes,
        "overwrite": overwrite,
    }
    files = dict.fromkeys(path for case in cases for path in case.files)
    made_of = manifest("evaluate_fronts", arguments, [record for path in files for record in file_records(path)])
    report = _report(found, cases, extraction, made_of, worst=worst, processes=processes)
    write_fronts(output, found, report, made_of, overwrite=overwrite)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``evaluate_fronts``."""
    parser.add_argument(
        "-p",
        nargs="+",
        action="extend",
        required=True,
        metavar="[NAME=]PREDICTIONS",
        help="folder of predictions, <stem>_front.png and <stem>_zone.png or label maps; several compare models",
    )
    parser.add_argument(
        "-g", type=Path, required=True, metavar="FRONTS", help="folder of the labelled fronts, <stem>_front.png"
    )
    parser.add_argument("-o", type=Path, required=True, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--zones", type=Path, help="folder of the labelled zones, <stem>_zones.png, to score predicted zones as well"
    )
    parser.add_argument(
        "--boxes", type=Path, help="folder of bounding boxes, <stem>*.txt; a predicted front outside does not count"
    )
    parser.add_argument(
        "--images", type=Path, metavar="SAR", help="folder of the images, shown with the worst fronts in the report"
    )
    parser.add_argument(
        "--from",
        dest="source",
        choices=get_args(Source),
        help="what the front is extracted from; default: from masks of fronts where a folder has any, else from zones",
    )
    parser.add_argument(
        "--compat", choices=get_args(Compat), help="clean up zones and clip boxes exactly as the benchmark's own code"
    )
    parser.add_argument(
        "--min-length", type=float, default=MIN_LENGTH, metavar="METRES", help="drop fronts that are not longer"
    )
    parser.add_argument(
        "--strait-width",
        type=int,
        default=0,
        metavar="PIXELS",
        help="no front along straits of up to this width; zones only",
    )
    parser.add_argument(
        "--bridged-gap", type=int, default=0, metavar="PIXELS", help="gaps up to this do not divide a front"
    )
    parser.add_argument(
        "--resolution",
        type=float,
        metavar="METRES",
        help="pixel size of images whose names do not follow the benchmark",
    )
    parser.add_argument("--worst", type=int, default=6, metavar="N", help="images per model shown in the report")
    parser.add_argument("--subset", action="store_true", help="leave out labels without prediction")
    add_process_flag(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier evaluation")


def run(args: argparse.Namespace) -> None:
    """Evaluate as the arguments say, and print the summary."""
    found = evaluate_fronts(
        parse_predictions(args.p),
        args.g,
        args.o,
        zones=args.zones,
        boxes=args.boxes,
        images=args.images,
        source=args.source,
        compat=args.compat,
        min_length=args.min_length,
        strait_width=args.strait_width,
        bridged_gap=args.bridged_gap,
        resolution=args.resolution,
        worst=args.worst,
        subset=args.subset,
        processes=args.np,
        overwrite=args.overwrite,
    )
    _print_summary(found, args.o)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("evaluate_fronts", DESCRIPTION, add_arguments, run, argv)


def _check_options(
    predictions: Mapping[str, Path], *, source: str | None, compat: str | None, resolution: float | None, worst: int
) -> None:
    if not predictions:
        message = "no predictions given"
        raise InputError(message)
    for flag, value, known in (("--from", source, get_args(Source)), ("--compat", compat, get_args(Compat))):
        if value is not None and value not in known:
            message = f"{flag} {value}: expected {' or '.join(known)}"
            raise InputError(message)
    if resolution is not None and not (math.isfinite(resolution) and resolution > 0):
        message = f"--resolution {resolution}: expected metres per pixel above 0"
        raise InputError(message)
    if worst < 0:
        message = f"--worst {worst}: expected 0 or more"
        raise InputError(message)


def _check_numbers(*, min_length: float, strait_width: int, bridged_gap: int) -> None:
    for flag, value in (
        ("--min-length", min_length),
        ("--strait-width", strait_width),
        ("--bridged-gap", bridged_gap),
    ):
        if not 0 <= value < math.inf:
            message = f"{flag} {value}: expected a number from 0"
            raise InputError(message)


def _cases(
    predictions: Mapping[str, Path],
    fronts: Path,
    *,
    zones: Path | None,
    boxes: Path | None,
    images: Path | None,
    source: Source | None,
    resolution: float | None,
    subset: bool,
) -> list[FrontCase]:
    """Find all files; raise ``BadCasesError`` with all that is wrong with them."""
    from evaluation.front_scores.inputs import find_cases

    cases, problems = find_cases(
        predictions,
        fronts,
        zones=zones,
        boxes=boxes,
        images=images,
        source=source,
        resolution=resolution,
        subset=subset,
    )
    raise_problems(problems)
    return cases


def _measure(cases: Sequence[FrontCase], extraction: Extraction, *, processes: int) -> list[ImageResult]:
    """Measure all images; raise ``BadCasesError`` with all that cannot be read."""
    from evaluation.front_scores.measure import measure_image
    from nnunet_ext.jobs import run_jobs

    jobs = {index: (case,) for index, case in enumerate(cases)}
    results = run_jobs(jobs, partial(measure_image, extraction=extraction), processes, "Evaluating").values()
    raise_problems([problem for result in results if isinstance(result, tuple) for problem in result])
    return [result for result in results if not isinstance(result, tuple)]


def _report(
    found: FrontEvaluation,
    cases: Sequence[FrontCase],
    extraction: Extraction,
    made_of: Mapping[str, Any],
    *,
    worst: int,
    processes: int,
) -> str:
    from evaluation.front_scores.page import fronts_html
    from evaluation.front_scores.pictures import draw_worst_images

    pictures = draw_worst_images(found.images, cases, extraction, worst, processes=processes)
    return fronts_html(found, pictures, created=made_of["created"], arguments=made_of["arguments"])


def _print_summary(found: FrontEvaluation, output: Path) -> None:
    """Print the errors over all images; the files hold all."""
    from evaluation.front_scores.results import ALL

    table = [("model", "images", "no front", "MDE", "95 % interval", "penalised MDE", "mean of images", "median")]
    for row in found.groups:
        if row.grouping == ALL:
            interval = "" if math.isnan(row.mde_low) else f"{row.mde_low:.1f} to {row.mde_high:.1f}"
            counts = (str(row.images), str(row.no_front))
            means = (_metres(row.penalised_mde), _metres(row.mean_of_image_means), _metres(row.median_of_image_means))
            table.append((row.model, *counts, _metres(row.mde), interval, *means))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for entries in table:
        print("  ".join(text.ljust(width) for text, width in zip(entries, widths, strict=True)).rstrip())
    print(f"metres; everything else: {output / 'report.html'}")


def _metres(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
