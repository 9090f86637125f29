"""The command ``front_plots``: pictures of calving fronts from the table of ``evaluate_fronts`` and folders of PNGs."""

from __future__ import annotations

import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.arguments import add_process_flag, parse_predictions
from nnunet_ext.command import run_command
from nnunet_ext.errors import InputError, NnunetExtError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from evaluation.front_pictures.inputs import Sources
    from evaluation.front_pictures.rows import ImageRow
    from evaluation.front_pictures.zone_areas import ZoneAreas

DESCRIPTION = "Draw calving fronts: overlays, box plots, fronts and zone areas over time, timeline, GIFs."
PLOTS = ("overlay", "boxes", "fronts", "areas", "timeline", "retreat", "progress")
FORMATS = ("png", "pdf", "svg")
AREAS_TABLE, CAPTIONS = "areas.csv", "captions.md"


@dataclass(frozen=True)
class FrontPlots:
    """What was drawn.

    Parameters
    ----------
    written
        The files, by plot and name.
    left_out
        By plot that was not drawn, or kind of file that a model does not have: why.
    """

    written: tuple[Path, ...]
    left_out: Mapping[str, str]


def front_plots(
    table: Path,
    output: Path,
    *,
    predictions: Mapping[str, Path] | None = None,
    labels: Path | None = None,
    zones: Path | None = None,
    boxes: Path | None = None,
    images: Path | None = None,
    checkpoints: Mapping[str, Path] | None = None,
    glaciers: Sequence[str] | None = None,
    plots: Sequence[str] | None = None,
    formats: Sequence[str] = ("png",),
    width: int | None = None,
    seconds: float = 0.5,
    notes: bool = True,
    processes: int = 1,
    overwrite: bool = False,
) -> FrontPlots:
    """Draw pictures of calving fronts.

    Where the manifest.json of ``evaluate_fronts`` lies beside the table, predicted fronts are extracted as they were
    scored: from masks or zones, one pixel wide, without short parts, inside of the box. Otherwise masks are drawn as
    they are.

    Parameters
    ----------
    table
        ``images.csv`` of ``evaluate_fronts``.
    output
        Folder to write.
    predictions
        By model, as it is called in the table, its folder of ``<case>_front.png`` and ``<case>_zone.png``.
    labels
        Folder of ``<case>_front.png``.
    zones
        Folder of ``<case>_zones.png`` of the labels.
    boxes
        Folder of ``<case>*.txt``.
    images
        Folder of ``<case>.png`` or ``<case>_0000.png``.
    checkpoints
        By name, in the order of the frames, folders predicted by stages of one training, with files as `predictions`.
    glaciers
        Which to draw. Default: all in the table.
    plots
        Names out of `PLOTS`. Default: all that the inputs allow.
    formats
        Of figures: ``png``, ``pdf``, ``svg``. Overlays are PNG, animations GIF.
    width
        Of the lines of overlays in pixels. Default: by the size of the image, 3 or more.
    seconds
        How long a frame of an animation is shown.
    notes
        Whether captions stand in the figures; they are written to captions.md in any case.
    processes
        Number of pictures drawn at a time. More than one are processes that import the calling script, which needs
        ``if __name__ == "__main__":``.
    overwrite
        Whether the output of an earlier run may be replaced.

    Returns
    -------
    FrontPlots
        The files, and what was left out.

    Raises
    ------
    BadCasesError
        With everything that is missing or does not fit; nothing is written then.
    InputError, MissingInputError
        If the table, folders or numbers cannot be used.
    OutputExistsError
        If the output is there and may not be replaced.
    """
    from evaluation.folders import check_output_folder, raise_problems
    from evaluation.front_pictures.front_files import extraction_beside, how_drawn
    from evaluation.front_pictures.inputs import Folders, find_sources, missing_files, missing_inputs
    from evaluation.front_pictures.plan import plan
    from evaluation.front_pictures.rows import read_rows
    from evaluation.front_pictures.zone_areas import LABEL
    from nnunet_ext.files import written_when_complete
    from nnunet_ext.jobs import run_jobs

    table, output = Path(table), Path(output)
    folders = Folders(
        predictions={model: Path(folder) for model, folder in (predictions or {}).items()},
        labels=_path(labels),
        zones=_path(zones),
        boxes=_path(boxes),
        images=_path(images),
        checkpoints={name: Path(folder) for name, folder in (checkpoints or {}).items()},
    )
    _check_request(plots, formats, width, seconds)
    check_output_folder(output, [table, *folders.all], _is_own, overwrite=overwrite)
    rows = read_rows(table, glaciers)
    _check_models(table, rows, folders.predictions)
    extraction = extraction_beside(table)
    left_out = missing_inputs(folders, rows, extraction)
    if plots is not None:
        raise_problems([f"--plots {plot}: {left_out[plot]}" for plot in plots if plot in left_out])
        left_out = {}
    left_out |= missing_files(folders, rows, extraction)
    chosen = [plot for plot in PLOTS if plot not in left_out and (plots is None or plot in plots)]
    sources, problems = find_sources(folders, rows, chosen, extraction)
    raise_problems(problems)
    areas = _measure(rows, sources, processes)
    pictures = plan(chosen, rows, sources, areas, formats=formats, width=width, seconds=seconds, notes=notes)
    with written_when_complete(output, overwrite=overwrite) as folder:
        for name in pictures:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        jobs = {name: (picture, folder / name) for name, picture in pictures.items()}
        done = run_jobs(jobs, _draw, processes, "Drawing")
        raise_problems([problem for problem, _ in done.values() if problem])
        if areas:
            _write_areas(folder / AREAS_TABLE, rows, areas)
        note = how_drawn(extraction) if set(sources.fronts) - {LABEL} or sources.checkpoints else ""
        _write_captions(folder / CAPTIONS, {name: caption for name, (_, caption) in done.items()}, note)
        written = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return FrontPlots(tuple(output / path for path in written), left_out)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``front_plots``."""
    parser.add_argument("-t", type=Path, required=True, metavar="TABLE", help="images.csv of evaluate_fronts")
    parser.add_argument("-o", type=Path, required=True, metavar="OUT", help="folder to write")
    parser.add_argument(
        "-p",
        nargs="+",
        action="extend",
        metavar="[NAME=]PREDICTIONS",
        help="folder of <case>_front.png and <case>_zone.png, by the name of its model in the table",
    )
    parser.add_argument("-g", type=Path, metavar="FRONTS", help="folder of labels <case>_front.png")
    parser.add_argument("--zones", type=Path, metavar="ZONES", help="folder of labels <case>_zones.png")
    parser.add_argument("--boxes", type=Path, metavar="BOXES", help="folder of bounding boxes <case>*.txt")
    parser.add_argument("--images", type=Path, metavar="SAR", help="folder of images <case>.png or <case>_0000.png")
    parser.add_argument(
        "--checkpoints",
        nargs="+",
        action="extend",
        metavar="NAME=FOLDER",
        help="folders of predictions, as -p, of several stages of a training, in the order of the frames",
    )
    parser.add_argument("--glaciers", nargs="+", metavar="NAME", help="draw only these (default: all)")
    parser.add_argument(
        "--plots",
        nargs="+",
        choices=PLOTS,
        metavar="PLOT",
        help=f"what to draw, of {', '.join(PLOTS)} (default: all that the inputs allow)",
    )
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["png"], help="of figures (default: png)")
    parser.add_argument("--width", type=int, metavar="N", help="line width of overlays in pixels (default: by size)")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="time per frame of a GIF")
    parser.add_argument("--no-notes", action="store_true", help="no captions in the figures, only in captions.md")
    add_process_flag(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the pictures of an earlier run")


def run(args: argparse.Namespace) -> None:
    """Draw as the arguments say, and print what was left out."""
    drawn = front_plots(
        args.t,
        args.o,
        predictions=parse_predictions(args.p or ()),
        labels=args.g,
        zones=args.zones,
        boxes=args.boxes,
        images=args.images,
        checkpoints=parse_checkpoints(args.checkpoints or ()),
        glaciers=args.glaciers,
        plots=args.plots,
        formats=args.format,
        width=args.width,
        seconds=args.seconds,
        notes=not args.no_notes,
        processes=args.np,
        overwrite=args.overwrite,
    )
    for what, reason in drawn.left_out.items():
        print(f"left out: {what}: {reason}")
    print(f"written: {len(drawn.written)} files in {args.o}")


def parse_checkpoints(values: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=FOLDER`` arguments; without a name, a checkpoint is called as its folder.

    Raises
    ------
    InputError
        If a name is empty or occurs twice.
    """
    checkpoints: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not equals or "/" in name or os.sep in name or Path(value).is_dir():
            name, folder = Path(value).resolve().name, value
        if not name or not folder or name in checkpoints:
            what = "this name occurs twice" if name in checkpoints else "expected NAME=FOLDER"
            message = f"--checkpoints {value}: {what}"
            raise InputError(message)
        checkpoints[name] = Path(folder)
    return checkpoints


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("front_plots", DESCRIPTION, add_arguments, run, argv)


