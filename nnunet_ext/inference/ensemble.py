"""The mean of the probabilities of several models, and the labels of it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, listed
from nnunet_ext.files import read_json, refuse_existing, written_when_complete
from nnunet_ext.imageio import OUTPUT_ENDINGS, create_volume
from nnunet_ext.imageio.names import TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import open_with_sidecar, write_sidecar
from nnunet_ext.imageio.volume import library_errors
from nnunet_ext.inference.archived_probabilities import unpack, unpacked
from nnunet_ext.inference.disk import clear_disk_errors
from nnunet_ext.inference.ensemble_members import find_members, member_problems
from nnunet_ext.inference.output_folder import check_output_folder, made_for_output
from nnunet_ext.inference.piece_files import slab_ranges
from nnunet_ext.inference.stored_probabilities import STORED_ENDING, create_probabilities, open_probabilities
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from nnunet_ext.imageio.geometry import Geometry
    from nnunet_ext.inference.ensemble_members import Member
    from nnunet_ext.inference.probability_labels import ProbabilityLabels

CARRIED = ("dataset.json", "plans.json")


def ensemble(
    predictions: Sequence[Path],
    output: Path,
    *,
    file_format: str | None = None,
    save_probabilities: bool = False,
    processes: int = 2,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Average the probabilities of several models, case by case, and take the labels of the means.

    The labels are those of ``nnUNetv2_ensemble``. Memory holds a few slabs of about 32 MiB for all channels, or of one
    slice if that is more, for every case that is worked on. Archives of nnU-Net are unpacked beside the output while
    their case is worked on.

    Everything is checked first, for all cases; the outputs appear together when all are complete.

    Parameters
    ----------
    predictions
        Folders that ``nnunet_ext predict --save-probabilities`` (``<case>.b2nd``) or ``nnUNetv2_predict
        --save_probabilities`` (``<case>.npz``) wrote, one per model. With both files, ``.b2nd`` is read.
    output
        Folder for ``<case><ending>``, ``dataset.json`` and ``plans.json``, which are those of the first folder.
    file_format
        Ending of the label maps; default: ``file_ending`` of ``dataset.json``.
    save_probabilities
        Write the means as well: ``<case>.b2nd``, an array (heads, z, y, x) of float16.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace files of the same name.

    Returns
    -------
    dict of str to Path
        The label map of each case.

    Raises
    ------
    InputError
        If the output is one of the folders, or the format cannot be written.
    BadCasesError
        If there are fewer than two folders, or their cases, labels, channels, shapes or places differ; names all
        problems.
    OutputExistsError
        If an output exists and ``overwrite`` is false.
    OutputError
        If the disk is full.
    """
    check_output_folder(output)
    if output.resolve() in {folder.resolve() for folder in predictions}:
        message = f"{output}: is a folder of predictions; choose another output (-o)"
        raise InputError(message)
    found = find_members(predictions)
    ending, problems = _ending(predictions, file_format)
    targets = {case: output / f"{case}{ending}" for case in found.cases}
    # The labels themselves stay here: a process that takes them has to import PyTorch.
    heads, dtype = (found.labels.heads, found.labels.dtype) if found.labels else (None, None)
    to_check = {
        case: (members, heads, dtype, targets[case] if ending else None) for case, members in found.cases.items()
    }
    checks = run_jobs(to_check, check_case, processes, "Checking")
    problems = [*found.problems, *problems, *(problem for texts in checks.values() for problem in texts)]
    if problems or found.labels is None:
        raise BadCasesError(problems)
    stored = {case: output / f"{case}{STORED_ENDING}" for case in targets}
    sidecars = {case: output / f"{case}.json" for case in targets if ending in TIFF_ENDINGS}
    carried = [output / name for name in CARRIED]
    refuse_existing([*targets.values(), *stored.values(), *sidecars.values(), *carried], overwrite=overwrite)
    if not save_probabilities:
        _refuse_leftovers(stored.values())
        stored = {}

    with made_for_output(output), ExitStack() as stack:
        unfinished = {
            path: stack.enter_context(written_when_complete(path, overwrite=overwrite))
            for path in (*targets.values(), *stored.values(), *carried)
        }
        jobs = {
            case: (members, found.labels, unfinished[targets[case]], unfinished[stored[case]] if stored else None)
            for case, members in found.cases.items()
        }
        geometries = run_jobs(jobs, average_case, processes, "Averaging")
        for path in carried:
            unfinished[path].write_bytes((predictions[0] / path.name).read_bytes())
    for case in sidecars:
        write_sidecar(output, case, geometries[case])
    return targets


