"""The command ``evaluate``: score predicted label maps against references, per case and class."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evaluation.arguments import add_class_flags, add_folder_flags, add_process_flag, parse_predictions
from evaluation.folders import check_output_folder
from evaluation.labels import choose_labels, find_declaration
from evaluation.metrics import ALL, DEFAULT_TOLERANCES, FAMILIES, METRICS, NSD, choose_metrics
from nnunet_ext.command import run_command
from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from evaluation.results import Evaluation

DESCRIPTION = "Score predicted label maps against references, per case and class."
DIAGONAL = "diagonal"
TELLING = ("Dice", "IoU", "HD95", "ASSD", "component_F1", "front_error")
"""Metrics that are printed, beside NSD, where there are more of them."""


def evaluate(
    predictions: Mapping[str, Path],
    labels: Path,
    output: Path,
    *,
    label_values: Sequence[int] | None = None,
    classes: Path | None = None,
    background: bool = False,
    ignore_label: int | None = None,
    lines: Sequence[str] | None = None,
    metrics: Sequence[str] = (ALL,),
    tolerances: Sequence[float] = DEFAULT_TOLERANCES,
    surface: Literal["voxel", "mesh"] = "voxel",
    boundary_distance: float | None = None,
    penalty: float | None = None,
    group_by: Sequence[str] = (),
    rules: Path | None = None,
    images: Path | None = None,
    worst: int = 5,
    subset: bool = False,
    processes: int = 1,
    overwrite: bool = False,
) -> Evaluation:
    """Score predictions and write cases.csv, summary.csv, summary.json, report.html and manifest.json.

    For several models, comparison.csv is written as well.

    Parameters
    ----------
    predictions
        Folder of predictions of each model, by the model's name; that of a trained model stands for the validation
        folders of its folds, by which cases are then grouped.
    labels
        Folder of the references; files are paired by case name.
    output
        Folder to write.
    label_values
        Labels to score; every other value is background. Default: those of ``classes``.
    classes
        JSON file that names labels and regions. Default: the dataset.json of the predictions or labels.
    background
        Whether to score class 0 as well.
    ignore_label
        Reference value whose voxels are left out. Default: the one declared.
    lines
        Names of the classes that are lines and have a front error. Default: those of tasks declared with
        ``"deep_supervision": false``.
    metrics
        Names of metrics or of families of them; ``all``.
    tolerances
        Of NSD, in mm.
    surface
        ``voxel`` or ``mesh``; see ``evaluation.surface``.
    boundary_distance
        Depth of the regions of boundary IoU in mm. Default: 2 % of the image's diagonal.
    penalty
        What a missed or invented structure counts in means of distances, in mm. Default: the image's diagonal.
    group_by
        Groups of cases: ``FILE.csv:COLUMN``, a regular expression, or ``caffe``; see ``evaluation.groups``.
    rules
        JSON file of rules by which the predictions are changed before they are scored, as ``nnunet_ext postprocess``
        does; see ``nnunet_ext.class_rules.rules.read_rules``. Names are those of ``classes``.
    images
        Folder of the images, to lie behind the contours of the worst cases in the report.
    worst
        Number of cases per model that the report shows.
    subset
        Whether references without prediction are left out rather than refused.
    processes
        Number of cases at a time. More than one are processes that import the calling script, which needs
        ``if __name__ == "__main__":``.
    overwrite
        Whether the output of an earlier evaluation may be replaced.

    Returns
    -------
    Evaluation
        Scores of every case, and their summary.

    Raises
    ------
    BadCasesError
        With every case that cannot be scored; nothing is written then.
    InputError, MissingInputError
        If folders, labels, metrics or groups cannot be used.
    OutputExistsError
        If the output is there and may not be replaced.
    """
    from evaluation.groups import table_of
    from evaluation.manifest import file_records, manifest
    from evaluation.measure import Request
    from evaluation.output import is_output, write_evaluation
    from evaluation.steps import (
        checked_images,
        checked_pairs,
        make_report,
        measure,
        read_groupings,
        summarise,
    )
    from nnunet_ext.class_rules.rules import read_rules

    folders = {model: Path(folder) for model, folder in predictions.items()}
    labels, output = Path(labels), Path(output)
    images = None if images is None else Path(images)
    _check_numbers(folders, surface=surface, boundary_distance=boundary_distance, penalty=penalty, worst=worst)
    request = Request(choose_metrics(metrics, tolerances), surface, boundary_distance)
    inputs = [*folders.values(), labels, *([images] if images else [])]
    check_output_folder(output, inputs, is_output, overwrite=overwrite)
    declaration = Path(classes) if classes is not None else find_declaration([*folders.values(), labels])
    label_set = choose_labels(
        declaration=declaration, labels=label_values, background=background, ignore_label=ignore_label, lines=lines
    )
    changes = () if rules is None else read_rules(Path(rules), declaration)
    pairs = checked_pairs(folders, labels, label_set, rules=changes, subset=subset, processes=processes)
    groupings = read_groupings(group_by, pairs)
    pictures = checked_images(images, pairs)
    results = measure(pairs, label_set, request, processes=processes)
    found = summarise(results, label_set, request, penalty=penalty, groupings=groupings)
    arguments = {
        "predictions": {model: str(folder) for model, folder in folders.items()},
        "labels": str(labels),
        "output": str(output),
        "label_values": None if label_values is None else list(label_values),
        "classes": None if classes is None else str(classes),
        "background": background,
        "ignore_label": ignore_label,
        "lines": None if lines is None else list(lines),
        "metrics": list(metrics),
        "tolerances": list(tolerances),
        "surface": surface,
        "boundary_distance": boundary_distance,
        "penalty": penalty,
        "group_by": list(group_by),
        "rules": None if rules is None else {"file": str(rules), **read_json(Path(rules))},
        "images": None if images is None else str(images),
        "worst": worst,
        "subset": subset,
        "processes": processes,
        "overwrite": overwrite,
    }
    files = [record for result in results for record in result.files]
    rule_file = None if rules is None else Path(rules)
    tables = (table_of(text) for text in group_by)
    read = [path for path in (declaration, rule_file, *tables) if path is not None]
    made_of = manifest("evaluate", arguments, [*files, *(record for path in read for record in file_records(path))])
    report = make_report(found, pictures, made_of, worst=worst, rules=changes, processes=processes)
    write_evaluation(output, found, report, made_of, overwrite=overwrite)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``evaluate``."""
    add_folder_flags(parser)
    add_class_flags(parser)
    parser.add_argument(
        "--lines",
        nargs="+",
        metavar="CLASS",
        help="classes (or tasks) that are lines and have a front error; default: those of tasks declared with "
        "deep_supervision false",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        type=_metric,
        choices=(ALL, *FAMILIES, *METRICS),
        default=[ALL],
        metavar="METRIC",
        help=f"any of {', '.join(METRICS)}; or {', '.join(FAMILIES)}; or all",
    )
    parser.add_argument(
        "--tolerances", type=float, nargs="+", default=list(DEFAULT_TOLERANCES), metavar="MM", help="of NSD"
    )
    parser.add_argument(
        "--surface", choices=("voxel", "mesh"), default="voxel", help="surface voxels, or marching cubes by area"
    )
    parser.add_argument(
        "--boundary-distance",
        type=float,
        metavar="MM",
        help="depth of the regions of boundary_IoU; default: 2 %% of the image's diagonal",
    )
    parser.add_argument(
        "--penalty",
        type=_penalty,
        default=DIAGONAL,
        metavar="diagonal|MM",
        help="what a missed or invented structure counts in means of distances",
    )
    parser.add_argument(
        "--group-by",
        nargs="+",
        action="extend",
        default=[],
        metavar="GROUPS",
        help="summary by groups of cases: FILE.csv:COLUMN, a regular expression on the case name, or caffe",
    )
    parser.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="JSON file of rules by which the predictions are changed first, as by 'nnunet_ext postprocess'",
    )
    parser.add_argument("--images", type=Path, help="folder of the images, shown with the worst cases in the report")
    parser.add_argument("--worst", type=int, default=5, metavar="N", help="cases per model shown in the report")
    add_process_flag(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier evaluation")


def run(args: argparse.Namespace) -> None:
    """Evaluate as the arguments say, and print the summary."""
    found = evaluate(
        parse_predictions(args.p),
        args.g,
        args.o,
        label_values=args.labels,
        classes=args.classes,
        background=args.background,
        ignore_label=args.ignore_label,
        lines=args.lines,
        metrics=list(dict.fromkeys(args.metrics)),
        tolerances=args.tolerances,
        surface=args.surface,
        boundary_distance=args.boundary_distance,
        penalty=None if args.penalty == DIAGONAL else args.penalty,
        group_by=args.group_by,
        rules=args.rules,
        images=args.images,
        worst=args.worst,
        subset=args.subset,
        processes=args.np,
        overwrite=args.overwrite,
    )
    _print_summary(found, args.o)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("evaluate", DESCRIPTION, add_arguments, run, argv)


def _metric(text: str) -> str:
    return {name.lower(): name for name in (ALL, *FAMILIES, *METRICS)}.get(text.lower(), text)


def _penalty(text: str) -> float | str:
    return text if text == DIAGONAL else float(text)


def _check_numbers(
    predictions: Mapping[str, Path],
    *,
    surface: str,
    boundary_distance: float | None,
    penalty: float | None,
    worst: int,
) -> None:
    if not predictions:
        message = "no predictions given"
        raise InputError(message)
    if surface not in ("voxel", "mesh"):
        message = f"--surface {surface}: expected voxel or mesh"
        raise InputError(message)
    for flag, value in (("--boundary-distance", boundary_distance), ("--penalty", penalty)):
        if value is not None and not 0 <= value < float("inf"):
            message = f"{flag} {value:g}: expected a number of mm from 0"
            raise InputError(message)
    if worst < 0:
        message = f"--worst {worst}: expected 0 or more"
        raise InputError(message)


def _print_summary(found: Evaluation, output: Path) -> None:
    """Print the means of a few metrics; the files hold all."""
    from evaluation.results import ALL_CASES

    ignored = f", ignore label {found.label_set.ignore}" if found.label_set.ignore is not None else ""
    print(f"labels: {found.label_set.source}{ignored}")
    known = {row.metric for row in found.summary}
    names = [metric.name for metric in found.metrics if metric.name in known]
    shown = [name for name in names if len(names) <= len(TELLING) or name in TELLING or name.startswith(f"{NSD}_")]
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in found.summary:
        if row.grouping == ALL_CASES:
            name = f"{row.task}/{row.class_name}" if row.task else row.class_name
            line = lines.setdefault(
                (row.model, name), {"missed": str(row.n_empty_pred), "invented": str(row.n_empty_ref)}
            )
            line[row.metric] = f"{row.mean:.4f}"
    heads = ("model", "class", *shown, "missed", "invented")
    table = [heads, *((*key, *(line.get(name, "") for name in heads[2:])) for key, line in lines.items())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for entries in table:
        print("  ".join(text.ljust(width) for text, width in zip(entries, widths, strict=True)).rstrip())
    print(f"means over cases; everything else: {output / 'report.html'}")


if __name__ == "__main__":
    sys.exit(main())
