"""Predictions after rules: a class with few voxels becomes another."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataset_conversion.label_map import count_values
from dataset_conversion.task_labels import whole_numbers
from dataset_conversion.unstack_labels import find_dataset_json, find_predictions
from nnunet_ext import __version__
from nnunet_ext.class_rules.names import names_of_dataset
from nnunet_ext.class_rules.rules import read_rules
from nnunet_ext.class_rules.volume import RuledVolume, check_rules
from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, listed
from nnunet_ext.files import read_json, refuse_existing, write_json, written_when_complete
from nnunet_ext.imageio import OUTPUT_ENDINGS, create_volume, ending_of, has_ending
from nnunet_ext.imageio.names import TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.class_rules.rules import Rule

RECORD = "postprocess.json"
PLANS = "plans.json"


@dataclass(frozen=True)
class Postprocessed:
    """What was written.

    Parameters
    ----------
    folder
        Where the predictions are.
    rules
        The rules in words.
    changed
        Number of voxels that each rule changed, by case.
    """

    folder: Path
    rules: tuple[str, ...]
    changed: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def cases_of(self, rule: int) -> list[str]:
        """Return the cases that a rule changed."""
        return [case for case, voxels in self.changed.items() if voxels[rule]]


def postprocess(
    predictions: Path,
    output: Path,
    *,
    rules: Path,
    dataset: Path | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> Postprocessed:
    """Apply the rules of a file to all predictions of a folder.

    A prediction that no rule changes is copied byte by byte. ``dataset.json`` comes along; ``postprocess.json`` says
    what was done.

    Parameters
    ----------
    predictions
        Folder of predictions, or of any label maps of the dataset.
    output
        Folder for the files, which keep their names.
    rules
        JSON file, see ``nnunet_ext.class_rules.rules.read_rules``.
    dataset
        Folder of the dataset or the model; default: ``dataset.json`` beside the predictions, or up to two folders
        above. It says what the names in the rules mean.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace files of the same name.

    Returns
    -------
    Postprocessed
        How many voxels each rule changed.

    Raises
    ------
    MissingInputError, InputError
        If there is no prediction, no ``dataset.json``, or the rules cannot be used.
    BadCasesError
        If a prediction cannot be read, or has values that no class has, and if rules are wrong; names all of them, and
        nothing is written.
    OutputExistsError
        If an output exists and ``overwrite`` is false.
    """
    source = find_dataset_json(predictions, dataset)
    content = read_json(source)
    names = names_of_dataset(content, str(source))
    chosen = read_rules(rules, source)
    paths = find_predictions(predictions, content.get("file_ending"))
    if output.resolve() == predictions.resolve():
        message = f"{output}: is the folder of the predictions; choose another output (-o), or they would be replaced"
        raise InputError(message)
    targets = {case: output / path.name for case, path in paths.items()}
    beside = _files_beside(predictions, paths, source)
    written = [*targets.values(), *(output / name for name in beside), output / RECORD]
    refuse_existing(written, overwrite=overwrite)

    allowed = frozenset(names.values | {0})
    checks = run_jobs(
        {case: (path, chosen, allowed, str(source)) for case, path in paths.items()}, check, processes, "Checking"
    )
    problems = [problem for found in checks.values() for problem in found]
    if problems:
        raise BadCasesError(problems)
    jobs = {case: (path, targets[case], chosen, overwrite) for case, path in paths.items()}
    changed = run_jobs(jobs, postprocess_case, processes, "Postprocessing")
    for name, path in beside.items():
        _copy(path, output / name, overwrite=overwrite)
    done = Postprocessed(output, tuple(rule.text for rule in chosen), changed)
    write_json(output / RECORD, _record(done, predictions, read_json(rules)))
    return done


def check(path: Path, rules: Sequence[Rule], allowed: frozenset[int], source: str) -> list[str]:
    """Return what stands in the way of postprocessing one prediction."""
    found: set[int] = set()
    try:
        with open_with_sidecar(path) as volume:
            for _, slab in volume.slabs():
                found.update(count_values(whole_numbers(slab, str(path))))
            check_rules(volume, rules)
    except NnunetExtError as error:
        text = str(error)
        return [text if str(path) in text else f"{path}: {text}"]
    wrong = sorted(found - allowed)
    expected = ", ".join(map(str, sorted(allowed)))
    if wrong:
        return [f"{path}: values {listed(map(str, wrong))} found, expected labels {expected} as in {source}"]
    if ending_of(path) not in OUTPUT_ENDINGS:
        return [f"{path}: cannot be written, expected a prediction ending in {', '.join(OUTPUT_ENDINGS)}"]
    return []


def postprocess_case(path: Path, target: Path, rules: Sequence[Rule], overwrite: bool) -> tuple[int, ...]:
    """Write one prediction; return how many voxels each rule changed."""
    with open_with_sidecar(path) as volume:
        ruled = RuledVolume(volume, rules)
        if any(ruled.changed):
            with create_volume(target, ruled.shape, ruled.dtype, ruled.geometry, overwrite=overwrite) as writer:
                for _, slab in ruled.slabs():
                    writer.write(slab)
        else:
            _copy(path, target, overwrite=overwrite)
    return tuple(ruled.changed)


def _files_beside(predictions: Path, paths: Mapping[str, Path], source: Path) -> dict[str, Path]:
    """Return what has to come along, by its name: dataset.json, plans.json, and the spacing of TIFF files."""
    others = [predictions / PLANS]
    others += [path.with_name(f"{case}.json") for case, path in paths.items() if has_ending(path, TIFF_ENDINGS)]
    return {"dataset.json": source, **{path.name: path for path in others if path.is_file()}}


def _copy(path: Path, target: Path, *, overwrite: bool) -> None:
    with written_when_complete(target, overwrite=overwrite) as partial:
        shutil.copyfile(path, partial)


def _record(done: Postprocessed, predictions: Path, rules: dict[str, Any]) -> dict[str, Any]:
    cases = {case: list(voxels) for case, voxels in done.changed.items()}
    return {
        "tool": "nnunet_ext",
        "version": __version__,
        "arguments": {"predictions": str(predictions.absolute())},
        **rules,
        "changed_voxels": cases,
    }