def check_case(
    members: Sequence[Member], heads: int | None, dtype: np.dtype[Any] | None, target: Path | None
) -> list[str]:
    """Return what stands in the way of averaging one case; reads headers only.

    Parameters
    ----------
    members
        Its predictions; those that are missing are reported elsewhere.
    heads, dtype
        Number of channels, and type of the label map, if the labels are known.
    target
        The label map to write; None if its ending is not known.
    """
    problems = member_problems(members, heads)
    if not problems and members and dtype is not None and target is not None:
        try:
            with open_with_sidecar(members[0].label_map) as volume:
                create_volume(target, volume.shape, dtype, volume.geometry, overwrite=True)
        except NnunetExtError as error:
            problems.append(str(error))
    return problems


def average_case(
    members: Sequence[Member], labels: ProbabilityLabels, target: Path, probabilities: Path | None
) -> Geometry:
    """Write the labels of one case, and the mean of its probabilities if wanted.

    Parameters
    ----------
    members
        Its predictions. They are summed in this order, as float32.
    labels
        What the channels are.
    target, probabilities
        Files to write.

    Returns
    -------
    Geometry
        Where the case lies in space.

    Raises
    ------
    InputError
        If probabilities are damaged.
    OutputError
        If the disk is full.
    """
    with open_with_sidecar(members[0].label_map) as volume:
        shape, geometry = volume.shape, volume.geometry
    slabs = list(slab_ranges(0, shape[0], labels.heads * prod(shape[1:]) * 4))
    with ExitStack() as stack:
        files = [_unpacked_file(member, stack, target.parent) for member in members]
        stack.enter_context(clear_disk_errors(target))
        writer = stack.enter_context(create_volume(target, shape, labels.dtype, geometry))
        means: Any = None
        if probabilities is not None:
            thickness = slabs[0][1]
            means = stack.enter_context(create_probabilities(probabilities, (labels.heads, *shape), thickness))
        # The space that is free is asked for while the unfinished files are still there.
        stack.enter_context(clear_disk_errors(target))
        for start, stop in slabs:
            mean = _mean([partial(_slab, *source, start, stop) for source in zip(members, files, strict=True)])
            writer.write(labels.of(mean))
            if means is not None:
                means[:, start:stop] = mean.astype(np.float16)
    return geometry


def _mean(sources: Sequence[Callable[[], NDArray[Any]]]) -> NDArray[np.float32]:
    """Return the mean of arrays that are read one at a time, rounded as nnU-Net's ensemble does it."""
    first, *others = sources
    total = np.array(first(), np.float32)
    for source in others:
        total += source()
    total /= len(sources)
    return total


def _slab(member: Member, file: Path | None, start: int, stop: int) -> NDArray[Any]:
    """Return the probabilities of some slices, (heads, n, y, x)."""
    with library_errors(member.probabilities):
        array = open_probabilities(member.probabilities) if file is None else unpacked(file)
        slab: NDArray[Any] = array[:, start:stop]
    return slab


def _unpacked_file(member: Member, stack: ExitStack, folder: Path) -> Path | None:
    """Unpack an archive to a file that is there as long as the stack; return None if there is nothing to unpack."""
    if not member.is_archive:
        return None
    temporary = TemporaryDirectory(prefix=".partial-", dir=folder, ignore_cleanup_errors=True)
    file = Path(stack.enter_context(temporary)) / "probabilities.npy"
    unpack(member.probabilities, file)
    return file


def _ending(predictions: Sequence[Path], file_format: str | None) -> tuple[str, list[str]]:
    """Return the ending of the label maps, and what is wrong with it."""
    ending, source = f".{(file_format or '').removeprefix('.')}".lower(), "--format"
    if file_format is None:
        try:
            source = str(predictions[0] / "dataset.json")
            ending = str(read_json(predictions[0] / "dataset.json").get("file_ending"))
        except (NnunetExtError, IndexError):
            # It is reported with the folders.
            return "", []
    if ending in OUTPUT_ENDINGS:
        return ending, []
    return "", [f"{source}: '{ending}' cannot be written, expected --format with one of {', '.join(OUTPUT_ENDINGS)}"]


def _refuse_leftovers(paths: Iterable[Path]) -> None:
    """Refuse to leave probabilities beside label maps that are none of theirs."""
    there = [str(path) for path in paths if path.exists()]
    if there:
        message = (
            f"{listed(there)}: would stay beside label maps that they do not belong to; give --save-probabilities as "
            "well, or choose another output (-o)"
        )
        raise InputError(message)
