"""Settings of a trainer from environment variables, the only way past nnU-Net's commands."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from nnunet_ext.errors import BadCasesError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Setting(NamedTuple):
    """One environment variable.

    Parameters
    ----------
    variable
        Its name.
    rule
        What its value must be, in words that follow "must be".
    parse
        Takes its text and gives the value, or raises ValueError where it breaks the rule.
    """

    variable: str
    rule: str
    parse: Callable[[str], Any]


def read_settings(settings: Sequence[Setting]) -> list[Any]:
    """Read variables.

    Parameters
    ----------
    settings
        What to read.

    Returns
    -------
    list
        Their values in the same order; None for a variable that is not set.

    Raises
    ------
    BadCasesError
        If values break their rules; names all of them.
    """
    values, problems = [], []
    for setting in settings:
        text = os.environ.get(setting.variable)
        try:
            values.append(None if text is None else setting.parse(text))
        except ValueError:
            problems.append(f"{setting.variable} must be {setting.rule}, but is {text!r}.")
    if problems:
        raise BadCasesError(problems)
    return values


def number(allowed: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a function that parses a finite number for which ``allowed`` is true, and raises ValueError else."""

    def parse(text: str) -> float:
        value = float(text)
        if not (math.isfinite(value) and allowed(value)):
            raise ValueError(text)
        return value

    return parse


def choice(names: Sequence[str]) -> Callable[[str], str]:
    """Return a function that takes one of ``names``, and raises ValueError else."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return parse
