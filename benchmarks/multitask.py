"""Time the training step of the multi-task trainers, and measure its memory, beside nnU-Net's own trainer.

single     nnU-Net's trainer on one task, with a softmax over its classes; once per task, and the mean of them.
regions    nnU-Net's trainer on the joint labels: one output and sigmoid per foreground class of all tasks.
late       `nnUNetTrainerMTLlate`: one encoder, one decoder, a head per task.
early      `nnUNetTrainerMTLearly`: one encoder, a decoder and head per task.

All are initialised from plans with the architecture that nnU-Net gives the patch. A step is their `train_step`:
network, loss with deep supervision, gradients, optimiser. Its batch is there already: loading and augmentation are not
in it. They take turns, one step each, in an order that rotates; a ratio is the median of the ratios within a round.
On the CPU, seconds are processor time of one thread, which other work on the machine disturbs least.
Memory is that of a process for each: the peak above what was resident before the network was built (Linux), or what
CUDA allocated. The exit status is 1 if a step takes longer than its goal.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from scipy import ndimage
from torch.utils.flop_counter import FlopCounterMode

from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task
from nnunet_ext.planners.stacked_labels import LABEL_MANAGER, NETWORK
from nnunet_ext.trainers.multitask import nnUNetTrainerMTLearly, nnUNetTrainerMTLlate
from nnunet_ext.trainers.nnunet_internals import bare_network

MIB = 2**20
M_MMAP_THRESHOLD = -3  # glibc's malloc.h
DATASET = "Dataset901_Benchmark"
STOCK_NETWORK = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
MAX_FEATURES = {2: 512, 3: 320}  # nnU-Net's
ALL_TASKS = (
    Task("front", ("background", "front"), deep_supervision=False),
    Task("zones", ("na", "rock", "glacier", "ocean")),
    Task("boundary", ("background", "boundary"), deep_supervision=False),
)
BACKGROUND = "background"
SINGLE, REGIONS, LATE, EARLY = "single", "regions", "late", "early"
TRAINERS: dict[str, type] = {
    SINGLE: nnUNetTrainer,
    REGIONS: nnUNetTrainer,
    LATE: nnUNetTrainerMTLlate,
    EARLY: nnUNetTrainerMTLearly,
}


@dataclass(frozen=True)
class Setting:
    """What all contestants of a table have in common."""

    patch_size: tuple[int, ...]
    batch_size: int
    features: int
    device: str
    full_supervision: bool

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, all with deep supervision if asked for."""
        return tuple(
            replace(task, deep_supervision=task.deep_supervision or self.full_supervision) for task in ALL_TASKS
        )

    @property
    def name(self) -> str:
        """Patch, batch and features."""
        size = "×".join(map(str, self.patch_size))
        return f"{len(self.patch_size)}D, {size}, batch {self.batch_size}, features {self.features}"


@dataclass(frozen=True)
class Contestant:
    """A kind of training and the numbers of the tasks that it learns."""

    kind: str
    tasks: tuple[int, ...]

    @property
    def name(self) -> str:
        """How it is called in the table."""
        return f"{self.kind}, {ALL_TASKS[self.tasks[0]].name if self.kind == SINGLE else f'{len(self.tasks)} tasks'}"


