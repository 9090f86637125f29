"""Which group each case belongs to: from a column of a table, a pattern on the case name, or a preset."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.caffe.names import parse_caffe_name
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError
from nnunet_ext.imageio import ending_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

CASE_COLUMN = "case"
DELIMITERS = ",;\t"

_TABLE = re.compile(r"(?P<file>.+?\.(?:csv|tsv|txt)):(?P<column>.+)", re.IGNORECASE)
_NAMED_PATTERN = re.compile(r"(?P<name>[^\W\d]\w*)=(?P<pattern>.+)", re.DOTALL)


@dataclass(frozen=True)
class Grouping:
    """A way to divide cases into groups.

    Parameters
    ----------
    name
        What the cases are divided by, such as ``glacier``.
    of_case
        From case to group, such as ``COL``; every case is in it.
    """

    name: str
    of_case: Mapping[str, str]


def read_grouping(text: str, cases: Iterable[str]) -> list[Grouping]:
    """Read one value of ``--group-by``.

    Parameters
    ----------
    text
        ``caffe``, the preset for names of the CaFFe benchmark; or ``FILE.csv:COLUMN``, a table with a header and a
        column ``case``, UTF-8, separated by commas, semicolons or tabs; or a regular expression that is searched in
        the name of each case. Every named group of the expression is a grouping; without any its first group counts,
        or else all that it matches. That grouping is called as the expression, or NAME given as ``NAME=EXPRESSION``.
    cases
        Names of the cases; doubles do not matter.

    Returns
    -------
    list of Grouping
        At least one.

    Raises
    ------
    BadCasesError
        If cases are missing in the table or stand there twice with different groups, do not match the expression,
        or have no name of the benchmark.
    InputError
        If the table, its column or the expression cannot be used.
    MissingInputError
        If there is no such table.
    """
    cases = list(dict.fromkeys(cases))
    if text in PRESETS:
        return PRESETS[text](cases)
    table = _TABLE.fullmatch(text)
    if table is not None:
        return [_by_table(Path(table["file"]), table["column"], cases)]
    if text.lower().endswith((".csv", ".tsv")):
        message = f"--group-by {text}: which column? Give FILE:COLUMN, such as {text}:site"
        raise InputError(message)
    return _by_pattern(text, cases)


def table_of(text: str) -> Path | None:
    """Return the table that one value of ``--group-by`` is read from, if it is one."""
    table = None if text in PRESETS else _TABLE.fullmatch(text)
    return None if table is None else Path(table["file"])


def _by_caffe_name(cases: Sequence[str]) -> list[Grouping]:
    """Group by what the names of the CaFFe benchmark say, and by each two of these."""
    parts: dict[str, dict[str, str]] = {"glacier": {}, "satellite": {}, "resolution": {}, "season": {}}
    problems = []
    for case in cases:
        try:
            name = parse_caffe_name(case)
        except InputError as error:
            problems.append(f"case {error}")
            continue
        parts["glacier"][case] = name.glacier
        parts["satellite"][case] = name.satellite
        parts["resolution"][case] = f"{name.resolution:g}"
        parts["season"][case] = name.season
    if problems:
        raise BadCasesError(problems)
    single = [Grouping(name, of_case) for name, of_case in parts.items()]
    return single + [_product(first, second) for first, second in combinations(single, 2)]


PRESETS: dict[str, Callable[[Sequence[str]], list[Grouping]]] = {"caffe": _by_caffe_name}


def _product(first: Grouping, second: Grouping) -> Grouping:
    of_case = {case: f"{group} × {second.of_case[case]}" for case, group in first.of_case.items()}
    return Grouping(f"{first.name} × {second.name}", of_case)


def _by_pattern(text: str, cases: Sequence[str]) -> list[Grouping]:
    given = _NAMED_PATTERN.fullmatch(text)
    name, source = (given["name"], given["pattern"]) if given else (text, text)
    try:
        pattern = re.compile(source)
    except re.error as error:
        message = f"--group-by: {source!r} is no regular expression: {error}"
        raise InputError(message) from error
    if given and pattern.groupindex:
        message = (
            f"--group-by {text}: names the grouping twice, by {name}= and by the groups "
            f"{', '.join(pattern.groupindex)} of the expression; leave one of them out"
        )
        raise InputError(message)
    matches = {case: pattern.search(case) for case in cases}
    if cases and not any(matches.values()):
        message = (
            f"--group-by: {text!r} is no preset ({', '.join(PRESETS)}) and no FILE.csv:COLUMN, and as a regular "
            f"expression it matches no case; the first case is {cases[0]!r}"
        )
        raise InputError(message)
    keys: dict[str, str | int] = {group: group for group in pattern.groupindex} or {name: min(1, pattern.groups)}
    groupings, problems = [], []
    for grouping, key in keys.items():
        part = f"group {key} of {source!r}" if key else repr(source)
        found = {case: match[key] if match else None for case, match in matches.items()}
        problems += [f"case {case!r}: {part} matches nothing in its name" for case, group in found.items() if not group]
        groupings.append(Grouping(grouping, {case: group for case, group in found.items() if group}))
    if problems:
        raise BadCasesError(problems)
    return groupings


def _by_table(path: Path, column: str, cases: Sequence[str]) -> Grouping:
    header, rows = _read_table(path)
    for wanted in dict.fromkeys((CASE_COLUMN, column)):
        if header.count(wanted) != 1:
            found = "several columns" if wanted in header else "no column"
            message = f"{path}: {found} {wanted!r}; the columns are {', '.join(map(repr, header))}"
            raise InputError(message)
    case_index, group_index = header.index(CASE_COLUMN), header.index(column)
    exact: dict[str, dict[str, int]] = {}
    without_ending: dict[str, dict[str, int]] = {}
    for line, row in rows:
        case, group = row[case_index], row[group_index]
        exact.setdefault(case, {}).setdefault(group, line)
        without_ending.setdefault(case[: len(case) - len(ending_of(Path(case)))], {}).setdefault(group, line)
    of_case, problems = {}, []
    for case in cases:
        # A dot may also be part of the name of a case.
        groups = {**without_ending.get(case, {}), **exact.get(case, {})}
        if not any(groups):
            problems.append(f"{path}: case {case!r} is missing or has nothing in column {column!r}")
        elif len(groups) > 1:
            listed = " and ".join(f"{group!r} (line {line})" for group, line in groups.items())
            problems.append(f"{path}: case {case!r} has {listed} in column {column!r}; expected one of them")
        else:
            of_case[case] = next(iter(groups))
    if problems:
        raise BadCasesError(problems)
    return Grouping(column, of_case)


def _read_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, and line number and cells of each row, as many cells as the header has."""
    if not path.is_file():
        message = f"{path}: no such file"
        raise MissingInputError(message)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: not in UTF-8 ({error.reason} at byte {error.start}); save it as CSV in UTF-8"
        raise InputError(message) from error
    try:
        # Not the most frequent separator of the file, which fails where cells hold decimal commas.
        header, rows = max((_parse(text, delimiter) for delimiter in DELIMITERS), key=_plausibility)
    except csv.Error as error:
        message = f"{path}: not a table: {error}"
        raise InputError(message) from error
    problems = [
        f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}"
        for line, row in rows
        if any(row[len(header) :])
    ]
    if problems:
        raise BadCasesError(problems)
    padding = [""] * len(header)
    return header, [(line, (row + padding)[: len(header)]) for line, row in rows]


def _parse(text: str, delimiter: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    return (rows[0][1], rows[1:]) if rows else ([], [])


def _plausibility(table: tuple[list[str], list[tuple[int, list[str]]]]) -> tuple[bool, int]:
    header, _ = table
    return CASE_COLUMN in header, len(header)
