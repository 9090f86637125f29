"""The real parsers of all commands: ours, those of our scripts, and nnU-Net's."""

from __future__ import annotations

import argparse
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from unittest import mock

from nnunet_ext.cli import VERBS, Verb


class _CapturedError(Exception):
    """Ends an entry point of nnU-Net once its parser is complete."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__("captured")
        self.parser = parser


def _capture(parser: argparse.ArgumentParser, *_: object) -> None:
    raise _CapturedError(parser)


@cache
def nnunet_parser(command: str) -> argparse.ArgumentParser | None:
    """Return the parser that a command of nnU-Net builds; None if there is no such command."""
    found = [entry for entry in entry_points(group="console_scripts") if entry.name == command]
    if not found or not command.startswith("nnUNetv2_"):
        return None
    function = found[0].load()
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", _capture),
        mock.patch.object(sys, "argv", [command]),
    ):
        try:
            function()
        except _CapturedError as captured:
            return captured.parser
    message = f"{command} parses no arguments"
    raise AssertionError(message)


@cache
def own_parser(words: str) -> argparse.ArgumentParser | None:
    """Return the parser of ``nnunet_ext WORDS``; None if there is no such verb."""
    verb = VERBS
    for word in words.split():
        verb = verb.get(word) if isinstance(verb, dict) else None
    if not isinstance(verb, Verb):
        return None
    parser = argparse.ArgumentParser(prog=f"nnunet_ext {words}")
    import_module(verb.module).add_arguments(parser)
    return parser


def parser_and_rest(words: list[str]) -> tuple[argparse.ArgumentParser | None, list[str]]:
    """Return the parser of a command line and the words it has to parse; None if it is unknown."""
    if words[:1] == ["nnunet_ext"] and words[1:2] in (["--help"], ["--version"]):
        return argparse.ArgumentParser(), []
    if words[0] == "nnunet_ext":
        length = 2 if isinstance(VERBS.get(words[1] if len(words) > 1 else ""), dict) else 1
        return own_parser(" ".join(words[1 : 1 + length])), words[1 + length :]
    if words[0] in ("python", "python3") and words[1].endswith(".py"):
        module = words[1].removesuffix(".py").replace("/", ".")
        verbs = [verb for entry in VERBS.values() for verb in (entry.values() if isinstance(entry, dict) else [entry])]
        if any(verb.module == module for verb in verbs):
            parser = argparse.ArgumentParser(prog=words[1])
            import_module(module).add_arguments(parser)
            return parser, words[2:]
        return None, words[2:]
    return nnunet_parser(words[0]), words[1:]


def complaint(words: list[str]) -> str | None:
    """Return what argparse has to say against a command line; None if it parses."""
    parser, rest = parser_and_rest(words)
    if parser is None:
        return "no such command"
    if rest in (["--help"], ["-h"], ["--version"]):
        return None

    with mock.patch.object(argparse.ArgumentParser, "error", _refuse):
        try:
            parser.parse_args(rest)
        except _RefusedError as refused:
            return str(refused)
    return None


class _RefusedError(Exception):
    """What argparse has to say."""


def _refuse(_: argparse.ArgumentParser, message: str) -> None:
    raise _RefusedError(message)


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return all option strings of a command and of its sub-commands."""
    flags = {name for action in parser._actions for name in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            flags = flags.union(*map(flags_of, action.choices.values()))
    return flags


def all_own_parsers() -> list[argparse.ArgumentParser]:
    """Return the parsers of all our commands."""
    words = [
        name if isinstance(verb, Verb) else f"{name} {source}"
        for name, verb in VERBS.items()
        for source in ([""] if isinstance(verb, Verb) else verb)
    ]
    return [parser for line in words if (parser := own_parser(line)) is not None]
