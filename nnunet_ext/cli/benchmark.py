"""Throughput, latency and memory of a trainer, or of a network at inference, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add("mode", choices=("train", "predict"), help="training steps, or windows at inference")
    add("-d", dest="dataset", required=True, metavar="ID", help="dataset that is planned and preprocessed")
    add("-c", dest="configuration", required=True, metavar="CONFIGURATION", help="2d, 3d_fullres, …")
    add("-tr", dest="trainer", default="nnUNetTrainer", metavar="TRAINER", help="any trainer, stock ones included")
    add("-p", dest="plans", default="nnUNetPlans", metavar="PLANS", help="name of the plans")
    add("-f", dest="fold", default="0", metavar="FOLD", help="fold whose cases are loaded")
    add("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="where to compute")
    add("--batches", type=int, default=100, metavar="N", help="steps that are measured")
    add("--warmup", type=int, default=20, metavar="N", help="steps before them that are not")
    add("--batch-size", type=int, metavar="N", help="patches per step; default: plans' to train, 1 to predict")
    add("--synthetic", action="store_true", help="one batch of random grey values again and again: nothing is loaded")
    add("--disable_tta", action="store_true", help="predict: without mirrored copies")
    add("-o", dest="output", type=Path, required=True, metavar="OUT", help="folder for benchmark.json")
    add("--overwrite", action="store_true", help="replace a result that is there")


def run(args: argparse.Namespace) -> None:
    """Measure, and print a table."""
    from nnunet_ext.benchmark.figures import table
    from nnunet_ext.benchmark.run import RESULT, benchmark

    print(table(benchmark(**vars(args))))
    print(args.output / RESULT)