Times = dict[Contestant, list[float]]
Numbers = dict[Contestant, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="small 2D network, two tasks: does it run at all?")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile, which nnU-Net uses on cuda only")
    parser.add_argument("--steps", type=int, default=10, help="timed rounds")
    parser.add_argument("--warmup", type=int, default=2, help="rounds before them")
    parser.add_argument(
        "--features", type=int, default=32, help="of the first stage; they double up to nnU-Net's limit"
    )
    parser.add_argument("--patch-2d", type=int, nargs=2, default=(128, 128), metavar=("Y", "X"))
    parser.add_argument("--batch-2d", type=int, default=4)
    parser.add_argument("--patch-3d", type=int, nargs=3, default=(32, 48, 48), metavar=("Z", "Y", "X"))
    parser.add_argument("--batch-3d", type=int, default=2)
    parser.add_argument("--only", type=int, choices=(2, 3), help="only this number of dimensions")
    parser.add_argument(
        "--full-supervision", action="store_true", help="deep supervision of every task, not of zones only"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory, which takes a process each")
    args = parser.parse_args()
    os.environ |= {"nnUNet_compile": str(args.compile)}
    torch.set_num_threads(1)
    most_tasks = len(ALL_TASKS)
    if args.quick:
        args.patch_2d, args.features, args.steps, args.warmup, args.only, most_tasks = (32, 32), 4, 2, 1, 2, 2

    sizes = [(tuple(args.patch_2d), args.batch_2d), (tuple(args.patch_3d), args.batch_3d)]
    settings = [
        Setting(patch_size, batch_size, args.features, args.device, args.full_supervision)
        for patch_size, batch_size in sizes
        if args.only in (None, len(patch_size))
    ]
    contestants = contestants_of(most_tasks)
    # First, because processes are forked from this one, which has computed nothing yet.
    peaks: list[Numbers] = [{} if args.no_memory else peak_memory(setting, contestants) for setting in settings]
    met = True
    for setting, peaks_of_setting in zip(settings, peaks, strict=True):
        times, work = seconds_per_step(setting, contestants, args.steps, args.warmup)
        print_contestants(setting, times, work, peaks_of_setting)
        met &= print_ratios(times, work, peaks_of_setting)
    return 0 if met else 1


def contestants_of(most_tasks: int) -> list[Contestant]:
    """Return a single-task training per task, and all others for two tasks and more."""
    singles = [Contestant(SINGLE, (task,)) for task in range(most_tasks)]
    kinds = (REGIONS, LATE, EARLY)
    return singles + [Contestant(kind, tuple(range(n))) for n in range(2, most_tasks + 1) for kind in kinds]


def print_contestants(setting: Setting, times: Times, work: Numbers, peaks: Numbers) -> None:
    """Print what was measured."""
    print(f"\n{setting.name}: median of {len(next(iter(times.values())))} steps")
    print(f"{'':<30}{'s / step':>10}{'10⁹ multiply-adds':>20}{'peak MiB':>10}")
    for contestant, taken in times.items():
        peak = f"{peaks[contestant]:.0f}" if peaks else "-"
        print(
            f"{contestant.name:<30}{statistics.median(taken):>10.3f}{work[contestant] / 1e9:>20.1f}{peak:>10}",
            flush=True,
        )


def print_ratios(times: Times, work: Numbers, peaks: Numbers) -> bool:
    """Print ratios with their quartiles and goals, and return whether all goals are met."""
    print(f"{'':<30}{'time':>10}{'quartiles':>12}{'multiply-adds':>15}{'memory':>8}   goal")
    met = True
    for count in sorted({len(contestant.tasks) for contestant in times} - {1}):
        singles = [contestant for contestant in times if contestant.kind == SINGLE][:count]
        by_kind = {kind: [Contestant(kind, tuple(range(count)))] for kind in (REGIONS, LATE, EARLY)} | {SINGLE: singles}
        rows: list[tuple[str, str, float, float | None]] = [
            (LATE, SINGLE, 1, 1.05),
            (EARLY, SINGLE, 1, 1 + 0.65 * (count - 1)),
            (REGIONS, SINGLE, 1, None),
            (LATE, REGIONS, 1, None),
            (EARLY, REGIONS, 1, None),
            (LATE, SINGLE, count, None),
            (EARLY, SINGLE, count, 1),
        ]
        for ours, theirs, factor, goal in rows:
            above, below = means(times, by_kind[ours]), means(times, by_kind[theirs])
            low, ratio, high = np.percentile(above / below / factor, [25, 50, 75])
            memory = "-"
            if peaks and factor == 1:
                memory = f"{mean_of(peaks, by_kind[ours]) / mean_of(peaks, by_kind[theirs]):.2f}"
            added = mean_of(work, by_kind[ours]) / mean_of(work, by_kind[theirs]) / factor
            verdict = "" if goal is None else f"at most {goal:.2f}: {'met' if ratio <= goal else 'MISSED'}"
            met = met and (goal is None or bool(ratio <= goal))
            name = f"{count} tasks, {ours} / {'sum of ' if factor > 1 else ''}{theirs}"
            print(
                f"{name:<30}{ratio:>10.3f}{f'{low:.2f}-{high:.2f}':>12}{added:>15.3f}{memory:>8}   {verdict}",
                flush=True,
            )
    return met


def means(times: Times, contestants: list[Contestant]) -> Any:
    """Return the mean over contestants, round by round."""
    return np.array([times[contestant] for contestant in contestants]).mean(axis=0)


def mean_of(numbers: Numbers, contestants: list[Contestant]) -> float:
    return statistics.mean(numbers[contestant] for contestant in contestants)


def seconds_per_step(setting: Setting, contestants: list[Contestant], steps: int, warmup: int) -> tuple[Times, Numbers]:
    """Time all contestants in turns; also count the multiply-adds of a forward pass."""
    times: Times = {contestant: [] for contestant in contestants}
    on_gpu = setting.device == "cuda"
    seconds = time.perf_counter if on_gpu else time.process_time
    with tempfile.TemporaryDirectory() as folder:
        ready = {contestant: prepare(setting, contestant, Path(folder)) for contestant in contestants}
        for turn in range(warmup + steps):
            first = turn % len(contestants)
            for contestant in contestants[first:] + contestants[:first]:
                trainer, batch = ready[contestant]
                start = seconds()
                trainer.train_step(batch)
                if on_gpu:
                    torch.cuda.synchronize()
                if turn >= warmup:
                    times[contestant].append(seconds() - start)
        work = {contestant: multiply_adds(*ready[contestant]) for contestant in contestants}
    return times, work


def multiply_adds(trainer: Any, batch: dict[str, Any]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        bare_network(trainer)(batch["data"].to(trainer.device))
    return float(counter.get_total_flops() / 2)


def peak_memory(setting: Setting, contestants: list[Contestant]) -> Numbers:
    """Measure the memory, in MiB, of each contestant in a process of its own."""
    jobs = [(setting, contestant) for contestant in contestants]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return dict(zip(contestants, pool.starmap(peak_of_process, jobs, chunksize=1), strict=True))


def peak_of_process(setting: Setting, contestant: Contestant) -> float:
    """Train three steps, after which nothing new is allocated, and return this process's memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        # Give every tensor back as soon as it is free. What glibc keeps for later varies from run to run.
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**16)
        # Load libraries, which belong to no contestant.
        convolution = torch.nn.Conv2d(2, 2, 3).to(setting.device)
        convolution(torch.zeros(1, 2, 8, 8, device=setting.device)).sum().backward()
        before = resident("VmRSS")
        trainer, batch = prepare(setting, contestant, Path(folder))
        for _ in range(3):
            trainer.train_step(batch)
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """Return resident memory of this process in MiB: now ("VmRSS"), or its highest so far ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def prepare(setting: Setting, contestant: Contestant, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Initialise the trainer of a contestant, and make its batch."""
    os.environ |= {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    data = folder / "preprocessed" / DATASET / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / "case.b2nd").touch()  # nnU-Net takes the kind of dataset from the names of files
    joint = JointLabels(tuple(setting.tasks[number] for number in contestant.tasks))
    with contextlib.redirect_stdout(io.StringIO()):
        trainer: Any = TRAINERS[contestant.kind](
            plans(setting, contestant.kind, joint),
            "it",
            0,
            dataset_json(contestant.kind, joint),
            torch.device(setting.device),
        )
        trainer.initialize()
    image, stack = images_and_labels(setting)
    label_maps = stack[:, list(contestant.tasks)]
    if contestant.kind == REGIONS:
        joint_labels = torch.stack([joint.encode(case)[None] for case in label_maps])
        to_regions = ConvertSegmentationToRegionsTransform(trainer.label_manager.foreground_regions)
        label_maps = torch.stack([to_regions(segmentation=case)["segmentation"] for case in joint_labels])
    to_levels = DownsampleSegForDSTransform(trainer._get_deep_supervision_scales())
    levels = [to_levels(segmentation=case)["segmentation"] for case in label_maps]
    batch = {"data": image, "target": [torch.stack(level) for level in zip(*levels, strict=True)]}
    trainer.network.train()
    return trainer, batch


def dataset_json(kind: str, joint: JointLabels) -> dict[str, Any]:
    """Describe the dataset of one task, or of all as joint labels."""
    content: dict[str, Any] = {"channel_names": {"0": "SAR"}, "numTraining": 1, "file_ending": ".nii.gz"}
    if kind != SINGLE:
        return content | joint.to_dataset_json()
    names = (BACKGROUND, *joint.tasks[0].classes[1:])
    return content | {"labels": {name: value for value, name in enumerate(names)}}


def plans(setting: Setting, kind: str, joint: JointLabels) -> dict[str, Any]:
    """Write plans as nnU-Net's default planner does, for a patch and a batch size of our own."""
    dim = len(setting.patch_size)
    _, strides, kernel_sizes, patch_size, _ = get_pool_and_conv_props([1.0] * dim, setting.patch_size, 4, 999999)
    if tuple(patch_size) != setting.patch_size:
        message = f"patch {setting.patch_size} cannot be halved that often; nnU-Net would take {tuple(patch_size)}"
        raise ValueError(message)
    stages = len(strides)
    arch_kwargs: dict[str, Any] = {
        "n_stages": stages,
        "features_per_stage": [min(MAX_FEATURES[dim], setting.features * 2**stage) for stage in range(stages)],
        "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
        "kernel_sizes": kernel_sizes,
        "strides": strides,
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    several = kind in (LATE, EARLY)
    configuration = {
        "data_identifier": "data",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": setting.batch_size,
        "patch_size": list(setting.patch_size),
        "median_image_size_in_voxels": list(setting.patch_size),
        "spacing": [1.0] * dim,
        "normalization_schemes": ["NoNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": dim == 2,
        "architecture": {
            "network_class_name": NETWORK if several else STOCK_NETWORK,
            "arch_kwargs": arch_kwargs,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            "multitask": {"tasks": list(joint.names), "heads": list(joint.heads)},
        },
    }
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "configurations": {"it": configuration},
        "continue_training": False,
        **({"label_manager": LABEL_MANAGER} if several else {}),
    }


def images_and_labels(setting: Setting) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (B, 1, …) and label maps of all tasks (B, T, …): zones, and the edges of the glacier."""
    rng = np.random.default_rng(0)
    images, stacks = [], []
    for _ in range(setting.batch_size):
        field = ndimage.gaussian_filter(rng.standard_normal(setting.patch_size), min(setting.patch_size) / 8)
        zones = np.digitize(field / field.std(), [-0.8, 0, 0.8])
        glacier = zones == 2
        edges = [glacier & ndimage.binary_dilation(zones == other, iterations=2) for other in (3, 1)]
        stacks.append(np.stack([edges[0], zones, edges[1]]))
        images.append((zones - 1.5 + 0.3 * rng.standard_normal(zones.shape))[None])
    return torch.from_numpy(np.stack(images)).float(), torch.from_numpy(np.stack(stacks)).short()


if __name__ == "__main__":
    sys.exit(main())
