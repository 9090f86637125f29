"""A short training and a small network that wait where a test tells them to, in the middle of their work.

Copied to a folder on PYTHONPATH by the tests of clusters, since stock commands import it. Needs nothing of the tests.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

if TYPE_CHECKING:
    import torch

HOLD = "CLUSTER_TEST_HOLD"
"""Names the folder of the files that hold processes up."""

LONGEST = 900
"""Seconds after which a process ends by itself: a test that failed has left it alone."""


def wait_while_held(what: str) -> None:
    """Wait while there is a file ``<what>.<index of the array task>``; leave the number of the process beside it."""
    index = os.environ.get("SLURM_ARRAY_TASK_ID") or os.environ.get("PBS_ARRAY_INDEX")
    file = Path(os.environ.get(HOLD, "nowhere")) / f"{what}.{index}"
    if file.exists():
        file.with_name(f"{file.name}.reached.{os.getpid()}").touch()
    end = time.monotonic() + LONGEST
    while file.exists():
        if time.monotonic() > end:
            raise SystemExit(f"{file}: held for {LONGEST} s")
        time.sleep(0.1)


class nnUNetTrainerShort(nnUNetTrainer):
    """Three epochs of four small steps with a checkpoint each; can be held when two of them are over."""

    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 4, 1
        self.num_epochs, self.save_every = 3, 1
        # Batches of two small slices are made faster than workers start. Planning needs another value.
        os.environ["nnUNet_n_proc_DA"] = "0"  # noqa: SIM112 - nnU-Net's name

    def on_epoch_start(self) -> None:
        if self.current_epoch == 2:
            wait_while_held("train")
        super().on_epoch_start()


class HeldUNet(PlainConvUNet):
    """nnU-Net's network; can be held before its third window."""

    windows = 0

    def forward(self, x: torch.Tensor) -> Any:
        self.windows += 1
        if self.windows == 3:
            wait_while_held("predict")
        return super().forward(x)
