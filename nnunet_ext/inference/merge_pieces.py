"""Predicted pieces to whole volumes, checked against the manifest of ``split``."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, listed
from nnunet_ext.files import refuse_existing, written_when_complete
from nnunet_ext.imageio import OUTPUT_ENDINGS, create_volume, ending_of, is_supported, volume_name
from nnunet_ext.imageio.grid import Grid, grid_differences, grid_of
from nnunet_ext.imageio.names import TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import open_with_sidecar, write_sidecar
from nnunet_ext.inference.blend_pieces import blend_pieces, blending_problems, check_blending
from nnunet_ext.inference.output_folder import check_output_folder, made_for_output
from nnunet_ext.inference.piece_files import join_pieces, joined_dtype
from nnunet_ext.inference.piece_names import parse_piece_name
from nnunet_ext.inference.split_manifest import find_manifest, read_split_manifest
from nnunet_ext.inference.unlisted_pieces import cases_by_names
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_ext.inference.split_manifest import SplitCase

CARRIED = ("dataset.json", "plans.json")
"""Files of nnU-Net beside predictions that belong to the merged ones as well."""

_CHANNEL = re.compile(r"_\d{4}$")


@dataclass(frozen=True)
class Merged:
    """What was written.

    Parameters
    ----------
    files
        The whole volume of each case.
    notes
        What the user should know.
    """

    files: dict[str, Path]
    notes: list[str] = field(default_factory=list)


def merge_pieces(
    predictions: Path,
    output: Path,
    *,
    manifest: Path | None = None,
    by_names: bool = False,
    blend: bool = False,
    file_format: str | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> Merged:
    """Put predicted pieces together: each voxel comes from the piece that owns it.

    Everything is checked first, for all cases; the volumes appear together when all are complete. They are read and
    written slab by slab.

    Parameters
    ----------
    predictions
        Folder that ``nnUNetv2_predict`` wrote from pieces.
    output
        Folder for ``<case><ending>``, with the shape and geometry of the image that was cut.
    manifest
        ``split_manifest.json`` or the folder of the pieces; default: the one beside the predictions.
    by_names
        There is no manifest: go by the names of the pieces, which may come from the published soil workflow.
    blend
        Blend the probabilities beside the predictions (``--save_probabilities``) across the halo, and take the labels
        of them. See ``blend_pieces`` for memory and disk space.
    file_format
        Ending of the volumes; default: that of the predictions.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace files of the same name.

    Returns
    -------
    Merged
        Files and notes.

    Raises
    ------
    MissingInputError, InputError
        If there is no manifest, it is not as ``split`` wrote it, or an argument is not usable.
    BadCasesError
        If a piece is missing, there twice, of another shape or place than the manifest says, or of a case that the
        manifest does not have; names all files and intervals.
    OutputExistsError
        If an output exists and ``overwrite`` is false.
    """
    if by_names and manifest is not None:
        message = f"--manifest {manifest}: not with --by-names, which is for pieces without a manifest"
        raise InputError(message)
    source = predictions if by_names else find_manifest(predictions, manifest)
    cases = cases_by_names(predictions) if by_names else read_split_manifest(source)
    check_output_folder(output)
    if output.resolve() == predictions.resolve():
        message = f"{output}: is the folder of the predicted pieces; choose another output (-o)"
        raise InputError(message)
    if blend:
        check_blending(predictions)
    files, problems, notes = locate_pieces(predictions, cases, source)
    if problems:
        raise BadCasesError(problems)
    if by_names:
        ends = ", ".join(f"{case.name} {case.shape[case.axis]}" for case in cases)
        notes.append(
            f"no manifest: by the names of the pieces, lengths are {ends}; a missing last piece would not show"
        )

    targets = {case.name: output / f"{case.name}{_ending(files[case.piece_names[0]], file_format)}" for case in cases}
    carried = [name for name in CARRIED if (predictions / name).is_file()]
    sidecars = {name: output / f"{name}.json" for name, path in targets.items() if ending_of(path) in TIFF_ENDINGS}
    refuse_existing([*targets.values(), *sidecars.values(), *(output / name for name in carried)], overwrite=overwrite)
    of_case = {case.name: [files[piece] for piece in case.piece_names] for case in cases}
    checks = run_jobs(
        {case.name: (case, of_case[case.name], targets[case.name], blend) for case in cases},
        check_pieces,
        processes,
        "Checking",
    )
    problems = [problem for found in checks.values() for problem in found]
    if problems:
        raise BadCasesError(problems)

    with made_for_output(output), ExitStack() as stack:
        jobs = {}
        for case in cases:
            partial = stack.enter_context(written_when_complete(targets[case.name], overwrite=overwrite))
            jobs[case.name] = (case, of_case[case.name], partial, blend)
        run_jobs(jobs, merge_case, processes, "Blending" if blend else "Merging")
        for name in carried:
            partial = stack.enter_context(written_when_complete(output / name, overwrite=overwrite))
            partial.write_bytes((predictions / name).read_bytes())
    for case in cases:
        if case.name in sidecars:
            write_sidecar(output, case.name, case.geometry)
    return Merged(targets, notes)


def locate_pieces(
    folder: Path, cases: Sequence[SplitCase], manifest: Path
) -> tuple[dict[str, Path], list[str], list[str]]:
    """Find the file of every piece.

    Parameters
    ----------
    folder
        Folder of the predicted pieces.
    cases
        What the manifest says.
    manifest
        For messages.

    Returns
    -------
    tuple
        Files by the name of the piece; problems: pieces that are missing or there twice, and files named like pieces
        of something else; notes on files that are left alone.
    """
    there: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_supported(path) and not path.name.startswith("."):
            there[volume_name(path)].append(path)
    wanted = [name for case in cases for name in case.piece_names]
    if wanted and there.keys().isdisjoint(wanted) and f"{wanted[0]}_0000" in there:
        return {}, [f"{folder}: holds the pieces themselves, expected their predictions by nnUNetv2_predict"], []
    problems = []
    files = {}
    for case in cases:
        for name, piece in zip(case.piece_names, case.pieces, strict=True):
            found = there.pop(name, [])
            if not found:
                problems.append(f"{folder / name}: missing, expected the prediction of {case.describe(piece)}")
            elif len(found) > 1:
                doubles = ", ".join(path.name for path in found)
                problems.append(f"{folder}: {doubles}: expected one prediction of {case.describe(piece)}")
            else:
                files[name] = found[0]
    rest = [path for paths in there.values() for path in paths]
    problems += [
        f"{path}: named like a piece, but {manifest} has none of that name"
        for path in rest
        if _is_named_like_a_piece(path)
    ]
    strays = [path.name for path in rest if not _is_named_like_a_piece(path)]
    notes = [f"{folder}: no pieces, left alone: {listed(strays)}"] if strays else []
    return files, problems, notes


def check_pieces(case: SplitCase, paths: Sequence[Path], target: Path, blend: bool) -> list[str]:
    """Return what stands in the way of merging the pieces of one case; reads headers only."""
    problems = []
    for piece, path in zip(case.pieces, paths, strict=True):
        where = case.describe(piece)
        expected = Grid(
            path, case.piece_shape(piece), case.piece_geometry(piece), has_spacing=True, is_placed=case.is_placed
        )
        try:
            with open_with_sidecar(path) as volume:
                found = grid_of(volume)
            problems += [
                f"{path}: {text}, expected the prediction of {where}" for text in grid_differences(found, expected)
            ]
            if blend:
                problems += blending_problems(path, expected.shape, where)
        except NnunetExtError as error:
            text = str(error)
            problems.append(f"{text if str(path) in text else f'{path}: {text}'}; it is the prediction of {where}")
    if not problems:
        try:
            create_volume(target, case.shape, "uint8" if blend else joined_dtype(paths), case.geometry, overwrite=True)
        except NnunetExtError as error:
            problems.append(str(error))
    return problems


def merge_case(case: SplitCase, paths: Sequence[Path], target: Path, blend: bool) -> None:
    """Write one whole volume."""
    if blend:
        blend_pieces(case, paths, target)
    else:
        join_pieces(case, paths, target)


def _is_named_like_a_piece(path: Path) -> bool:
    name = volume_name(path)
    return parse_piece_name(name) is not None or parse_piece_name(_CHANNEL.sub("", name)) is not None


def _ending(path: Path, file_format: str | None) -> str:
    ending = ending_of(path) if file_format is None else f".{file_format.removeprefix('.')}".lower()
    if ending not in OUTPUT_ENDINGS:
        message = f"'{ending}' cannot be written, expected --format with one of {', '.join(OUTPUT_ENDINGS)}"
        raise InputError(message)
    return ending
