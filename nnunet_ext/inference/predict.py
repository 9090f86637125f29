"""Predict volumes larger than memory, with the labels that ``nnUNetv2_predict`` would give."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, OutputExistsError, listed
from nnunet_ext.files import read_json, refuse_existing, write_json
from nnunet_ext.imageio.case_files import find_cases
from nnunet_ext.imageio.names import OUTPUT_ENDINGS
from nnunet_ext.inference.case import CaseImage, check_case
from nnunet_ext.inference.case_images import find_case_images
from nnunet_ext.inference.case_prediction import CasePrediction, Options
from nnunet_ext.inference.disk import clear_disk_errors
from nnunet_ext.inference.memory import default_memory, parse_memory
from nnunet_ext.inference.model import CHECKPOINT, check_step_size, find_trained_model, load_predictor
from nnunet_ext.inference.output_folder import check_output_folder
from nnunet_ext.inference.parts import LABELS_SUFFIX, PARTS_SUFFIX, PROBABILITIES_SUFFIX, part_name
from nnunet_ext.inference.recipe import Recipe, read_recipe
from nnunet_ext.inference.stored_probabilities import STORED_ENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STATE_FOLDER = "predict_state"
_RUN = "run.json"
# What the user gave, by what stands in the file of a run.
_FLAGS = {
    "model": "model (-m, -chk)",
    "folds": "folds (-f)",
    "device": "device (-device)",
    "step_size": "step size (-step_size)",
    "mirroring": "mirroring (--disable_tta)",
    "save_probabilities": "what is saved (--save-probabilities)",
}


@dataclass(frozen=True)
class Predicted:
    """What became of the cases.

    Parameters
    ----------
    files
        What was written, by case.
    skipped
        Cases that were finished before.
    failed
        Why a case could not be predicted, by case.
    notes
        What the user should know.
    """

    files: dict[str, Path] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def predict(
    images: Path,
    output: Path,
    model: Path,
    *,
    folds: Sequence[str | int] | None = None,
    checkpoint: str = CHECKPOINT,
    step_size: float = 0.5,
    disable_tta: bool = False,
    device: str = "cuda",
    memory: str | None = None,
    file_ending: str | None = None,
    prev_stage_predictions: Path | None = None,
    resume: bool = False,
    part: int | None = None,
    parts: int | None = None,
    save_probabilities: bool = False,
    overwrite: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> Predicted:
    """Predict images plane by plane, with stock nnU-Net's windows, weights, mirroring and folds.

    Only the planes that later windows can still touch are held. A case that cannot be predicted does not stop the
    others.

    Parameters
    ----------
    images
        Folder of images ``<case>_0000<ending>``, a folder of slices, or one file.
    output
        Folder for ``<case><ending>``, dataset.json and plans.json; ``predict_state`` is there while unfinished.
    model
        Folder ``<trainer>__<plans>__<configuration>``.
    folds
        Folds whose mean counts. Default: all that are there.
    checkpoint
        Name of the files with the weights.
    step_size
        Step of the window over the image, as part of the patch.
    disable_tta
        Whether to predict without the mirrored images.
    device
        ``cuda``, ``cpu`` or ``mps``.
    memory
        Memory to use in all, such as ``8G``. Default: four fifths of what is free, and of what a job may have.
    file_ending
        Format of the label maps. Default: that of the dataset.
    prev_stage_predictions
        For the second stage of a cascade: folder of label maps ``<case><ending>`` that the first one predicted.
    resume
        Go on where an unfinished run stopped.
    part, parts
        Predict only one of several parts (numbered from 0) of every image; `merge_parts` puts them together.
    save_probabilities
        Write ``<case>.b2nd`` as well, a blosc2 array (heads, z, y, x) of float16; of parts, when they are merged.
    overwrite
        Whether predictions may be replaced.
    report
        Called with a line of text before each case: what it needs.

    Returns
    -------
    Predicted
        What became of the cases.

    Raises
    ------
    InputError, MissingInputError
        If an argument, the model or the output cannot be used.
    BadCasesError
        If images cannot be used, by their headers; names all of them.
    OutputExistsError
        If a prediction is there already, or an unfinished run.
    """
    output = Path(output)
    if resume and overwrite:
        message = "--resume and --overwrite: go on with what is there, or begin anew; give one of them"
        raise InputError(message)
    check_step_size(step_size)
    _check_parts(part, parts)
    available = default_memory() if memory is None else parse_memory(memory)
    trained = find_trained_model(Path(model), folds, checkpoint)
    found = find_case_images(Path(images))
    check_output_folder(output)
    predictor = load_predictor(trained, device=device, step_size=step_size, mirroring=not disable_tta)
    recipe = read_recipe(predictor, trained.folder)
    ending = file_ending or recipe.file_ending
    if ending not in OUTPUT_ENDINGS:
        message = f"--format {ending}: expected one of {', '.join(OUTPUT_ENDINGS)}"
        raise InputError(message)
    options = Options(
        step_size=step_size,
        memory=available,
        file_ending=ending,
        part=part,
        parts=parts or 1,
        save_probabilities=save_probabilities,
        resume=resume,
        overwrite=overwrite,
    )
    _check_apart(Path(images), found, output, ending)
    stages = _first_stages(trained.folder, recipe, prev_stage_predictions)
    cases = _checked_cases(found, stages, recipe, output, ending)
    identity = {
        "model": trained.checksums(),
        "folds": list(trained.folds),
        "device": device.split(":")[0],
        "step_size": step_size,
        "mirroring": not disable_tta,
        "save_probabilities": save_probabilities,
    }
    state = output / STATE_FOLDER / ("whole" if part is None else Path(part_name(part, options.parts)).stem)
    copied = {"dataset.json": trained.dataset, "plans.json": read_json(trained.folder / "plans.json")}
    pending = _begin(cases, output, state, identity, options, copied)
    notes = [image.note for image in cases if image.note]
    result = Predicted(skipped=[image.name for image in cases if image not in pending], notes=notes)
    prediction = CasePrediction(predictor, recipe, identity, options, output, state)
    for image in pending:
        try:
            result.files[image.name] = prediction.run(image, report)
        except (NnunetExtError, OSError) as error:
            result.failed[image.name] = str(error)
    if not result.failed:
        shutil.rmtree(state)
        # Jobs of other parts have their state there.
        with suppress(OSError):
            (output / STATE_FOLDER).rmdir()
    return result


def _check_apart(images: Path, found: dict[str, tuple[Path, ...]], output: Path, ending: str) -> None:
    """Refuse outputs that would replace an image, or that a later run would take for one."""
    if images.is_dir() and images.resolve() == output.resolve():
        message = (
            f"-o {output}: is the folder of the images, where predictions would be taken for images; choose another"
        )
        raise InputError(message)
    files = {path.resolve() for channels in found.values() for path in channels}
    targets = [output / f"{case}{ending}" for case in found]
    problems = [
        f"{target}: is an image, which the prediction would replace; choose another output (-o)"
        for target in targets
        if target.resolve() in files
    ]
    if problems:
        raise BadCasesError(problems)


def _first_stages(model: Path, recipe: Recipe, folder: Path | None) -> dict[str, Path] | None:
    """Return the label maps of a cascade's first stage by case; None for another model."""
    if recipe.previous_stage is None:
        if folder is not None:
            message = f"-prev_stage_predictions {folder}: {model} is no second stage of a cascade; leave it out"
            raise InputError(message)
        return None
    if folder is None:
        message = (
            f"{model}: is the second stage of a cascade, which needs the labels of the first one; predict with "
            f"{recipe.previous_stage}, then give the folder of its predictions (-prev_stage_predictions)"
        )
        raise InputError(message)
    return find_cases(folder)