def _path(given: Path | None) -> Path | None:
    return None if given is None else Path(given)


def _check_request(plots: Sequence[str] | None, formats: Sequence[str], width: int | None, seconds: float) -> None:
    problems = [
        f"plot {plot!r} is unknown, expected some of {', '.join(PLOTS)}" for plot in set(plots or ()) - {*PLOTS}
    ]
    problems += [
        f"format {name!r} is unknown, expected some of {', '.join(FORMATS)}" for name in {*formats} - {*FORMATS}
    ]
    if plots is not None and not plots:
        problems.append(f"no plots asked for, expected some of {', '.join(PLOTS)}")
    if not formats:
        problems.append(f"no format given, expected some of {', '.join(FORMATS)}")
    if width is not None and width < 1:
        problems.append(f"--width {width}, expected at least 1 pixel")
    if not 0.02 <= seconds <= 60:
        problems.append(f"--seconds {seconds}, expected 0.02 to 60")
    if problems:
        raise InputError("; ".join(sorted(problems)))


def _check_models(table: Path, rows: Sequence[ImageRow], predictions: Mapping[str, Path]) -> None:
    from evaluation.front_pictures.zone_areas import LABEL

    models = sorted({row.model for row in rows})
    unknown = [model for model in predictions if model not in models]
    if unknown:
        message = f"-p: {table} has no model {', '.join(unknown)}; expected -p NAME=FOLDER with {' or '.join(models)}"
        raise InputError(message)
    if LABEL in predictions:
        message = f"-p: a model must not be called {LABEL!r}, as the labels are; rename it in {table}"
        raise InputError(message)


