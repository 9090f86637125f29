"""The predictions that an ensemble is made of: found in their folders, and checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from glob import escape
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import MissingInputError, NnunetExtError, listed
from nnunet_ext.files import read_json
from nnunet_ext.imageio import is_supported, natural_key, volume_name
from nnunet_ext.imageio.grid import Grid, grid_differences, grid_of
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.inference.archived_probabilities import ARCHIVE_ENDING, archived_array, check_axes
from nnunet_ext.inference.probability_labels import labels_of_folder
from nnunet_ext.inference.stored_probabilities import STORED_ENDING, open_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.inference.probability_labels import ProbabilityLabels

_EXPECTED = (
    "<case>.b2nd of 'nnunet_ext predict --save-probabilities' or <case>.npz of 'nnUNetv2_predict --save_probabilities'"
)


@dataclass(frozen=True)
class Member:
    """What one model predicted of a case.

    Parameters
    ----------
    probabilities
        A ``.b2nd`` or ``.npz`` file.
    label_map
        The prediction beside it, which says where the case lies in space.
    """

    probabilities: Path
    label_map: Path

    @property
    def is_archive(self) -> bool:
        """Whether the probabilities have to be unpacked."""
        return self.probabilities.suffix == ARCHIVE_ENDING


@dataclass(frozen=True)
class Found:
    """What lies in the folders of an ensemble.

    Parameters
    ----------
    cases
        Members by case, in natural order; a case with problems may lack some.
    labels
        Those of the first folder that has any; None if no folder has.
    problems
        Too few folders, or one of them twice; ``dataset.json`` and ``plans.json`` missing, or not of the same labels;
        cases that are not in all folders; label maps that are missing; probabilities along other axes than these.
    """

    cases: dict[str, tuple[Member, ...]]
    labels: ProbabilityLabels | None
    problems: list[str]


def find_members(folders: Sequence[Path]) -> Found:
    """Find the probabilities of every case in every folder.

    Parameters
    ----------
    folders
        Folders of predictions, in the order of the members of a case.
    """
    there, problems = _usable_folders(folders)
    settings: dict[Path, dict[str, Any]] = {}
    labels: list[ProbabilityLabels] = []
    for folder in there:
        try:
            labels.append(labels_of_folder(folder))
            settings[folder] = read_json(folder / "dataset.json")
        except MissingInputError as error:
            problems.append(f"{error}, expected that of the model, which nnU-Net copies beside predictions")
        except NnunetExtError as error:
            problems.append(str(error))
    problems += _label_problems(settings)
    files = {folder: _probabilities_in(folder) for folder in there}
    cases = sorted({case for found in files.values() for case in found}, key=natural_key)
    members: dict[str, list[Member]] = {case: [] for case in cases}
    for folder, found in files.items():
        if not found:
            problems.append(f"{folder}: holds no probabilities, expected {_EXPECTED}")
            continue
        missing = [case for case in cases if case not in found]
        if missing:
            problems.append(
                f"{folder}: no probabilities of {listed(missing)}, but other folders have them: {_EXPECTED}"
            )
        if folder in settings:
            problems += _axes_problems(folder, found.values())
        for case, path in found.items():
            maps = _label_maps(folder, case, settings.get(folder, {}).get("file_ending"))
            if len(maps) == 1:
                members[case].append(Member(path, maps[0]))
            else:
                names = listed(one.name for one in maps)
                problems.append(f"{path}: expected one label map {case}<ending> beside it, found {names}")
    return Found({case: tuple(found) for case, found in members.items()}, labels[0] if labels else None, problems)


def member_problems(members: Sequence[Member], heads: int | None) -> list[str]:
    """Return what keeps the predictions of one case from being averaged; reads headers only.

    Parameters
    ----------
    members
        Predictions of the case.
    heads
        Number of channels that the labels ask for, if known.
    """
    problems = []
    expected: Grid | None = None
    for member in members:
        try:
            with open_with_sidecar(member.label_map) as volume:
                grid = grid_of(volume)
            expected = expected or grid
            problems += [
                f"{member.label_map}: {text} in {expected.path}, expected the same image"
                for text in grid_differences(grid, expected)
            ]
            problems += _array_problems(member, grid, heads)
        except NnunetExtError as error:
            problems.append(str(error))
    return problems


def _array_problems(member: Member, grid: Grid, heads: int | None) -> list[str]:
    path = member.probabilities
    if member.is_archive:
        shape, dtype = archived_array(path)
    else:
        stored = open_probabilities(path)
        shape, dtype = tuple(stored.shape), stored.dtype
    wanted = (shape[0] if shape and heads is None else heads, *grid.shape)
    if shape == wanted and dtype.kind == "f":
        return []
    return [
        f"{path}: {dtype} of shape {shape}, expected numbers of shape {wanted}: channels by dataset.json, "
        f"voxels by {member.label_map.name}"
    ]


def _usable_folders(folders: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the folders that are there, each once, and what is wrong with the others."""
    problems = []
    if len(folders) < 2:
        problems.append(f"-i: {listed(map(str, folders))} given, expected the predictions of two models or more")
    there: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            problems.append(f"{folder}: no such folder")
        elif folder.resolve() in there:
            problems.append(f"-i: {folder} is given twice, expected every model once")
        else:
            there[folder.resolve()] = folder
    return list(there.values()), problems


def _probabilities_in(folder: Path) -> dict[str, Path]:
    """Return the file of every case; ``.b2nd`` is preferred, since it need not be unpacked."""
    return {
        path.name.removesuffix(ending): path
        for ending in (ARCHIVE_ENDING, STORED_ENDING)
        for path in folder.glob(f"*{ending}")
        if path.is_file() and not path.name.startswith(".")
    }


def _label_maps(folder: Path, case: str, ending: object) -> list[Path]:
    """Return the label map of a case: the one with the ending of the dataset, or else whatever there is."""
    usual = folder / f"{case}{ending}"
    if usual.is_file() and is_supported(usual):
        return [usual]
    return sorted(path for path in folder.glob(f"{escape(case)}.*") if is_supported(path) and volume_name(path) == case)


def _axes_problems(folder: Path, files: Iterable[Path]) -> list[str]:
    if any(path.suffix == ARCHIVE_ENDING for path in files):
        try:
            check_axes(folder, "predict with 'nnunet_ext predict --save-probabilities'")
        except NnunetExtError as error:
            return [str(error)]
    return []


def _label_problems(settings: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """Return in what the labels of the folders differ from those of the first."""
    if not settings:
        return []
    (first, expected), *others = settings.items()
    return [
        f"{folder / 'dataset.json'}: {key} {content.get(key)}, expected {expected.get(key)} as in "
        f"{first / 'dataset.json'}: channels of probabilities must mean the same"
        for folder, content in others
        for key, meaning in _MEANINGS.items()
        if meaning(content) != meaning(expected)
    ]


def _label_order(content: Mapping[str, Any]) -> object:
    """Return the labels, in their order where it is that of the channels: for regions."""
    labels = content.get("labels")
    regions = isinstance(labels, dict) and any(isinstance(value, list) for value in labels.values())
    return list(labels.items()) if isinstance(labels, dict) and regions else labels


def _classes_of_tasks(content: Mapping[str, Any]) -> object:
    """Return the classes of the tasks, without the weights of their losses."""
    tasks = content.get("tasks")
    if not isinstance(tasks, dict):
        return tasks
    return [(name, task.get("labels") if isinstance(task, dict) else task) for name, task in tasks.items()]


_MEANINGS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "labels": _label_order,
    "regions_class_order": lambda content: content.get("regions_class_order"),
    "tasks": _classes_of_tasks,
}
