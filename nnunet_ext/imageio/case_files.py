"""Find the files of every case: in a folder, or by a pattern in which ``*`` stands for the name of the case."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, NnunetExtError, listed
from nnunet_ext.imageio import SUPPORTED_ENDINGS, ending_of, find_volumes, is_supported, natural_key, volume_name

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHANNEL = re.compile(r"(.+)_(\d{4})")


def find_cases(where: str | Path) -> dict[str, Path]:
    """Return one file per case.

    Parameters
    ----------
    where
        A folder with one volume per case (in a folder of 2D TIFF images each image is a case), one file, or a
        pattern ``folder/*_suffix.png``: what stands for ``*`` is the name of the case. A pattern without ending is
        compared with names without ending.

    Returns
    -------
    dict
        By case in natural order. ``.seg`` of ``.seg.nrrd`` is no part of the name.

    Raises
    ------
    MissingInputError
        If the folder is not there.
    InputError
        If there is no file, or the pattern has not one ``*`` in its last part.
    BadCasesError
        If a case has several files.
    """
    found: defaultdict[str, list[Path]] = defaultdict(list)
    pattern = "*" in str(where)
    for case, path in _matching(Path(where)) if pattern else _in_folder(Path(where)):
        found[case].append(path)
    if not found:
        message = f"{where}: no volume found, expected files ending in {', '.join(SUPPORTED_ENDINGS)}"
        raise InputError(message)
    doubles = [
        f"case '{case}' is there more than once: {', '.join(str(path) for path in paths)}"
        for case, paths in found.items()
        if len(paths) > 1
    ]
    if doubles:
        raise BadCasesError(doubles)
    return {case: found[case][0] for case in sorted(found, key=natural_key)}


def find_images(where: str | Path) -> dict[str, tuple[Path, ...]]:
    """Return the channels of every case, in order.

    Parameters
    ----------
    where
        As for ``find_cases``. If all names end in ``_`` and four digits, and one in ``_0000``, the digits are
        nnU-Net's channel numbers; else there is one file per case.

    Raises
    ------
    MissingInputError, InputError
        As ``find_cases``.
    BadCasesError
        If a channel is missing; names all such cases.
    """
    files = find_cases(where)
    matches = {name: _CHANNEL.fullmatch(name) for name in files}
    if not all(matches.values()) or not any(match and int(match[2]) == 0 for match in matches.values()):
        return {case: (path,) for case, path in files.items()}
    channels: defaultdict[str, dict[int, Path]] = defaultdict(dict)
    for name, match in matches.items():
        if match:
            channels[match[1]][int(match[2])] = files[name]
    everything = {number for numbers in channels.values() for number in numbers}
    expected = list(range(max(everything) + 1))
    problems = [
        f"{where}: case '{case}' has the channels {sorted(numbers)}, expected {expected} as all cases together have"
        for case, numbers in channels.items()
        if sorted(numbers) != expected
    ]
    if problems:
        raise BadCasesError(problems)
    return {case: tuple(numbers[n] for n in expected) for case, numbers in channels.items()}


def is_there(where: str) -> bool:
    """Return whether a folder or file is there, or a file that matches a pattern."""
    if "*" not in where:
        return Path(where).exists()
    try:
        return bool(_matching(Path(where)))
    except NnunetExtError:
        return False


def spacing_notes(sources: dict[str, str]) -> list[str]:
    """Return one note per source of a spacing, from the source of every case."""
    cases: defaultdict[str, list[str]] = defaultdict(list)
    for case, source in sources.items():
        cases[source].append(case)
    return [f"spacing of {listed(of_source)}: {source}" for source, of_source in cases.items()]


def _in_folder(where: Path) -> Iterable[tuple[str, Path]]:
    volumes = find_volumes(where)
    if where.is_dir() and volumes == [where]:
        # Slices that lie together are 2D images here, and not one volume.
        from nnunet_ext.imageio.slices import slice_files

        volumes = slice_files(where)
    return [(_case_name(path), path) for path in volumes]


def _matching(where: Path) -> Iterable[tuple[str, Path]]:
    if str(where).count("*") != 1 or "*" not in where.name:
        message = f"{where}: expected one '*' in the last part of a pattern, for the name of the case"
        raise InputError(message)
    folder = where.parent
    if not folder.is_dir():
        message = f"{folder}: no such folder"
        raise MissingInputError(message)
    before, after = where.name.split("*")
    whole_name = ending_of(where) != ""
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    names = {path: path.name if whole_name else _case_name(path) for path in entries if is_supported(path)}
    matching = [
        (name[len(before) : len(name) - len(after)], path)
        for path, name in names.items()
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    ]
    if not matching:
        others = listed(sorted(path.name for path in entries))
        message = f"{where}: expected at least one file that matches, found {others}"
        raise InputError(message)
    return matching


def _case_name(path: Path) -> str:
    name = volume_name(path)
    return name.removesuffix(".seg") if ending_of(path) == ".nrrd" else name
