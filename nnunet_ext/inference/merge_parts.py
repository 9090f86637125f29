"""Put the parts of predictions together, after checking that they make them up."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, NnunetExtError
from nnunet_ext.files import read_json, refuse_existing, sha256, write_json
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.imageio.names import OUTPUT_ENDINGS
from nnunet_ext.inference.assemble import PlaneRuns, write_labels, write_probabilities
from nnunet_ext.inference.disk import clear_disk_errors
from nnunet_ext.inference.output_folder import check_output_folder
from nnunet_ext.inference.parts import KIND, LABELS_SUFFIX, PARTS_SUFFIX, PROBABILITIES_SUFFIX, Part
from nnunet_ext.inference.stored_probabilities import STORED_ENDING

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_NAME = re.compile(r"part(\d+)of(\d+)\.json")
_COPIED = ("dataset.json", "plans.json")


def holds_parts(folder: Path) -> bool:
    """Return whether parts of predictions lie in a folder."""
    return any(path.is_dir() for path in folder.glob(f"*{PARTS_SUFFIX}"))


def merge_parts(
    predictions: Path, output: Path, *, file_ending: str | None = None, overwrite: bool = False
) -> list[Path]:
    """Put the parts of all cases in a folder together: label maps, and probabilities if the parts have them.

    Everything is checked first: that the parts of a case were made of the same model, image and settings, that none
    is missing, double, truncated or changed, and that together they hold every plane once.

    Parameters
    ----------
    predictions
        Output folder of ``nnunet_ext predict --part``.
    output
        Folder for the label maps; dataset.json and plans.json are copied beside them.
    file_ending
        Format to write; default: what the parts were to be written as.
    overwrite
        Whether label maps may be replaced.

    Returns
    -------
    list of Path
        The label maps.

    Raises
    ------
    MissingInputError
        If there is no part.
    BadCasesError
        If parts do not make up their cases; names all problems.
    """
    if file_ending is not None and file_ending not in OUTPUT_ENDINGS:
        message = f"--format {file_ending}: expected one of {', '.join(OUTPUT_ENDINGS)}"
        raise InputError(message)
    folders = sorted(path for path in predictions.glob(f"*{PARTS_SUFFIX}") if path.is_dir())
    if not folders:
        message = f"{predictions}: no folder <case>{PARTS_SUFFIX} in it, expected parts of 'nnunet_ext predict --part'"
        raise MissingInputError(message)
    problems: list[str] = []
    cases: dict[str, list[tuple[Path, Part]]] = {}
    for folder in folders:
        found, wrong = _read_parts(folder)
        wrong = wrong or _cover_problems(folder, found)
        problems += wrong
        cases[folder.name.removesuffix(PARTS_SUFFIX)] = found
    if problems:
        raise BadCasesError(problems)
    check_output_folder(output)
    targets = {case: output / f"{case}{file_ending or parts[0][1].file_ending}" for case, parts in cases.items()}
    stored = {case: output / f"{case}{STORED_ENDING}" for case, parts in cases.items() if parts[0][1].background}
    refuse_existing([*targets.values(), *stored.values()], overwrite=overwrite)
    with clear_disk_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        for name in _COPIED:
            if (predictions / name).is_file() and predictions.resolve() != output.resolve():
                write_json(output / name, read_json(predictions / name))
    for case, parts in cases.items():
        record = parts[0][1]
        if case in stored:
            write_probabilities(
                stored[case],
                [_probabilities(path, part) for path, part in parts],
                record.background,
                shape=record.shape,
                crop=record.crop,
                transpose=record.transpose,
                overwrite=overwrite,
            )
        geometry = Geometry(**{key: _tuples(value) for key, value in record.geometry.items()})
        write_labels(
            targets[case],
            PlaneRuns([_labels(path, part) for path, part in parts]),
            shape=record.shape,
            crop=record.crop,
            transpose=record.transpose,
            geometry=geometry,
            case=case,
            overwrite=overwrite,
        )
    return list(targets.values())


def _read_parts(folder: Path) -> tuple[list[tuple[Path, Part]], list[str]]:
    """Return the parts of a case by their first plane, and what is wrong with single ones."""
    found: list[tuple[Path, Part]] = []
    problems: list[str] = []
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in entries:
        match = _NAME.fullmatch(path.name)
        if match is None:
            known = path.suffix in (LABELS_SUFFIX, PROBABILITIES_SUFFIX)
            if not (known and path.with_suffix(".json").exists()):
                problems.append(
                    f"{path}: no part of a prediction, expected part<number>of<number>.json, .labels and "
                    ".probabilities only"
                )
            continue
        try:
            part = _read_part(path)
            problem = _file_problem(path, part, (int(match[1]), int(match[2])))
        except NnunetExtError as error:
            problem = str(error)
        except (TypeError, ValueError, IndexError) as error:
            problem = f"{path}: not the record of a part: {error}"
        if problem:
            problems.append(problem)
        else:
            found.append((path, part))
    return sorted(found, key=lambda item: (item[1].first, item[1].part)), problems


def _read_part(path: Path) -> Part:
    content = read_json(path)
    if content.pop("kind", None) != KIND:
        message = f"{path}: not written by 'nnunet_ext predict --part'"
        raise InputError(message)
    return Part(**{key: _tuples(value) for key, value in content.items()})


def _file_problem(path: Path, part: Part, named: tuple[int, int]) -> str:
    if (part.part, part.parts) != named:
        return f"{path}: is part {part.part} of {part.parts} by its content, which is another one than its name says"
    pixels = (part.last - part.first) * part.plane[0] * part.plane[1]
    files = {LABELS_SUFFIX: (pixels * np.dtype(part.dtype).itemsize, part.sha256)}
    if part.background:
        files[PROBABILITIES_SUFFIX] = (pixels * len(part.background) * 2, part.probabilities_sha256)
    for suffix, (size, digest) in files.items():
        file = path.with_suffix(suffix)
        if not file.is_file():
            return f"{file}: no such file, expected planes {part.first} to {part.last} of case '{part.case}'"
        if file.stat().st_size != size:
            return f"{file}: {file.stat().st_size} bytes, expected {size}; the file is truncated or not its own"
        if sha256(file) != digest:
            return f"{file}: not what {path.name} says was written (SHA-256 differs)"
    return ""


def _cover_problems(folder: Path, found: list[tuple[Path, Part]]) -> list[str]:
    """Return what keeps the parts of one case from making it up."""
    if not found:
        return [f"{folder}: no part in it"]
    case = folder.name.removesuffix(PARTS_SUFFIX)
    first_path, first = found[0]
    common = (
        *("parts", "planes", "plane", "dtype", "shape", "crop", "transpose", "geometry", "identity", "file_ending"),
        "background",
    )
    problems = [
        f"{path}: belongs to case '{part.case}', expected '{case}'" for path, part in found if part.case != case
    ]
    for path, part in found[1:]:
        different = [name for name in common if getattr(part, name) != getattr(first, name)]
        if different:
            problems.append(
                f"{path}: does not belong with {first_path.name}, they differ in {', '.join(different)}; predict all "
                "parts with the same image, model and flags"
            )
    if problems:
        return problems
    by_number: defaultdict[int, list[Path]] = defaultdict(list)
    for path, part in found:
        by_number[part.part].append(path)
    problems += [
        f"{folder}: part {number} is there more than once: {', '.join(path.name for path in paths)}"
        for number, paths in by_number.items()
        if len(paths) > 1
    ]
    missing = [str(number) for number in range(first.parts) if number not in by_number]
    if missing:
        problems.append(f"{folder}: part {', '.join(missing)} of {first.parts} (from 0) is missing")
    if problems:
        return problems
    end = 0
    for path, part in found:
        if part.first != end:
            problems.append(f"{path}: begins at plane {part.first}, expected {end}")
        end = part.last
    if end != first.planes:
        problems.append(f"{folder}: the parts end at plane {end}, expected {first.planes}")
    return problems


def _labels(path: Path, part: Part) -> NDArray[Any]:
    return _mapped(path.with_suffix(LABELS_SUFFIX), (part.last - part.first, *part.plane), np.dtype(part.dtype))


def _probabilities(path: Path, part: Part) -> NDArray[Any]:
    shape = (part.last - part.first, len(part.background), *part.plane)
    return _mapped(path.with_suffix(PROBABILITIES_SUFFIX), shape, np.dtype(np.float16))


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.memmap(path, dtype, "r", shape=shape) if shape[0] else np.zeros(shape, dtype)


def _tuples(value: Any) -> Any:
    """Turn lists, which JSON has in place of tuples, into tuples again."""
    if isinstance(value, list):
        return tuple(_tuples(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _tuples(entry) for key, entry in value.items()}
    return value
