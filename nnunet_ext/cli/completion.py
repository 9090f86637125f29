"""Print what lets a shell complete the words of this command: verbs, flags, choices and files.

bash: ``source <(nnunet_ext completion bash)`` in ``~/.bashrc``. zsh: the output is a file ``_nnunet_ext`` in a folder
of ``$fpath``. fish: a file ``~/.config/fish/completions/nnunet_ext.fish``. Print it again after an update.
"""

from __future__ import annotations

import argparse
import re
from importlib import import_module
from typing import TYPE_CHECKING

from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nnunet_ext.cli import Verb

SHELLS = ("bash", "zsh", "fish")
_OPTIONS_OF_BASH = re.compile(r"^(complete)(?: -o \w+)* (-F \S+ nnunet_ext)$", re.MULTILINE)
"""The line that declares the completion; which options it has depends on shtab's version."""


class CompletionUnavailableError(NnunetExtError, ImportError):
    """The library that writes completions is not installed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "shell",
        choices=SHELLS,
        help="the shell that is to complete. bash: put `source <(nnunet_ext completion bash)` into ~/.bashrc; zsh: "
        "write the output to a file _nnunet_ext in a folder of $fpath; fish: write it to "
        "~/.config/fish/completions/nnunet_ext.fish",
    )


def run(args: argparse.Namespace) -> None:
    """Print the completion of a shell."""
    print(completion(args.shell))


def completion(shell: str) -> str:
    """Return the script that makes a shell complete ``nnunet_ext``.

    Parameters
    ----------
    shell
        ``bash``, ``zsh`` or ``fish``.

    Raises
    ------
    CompletionUnavailableError
        If shtab, which writes these scripts, is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        message = "completion needs the package shtab: pip install shtab"
        raise CompletionUnavailableError(message) from error
    parser = command_parser()
    if shell == "bash":
        # bash offers files by itself where nothing else fits, and knows better than shtab how to quote them. Declared
        # as files, options that take several words would also hide the flags that may follow.
        return re.sub(_OPTIONS_OF_BASH, r"\1 -o bashdefault -o default \2", str(shtab.complete(parser, shell)))
    for action in _actions(parser):
        if _takes_text(action):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def command_parser() -> argparse.ArgumentParser:
    """Return one parser with all commands as sub-parsers; ``nnunet_ext`` itself imports only the one that is asked for.

    Returns
    -------
    argparse.ArgumentParser
        Its sub-commands have the flags of the commands, and their summaries as description and help.
    """
    from nnunet_ext.cli import VERBS

    parser = argparse.ArgumentParser(prog="nnunet_ext")
    parser.add_argument("--version", action="store_true", help="print the version")
    _add_verbs(parser, VERBS)
    return parser


def _add_verbs(parser: argparse.ArgumentParser, verbs: Mapping[str, Verb | dict[str, Verb]]) -> None:
    choices = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, chosen in verbs.items():
        if isinstance(chosen, dict):
            summary = f"One of: {', '.join(chosen)}."
            _add_verbs(choices.add_parser(name, help=summary, description=summary), chosen)
        else:
            command = choices.add_parser(name, help=chosen.summary, description=chosen.summary)
            import_module(chosen.module).add_arguments(command)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Walk through all flags of a parser and of its sub-parsers."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


def _takes_text(action: argparse.Action) -> bool:
    """Whether an argument takes a word that may well be a file: neither a number nor one of a list."""
    return action.nargs != 0 and action.choices is None and action.type not in (int, float)
