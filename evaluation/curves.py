"""The command ``curves``: training curves of models over their folds, as tables and as a figure."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.arguments import split_name
from evaluation.csv_files import write_csv
from evaluation.folders import check_output_folder
from nnunet_ext.command import run_command
from nnunet_ext.errors import InputError
from nnunet_ext.files import written_when_complete

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.training.folders import FoldCurves
    from evaluation.training.rows import MeanRow

DESCRIPTION = "Draw training curves from logs and checkpoints: losses, pseudo Dice, learning rate, time per epoch."
FORMATS = ("png", "pdf", "svg")
TABLES = ("curves.csv", "curves_mean.csv")


@dataclass(frozen=True)
class TrainingCurves:
    """What was read and written.

    Parameters
    ----------
    folds
        Curves of every fold.
    mean
        The rows of curves_mean.csv.
    notes
        What was left out of the files, and why.
    """

    folds: tuple[FoldCurves, ...]
    mean: tuple[MeanRow, ...]
    notes: tuple[str, ...]


def curves(
    models: Mapping[str, Path | Sequence[Path]],
    output: Path,
    *,
    folds: Sequence[str | int] | None = None,
    formats: Sequence[str] = ("png",),
    overwrite: bool = False,
) -> TrainingCurves:
    """Read the training curves of models and write curves.csv, curves_mean.csv and a figure.

    Parameters
    ----------
    models
        By name, the folder of a trained model with ``fold_0`` and so on in it, or one or more folders of folds.
    output
        Folder to write.
    folds
        Folds to read: numbers or ``all``. Default: those with a number, or else ``fold_all``.
    formats
        Formats of the figure: ``png``, ``pdf``, ``svg``.
    overwrite
        Whether the output of an earlier call may be replaced.

    Returns
    -------
    TrainingCurves
        All curves, their mean over the folds, and notes.

    Raises
    ------
    BadCasesError
        With every folder and fold that has no curves; nothing is written then.
    InputError
        If no model or an unknown format is given, or the output holds an input.
    OutputExistsError
        If the output is there and may not be replaced.
    """
    from evaluation.training.figure import save_figure
    from evaluation.training.folders import read_models
    from evaluation.training.rows import MeanRow, ValueRow, mean_rows, value_rows

    folders = {name: [Path(given)] if isinstance(given, (str, Path)) else list(given) for name, given in models.items()}
    output = Path(output)
    _check_request(folders, formats)
    check_output_folder(
        output, [folder for given in folders.values() for folder in given], _is_own, overwrite=overwrite
    )
    read, notes = read_models(folders, None if folds is None else [str(fold) for fold in folds])
    mean = mean_rows(read)
    with written_when_complete(output, overwrite=overwrite) as partial:
        partial.mkdir()
        write_csv(partial / TABLES[0], ValueRow, value_rows(read))
        write_csv(partial / TABLES[1], MeanRow, mean)
        save_figure(read, mean, [partial / f"curves.{name}" for name in formats])
    return TrainingCurves(tuple(read), tuple(mean), tuple(notes))


def parse_models(values: Sequence[str]) -> dict[str, list[Path]]:
    """Read ``[NAME=]FOLDER`` arguments.

    Parameters
    ----------
    values
        The text before the first ``=`` is a name unless it holds a path separator, or the whole is a folder.

    Returns
    -------
    dict
        Folders by name. Without a name, a model is called as its folder; folds of one model are put together.

    Raises
    ------
    InputError
        If a name is empty, or two models have the same one.
    """
    from evaluation.training.folders import is_fold

    models: dict[str, list[Path]] = {}
    for value in values:
        given, folder = split_name(value, "-i")
        resolved = folder.resolve()
        name = given or (resolved.parent if is_fold(resolved) else resolved).name
        others = models.setdefault(name, [])
        if any(not _folds_of_one_model(other, folder) for other in others):
            message = f"-i: {others[0]} and {folder} both are model {name!r}; name them, as in -i NAME=FOLDER"
            raise InputError(message)
        others.append(folder)
    return models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``curves``."""
    parser.add_argument(
        "-i",
        nargs="+",
        action="extend",
        required=True,
        metavar="[NAME=]MODEL_FOLDER",
        help="folder of a trained model (nnUNetTrainer__nnUNetPlans__2d), or of one of its folds; several are compared",
    )
    parser.add_argument("-o", type=Path, required=True, metavar="OUT", help="folder to write")
    parser.add_argument(
        "-f", nargs="+", type=_fold, metavar="FOLD", help="folds: numbers or all (default: those with a number)"
    )
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["png"], help="of the figure (default: png)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output of an earlier call")


def run(args: argparse.Namespace) -> None:
    """Draw the curves that the arguments name, and print what was found."""
    found = curves(parse_models(args.i), args.o, folds=args.f, formats=args.format, overwrite=args.overwrite)
    for note in found.notes:
        print(f"warning: {note}", file=sys.stderr)
    for fold in found.folds:
        last = max(fold.epochs)
        print(f"{fold.model}, fold {fold.fold}: {len(fold.epochs)} epochs, last {last}, from {', '.join(fold.sources)}")
    print(f"written: {args.o}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("curves", DESCRIPTION, add_arguments, run, argv)


def _fold(text: str) -> str:
    """Accept ``0``, ``all`` and ``fold_0``."""
    fold = text.removeprefix("fold_")
    if fold != "all" and not fold.isdecimal():
        message = f"expected the number of a fold, or all, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return fold if fold == "all" else str(int(fold))


def _folds_of_one_model(first: Path, second: Path) -> bool:
    """Return whether these are two different folds of one model."""
    from evaluation.training.folders import is_fold

    first, second = first.resolve(), second.resolve()
    return first != second and first.parent == second.parent and is_fold(first) and is_fold(second)


def _check_request(models: Mapping[str, Sequence[Path]], formats: Sequence[str]) -> None:
    if not models:
        message = "no models given"
        raise InputError(message)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        message = f"formats {unknown} are unknown, expected some of {list(FORMATS)}"
        raise InputError(message)


def _is_own(path: Path) -> bool:
    """Return whether a file, given relative to the output folder, is one of earlier curves."""
    return str(path) in {*TABLES, *(f"curves.{name}" for name in FORMATS)}


if __name__ == "__main__":
    sys.exit(main())
