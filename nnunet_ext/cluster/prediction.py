"""Steps of a prediction: parts as an array, merged, post-processed, exported, evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.cluster.graph import Command, Step, Task
from nnunet_ext.errors import BadCasesError, NnunetExtError, OutputExistsError, listed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HIGHEST = 10_000


@dataclass(frozen=True)
class Prediction:
    """What is to be predicted, and what is made of it.

    Parameters
    ----------
    images
        Folder of images, as for ``nnunet_ext predict``.
    output
        Folder for ``parts``, ``predictions``, ``postprocessed``, ``exported`` and ``evaluation``.
    model
        Folder of the model; None where the comparison of configurations chooses it.
    best_model
        File that says which model was chosen.
    folds
        Folds of ``model``; empty for all that are there.
    checkpoint, step_size, disable_tta, device, memory, file_ending
        As for ``nnunet_ext predict``.
    parts
        Number of parts of every image, which is the size of the array.
    postprocessing
        File of nnU-Net that says what post-processing to apply, for a known model.
    export
        Target of ``nnunet_ext export``, or None.
    labels
        Folder of references to evaluate against, or None.
    """

    images: Path
    output: Path
    model: Path | None = None
    best_model: Path | None = None
    folds: tuple[str, ...] = ()
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
    predicted = output / ("parts" if prediction.parts > 1 else "predictions")
    tasks = tuple(_predict_part(prediction, predicted, part) for part in range(prediction.parts))
    steps = [Step("predict", "predict", tasks, after)]
    found = output / "predictions"

    def add(name: str, what: str, argv: list[str], again: tuple[str, ...] = ("--overwrite",)) -> None:
        command = Command((*argv, "-np", str(processes(name))), again=again)
        steps.append(Step(name, name, (Task(what, (command,)),), (steps[-1].name,)))

    if prediction.parts > 1:
        add("merge", f"{prediction.parts} parts", ["nnunet_ext", "merge", "-i", str(predicted), "-o", str(found)])
    source = _postprocessing_source(prediction)
    if source:
        target = output / "postprocessed"
        words = ["python", "-m", "nnunet_ext.cluster.postprocess", "-i", str(found), "-o", str(target), *source]
        add("postprocess", "nnU-Net's post-processing", words, again=())
        found = target
    last = steps[-1].name
    if prediction.export is not None:
        words = ["nnunet_ext", "export", prediction.export, "-i", str(found), "-o", str(output / "exported")]
        add("export", prediction.export, words)
    if prediction.labels is not None:
        words = ["nnunet_ext", "evaluate", "-p", str(found), "-g", str(prediction.labels.absolute())]
        command = Command(
            (*words, "-o", str(output / "evaluation"), "-np", str(processes("evaluate"))), again=("--overwrite",)
        )
        steps.append(Step("evaluate", "evaluate", (Task("scores", (command,)),), (last,)))
    return steps


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

    checks: list[Callable[[], object]] = [
        lambda: find_case_images(prediction.images),
        lambda: check_step_size(prediction.step_size),
        lambda: check_output_folder(prediction.output),
    ]
    if prediction.memory is not None:
        memory = prediction.memory
        checks.append(lambda: parse_memory(memory))
    if prediction.model is not None:
        model = prediction.model
        checks.append(lambda: find_trained_model(model, prediction.folds or None, prediction.checkpoint))
    problems = []
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
    folders = ("parts", "predictions", "postprocessed", "exported", "evaluation")
    there = [str(path) for name in folders if (path := prediction.output.absolute() / name).exists()]
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


def _predict_part(prediction: Prediction, output: Path, part: int) -> Task:
    if prediction.model is None:
        argv = ["python", "-m", "nnunet_ext.cluster.best_model", "predict", str(prediction.best_model)]
    else:
        argv = ["nnunet_ext", "predict", "-m", str(prediction.model.absolute())]
        argv += ["-f", *prediction.folds] if prediction.folds else []
    argv += ["-i", str(prediction.images.absolute()), "-o", str(output), "-chk", prediction.checkpoint]
    argv += ["-step_size", str(prediction.step_size), "-device", prediction.device]
    argv += ["--disable_tta"] if prediction.disable_tta else []
    argv += ["--memory", prediction.memory] if prediction.memory else []
    argv += ["--format", prediction.file_ending] if prediction.file_ending else []
    what = "whole images"
    if prediction.parts > 1:
        argv += ["--part", str(part), "--parts", str(prediction.parts)]
        what = f"part {part} of {prediction.parts}"
    return Task(what, (Command(tuple(argv), again=("--resume",)),))
