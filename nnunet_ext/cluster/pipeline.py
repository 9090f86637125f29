"""Steps of a whole pipeline: training, comparison of configurations, prediction with the best one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.cluster.dataset import ALL, previous_stage, read_configurations
from nnunet_ext.cluster.graph import Command, Step, Task
from nnunet_ext.cluster.prediction import check_prediction, prediction_steps
from nnunet_ext.cluster.training import training_steps
from nnunet_ext.errors import BadCasesError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_ext.cluster.prediction import Prediction
    from nnunet_ext.cluster.training import Training

BEST_MODEL = "best_model.json"


def pipeline_steps(
    training: Training, prediction: Prediction, processes: Callable[[str], int], *, compare: bool
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
        and no post-processing.
    """
    steps = training_steps(training, processes)
    trained = tuple(step.name for step in steps if step.kind == "train")
    if not compare:
        (configuration,) = training.configurations
        model = training.dataset.model_folder(training.trainer, training.plans, configuration)
        known = replace(prediction, model=model, folds=training.folds)
        return [*steps, *prediction_steps(known, processes, trained)]
    # Relative: tasks run in the folder of their submission.
    best = Path(BEST_MODEL)
    names, folds = training.configurations, training.folds
    find = ["nnUNetv2_find_best_configuration", training.dataset.name, "-c", *names, "-f", *folds]
    find += ["-tr", training.trainer, "-p", training.plans, "--disable_ensembling", "-np", str(processes("find_best"))]
    information = training.dataset.results / "inference_information.json"
    choose = ["python", "-m", "nnunet_ext.cluster.best_model", "choose", str(best), str(information)]
    choose += ["-tr", training.trainer, "-p", training.plans, "-c", *names, "-f", *folds]
    task = Task("best configuration", (Command(tuple(find)), Command(tuple(choose))))
    chosen = replace(prediction, best_model=best)
    return [
        *steps,
        Step("find_best", "find_best", (task,), trained),
        *prediction_steps(chosen, processes, ("find_best",)),
    ]


def check_pipeline(training: Training, prediction: Prediction, *, compare: bool) -> None:
    """Check what training and prediction ask of each other, and the prediction itself.

    Raises
    ------
    BadCasesError
        If the model could not be predicted with, or the configurations not be compared.
    """
    known = read_configurations(training.dataset, training.plans)
    problems = [
        f"-c {configuration}: 'nnunet_ext predict' takes no second stage of a cascade; use 'submit train' for it, and "
        "nnUNetv2_predict with -prev_stage_predictions"
        for configuration in training.configurations
        if previous_stage(configuration, known) is not None
    ]
    if compare and ALL in training.folds:
        problems.append(
            f"-f {ALL}: has no validation to compare by; give folds, or one configuration and --no-find-best"
        )
    if not compare and len(training.configurations) > 1:
        problems.append(
            f"--no-find-best: expected one configuration to predict with, found {', '.join(training.configurations)}"
        )
    try:
        check_prediction(prediction)
    except BadCasesError as error:
        problems += error.problems
    if problems:
        raise BadCasesError(problems)
