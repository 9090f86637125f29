"""Steps of a whole pipeline: training, comparison of configurations, prediction with the best one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster.dataset import ALL, previous_stage, read_configurations
from nnunet_ext.cluster.graph import Command, Step, Task
from nnunet_ext.cluster.members import Member
from nnunet_ext.cluster.prediction import check_prediction, prediction_steps
from nnunet_ext.cluster.training import training_steps
from nnunet_ext.errors import BadCasesError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_ext.cluster.prediction import Prediction
    from nnunet_ext.cluster.training import Training

BEST_MODEL = "best_model.json"


def pipeline_steps(
    training: Training,
    prediction: Prediction,
    processes: Callable[[str], int],
    *,
    compare: bool,
    ensemble: bool = False,
) -> list[Step]:
    """Return the steps of a pipeline.

    Parameters
    ----------
    training, prediction
        What to train and predict; model and folds of the prediction follow from the training.
    processes
        Number of processes for a kind of step.
    compare
        Whether nnU-Net compares the configurations and finds post-processing. Without it, there is one configuration
        (or a cascade) to predict with, and no post-processing.
    ensemble
        Whether pairs of configurations are compared as well.
    """
    steps = training_steps(replace(training, npz=training.npz or ensemble), processes)
    trained = tuple(step.name for step in steps if step.kind == "train")
    known = read_configurations(training.dataset, training.plans)
    if not compare:
        (configuration,) = _last_stages(training, known)
        stage = previous_stage(configuration, known)
        member = Member(_model(training, configuration), training.folds, stage and _model(training, stage))
        return [*steps, *prediction_steps(replace(prediction, members=(member,)), processes, trained)]
    # Relative: tasks run in the folder of their submission.
    best = Path(BEST_MODEL)
    names, folds = training.configurations, training.folds
    find = ["nnUNetv2_find_best_configuration", training.dataset.name, "-c", *names, "-f", *folds]
    find += ["-tr", training.trainer, "-p", training.plans, *([] if ensemble else ["--disable_ensembling"])]
    find += ["-np", str(processes("find_best"))]
    most = 2 if ensemble else 1
    information = training.dataset.results / "inference_information.json"
    choose = ["python", "-m", "nnunet_ext.cluster.best_model", "choose", str(best), str(information)]
    choose += ["--most", str(most), "-tr", training.trainer, "-p", training.plans, "-c", *names, "-f", *folds]
    task = Task("best configuration", (Command(tuple(find)), Command(tuple(choose))))
    cascades = any(previous_stage(name, known) for name in names)
    chosen = replace(prediction, best_model=best, most=most, may_cascade=cascades)
    return [
        *steps,
        Step("find_best", "find_best", (task,), trained),
        *prediction_steps(chosen, processes, ("find_best",)),
    ]


def check_pipeline(training: Training, prediction: Prediction, *, compare: bool, ensemble: bool = False) -> None:
    """Check what training and prediction ask of each other, and the prediction itself.

    Raises
    ------
    BadCasesError
        If the model could not be predicted with, or the configurations not be compared.
    """
    known = read_configurations(training.dataset, training.plans)
    problems = []
    if compare and ALL in training.folds:
        problems.append(
            f"-f {ALL}: has no validation to compare by; give folds, or one configuration and --no-find-best"
        )
    last = _last_stages(training, known)
    if not compare and len(last) > 1:
        problems.append(f"--no-find-best: expected one configuration to predict with, found {', '.join(last)}")
    stages = {stage for name in training.configurations if (stage := previous_stage(name, known))}
    if len(stages) > 1:
        problems.append(
            f"-c: cascades with different first stages ({', '.join(sorted(stages))}), expected one first stage"
        )
    if ensemble and not (compare and len(training.configurations) > 1):
        problems.append("--ensemble: expected several configurations (-c) that are compared (without --no-find-best)")
    problems += _without_probabilities(training) if ensemble else []
    try:
        check_prediction(replace(prediction, most=2 if ensemble else 1))
    except BadCasesError as error:
        problems += error.problems
    if problems:
        raise BadCasesError(problems)


def _last_stages(training: Training, known: dict[str, dict[str, Any]] | None) -> list[str]:
    """Return the configurations that are not there for another one's sake."""
    first = {previous_stage(name, known) for name in training.configurations}
    return [name for name in training.configurations if name not in first]


def _model(training: Training, configuration: str) -> str:
    return str(training.dataset.model_folder(training.trainer, training.plans, configuration))


def _without_probabilities(training: Training) -> list[str]:
    """Return which trainings have ended without what an ensemble is made of; they would not be validated again."""
    found = []
    for configuration in training.configurations:
        for fold in training.folds:
            validation = training.fold_folder(configuration, fold) / "validation"
            if (validation / "summary.json").is_file() and not any(validation.glob("*.npz")):
                found.append(
                    f"{validation}: no probabilities (.npz), which --ensemble needs; 'nnUNetv2_train "
                    f"{training.dataset.name} {configuration} {fold} … --val --npz' makes them"
                )
    return found
