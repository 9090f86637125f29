"""The command ``evaluate``: score predicted label maps against references, per case and class."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.labels import choose_labels, find_declaration
from evaluation.overlap import OVERLAP_METRICS
from nnunet_ext.command import run_command
from nnunet_ext.errors import BadCasesError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.cases import CaseResult
    from evaluation.labels import LabelSet
    from evaluation.output import Evaluation

DESCRIPTION = "Score predicted label maps against references, per case and class."
DEFAULT_MODEL = "prediction"


def evaluate(
    predictions: Mapping[str, Path],
    labels: Path,
    output: Path,
    *,
    label_values: Sequence[int] | None = None,
    classes: Path | None = None,
    background: bool = False,
    ignore_label: int | None = None,
    metrics: Sequence[str] = tuple(OVERLAP_METRICS),
    subset: bool = False,
    processes: int = 1,
    overwrite: bool = False,
) -> Evaluation:
    """Score predictions and write cases.csv, summary.csv, summary.json and manifest.json.

    Parameters
    ----------
    predictions
        Folder of predictions of each model, by the model's name.
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
    metrics
        Which of ``Dice`` and ``IoU`` the CSV files hold; summary.json always holds both.
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
        Counts of every case, and the summary.

    Raises
    ------
    BadCasesError
        With every case that cannot be scored; nothing is written then.
    InputError, MissingInputError
        If folders, labels or metrics cannot be used.
    OutputExistsError
        If the output is there and may not be replaced.
    """
    from evaluation.manifest import file_records, manifest
    from evaluation.output import Evaluation, check_output, write_evaluation
    from evaluation.summaries import summary_rows

    arguments = {
        "predictions": {model: str(folder) for model, folder in predictions.items()},
        "labels": str(labels),
        "output": str(output),
        "label_values": None if label_values is None else list(label_values),
        "classes": None if classes is None else str(classes),
        "background": background,
        "ignore_label": ignore_label,
        "metrics": list(metrics),
        "subset": subset,
        "processes": processes,
        "overwrite": overwrite,
    }
    folders = {model: Path(folder) for model, folder in predictions.items()}
    labels, output = Path(labels), Path(output)
    _check_request(folders, metrics)
    check_output(output, [*folders.values(), labels], overwrite=overwrite)
    declaration = Path(classes) if classes is not None else find_declaration([*folders.values(), labels])
    label_set = choose_labels(
        declaration=declaration, labels=label_values, background=background, ignore_label=ignore_label
    )
    results = _count(folders, labels, label_set, subset=subset, processes=processes)
    cases = tuple(result.case for result in results)
    found = Evaluation(label_set, cases, tuple(summary_rows(cases, label_set.classes, metrics)))
    inputs = [record for result in results for record in result.files]
    if declaration is not None:
        inputs += file_records(declaration)
    write_evaluation(output, found, metrics, manifest(arguments, inputs), overwrite=overwrite)
    return found


def parse_predictions(values: Sequence[str]) -> dict[str, Path]:
    """Read ``[NAME=]FOLDER`` arguments.

    Parameters
    ----------
    values
        The text before the first ``=`` is a name unless it holds a path separator, or the whole is a folder.

    Returns
    -------
    dict
        Folder of each model. Without a name, a single model is called ``prediction``, and several are called
        as their folders.

    Raises
    ------
    InputError
        If a name is empty or occurs twice.
    """
    models: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not equals or "/" in name or os.sep in name or Path(value).is_dir():
            name = DEFAULT_MODEL if len(values) == 1 else Path(value).resolve().name
            folder = value
        if not name or not folder:
            message = f"-p {value}: expected a name before and a folder after '='"
            raise InputError(message)
        if name in models:
            message = f"-p: {models[name]} and {folder} both are model {name!r}; name them, as in -p NAME=FOLDER"
            raise InputError(message)
        models[name] = Path(folder)
    return models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``evaluate``."""
    parser.add_argument(
        "-p",
        nargs="+",
        action="extend",
        required=True,
        metavar="[NAME=]PREDICTIONS",
        help="folder of predictions; several compare models",
    )
    parser.add_argument("-g", type=Path, required=True, metavar="LABELS", help="folder of references")
    parser.add_argument("-o", type=Path, required=True, metavar="OUT", help="folder to write")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--labels", type=int, nargs="+", metavar="N", help="labels to score; every other value is background"
    )
    which.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="JSON file that names labels and regions, instead of the dataset.json of predictions or labels",
    )
    parser.add_argument("--background", action="store_true", help="score class 0 as well")
    parser.add_argument(
        "--ignore-label",
        type=int,
        metavar="N",
        help="leave out voxels with this reference value, not the declared one",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        type=_metric,
        choices=tuple(OVERLAP_METRICS),
        default=list(OVERLAP_METRICS),
        help="scores in the CSV files",
    )
    parser.add_argument(
        "--subset",
        action="store_true",
        help="leave out labels without prediction (always so for fold_X/validation)",
    )
    parser.add_argument(
        "-np", type=_positive, default=min(4, os.cpu_count() or 1), metavar="N", help="number of processes"
    )
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
        metrics=list(dict.fromkeys(args.metrics)),
        subset=args.subset,
        processes=args.np,
        overwrite=args.overwrite,
    )
    _print_summary(found, args.o)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("evaluate", DESCRIPTION, add_arguments, run, argv)


def _metric(text: str) -> str:
    return {name.lower(): name for name in OVERLAP_METRICS}.get(text.lower(), text)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        message = f"expected a number of at least 1, found {text}"
        raise argparse.ArgumentTypeError(message)
    return value


def _check_request(predictions: Mapping[str, Path], metrics: Sequence[str]) -> None:
    if not predictions:
        message = "no predictions given"
        raise InputError(message)
    unknown = [metric for metric in metrics if metric not in OVERLAP_METRICS]
    if unknown or not metrics:
        message = f"metrics {unknown} are unknown, expected some of {list(OVERLAP_METRICS)}"
        raise InputError(message)


def _count(
    predictions: Mapping[str, Path], labels: Path, label_set: LabelSet, *, subset: bool, processes: int
) -> list[CaseResult]:
    """Pair, check and count all cases.

    Raises
    ------
    BadCasesError
        With all problems of the pairing and of the voxel grids, or else with all undeclared values.
    """
    from evaluation.cases import count_cases
    from evaluation.grids import grid_problems
    from evaluation.pairs import find_pairs

    pairs, problems = find_pairs(predictions, labels, subset=subset)
    problems += [problem for pair in pairs for problem in grid_problems(pair)]
    _raise_problems(problems)
    results = count_cases(pairs, label_set, processes=processes)
    _raise_problems([problem for result in results for problem in result.problems])
    return results


def _raise_problems(problems: Sequence[str]) -> None:
    if problems:
        # A reference is read once per model; its problems are told once.
        raise BadCasesError(list(dict.fromkeys(problems)))


def _print_summary(found: Evaluation, output: Path) -> None:
    ignored = f", ignore label {found.label_set.ignore}" if found.label_set.ignore is not None else ""
    print(f"labels: {found.label_set.source}{ignored}")
    table: list[tuple[str, ...]] = [("model", "class", "metric", "n", "mean", "std", "pooled")]
    for row in found.summary:
        name = f"{row.task}/{row.class_name}" if row.task else row.class_name
        numbers = (f"{value:.4f}" for value in (row.mean, row.std, row.pooled))
        table.append((row.model, name, row.metric, str(row.n), *numbers))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    print(f"written: {output}")


if __name__ == "__main__":
    sys.exit(main())
