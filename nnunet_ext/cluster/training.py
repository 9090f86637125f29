"""Steps of a training: preprocessing where it is missing, then an array of folds for every configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster.dataset import (
    ALL,
    SPLITS,
    Dataset,
    number_of_folds,
    previous_stage,
    read_configurations,
    trainer_problem,
)
from nnunet_ext.cluster.graph import Command, Step, Task
from nnunet_ext.errors import BadCasesError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEFAULT_PLANS = "nnUNetPlans"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
_WORD = re.compile(r"[A-Za-z0-9_]+")
_PLANS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Training:
    """What is to be trained; the names are those of nnU-Net's flags.

    Parameters
    ----------
    dataset
        The dataset.
    configurations
        Such as ``2d`` and ``3d_fullres``.
    folds
        Numbers as text, or ``all``.
    trainer, plans
        Names.
    planner
        Name of the planner, where there are no plans yet; None for nnU-Net's default.
    device
        ``cuda``, ``cpu`` or ``mps``.
    num_gpus
        GPUs of one training.
    pretrained_weights
        Checkpoint to begin with.
    npz
        Whether validation keeps probabilities.
    go_on
        Whether trainings that have begun go on.
    """

    dataset: Dataset
    configurations: tuple[str, ...]
    folds: tuple[str, ...]
    trainer: str = "nnUNetTrainer"
    plans: str = DEFAULT_PLANS
    planner: str | None = None
    device: str = "cuda"
    num_gpus: int = 1
    pretrained_weights: Path | None = None
    npz: bool = False
    go_on: bool = False

    def fold_folder(self, configuration: str, fold: str) -> Path:
        """Return where nnU-Net puts the training of a fold."""
        return self.dataset.model_folder(self.trainer, self.plans, configuration) / f"fold_{fold}"


def training_steps(training: Training, processes: Callable[[str], int]) -> list[Step]:
    """Return the steps of a training.

    Parameters
    ----------
    training
        What is to be trained.
    processes
        Number of processes for a kind of step.

    Raises
    ------
    BadCasesError
        If names, folds or files do not fit; names all problems.
    """
    plans_problems = [] if _PLANS.fullmatch(training.plans) else [f"-p {training.plans!r}: expected the name of plans"]
    known = None if plans_problems else read_configurations(training.dataset, training.plans)
    problems = [*plans_problems, *_problems(training, known)]
    if problems:
        raise BadCasesError(problems)
    first = _preprocessing(training, known, processes("preprocess"))
    steps = [first] if first else []
    # A first stage stands before the second one, in whatever order they were given.
    ordered = sorted(training.configurations, key=lambda name: previous_stage(name, known) is not None)
    for configuration in ordered:
        before = previous_stage(configuration, known)
        after = [step_name(before)] if before in training.configurations and before else []
        if not after and first:
            after = [first.name]
        tasks = tuple(_task(training, configuration, fold) for fold in training.folds)
        steps.append(Step(step_name(configuration), "train", tasks, tuple(after)))
    return steps


def step_name(configuration: str) -> str:
    """Return the name of the step that trains a configuration."""
    return f"train_{configuration}"


def _problems(training: Training, known: dict[str, dict[str, Any]] | None) -> list[str]:
    dataset, problems = training.dataset, []
    for configuration in training.configurations:
        if not _WORD.fullmatch(configuration):
            problems.append(f"-c {configuration!r}: expected the name of a configuration, of letters, digits and _")
        elif known is not None and configuration not in known:
            plans = dataset.preprocessed / f"{training.plans}.json"
            problems.append(f"-c {configuration}: not in {plans}, which has {', '.join(known)}")
    folds = number_of_folds(dataset)
    problems += [
        f"-f {fold}: expected a number from 0 to {folds - 1}, or {ALL}"
        for fold in training.folds
        if fold != ALL and not (fold.isascii() and fold.isdecimal() and str(int(fold)) == fold and int(fold) < folds)
    ]
    problems += [
        f"{flag}: {', '.join(sorted({name for name in names if names.count(name) > 1}))} given more than once"
        for flag, names in (("-c", training.configurations), ("-f", training.folds))
        if len(set(names)) < len(names)
    ]
    problems += [problem] if (problem := trainer_problem(training.trainer)) else []
    if training.planner is not None and not (training.planner.isidentifier() and training.planner.isascii()):
        problems.append(f"-pl {training.planner!r}: expected the name of a planner")
    if known is None:
        if not (dataset.raw / "dataset.json").is_file():
            problems.append(f"{dataset.raw / 'dataset.json'}: no such file, and there are no plans '{training.plans}'")
        if training.plans != DEFAULT_PLANS and training.planner is None:
            problems.append(
                f"-p {training.plans}: not in {dataset.preprocessed}; to plan now, name the planner that writes them "
                "(-pl)"
            )
    elif training.planner is not None:
        problems.append(
            f"-pl {training.planner}: there are plans '{training.plans}' already, which are kept; leave -pl out"
        )
    weights = training.pretrained_weights
    if weights is not None and not weights.is_file():
        problems.append(f"-pretrained_weights {weights}: no such file")
    if weights is not None and training.go_on:
        problems.append("--c and -pretrained_weights: go on with a training, or begin with weights; give one of them")
    return problems or _folder_problems(training, known, folds)


def _folder_problems(training: Training, known: dict[str, dict[str, Any]] | None, folds: int) -> list[str]:
    """Return what stands in the way in the folder of results."""
    problems = []
    for configuration in training.configurations:
        begun = [fold for fold in training.folds if _checkpoints(training, configuration, fold)]
        if begun and not training.go_on:
            where = training.fold_folder(configuration, begun[0]).parent
            problems.append(
                f"{where}: fold {', '.join(begun)} trained already, or in part; go on with it (--c), or move it away"
            )
        before = previous_stage(configuration, known)
        if before is None:
            continue
        trained = {fold for fold in (*map(str, range(folds)), ALL) if _is_done(training, before, fold)}
        trained |= set(training.folds) if before in training.configurations else set()
        if ALL not in trained and (missing := [str(fold) for fold in range(folds) if str(fold) not in trained]):
            problems.append(
                f"-c {configuration}: needs {before} of all folds, and fold {', '.join(missing)} is neither trained "
                f"nor asked for; add -c {before} and all folds"
            )
    return problems


def _checkpoints(training: Training, configuration: str, fold: str) -> list[Path]:
    folder = training.fold_folder(configuration, fold)
    return [folder / name for name in CHECKPOINTS if (folder / name).exists()]


def _is_done(training: Training, configuration: str, fold: str) -> bool:
    return (training.fold_folder(configuration, fold) / "validation" / "summary.json").is_file()


def _task(training: Training, configuration: str, fold: str) -> Task:
    argv = ["nnUNetv2_train", training.dataset.name, configuration, fold]
    argv += ["-tr", training.trainer, "-p", training.plans, "-device", training.device]
    if training.num_gpus > 1:
        argv += ["-num_gpus", str(training.num_gpus)]
    if training.pretrained_weights is not None:
        argv += ["-pretrained_weights", str(training.pretrained_weights.absolute())]
    argv += ["--npz"] if training.npz else []
    argv += ["--c"] if training.go_on else []
    checkpoints = tuple(str(training.fold_folder(configuration, fold) / name) for name in CHECKPOINTS)
    return Task(f"{configuration} fold {fold}", (Command(tuple(argv), again=("--c",), again_if=checkpoints),))


def _preprocessing(training: Training, known: dict[str, dict[str, Any]] | None, processes: int) -> Step | None:
    """Return the step that makes what is missing, or None; plans that are there stay as they are."""
    dataset, count = training.dataset, str(processes)
    commands: list[list[str]] = []
    if known is None:
        # The second stage of a cascade uses the data of 3d_fullres, and so does its plan.
        names = dict.fromkeys("3d_fullres" if previous_stage(c, None) else c for c in training.configurations)
        argv = ["nnUNetv2_plan_and_preprocess", "-d", str(dataset.number), "--verify_dataset_integrity"]
        argv += ["-pl", training.planner] if training.planner else []
        commands.append([*argv, "-c", *names, "-npfp", count, "-np", count, "--no_pbar"])
        # A planner leaves 3d_lowres out where images are small, and preprocessing then skips it without an error.
        check = ["python", "-m", "nnunet_ext.cluster.check_plans", dataset.name, training.plans]
        commands.append([*check, *training.configurations])
    elif missing := _without_data(training, known):
        argv = ["nnUNetv2_preprocess", "-d", str(dataset.number), "-plans_name", training.plans]
        commands.append([*argv, "-c", *missing, "-np", count, "--no_pbar"])
    if set(training.folds) != {ALL} and not (dataset.preprocessed / SPLITS).is_file():
        split = ["python", "-m", "nnunet_ext.cluster.splits", dataset.name, training.plans]
        commands.append([*split, training.configurations[0]])
    if not commands:
        return None
    task = Task("plans and data", tuple(Command(tuple(argv)) for argv in commands))
    return Step("preprocess", "preprocess", (task,))


def _without_data(training: Training, known: dict[str, dict[str, Any]]) -> list[str]:
    """Return the configurations to preprocess."""
    missing: dict[str, None] = {}
    for configuration in training.configurations:
        identifier = known[configuration].get("data_identifier")
        if identifier is None or not _holds_files(training.dataset.preprocessed / str(identifier)):
            owners = [name for name, content in known.items() if content.get("data_identifier") == identifier]
            # Again the second stage of a cascade: the data belongs to the configuration that it inherits from.
            missing[next((name for name in owners if previous_stage(name, known) is None), configuration)] = None
    return list(missing)


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())
