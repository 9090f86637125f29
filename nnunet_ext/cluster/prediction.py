"""Steps of a prediction: parts as an array, merged, post-processed, exported, evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cluster.graph import Command, Step, Task
from nnunet_ext.cluster.members import Places, call_for, first_stage_of
from nnunet_ext.errors import BadCasesError, NnunetExtError, OutputExistsError, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nnunet_ext.cluster.members import Member

_HIGHEST = 10_000


@dataclass(frozen=True)
class Prediction:
    """What is to be predicted, and what is made of it.

    Parameters
    ----------
    images
        Folder of images, as for ``nnunet_ext predict``.
    output
        Folder for ``predictions``, ``postprocessed``, ``exported``, ``evaluation``, and what comes before them.
    members
        Models; of several, the mean of their probabilities counts. None where the comparison of configurations chooses.
    best_model
        File that says what was chosen then.
    most
        How many models may be chosen.
    may_cascade
        Whether one of them may be the second stage of a cascade.
    checkpoint, step_size, disable_tta, device, memory, file_ending
        As for ``nnunet_ext predict``.
    parts
        Number of parts of every image, which is the size of the array.
    postprocessing
        File of nnU-Net that says what post-processing to apply, for known models.
    export
        Target of ``nnunet_ext export``, or None.
    labels
        Folder of references to evaluate against, or None.
    """

    images: Path
    output: Path
    members: tuple[Member, ...] = ()
    best_model: Path | None = None
    most: int = 1
    may_cascade: bool = False
    checkpoint: str = "checkpoint_final.pth"
    step_size: float = 0.5
    disable_tta: bool = False
    device: str = "cuda"
    memory: str | None = None
    file_ending: str | None = None
    parts: int = 1
    postprocessing: Path | None = None
    export: str | None = None
    labels: Path | None = None


def prediction_steps(
    prediction: Prediction, processes: Callable[[str], int], after: tuple[str, ...] = ()
) -> list[Step]:
    """Return the steps of a prediction.

    Parameters
    ----------
    prediction
        What is to be predicted.
    processes
        Number of processes for a kind of step.
    after
        Names of the steps that the prediction waits for.
    """
    output = prediction.output.absolute()
    found = output / "predictions"
    count = len(prediction.members) or prediction.most
    chain = _Chain(after)
    if prediction.may_cascade or any(member.first_stage for member in prediction.members):
        chain.add("first_stage", "predict", _predictions(prediction, "first_stage", 1))
        if prediction.parts > 1:
            chain.add("merge_first_stage", "merge", _mergers(prediction, "merge_first_stage", 1, processes("merge")))
    chain.add("predict", "predict", _predictions(prediction, "predict", count))
    if prediction.parts > 1:
        chain.add("merge", "merge", _mergers(prediction, "merge", count, processes("merge")))
    if count > 1:
        ending = ["--format", prediction.file_ending] if prediction.file_ending else []
        words = [*_call(prediction, "ensemble", 0), *ending, "-np", str(processes("merge"))]
        chain.add("ensemble", "merge", [_task("mean of the models", words)])
    if source := _postprocessing_source(prediction):
        target = output / "postprocessed"
        words = ["python", "-m", "nnunet_ext.cluster.postprocess", "-i", str(found), "-o", str(target), *source]
        words += ["-np", str(processes("postprocess"))]
        chain.add("postprocess", "postprocess", [_task("nnU-Net's post-processing", words, again=())])
        found = target
    last = chain.last
    if prediction.export is not None:
        words = ["nnunet_ext", "export", prediction.export, "-i", str(found), "-o", str(output / "exported")]
        chain.add("export", "export", [_task(prediction.export, [*words, "-np", str(processes("export"))])], last)
    if prediction.labels is not None:
        words = ["nnunet_ext", "evaluate", "-p", str(found), "-g", str(prediction.labels.absolute())]
        words += ["-o", str(output / "evaluation"), "-np", str(processes("evaluate"))]
        chain.add("evaluate", "evaluate", [_task("scores", words)], last)
    return chain.steps


def check_prediction(prediction: Prediction) -> None:
    """Check what can be checked before anything runs.

    Raises
    ------
    BadCasesError
        If images, model or labels are not there, or the number of parts makes no sense; names all problems.
    OutputExistsError
        If a folder of the output is there already.
    """
    from nnunet_ext.imageio.names import OUTPUT_ENDINGS
    from nnunet_ext.inference.case_images import find_case_images
    from nnunet_ext.inference.memory import parse_memory
    from nnunet_ext.inference.model import check_step_size, find_trained_model
    from nnunet_ext.inference.output_folder import check_output_folder

    problems: list[str] = []
    checks: list[Callable[[], object]] = [
        lambda: find_case_images(prediction.images),
        lambda: check_step_size(prediction.step_size),
        lambda: check_output_folder(prediction.output),
    ]
    if prediction.memory is not None:
        memory = prediction.memory
        checks.append(lambda: parse_memory(memory))
    stage = None
    try:
        stage = first_stage_of(prediction.members)
    except NnunetExtError as error:
        problems.append(str(error))
    checks += [
        partial(find_trained_model, Path(member.model), member.folds or None, prediction.checkpoint)
        for member in (*prediction.members, *([stage] if stage else []))
    ]
    for check in checks:
        try:
            check()
        except BadCasesError as error:
            problems += error.problems
        except NnunetExtError as error:
            problems.append(str(error))
    if not 1 <= prediction.parts <= _HIGHEST:
        problems.append(f"--parts {prediction.parts}: expected a number from 1 to {_HIGHEST}")
    if prediction.file_ending is not None and prediction.file_ending not in OUTPUT_ENDINGS:
        problems.append(f"--format {prediction.file_ending}: expected one of {', '.join(OUTPUT_ENDINGS)}")
    if prediction.labels is not None and not prediction.labels.is_dir():
        problems.append(f"-g {prediction.labels}: no such folder")
    if prediction.postprocessing is not None and not prediction.postprocessing.is_file():
        problems.append(f"--postprocessing {prediction.postprocessing}: no such file")
    if prediction.file_ending is not None and _postprocessing_source(prediction):
        problems.append(
            f"--format {prediction.file_ending}: nnU-Net's post-processing reads the dataset's own format only; "
            "leave --format out, or use --export"
        )
    if problems:
        raise BadCasesError(problems)
    output = prediction.output.absolute()
    folders = _places(prediction).all(max(prediction.most, len(prediction.members)))
    folders += [output / name for name in ("postprocessed", "exported", "evaluation")]
    there = [str(path) for path in folders if path.exists()]
    if there:
        message = (
            f"output exists already: {listed(there)}. Choose another output (-o), remove it, or go on with the earlier "
            "submission (nnunet_ext submit --resume)."
        )
        raise OutputExistsError(message)


def _postprocessing_source(prediction: Prediction) -> list[str]:
    if prediction.best_model is not None:
        return ["--best", str(prediction.best_model)]
    if prediction.postprocessing is not None:
        return ["--pkl", str(prediction.postprocessing.absolute())]
    return []


def _places(prediction: Prediction) -> Places:
    return Places(prediction.output.absolute(), prediction.parts > 1)


def _call(prediction: Prediction, action: str, index: int) -> list[str]:
    """Return what a task calls: the command, or where models are chosen later, the program that finds it out."""
    places = _places(prediction)
    if prediction.best_model is None:
        call = call_for(action, prediction.members, index, places)
        assert call is not None
        return call
    words = ["python", "-m", "nnunet_ext.cluster.best_model", action, str(prediction.best_model), str(index)]
    return [*words, str(places.output), "parts" if places.in_parts else "whole"]


def _predictions(prediction: Prediction, action: str, members: int) -> list[Task]:
    """Return a task for every part of every member."""
    parts = range(prediction.parts) if prediction.parts > 1 else [None]
    tasks = []
    for index in range(members):
        argv = _call(prediction, action, index)
        argv += ["-i", str(prediction.images.absolute()), "-chk", prediction.checkpoint]
        argv += ["-step_size", str(prediction.step_size), "-device", prediction.device]
        argv += ["--disable_tta"] if prediction.disable_tta else []
        argv += ["--memory", prediction.memory] if prediction.memory else []
        argv += ["--format", prediction.file_ending] if prediction.file_ending else []
        for part in parts:
            what, flags = "whole images", []
            if part is not None:
                what, flags = (
                    f"part {part} of {prediction.parts}",
                    ["--part", str(part), "--parts", str(prediction.parts)],
                )
            tasks.append(_task(_of_member(what, index, members), [*argv, *flags], again=("--resume",)))
    return tasks


def _mergers(prediction: Prediction, action: str, members: int, processes: int) -> list[Task]:
    return [
        _task(
            _of_member(f"{prediction.parts} parts", index, members),
            [*_call(prediction, action, index), "-np", str(processes)],
        )
        for index in range(members)
    ]


def _of_member(what: str, index: int, members: int) -> str:
    return what if members == 1 else f"model {index + 1}, {what}"


def _task(what: str, argv: Sequence[str], *, again: tuple[str, ...] = ("--overwrite",)) -> Task:
    return Task(what, (Command(tuple(argv), again=again),))


class _Chain:
    """Steps, each of which waits for the one before unless it is said otherwise."""

    def __init__(self, after: tuple[str, ...]) -> None:
        self.steps: list[Step] = []
        self.last = after

    def add(self, name: str, kind: str, tasks: Sequence[Task], after: tuple[str, ...] | None = None) -> None:
        self.steps.append(Step(name, kind, tuple(tasks), self.last if after is None else after))
        self.last = (name,)