def _checked_cases(
    found: dict[str, tuple[Path, ...]], stages: dict[str, Path] | None, recipe: Recipe, output: Path, ending: str
) -> list[CaseImage]:
    cases, problems = [], []
    for name, files in found.items():
        if stages is not None and name not in stages:
            problems.append(
                f"{files[0]}: case '{name}' has no label map of {recipe.previous_stage} "
                f"(-prev_stage_predictions), found: {listed(sorted(stages))}"
            )
            continue
        try:
            stage = None if stages is None else stages[name]
            cases.append(check_case(name, files, recipe, output / f"{name}{ending}", stage=stage))
        except NnunetExtError as error:
            problems.append(str(error))
    if problems:
        raise BadCasesError(problems)
    return cases


def _check_parts(part: int | None, parts: int | None) -> None:
    if (part is None) != (parts is None):
        message = "--part I and --parts N belong together"
        raise InputError(message)
    if part is None or parts is None:
        return
    if parts < 1 or not 0 <= part < parts:
        expected = f"a part from 0 to {parts - 1}" if parts > 0 else "at least one part"
        message = f"--part {part} --parts {parts}: expected {expected}"
        raise InputError(message)


def _begin(
    cases: list[CaseImage],
    output: Path,
    state: Path,
    identity: dict[str, Any],
    options: Options,
    copied: dict[str, dict[str, Any]],
) -> list[CaseImage]:
    """Make the folder of the run, or go on with the one that is there; return the cases that are to be predicted.

    A case is finished when its file is there and its folder in the state is not.
    """
    run = state / _RUN
    targets = {image.name: _targets(image, output, options) for image in cases}
    pending = cases
    if options.resume:
        if run.exists():
            _check_same(read_json(run), identity, run)
        pending = [image for image in cases if not targets[image.name][0].exists() or (state / image.name).exists()]
        _check_whole([targets[image.name] for image in cases if image not in pending])
    elif state.exists() and not options.overwrite:
        message = f"{state}: an unfinished run; go on with it (--resume) or begin anew (--overwrite)"
        raise OutputExistsError(message)
    else:
        refuse_existing([path for paths in targets.values() for path in paths], overwrite=options.overwrite)
    missing = _not_there(output, copied, overwrite=options.overwrite)
    with clear_disk_errors(run):
        if not options.resume:
            shutil.rmtree(state, ignore_errors=True)
        for image in pending:
            # From now on, what lies there under the name of the case counts for nothing.
            (state / image.name).mkdir(parents=True, exist_ok=True)
            _remove_leftovers(targets[image.name])
        write_json(run, identity)
        for name in missing:
            write_json(output / name, copied[name])
    return pending


