"""All plain NIfTI files of a folder to ``.nii.gz``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataset_conversion.gzip_nifti import GZIP, check_gzip, read_nifti_file, transfer, write_gzip
from dataset_conversion.raw_dataset import write_record
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, NnunetExtError, listed
from nnunet_ext.files import refuse_existing, written_when_complete
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SOURCE = "nii_to_niigz"


@dataclass(frozen=True)
class CompressedFolder:
    """What was written.

    Parameters
    ----------
    folder
        The new folder.
    compressed, copied
        Files that were compressed, and those that were compressed already, as paths within the folder.
    notes
        What the user should know: files left out.
    """

    folder: Path
    compressed: list[str]
    copied: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Source:
    """A ``.nii`` or ``.nii.gz`` file, or the ``.hdr`` of a pair with its ``.img``."""

    path: Path
    image: Path | None = None

    @property
    def is_compressed(self) -> bool:
        return self.path.name.lower().endswith(GZIP)


def nii_to_niigz(
    folder: Path, *, output: Path | None = None, processes: int = 2, overwrite: bool = False
) -> CompressedFolder:
    """Compress all ``.nii`` files and ``.hdr``/``.img`` pairs of a folder and the folders within.

    All files are checked before anything is written, the new folder appears under its name only when it is complete,
    and nothing in the old one is changed. What is compressed are the bytes of a ``.nii`` file as they are; of the
    header of a pair the mark and the offset of the voxels change, as the single-file format demands, and nothing else.
    Files that are ``.nii.gz`` already are copied.

    Parameters
    ----------
    folder
        Where to look; hidden files and folders are left out.
    output
        The new folder; default: ``<folder>_niigz`` beside the folder.
    processes
        Number of files that are worked on at the same time.
    overwrite
        Replace the new folder.

    Raises
    ------
    BadCasesError
        If a file is damaged, one of a pair is missing, or two files would get one name; names all of it.
    InputError
        If there is no such file, or the new folder is within the old one or the other way round.
    MissingInputError
        If the folder is not there.
    OutputExistsError
        If the new folder exists and ``overwrite`` is false.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder"
        raise MissingInputError(message)
    source = folder.resolve()
    target = output if output is not None else source.with_name(f"{source.name}_niigz")
    if target.resolve() == source or source in target.resolve().parents or target.resolve() in source.parents:
        message = f"{target}: expected an output folder (-o) of its own, neither within {folder} nor around it"
        raise InputError(message)
    refuse_existing([target], overwrite=overwrite)
    sources, problems, others = _sources(folder)
    plain = {name: found for name, found in sources.items() if not found.is_compressed}
    if not plain and not problems:
        message = f"{folder}: no .nii file and no .hdr/.img pair found, nor in the folders within"
        raise InputError(message)
    found_problems = run_jobs({name: (found,) for name, found in sources.items()}, _problem, processes, "Checking")
    problems += [problem for problem in found_problems.values() if problem]
    if problems:
        raise BadCasesError(problems)

    with written_when_complete(target, overwrite=overwrite) as unfinished:
        unfinished.mkdir()
        for parent in sorted({(unfinished / name).parent for name in sources}):
            parent.mkdir(parents=True, exist_ok=True)
        jobs = {name: (found, unfinished / name) for name, found in sources.items()}
        records = run_jobs(jobs, _write, processes, "Compressing")
        write_record(unfinished, {"folder": str(folder.absolute())}, records, conversion={"source": SOURCE})
    copied = [name for name, found in sources.items() if found.is_compressed]
    notes = [f"no NIfTI file and left out: {listed(others)}"] if others else []
    return CompressedFolder(target, list(plain), copied, notes)


def _sources(folder: Path) -> tuple[dict[str, _Source], list[str], list[str]]:
    """Return sources by the path of what they become, problems, and the files that are no NIfTI files."""
    found: defaultdict[str, list[_Source]] = defaultdict(list)
    problems, others = [], []
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path.relative_to(folder))]
    by_lower = {str(path).lower(): path for path in files}
    for path in files:
        inside, lower = path.relative_to(folder).as_posix(), path.name.lower()
        if lower.endswith(GZIP):
            found[inside[: -len(GZIP)] + GZIP].append(_Source(path))
        elif lower.endswith(".nii"):
            found[inside[:-4] + GZIP].append(_Source(path))
        elif lower.endswith((".hdr", ".img")):
            partner_ending = ".img" if lower.endswith(".hdr") else ".hdr"
            partner = by_lower.get(str(path).lower()[:-4] + partner_ending)
            if partner is None:
                problems.append(f"{path}: no {partner_ending} file of the same name beside it")
            elif partner_ending == ".img":
                found[inside[:-4] + GZIP].append(_Source(path, partner))
        else:
            others.append(inside)
    problems += [
        f"{name} would be made of {' and of '.join(str(one.path) for one in several)}, expected one file of that name"
        for name, several in found.items()
        if len(several) > 1
    ]
    return {name: several[0] for name, several in found.items()}, problems, others


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _problem(found: _Source) -> str | None:
    try:
        if found.is_compressed:
            check_gzip(found.path)
        else:
            read_nifti_file(found.path, found.image)
    except NnunetExtError as error:
        return str(error)
    return None


def _write(found: _Source, target: Path) -> dict[str, str]:
    if found.is_compressed:
        transfer(found.path, target)
    else:
        write_gzip(read_nifti_file(found.path, found.image), target)
    files: Mapping[str, Path | None] = {"source": found.path, "voxels": found.image}
    return {title: str(path.absolute()) for title, path in files.items() if path is not None}
