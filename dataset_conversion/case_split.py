"""Set cases aside for testing: a part of them drawn at random, or those of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, listed

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


def draw_test_cases(cases: Collection[str], fraction: float, seed: int) -> set[str]:
    """Draw a part of the cases, at least one of them and never all.

    Parameters
    ----------
    cases
        All cases.
    fraction
        From 0 (none) to below 1.
    seed
        Of the draw, which depends on the names of the cases only.

    Raises
    ------
    InputError
        If the fraction is another number, the seed is negative, or no case would be left for training.
    """
    if not 0 <= fraction < 1:
        message = f"--test-fraction {fraction}: expected a number from 0 to below 1"
        raise InputError(message)
    if seed < 0:
        message = f"--seed {seed}: expected 0 or more"
        raise InputError(message)
    if fraction == 0:
        return set()
    count = max(1, round(fraction * len(cases)))
    if count >= len(cases):
        message = f"--test-fraction {fraction}: takes {count} of {len(cases)} cases, expected one left for training"
        raise InputError(message)
    names = sorted(cases)
    return {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}


def read_test_cases(path: Path, cases: Collection[str]) -> set[str]:
    """Read a list of cases: one name per line; empty lines and lines that begin with ``#`` say nothing.

    Raises
    ------
    MissingInputError
        If there is no such file.
    BadCasesError
        If a name is no case.
    InputError
        If no case would be left for training.
    """
    if not path.is_file():
        message = f"{path}: no such file, expected a list of cases"
        raise MissingInputError(message)
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    unknown = [name for name in names if name not in cases]
    if unknown:
        raise BadCasesError([f"{path}: no case '{name}'; cases are {listed(sorted(cases))}" for name in unknown])
    if set(names) == set(cases):
        message = f"{path}: lists all {len(set(names))} cases, expected one left for training"
        raise InputError(message)
    return set(names)
