"""The command ``phase_fractions``: how much of each scan every class takes, and which classes collapsed."""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.arguments import add_prediction_flag, add_process_flag, parse_predictions
from evaluation.folders import check_output_folder, raise_problems, undeclared_values, volumes_by_case
from evaluation.folds import predictions_by_case
from evaluation.labels import choose_labels, find_declaration
from evaluation.phase_table import PhaseFractions, PhaseRow, print_fractions, write_fractions
from nnunet_ext.command import run_command
from nnunet_ext.errors import InputError, NnunetExtError
from nnunet_ext.files import read_json, written_when_complete
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from evaluation.labels import LabelSet
    from evaluation.phases import Phase

DESCRIPTION = "Tabulate the fraction of every class per scan, and flag classes that collapsed."
TABLE = "phase_fractions.csv"
THRESHOLD = 0.003
"""Below this fraction a class that training had more of counts as collapsed: 0.3 %, as in the soil workflow."""


def phase_fractions(
    predictions: Mapping[str, Path],
    output: Path,
    *,
    training_labels: Path | None = None,
    label_values: Sequence[int] | None = None,
    classes: Path | None = None,
    ignore_label: int | None = None,
    threshold: float = THRESHOLD,
    processes: int = 1,
    overwrite: bool = False,
) -> PhaseFractions:
    """Count the voxels of every class in every scan, and write phase_fractions.csv.

    Parameters
    ----------
    predictions
        Folder of predictions of each model, by the model's name; that of a trained model stands for the validation
        folders of its folds.
    output
        Folder to write.
    training_labels
        Folder with the labels of the training (``labelsTr``); its scans need not be those of the predictions.
    label_values
        Labels to count; every other value is background. Default: those of ``classes``.
    classes
        JSON file that names labels and regions. Default: the dataset.json of the predictions or labels.
    ignore_label
        Value of voxels that do not count. Default: the one declared.
    threshold
        Fraction, 0 to 1, that a class which training had as much of must not fall below.
    processes
        Number of files at a time. More than one are processes that import the calling script, which needs
        ``if __name__ == "__main__":``.
    overwrite
        Whether the output of an earlier run may be replaced.

    Returns
    -------
    PhaseFractions
        The rows of the table.

    Raises
    ------
    BadCasesError
        With every file that cannot be used; nothing is written then.
    InputError, MissingInputError
        If folders, labels or the threshold cannot be used.
    OutputExistsError
        If the output is there and may not be replaced.
    """
    from evaluation.phases import phases_of

    folders = {model: Path(folder) for model, folder in predictions.items()}
    training = Path(training_labels) if training_labels is not None else None
    output = Path(output)
    _check_request(folders, threshold)
    inputs = [*folders.values(), *([training] if training is not None else [])]
    check_output_folder(output, inputs, _is_own, overwrite=overwrite)
    declaration = Path(classes) if classes is not None else find_declaration(inputs)
    label_set = choose_labels(declaration=declaration, labels=label_values, ignore_label=ignore_label)
    scans, trained = _count(folders, training, label_set, processes)
    phases = phases_of(label_set, _task_backgrounds(declaration))
    pooled = sum((counts.voxels for counts in trained), Counter[int]())
    rows = [
        _row(model, case, counts, phase, pooled if training is not None else None, threshold)
        for (model, case), counts in scans.items()
        for phase in phases
    ]
    found = PhaseFractions(tuple(rows), label_set, len(trained) if training is not None else None)
    with written_when_complete(output, overwrite=overwrite) as folder:
        folder.mkdir()
        write_fractions(folder / TABLE, found)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``phase_fractions``."""
    add_prediction_flag(parser)
    parser.add_argument(
        "-g", type=Path, metavar="TRAINING_LABELS", help="labels of the training (labelsTr), to flag collapsed classes"
    )
    parser.add_argument("-o", type=Path, required=True, metavar="OUT", help="folder to write")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--labels", type=int, nargs="+", metavar="N", help="labels to count; every other value is background"
    )
    which.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="JSON file that names labels and regions, instead of the dataset.json of predictions or labels",
    )
    parser.add_argument(
        "--ignore-label", type=int, metavar="N", help="leave out voxels with this value, not the declared one"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="FRACTION",
        help="a class below it, of which training had as much or more, has collapsed",
    )
    add_process_flag(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier run")


def run(args: argparse.Namespace) -> None:
    """Count as the arguments say, and print the table."""
    found = phase_fractions(
        parse_predictions(args.p),
        args.o,
        training_labels=args.g,
        label_values=args.labels,
        classes=args.classes,
        ignore_label=args.ignore_label,
        threshold=args.threshold,
        processes=args.np,
        overwrite=args.overwrite,
    )
    print_fractions(found, args.threshold)
    print(f"written: {args.o / TABLE}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("phase_fractions", DESCRIPTION, add_arguments, run, argv)


@dataclass(frozen=True)
class _FileCounts:
    """Voxels of each value in a file, the volume of one of them, and what is wrong with the file."""

    voxels: Counter[int]
    voxel_mm3: float = math.nan
    problems: tuple[str, ...] = ()


def _check_request(predictions: Mapping[str, Path], threshold: float) -> None:
    if not predictions:
        message = "no predictions given"
        raise InputError(message)
    if not 0 <= threshold <= 1:
        message = f"threshold {threshold} given, expected a fraction from 0 to 1; 0.003 is 0.3 %"
        raise InputError(message)


def _is_own(path: Path) -> bool:
    return path == Path(TABLE)


def _count(
    predictions: Mapping[str, Path], training: Path | None, label_set: LabelSet, processes: int
) -> tuple[dict[tuple[str, str], _FileCounts], list[_FileCounts]]:
    """Count all files of the predictions, by model and case, and of the training.

    Raises
    ------
    BadCasesError
        With all that is wrong with the folders, or else with the files.
    """
    problems: list[str] = []
    files: dict[tuple[str, str, bool], Path] = {}
    for model, folder, is_training in [*((m, f, False) for m, f in predictions.items()), ("", training, True)]:
        if folder is not None:
            found, doubled = volumes_by_case(folder) if is_training else predictions_by_case(folder)
            problems += doubled
            files |= {(model, case, is_training): path for case, path in found.items()}
    raise_problems(problems)
    count = partial(_count_file, label_set=label_set)
    counted = run_jobs({key: (path,) for key, path in files.items()}, count, processes, "Counting")
    raise_problems([problem for counts in counted.values() for problem in counts.problems])
    scans = {(model, case): counts for (model, case, is_training), counts in counted.items() if not is_training}
    return scans, [counts for (_, _, is_training), counts in counted.items() if is_training]


def _count_file(path: Path, label_set: LabelSet) -> _FileCounts:
    """Count the values of one file, with one slab in memory."""
    from evaluation.phases import count_values
    from nnunet_ext.imageio.sidecar import open_with_sidecar

    voxels: Counter[int] = Counter()
    try:
        with open_with_sidecar(path) as volume:
            voxel = math.prod(volume.geometry.spacing) if volume.has_spacing else math.nan
            for _, slab in volume.slabs():
                voxels += count_values(slab)
    except NnunetExtError as error:
        text = str(error)
        return _FileCounts(voxels, problems=(text if str(path) in text else f"{path}: {text}",))
    return _FileCounts(voxels, voxel, tuple(undeclared_values(path, voxels, label_set)))


def _task_backgrounds(declaration: Path | None) -> dict[str, str]:
    """Return what the tasks of a data set call their value 0."""
    tasks = read_json(declaration).get("tasks") if declaration is not None else None
    if not isinstance(tasks, dict):
        return {}
    labels = {task: entry.get("labels") for task, entry in tasks.items() if isinstance(entry, dict)}
    return {
        task: str(name)
        for task, values in labels.items()
        if isinstance(values, dict)
        for name, value in values.items()
        if value == 0
    }


def _row(
    model: str, case: str, counts: _FileCounts, phase: Phase, trained: Counter[int] | None, threshold: float
) -> PhaseRow:
    voxels, fraction = phase.voxels(counts.voxels), phase.fraction(counts.voxels)
    training = phase.fraction(trained) if trained is not None else math.nan
    # Neither holds for NaN: without any voxel there is nothing to say.
    collapsed = fraction < threshold <= training
    volume = voxels * counts.voxel_mm3
    return PhaseRow(model, case, phase.task, phase.name, voxels, volume, fraction, training, collapsed)


if __name__ == "__main__":
    sys.exit(main())
