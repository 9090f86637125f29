"""The values of a site file: how they may be written, and what they mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,@:/+-]*")
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_GPUS = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9_.-]*):)?(\d+)")
_MEMORY = re.compile(r"(\d+)\s*([MGT])(?:i?[Bb])?", re.IGNORECASE)
_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)")
_MIB = {"M": 1, "G": 1024, "T": 1024 * 1024}


@dataclass(frozen=True)
class Gpus:
    """A number of GPUs, of any kind or of one that the scheduler knows by name."""

    count: int
    kind: str = ""


def word(value: object) -> str:
    """Return a name that a scheduler takes: no blanks, nothing that a shell reads."""
    return _matching(value, _WORD, "a name of letters, digits and _ . , @ : / + -")


def module_name(value: object) -> str:
    """Return the name of an environment module."""
    return _matching(value, _MODULE, "a module name of letters, digits and _ . / + -")


def variable_name(value: object) -> str:
    """Return the name of an environment variable."""
    return _matching(value, _VARIABLE, "a variable name of letters, digits and _")


def count(value: object) -> int:
    """Return a number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        message = "a number of 1 or more"
        raise ValueError(message)
    return value


def gpus(value: object) -> Gpus:
    """Return GPUs written as a count or as ``"kind:count"``."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = _GPUS.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        message = 'a number or "kind:number", such as 1 or "a100:1"'
        raise ValueError(message)
    return Gpus(int(match[2]), match[1] or "")


def memory(value: object) -> int:
    """Return memory written as ``"64G"`` in MiB."""
    match = _MEMORY.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        message = 'an amount with M, G or T, such as "64G"'
        raise ValueError(message)
    return int(match[1]) * _MIB[match[2].upper()]


def minutes(value: object) -> int:
    """Return a time written as minutes, ``"HH:MM:SS"`` or ``"DAYS-HH:MM:SS"``, in minutes, rounded up."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        days, hours, mins, seconds = (int(part or 0) for part in match.groups())
        total = (days * 24 + hours) * 60 + mins + (seconds > 0)
        if total > 0:
            return total
    message = 'minutes, "HH:MM:SS" or "DAYS-HH:MM:SS"'
    raise ValueError(message)


def text(value: object) -> str:
    """Return text without NUL, which no environment and no argument can hold."""
    if not isinstance(value, str) or "\0" in value:
        message = "text"
        raise ValueError(message)
    return value


def line(value: object) -> str:
    """Return one line of text."""
    if not isinstance(value, str) or not value.isprintable():
        message = "one line of text"
        raise ValueError(message)
    return value


def option(value: object) -> str:
    """Return an option for the scheduler, as it stands behind ``#SBATCH`` or ``#PBS``."""
    found = line(value)
    if not found.startswith("-"):
        message = 'an option of the scheduler, such as "--constraint=a100"'
        raise ValueError(message)
    return found


def list_of(entry: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    """Return a reader of lists whose entries ``entry`` reads."""

    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, list):
            return tuple(entry(item) for item in value)
        message = "a list"
        raise ValueError(message)

    return read


def one_of(*names: str) -> Callable[[object], str]:
    """Return a reader of one of some words."""

    def read(value: object) -> str:
        if value not in names:
            message = f"one of {', '.join(names)}"
            raise ValueError(message)
        return str(value)

    return read


def _matching(value: object, pattern: re.Pattern[str], expected: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(expected)
    return value
