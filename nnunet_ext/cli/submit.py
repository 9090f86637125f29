"""Trainings, predictions and whole pipelines as jobs of a cluster, or one after the other on this machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.prediction import Prediction
    from nnunet_ext.cluster.site import Site
    from nnunet_ext.cluster.submit import Sent
    from nnunet_ext.cluster.training import Training

_MOST_PROCESSES = 4
_SHARE_OF_MEMORY = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument(
        "--resume",
        dest="resume_folder",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="submit what is not done of an earlier submission, and what depends on it; default: the newest one",
    )
    parser.add_argument("--site", dest="resume_site", type=Path, metavar="SITE_FILE", help="with --resume: another one")
    parser.add_argument(
        "--dry-run", dest="resume_dry", action="store_true", help="with --resume: only say what it does"
    )
    workflows = parser.add_subparsers(dest="workflow", metavar="train|predict|pipeline")
    form = parser.formatter_class
    train = workflows.add_parser("train", help="train folds of configurations", formatter_class=form)
    predict = workflows.add_parser("predict", help="predict, merge, export, evaluate", formatter_class=form)
    pipeline = workflows.add_parser("pipeline", help="train, compare, predict with the best", formatter_class=form)
    for workflow in (train, pipeline):
        _add_training(workflow)
    predict.add_argument(
        "-m",
        dest="models",
        nargs="+",
        type=Path,
        required=True,
        metavar="MODEL_FOLDER",
        help="the model; of several, the mean of their probabilities counts. A cascade's first stage is looked for "
        "beside it and predicted before",
    )
    predict.add_argument("-f", dest="folds", nargs="+", default=[], metavar="FOLD", help="default: all that are there")
    predict.add_argument("--postprocessing", type=Path, metavar="PKL", help="postprocessing.pkl of nnU-Net to apply")
    for workflow, required in ((predict, True), (pipeline, False)):
        _add_prediction(workflow, images_required=required)
    pipeline.add_argument(
        "--no-find-best",
        dest="compare",
        action="store_false",
        help="with one configuration: predict with it, without looking for post-processing",
    )
    pipeline.add_argument(
        "--ensemble",
        action="store_true",
        help="compare pairs of configurations as well, and predict with both where a pair is best; trains with --npz",
    )
    for workflow in (train, predict, pipeline):
        _add_common(workflow)


def run(args: argparse.Namespace) -> int:
    """Submit; on this machine return 1 if a task failed."""
    if args.workflow is None:
        return _resume(args)
    from nnunet_ext.cluster.site import parse_site, read_toml
    from nnunet_ext.cluster.submit import check_scheduler, create_submission, send
    from nnunet_ext.errors import InputError

    content: dict[str, Any] = read_toml(args.site) if args.site else {}
    site = parse_site(content, args.site or "site file")
    scheduler = args.scheduler or content.get("scheduler")
    if scheduler is None:
        message = "expected --scheduler slurm, pbs or local, or a site file that names it (--site)"
        raise InputError(message)
    if scheduler != "local" and not args.site:
        message = f"--scheduler {scheduler}: expected a site file (--site) with what the cluster wants to know"
        raise InputError(message)
    check_scheduler(content, scheduler)
    content = {"scheduler": scheduler, **content}
    if args.resume:
        folder = _same_submission(args)
        print(folder, flush=True)
        sent = send(folder, site=content if args.site else None, dry_run=args.dry_run, report=_print)
        return _say(sent, dry_run=args.dry_run)
    _check_numbers(args, site)
    name, steps = _steps(args, site)
    _check_reachable(scheduler, site, dry_run=args.dry_run)
    folder = create_submission(
        steps,
        name=name,
        scheduler=scheduler,
        site=content,
        arguments=_asked_for(args),
        folder=args.folder,
        after=args.after,
    )
    print(f"{folder}: plan and {len(steps)} scripts", flush=True)
    if scheduler != "local" and args.device == "cuda":
        without = [step.name for step in steps if step.kind in ("train", "predict") and not _gpus(site, step)]
        if without:
            print(
                f"Note: -device cuda, but the site file asks for no GPU for {', '.join(without)}; add gpus = 1 to it, "
                "or give -device cpu",
                file=sys.stderr,
            )
    return _say(send(folder, dry_run=args.dry_run, report=_print), dry_run=args.dry_run)


def _resume(args: argparse.Namespace) -> int:
    from nnunet_ext.cluster.folder import default_root, newest_folder
    from nnunet_ext.cluster.site import parse_site, read_toml
    from nnunet_ext.cluster.submit import send
    from nnunet_ext.errors import InputError

    if args.resume_folder is None:
        message = "expected train, predict or pipeline, or --resume; 'nnunet_ext submit --help' says more"
        raise InputError(message)
    root = default_root()
    if not args.resume_folder and root is None:
        message = "nnUNet_results is not set; set it, or name the folder of the submission (--resume FOLDER)"
        raise InputError(message)
    folder = Path(args.resume_folder) if args.resume_folder or root is None else newest_folder(root)
    content = read_toml(args.resume_site) if args.resume_site else None
    if content is not None:
        parse_site(content, args.resume_site)
    print(folder, flush=True)
    return _say(send(folder.absolute(), site=content, dry_run=args.resume_dry, report=_print), dry_run=args.resume_dry)


def _say(sent: Sent, *, dry_run: bool) -> int:
    if sent.nothing_to_do:
        print("nothing to do: every task is done, or waits and runs already")
        return 0
    if dry_run:
        for argv in sent.calls:
            print(shlex.join(argv))
        print(f"nothing submitted; to submit it: nnunet_ext submit --resume {shlex.quote(str(sent.folder))}")
        return 0
    if sent.jobs:
        print(f"{len(sent.jobs)} jobs submitted; how they are: nnunet_ext jobs {shlex.quote(str(sent.folder))}")
    if not sent.succeeded:
        print(f"failed; see nnunet_ext jobs {shlex.quote(str(sent.folder))}", file=sys.stderr)
        return 1
    return 0


def _print(line: str) -> None:
    print(line, flush=True)


def _steps(args: argparse.Namespace, site: Site) -> tuple[str, Sequence[Step]]:
    """Return the name of the submission and its steps, after checking everything that can be checked now."""
    from nnunet_ext.cluster.dataset import find_dataset
    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.pipeline import check_pipeline, pipeline_steps
    from nnunet_ext.cluster.prediction import check_prediction, prediction_steps
    from nnunet_ext.cluster.training import training_steps

    def processes(kind: str) -> int:
        cpus = site.resources(Step(kind, kind, ())).cpus
        return int(args.processes or min(_MOST_PROCESSES, cpus or _MOST_PROCESSES))

    if args.workflow == "predict":
        prediction = _prediction(args, args.images, site)
        check_prediction(prediction)
        return "predict", prediction_steps(prediction, processes)
    training = _training(args, find_dataset(args.dataset))
    name = f"{args.workflow}_{training.dataset.name}"
    if args.workflow == "train":
        return name, training_steps(training, processes)
    prediction = _prediction(args, args.images or training.dataset.raw / "imagesTs", site)
    check_pipeline(training, prediction, compare=args.compare, ensemble=args.ensemble)
    return name, pipeline_steps(training, prediction, processes, compare=args.compare, ensemble=args.ensemble)


def _training(args: argparse.Namespace, dataset: Any) -> Training:
    from nnunet_ext.cluster.training import Training

    return Training(
        dataset=dataset,
        configurations=tuple(args.configurations),
        folds=tuple(args.folds),
        trainer=args.trainer,
        plans=args.plans,
        planner=args.planner,
        device=args.device,
        num_gpus=args.num_gpus,
        pretrained_weights=args.pretrained_weights,
        npz=args.npz,
        go_on=args.go_on,
    )


def _prediction(args: argparse.Namespace, images: Path, site: Site) -> Prediction:
    from nnunet_ext.cluster.members import member_of
    from nnunet_ext.cluster.prediction import Prediction

    alone = args.workflow == "predict"
    return Prediction(
        images=images,
        output=args.output,
        members=tuple(member_of(model, args.folds) for model in args.models) if alone else (),
        postprocessing=args.postprocessing if alone else None,
        checkpoint=args.checkpoint,
        step_size=args.step_size,
        disable_tta=args.disable_tta,
        device=args.device,
        memory=args.memory or _memory_of_a_job(site),
        file_ending=args.file_ending,
        parts=args.parts,
        export=args.export,
        labels=args.labels,
    )


def _check_numbers(args: argparse.Namespace, site: Site) -> None:
    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.errors import BadCasesError

    problems = []
    if args.processes is not None and args.processes < 1:
        problems.append(f"-np {args.processes}: expected 1 or more")
    wanted = getattr(args, "num_gpus", 1)
    given = _gpus(site, Step("train", "train", ()))
    if wanted < 1 or (given and wanted > given):
        most = f"1 to {given}, as gpus in the site file says" if given else "1 or more"
        problems.append(f"-num_gpus {wanted}: expected {most}")
    if problems:
        raise BadCasesError(problems)


def _gpus(site: Site, step: Step) -> int:
    """Return the number of GPUs that a job asks for."""
    asked = site.resources(step).gpus
    return asked.count if asked else 0


def _memory_of_a_job(site: Site) -> str | None:
    """Return what a prediction may use of the memory that its job asks for; None if the site file does not say.

    Without it, a prediction would go by what is free on the whole machine.
    """
    from nnunet_ext.cluster.graph import Step

    asked = site.resources(Step("predict", "predict", ()))
    total = asked.memory or (asked.memory_per_cpu or 0) * (asked.cpus or 1)
    return f"{round(total * _SHARE_OF_MEMORY)}M" if total else None


def _same_submission(args: argparse.Namespace) -> Path:
    """Return the submission that was asked for with the same arguments: the given folder, or the newest one."""
    from nnunet_ext.cluster.folder import all_folders, default_root, read_plan
    from nnunet_ext.errors import InputError

    root, asked = default_root(), _asked_for(args)
    candidates = [args.folder.absolute()] if args.folder else reversed(all_folders(root) if root else [])
    for candidate in candidates:
        if read_plan(candidate).arguments == asked:
            return Path(candidate)
    message = (
        f"--resume: no submission with exactly these arguments in {args.folder or root}; name its folder: nnunet_ext "
        "submit --resume FOLDER"
    )
    raise InputError(message)


def _asked_for(args: argparse.Namespace) -> dict[str, Any]:
    """Return what decides on the steps, in a form that JSON holds."""
    how = ("resume", "resume_folder", "resume_site", "resume_dry", "dry_run", "site", "scheduler", "folder", "after")
    found = {name: value for name, value in vars(args).items() if name not in how}
    return {name: _for_json(value) for name, value in found.items()}


def _for_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_for_json(entry) for entry in value]
    return str(value.absolute()) if isinstance(value, Path) else value


def _check_reachable(scheduler: str, site: Site, *, dry_run: bool) -> None:
    from nnunet_ext.cluster.scheduler import check_programs, scheduler_of

    found = scheduler_of(scheduler, site)
    if found is not None and not dry_run:
        check_programs(found)


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-d", dest="dataset", required=True, metavar="DATASET", help="name or id")
    add("-c", dest="configurations", nargs="+", required=True, metavar="CONFIGURATION", help="such as 2d 3d_fullres")
    folds = [str(fold) for fold in range(5)]
    add("-f", dest="folds", nargs="+", default=folds, metavar="FOLD", help="numbers, or all (default: 0 1 2 3 4)")
    add("-tr", dest="trainer", default="nnUNetTrainer", help="name of the trainer")
    add("-p", dest="plans", default="nnUNetPlans", help="name of the plans")
    add("-pl", dest="planner", metavar="PLANNER", help="where there are no plans yet: the planner that writes them")
    add("-num_gpus", type=int, default=1, help="GPUs of one training")
    add("-pretrained_weights", type=Path, metavar="FILE", help="checkpoint to begin with")
    add("--npz", action="store_true", help="keep probabilities of the validation, to ensemble later")
    add("--c", dest="go_on", action="store_true", help="go on with trainings that have begun")


def _add_prediction(parser: argparse.ArgumentParser, *, images_required: bool) -> None:
    from nnunet_ext.cli import VERBS

    add = parser.add_argument
    more = "" if images_required else "; default: imagesTs of the dataset"
    add("-i", dest="images", type=Path, required=images_required, metavar="IN", help=f"folder of images{more}")
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="folder for predictions and what follows")
    add("-chk", dest="checkpoint", default="checkpoint_final.pth", metavar="NAME", help="name of the checkpoint")
    add("-step_size", type=float, default=0.5, help="step of the window over the image, as part of the patch")
    add("--disable_tta", action="store_true", help="predict without mirrored images")
    add(
        "--memory",
        metavar="SIZE",
        help="memory of one prediction, such as 8G; default: four fifths of what its job asks for by the site file",
    )
    add("--format", dest="file_ending", metavar="ENDING", help="of the label maps; default: that of the dataset")
    add("--parts", type=int, default=1, metavar="N", help="parts of every image, one job each")
    exports = VERBS["export"]
    add("--export", choices=tuple(exports) if isinstance(exports, dict) else (), help="export predictions, too")
    add("-g", dest="labels", type=Path, metavar="LABELS", help="folder of references to evaluate against")


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="where to train and predict")
    add(
        "-np",
        dest="processes",
        type=int,
        metavar="N",
        help="processes of preprocessing, comparison, export and evaluation; default: the CPUs of the step in the site "
        f"file, {_MOST_PROCESSES} at most",
    )
    add("--scheduler", choices=("slurm", "pbs", "local"), help="default: that of the site file")
    add("--site", type=Path, metavar="SITE_FILE", help="TOML file with what the cluster wants to know of every job")
    add(
        "--folder",
        type=Path,
        help="folder of the submission; default: $nnUNet_results/nnunet_ext_jobs/<name>_<number>",
    )
    add("--after", nargs="+", default=[], metavar="JOBID", help="jobs of the scheduler that must succeed before")
    add("--dry-run", action="store_true", help="write plan and scripts, and say what would be submitted")
    add(
        "--resume",
        action="store_true",
        help="submit what is not done of the newest submission with exactly these arguments",
    )
