"""Run a command: parse its arguments, turn this package's errors into one message and an exit status.

A command is a pair of functions, ``add_arguments(parser)`` and ``run(args)``. The same pair serves the verb of
``nnunet_ext`` and the script of that name, so that both have the same flags.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run_command(
    prog: str,
    description: str,
    add_arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], int | None],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse ``argv`` and run the command.

    Parameters
    ----------
    prog
        Name shown in usage and error messages.
    description
        One sentence for ``--help``.
    add_arguments
        Declares the flags; must not import anything heavy, so that ``--help`` answers at once.
    run
        Does the work; ``None`` means success.
    argv
        Arguments without the program's name; default: those of the process.

    Returns
    -------
    int
        Exit status: 0 on success, 1 after an error of this package, 130 after an interrupt, 141 if nobody reads on
        what it prints (``| head``). Wrong usage exits with 2, as always with argparse.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description, formatter_class=_HelpWithDefaults)
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        status = run(args) or 0
        sys.stdout.flush()
    except NnunetExtError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        if not _nobody_reads_on():
            raise
        return 141
    return status


def _nobody_reads_on() -> bool:
    """Return whether standard output is a pipe that its reader closed; if so, what is left of it goes nowhere."""
    if not hasattr(select, "poll"):
        return False
    waiting = select.poll()
    waiting.register(sys.stdout.fileno(), select.POLLOUT)
    closed = any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))
    if closed:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return closed


def exit_with(prog: str, work: Callable[[], int | None]) -> None:
    """Run a program that is started as a module, and exit with its status: 1, and one line, after an error of ours."""
    try:
        sys.exit(work() or 0)
    except NnunetExtError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        sys.exit(1)


def add_prediction_flags(parser: argparse.ArgumentParser, predictions: str, output: str) -> None:
    """Declare ``-i``, ``-o`` and ``--dataset``, which everything has that takes predictions back.

    Parameters
    ----------
    parser
        Where to declare them.
    predictions, output
        What is read and written, for the help.
    """
    add = parser.add_argument
    add("-i", dest="predictions", type=Path, required=True, metavar="PREDICTIONS", help=predictions)
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help=output)
    add(
        "--dataset",
        type=Path,
        metavar="DATASET_FOLDER",
        help="folder of dataset or model; default: dataset.json beside the predictions, or up to two above",
    )


def add_writing_flags(parser: argparse.ArgumentParser, replaced: str) -> None:
    """Declare ``-np`` and ``--overwrite``, which everything has that writes volumes.

    Parameters
    ----------
    parser
        Where to declare them.
    replaced
        What ``--overwrite`` replaces, for the help.
    """
    processes = min(4, os.cpu_count() or 1)
    parser.add_argument("-np", dest="processes", type=int, default=processes, help="number of processes")
    parser.add_argument("--overwrite", action="store_true", help=f"replace {replaced}")


class _HelpWithDefaults(argparse.HelpFormatter):
    """Show the defaults that say something: numbers, names, paths."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        telling = action.default not in (None, False, "", argparse.SUPPRESS) and "default" not in text
        return f"{text} (default: %(default)s)" if telling else text