def _is_own(path: Path) -> bool:
    """Return whether a file, given relative to the output folder, is one that this command writes."""
    if len(path.parts) == 1:
        return path.name in (AREAS_TABLE, CAPTIONS) or (
            path.stem in ("boxes", "timeline") and path.suffix[1:] in FORMATS
        )
    return path.parts[0] in PLOTS and path.suffix[1:] in (*FORMATS, "gif")


def _measure(rows: Sequence[ImageRow], sources: Sources, processes: int) -> dict[str, dict[str, ZoneAreas]]:
    """Measure the zone areas of all images, by source and case."""
    from evaluation.folders import raise_problems
    from nnunet_ext.jobs import run_jobs

    row_of = {row.case: row for row in rows}
    jobs = {
        (source, case): (row_of[case], path) for source, files in sources.zones.items() for case, path in files.items()
    }
    found = run_jobs(jobs, _measure_one, processes, "Measuring areas") if jobs else {}
    raise_problems([one for one in found.values() if isinstance(one, str)])
    areas: dict[str, dict[str, ZoneAreas]] = {source: {} for source in sources.zones}
    for (source, case), one in found.items():
        if not isinstance(one, str):
            areas[source][case] = one
    return areas


def _measure_one(row: ImageRow, path: Path) -> ZoneAreas | str:
    from evaluation.front_pictures.draw import measure_areas

    try:
        return measure_areas(row, path)
    except NnunetExtError as error:
        return str(error)


def _draw(picture: Callable[[Path], str], path: Path) -> tuple[str, str]:
    """Draw one picture; return what went wrong, if anything, and its caption."""
    try:
        return "", picture(path)
    except NnunetExtError as error:
        return str(error), ""


def _write_areas(path: Path, rows: Sequence[ImageRow], areas: Mapping[str, Mapping[str, ZoneAreas]]) -> None:
    """Write the zone areas of all images, in square kilometres."""
    from evaluation.front_pictures.rows import one_row_per_case
    from nnunet_ext.caffe.grey_levels import ZONES

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("source", "case", "glacier", "date", "satellite", "resolution", *(f"{z}_km2" for z in ZONES)))
        for source, of_case in areas.items():
            for row in one_row_per_case(rows):
                if row.case in of_case:
                    measured = (f"{of_case[row.case].areas[zone]:.10g}" for zone in ZONES)
                    where = (source, row.case, row.glacier, row.date, row.satellite, f"{row.resolution:g}")
                    writer.writerow((*where, *measured))


def _write_captions(path: Path, captions: Mapping[str, str], note: str) -> None:
    """Write a note on all, and the captions; pictures of a folder that share one are told together."""
    together: dict[tuple[str, str], list[str]] = {}
    for name, caption in captions.items():
        together.setdefault((name.rpartition("/")[0], caption), []).append(name)
    text = "".join(
        f"**{names[0] if len(names) == 1 else f'{folder}, {len(names)} pictures'}**: {caption}\n\n"
        for (folder, caption), names in together.items()
    )
    head = f"{note}\n\n" if note else ""
    path.write_text(f"# Captions\n\n{head}{text}".rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
