"""Patches of several label maps: which class they show, and what their padding is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from multitask_builders import SHAPE, TWO_IGNORED, build, label_manager, multi_task_trainers, preprocessed_dataset
from trainer_builders import empty_dataset

from nnunet_ext.trainers.task_sampling import StackedIgnoreSamplingLoader, StackedLabelLoader, draw_class
from tests.multitask.coupled_tasks import THREE

if TYPE_CHECKING:
    from pathlib import Path

SAMPLING = [cls for name, cls in multi_task_trainers().items() if name.endswith("_betterIgnoreSampling")]


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "")


def counted(draws: list[Any]) -> dict[Any, float]:
    return {key: draws.count(key) / len(draws) for key in set(draws)}


def test_a_task_is_drawn_first_and_then_one_of_its_classes_that_are_there() -> None:
    (front,), (rock, glacier, ocean), (boundary,) = label_manager(THREE).regions_of_tasks
    regions = label_manager(THREE).regions_of_tasks
    rng = np.random.default_rng(0)
    full = dict.fromkeys((front, rock, glacier, ocean, boundary), np.zeros((3, 4), int))
    shares = counted([draw_class(full, regions, rng) for _ in range(6000)])
    expected = {front: 1 / 3, boundary: 1 / 3, rock: 1 / 9, glacier: 1 / 9, ocean: 1 / 9}
    assert shares == pytest.approx(expected, abs=0.025)
    partly = full | {front: [], glacier: np.zeros((0, 4), int)}
    shares = counted([draw_class(partly, regions, rng) for _ in range(6000)])
    assert shares == pytest.approx({boundary: 1 / 2, rock: 1 / 4, ocean: 1 / 4}, abs=0.025)
    assert draw_class(dict.fromkeys(full, ()), regions, rng) is None


@pytest.mark.parametrize("loader_class", [StackedLabelLoader, StackedIgnoreSamplingLoader])
def test_forced_foreground_shows_tasks_alike(loader_class: type) -> None:
    manager = label_manager(TWO_IGNORED)
    marks = {region: np.array([[0, 9, 9, number]]) for number, region in enumerate(manager.foreground_regions)}
    marks[(-1, *manager.all_labels)] = np.array([[0, 0, 0, 9]])
    loader = loader_class(empty_dataset(), 1, (1, 1, 1), (1, 1, 1), manager, oversample_foreground_percent=1.0)
    np.random.seed(0)
    places = [int(loader.get_bbox((10, 10, 10), True, marks)[0][2]) for _ in range(3000)]
    assert counted(places) == pytest.approx({0: 1 / 2, 1: 1 / 6, 2: 1 / 6, 3: 1 / 6}, abs=0.04)


@pytest.mark.parametrize("cls", SAMPLING)
def test_padding_gets_the_ignore_value_of_each_task(cls: type, tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path, TWO_IGNORED)
    built = build(cls, TWO_IGNORED, (32, 32, 32))
    built.on_train_start()
    for _ in range(3):
        batch = next(built.dataloader_val)
        padding = batch["data"][:, 0] == 0
        assert int((~padding).sum()) == 2 * np.prod(SHAPE)
        front, zones = batch["target"][0].unbind(1)
        assert torch.equal(front == 2, padding)
        assert torch.equal(zones == 4, padding)

        # rotation mixes labels at the edge of the volume, where tasks with other classes may differ by a voxel
        front, zones = next(built.dataloader_train)["target"][0].unbind(1)
        assert 0.5 < (front == 2).float().mean() < 1
        assert ((front == 2) != (zones == 4)).float().mean() < 0.01
        assert zones.min() >= 0
