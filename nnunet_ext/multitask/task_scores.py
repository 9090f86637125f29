"""Dice and IoU per task and class of joint labels on disk, with each task's own ignored voxels left out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.multitask.joint_labels import JointLabels

SUMMARY = "summary_tasks.json"
METRICS = ("Dice", "IoU")


def score_folder(
    predictions: Path, references: Path, ending: str, reader: Any, joint: JointLabels, threads: int
) -> dict[str, Any]:
    """Score the predictions of a folder and write ``summary_tasks.json`` there.

    Parameters
    ----------
    predictions, references
        Folders of joint labels with equal file names.
    ending
        Their file ending.
    reader
        Instance of a reader of nnU-Net.
    joint
        The dataset's tasks.
    threads
        Number of threads.

    Returns
    -------
    dict
        ``mean``: per task the mean of its classes under ``task`` and each class under ``classes``, where cases
        without the class in label and prediction are left out and None stands for "in no case"; ``cases``: per
        case, task and class also the counts of voxels.
    """
    cases = sorted(path.name.removesuffix(ending) for path in predictions.glob(f"*{ending}"))

    def score(case: str) -> dict[str, Any]:
        return _score_case(predictions / f"{case}{ending}", references / f"{case}{ending}", reader, joint)

    # reading files and comparing arrays leave the interpreter free, and processes would take seconds to start
    with ThreadPoolExecutor(threads) as pool:
        scores = list(pool.map(score, cases))
    summary = {"mean": _means(scores, joint), "cases": dict(zip(cases, scores, strict=True))}
    write_json(predictions / SUMMARY, summary)
    return summary


def score_stacks(prediction: NDArray[Any], reference: NDArray[Any], joint: JointLabels) -> dict[str, Any]:
    """Score a stack against another.

    Parameters
    ----------
    prediction, reference
        Stacks of shape (T, …).
    joint
        The tasks.

    Returns
    -------
    dict
        Per task and class ``Dice`` and ``IoU`` (None where neither has the class) and ``TP``, ``FP``, ``FN``.
    """
    scores: dict[str, Any] = {}
    for task, predicted, true in zip(joint.tasks, prediction, reference, strict=True):
        annotated = true != task.ignore_value
        scores[task.name] = {
            name: _overlap(predicted[annotated] == value, true[annotated] == value)
            for value, name in list(enumerate(task.classes))[1:]
        }
    return scores


def _score_case(prediction: Path, reference: Path, reader: Any, joint: JointLabels) -> dict[str, Any]:
    stacks = [joint.decode(reader.read_seg(str(path))[0][0]) for path in (prediction, reference)]
    return score_stacks(stacks[0], stacks[1], joint)


def _overlap(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float | int | None]:
    both = int((predicted & true).sum())
    only_predicted, only_true = int(predicted.sum()) - both, int(true.sum()) - both
    union = both + only_predicted + only_true
    return {
        "Dice": 2 * both / (union + both) if union else None,
        "IoU": both / union if union else None,
        "TP": both,
        "FP": only_predicted,
        "FN": only_true,
    }


def _means(cases: Sequence[dict[str, Any]], joint: JointLabels) -> dict[str, Any]:
    means: dict[str, Any] = {}
    for task in joint.tasks:
        classes = {
            name: {metric: _mean([case[task.name][name][metric] for case in cases]) for metric in METRICS}
            for name in task.classes[1:]
        }
        of_task = {metric: _mean([scores[metric] for scores in classes.values()]) for metric in METRICS}
        means[task.name] = {"task": of_task, "classes": classes}
    return means


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