def _targets(image: CaseImage, output: Path, options: Options) -> tuple[Path, ...]:
    """Return the files that a case will have, the one that is written last first."""
    if options.part is not None:
        record = output / f"{image.name}{PARTS_SUFFIX}" / part_name(options.part, options.parts)
        suffixes = (LABELS_SUFFIX, PROBABILITIES_SUFFIX) if options.save_probabilities else (LABELS_SUFFIX,)
        return record, *(record.with_suffix(suffix) for suffix in suffixes)
    labels = output / f"{image.name}{options.file_ending}"
    return (labels, output / f"{image.name}{STORED_ENDING}") if options.save_probabilities else (labels,)


def _check_whole(finished: list[tuple[Path, ...]]) -> None:
    problems = [
        f"{paths[0]}: is there without {path.name}, which belongs to it with these settings; predict anew (--overwrite)"
        for paths in finished
        for path in paths[1:]
        if not path.exists()
    ]
    if problems:
        raise BadCasesError(problems)


def _not_there(output: Path, copied: dict[str, dict[str, Any]], *, overwrite: bool) -> list[str]:
    """Return which copies are still to be written; those of another model stand for predictions beside them."""
    missing = [name for name in copied if overwrite or not (output / name).exists()]
    foreign = [output / name for name in copied if name not in missing and read_json(output / name) != copied[name]]
    if foreign:
        message = (
            f"{', '.join(map(str, foreign))}: of another model or dataset; choose another output (-o), or replace it "
            "(--overwrite)"
        )
        raise OutputExistsError(message)
    return missing


def _remove_leftovers(targets: tuple[Path, ...]) -> None:
    """Remove what a run left half written when it was killed."""
    for path in targets:
        for leftover in path.parent.glob(f".partial-{'[0-9a-f]' * 8}-{escape(path.name)}"):
            leftover.unlink()


def _check_same(then: dict[str, Any], now: dict[str, Any], run: Path) -> None:
    different = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
    if different:
        message = (
            f"{run}: the unfinished run differs in {', '.join(_FLAGS.get(key, key) for key in different)}; give the "
            "same, or begin anew (--overwrite)"
        )
        raise InputError(message)
