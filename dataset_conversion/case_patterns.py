"""Find the files of every case by patterns in which ``{case}`` stands for the name of the case."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, listed
from nnunet_ext.imageio.names import SUPPORTED_ENDINGS, is_supported, natural_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CASE = "{case}"
_FIELD = re.compile(r"(\{case\}|\*)")


def match_patterns(folder: Path, patterns: Sequence[str]) -> list[dict[str, Path]]:
    """Return the files that each pattern finds, by case.

    Parameters
    ----------
    folder
        Where to look.
    patterns
        Paths within the folder, such as ``{case}/{case}.nii.gz``. ``{case}`` stands for the same text wherever it is,
        within one part of the path, and for the shortest that fits; ``*`` for any text. Hidden files are no match.
        A file that several patterns match belongs to the one that says most of its path: with
        ``{case}_image.nii.gz`` and ``{case}.nii.gz`` the file ``a_image.nii.gz`` is the image of a.

    Returns
    -------
    list of dict
        One per pattern, in natural order of the cases.

    Raises
    ------
    MissingInputError
        If the folder is not there.
    InputError
        If a pattern is not usable or there twice.
    BadCasesError
        If a pattern finds nothing, something that is no volume, or several files of one case; names all of it.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder"
        raise MissingInputError(message)
    for pattern in patterns:
        check_pattern(pattern)
    doubles = sorted({pattern for pattern in patterns if list(patterns).count(pattern) > 1})
    if doubles:
        message = f"patterns {', '.join(doubles)} are given more than once, expected one for each file of a case"
        raise InputError(message)
    found = [list(_walk(folder, PurePosixPath(pattern).parts, None)) for pattern in patterns]
    owner: dict[Path, int] = {}
    for number in sorted(range(len(patterns)), key=lambda number: _literal(patterns[number])):
        owner.update((path, number) for _, path in found[number])
    problems: list[str] = []
    files = []
    for number, (pattern, matches) in enumerate(zip(patterns, found, strict=True)):
        own = [(case, path) for case, path in matches if owner[path] == number]
        problems += _problems(folder, pattern, own)
        files.append(dict(sorted(own, key=lambda match: natural_key(match[0]))))
    if problems:
        raise BadCasesError(problems)
    return files


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that is no path within a folder, or says nothing of the case.

    Raises
    ------
    InputError
        With the pattern and what was expected.
    """
    parts = PurePosixPath(pattern).parts
    expected = "expected a path within the folder (-i) with {case} for the name of the case, as {case}/image.nii.gz"
    if CASE not in pattern or "\\" in pattern or Path(pattern).is_absolute() or ".." in parts:
        message = f"pattern '{pattern}': {expected}"
        raise InputError(message)
    if re.search(r"[{}]", pattern.replace(CASE, "")):
        message = f"pattern '{pattern}': {{case}} is the only field; {expected}"
        raise InputError(message)
    if f"{CASE}*" in pattern or f"*{CASE}" in pattern or f"{CASE}{CASE}" in pattern:
        message = f"pattern '{pattern}': nothing tells where the name ends, expected some text beside {{case}}"
        raise InputError(message)


def case_name_problem(name: str) -> str | None:
    """Return why a text cannot be the name of a case, which becomes a file name; None if it can."""
    if not name or name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
        return f"'{name}' cannot be the name of a case, expected a file name without folders that begins with no dot"
    return None


def similar_name_problems(files: Mapping[str, Iterable[str]]) -> tuple[list[str], set[str]]:
    """Find names of cases that differ only in upper and lower case or in leading zeros.

    Parameters
    ----------
    files
        Names of cases by what they name, such as ``images``.

    Returns
    -------
    tuple of list and set
        One message per group of such names, and all names in such groups.
    """
    groups: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for title, names in files.items():
        for name in names:
            groups[repr(natural_key(name)[0])].setdefault(name, []).append(title)
    problems: list[str] = []
    similar: set[str] = set()
    for names in groups.values():
        if len(names) > 1:
            shown = ", ".join(f"'{name}' ({', '.join(titles)})" for name, titles in sorted(names.items()))
            problems.append(
                f"case names {shown} differ in upper and lower case or leading zeros only; give a case one name in all "
                "files"
            )
            similar.update(names)
    return problems, similar


def _walk(folder: Path, parts: Sequence[str], case: str | None) -> Iterator[tuple[str, Path]]:
    """Yield the case and path of every match of the parts of a pattern."""
    part, rest = parts[0], parts[1:]
    if case is not None:
        part = part.replace(CASE, case)
    if case is not None and "*" not in part:
        entries = [(folder / part, case)]
    elif _FIELD.search(part):
        expression = _expression(part)
        matches = [(path, expression.fullmatch(path.name)) for path in sorted(folder.iterdir())]
        entries = [
            (path, match.groupdict().get("case", case) or "")
            for path, match in matches
            if match and not path.name.startswith(".")
        ]
    else:
        entries = [(folder / part, "")]
    for path, name in entries:
        if rest and path.is_dir():
            yield from _walk(path, rest, name or None)
        elif not rest and path.is_file():
            yield name, path


def _expression(part: str) -> re.Pattern[str]:
    text = ""
    for piece in _FIELD.split(part):
        if piece == CASE:
            text += "(?P=case)" if "?P<case>" in text else "(?P<case>.+?)"
        else:
            text += ".*" if piece == "*" else re.escape(piece)
    return re.compile(text)


def _literal(pattern: str) -> int:
    return len(_FIELD.sub("", pattern))


def _problems(folder: Path, pattern: str, matches: Sequence[tuple[str, Path]]) -> list[str]:
    if not matches:
        there = listed(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
        return [f"{folder}: no file of its own for the pattern '{pattern}'; the folder holds {there}"]
    by_case: defaultdict[str, list[Path]] = defaultdict(list)
    for case, path in matches:
        by_case[case].append(path)
    problems = [
        f"{pattern}: {len(paths)} files of case '{case}', expected one: {', '.join(map(str, paths))}"
        for case, paths in by_case.items()
        if len(paths) > 1
    ]
    problems += [f"{path}: {text}" for case, path in matches if (text := case_name_problem(case))]
    odd = [path for _, path in matches if not is_supported(path)]
    if odd:
        pairs = any(path.suffix.lower() in (".hdr", ".img") for path in odd)
        hint = "; 'nnunet_ext convert nii_to_niigz' turns .hdr/.img pairs into .nii.gz" if pairs else ""
        expected = ", ".join(SUPPORTED_ENDINGS)
        problems.append(f"{listed(map(str, odd))}: expected volumes, files ending in {expected}{hint}")
    return problems
