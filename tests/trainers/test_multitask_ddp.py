"""Several tasks on several devices: two processes on one processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from multitask_builders import plans
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import distributed as dist
from torch import nn

from nnunet_ext.multitask.losses import MultiTaskLoss, TaskTerm, level_weights
from tests.multitask.coupled_tasks import THREE

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = (2, 1, 16, 16)


def network() -> nn.Module:
    torch.manual_seed(0)
    architecture = plans(THREE, (16, 16))["configurations"]["full"]["architecture"]
    return get_network_from_plans(
        architecture["network_class_name"],
        {**architecture["arch_kwargs"], **architecture["multitask"]},
        architecture["_kw_requires_import"],
        1,
        8,
        deep_supervision=True,
    )


def loss(*, touch_all_outputs: bool) -> MultiTaskLoss:
    """Lines at full resolution only, so that lower outputs of their decoders are used by nothing."""
    options = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": True}
    return MultiTaskLoss(
        [
            TaskTerm(
                DC_and_CE_loss(dict(options), {}, dice_class=MemoryEfficientSoftDiceLoss),
                channels,
                level_weights(3, deep_supervision=task.deep_supervision),
                1 / 3,
                None,
            )
            for task, channels in zip(THREE.tasks, THREE.head_slices, strict=True)
        ],
        touch_all_outputs=touch_all_outputs,
    )


def train(rank: int, store: str, folder: str) -> None:
    """Take two steps on other data in each process, and write down what became of the network."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    report: dict[str, object] = {}
    for touch in (True, False):
        parallel = nn.parallel.DistributedDataParallel(network())
        optimizer = torch.optim.SGD(parallel.parameters(), 0.01)
        torch.manual_seed(1 + rank)
        try:
            for _ in range(2):
                sizes = (16, 8, 4)
                target = [torch.cat([torch.randint(0, n, (2, 1, s, s)) for n in THREE.heads], 1) for s in sizes]
                optimizer.zero_grad()
                loss(touch_all_outputs=touch)(parallel(torch.randn(IMAGES)), target).backward()
                optimizer.step()
            report[f"touch={touch}"] = parallel.module.state_dict()
        except RuntimeError as error:
            report[f"touch={touch}"] = str(error)
    torch.save(report, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def test_two_processes_train_one_network_although_some_outputs_have_no_loss(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    before = network().state_dict()
    after = first["touch=True"]
    for name, value in after.items():
        torch.testing.assert_close(value, second["touch=True"][name])
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    assert "Expected to have finished reduction" in first["touch=False"], "without touching them it works, too"
