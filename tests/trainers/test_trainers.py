"""The trainers as nnU-Net builds and runs them, on tiny preprocessed datasets."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from multitask_builders import multi_task_trainers
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from trainer_builders import IGNORE, REGIONS, trainer

from nnunet_ext.trainers import MODULE_OF_TRAINER, ignore_sampling, ignore_sampling_da5
from nnunet_ext.trainers.adam_cosine_warmup import nnUNetTrainerAdamCosineWarmup
from nnunet_ext.trainers.dice_focal import nnUNetTrainerFocalLoss
from nnunet_ext.trainers.early_stopping import (
    MIN_DELTA_VARIABLE,
    PATIENCE_VARIABLE,
    nnUNetTrainer_earlyStopValLoss,
    nnUNetTrainerEarlyStopping,
)
from nnunet_ext.trainers.ignore_loader import IgnoreSamplingLoader
from nnunet_ext.trainers.ignore_sampling import IgnoreSamplingMixin, nnUNetTrainer_betterIgnoreSampling
from nnunet_ext.trainers.nnunet_internals import NnunetChangedError, replaced_loader_class
from nnunet_ext.trainers.no_smooth import nnUNetTrainer_noSmooth

TRAINERS = [
    ignore_sampling.nnUNetTrainer_betterIgnoreSampling,
    ignore_sampling.nnUNetTrainer_betterIgnoreSampling_noSmooth,
    ignore_sampling.nnUNetTrainer_betterIgnoreSampling_earlyStopValLoss,
    ignore_sampling_da5.nnUNetTrainerDA5_betterIgnoreSampling,
    ignore_sampling_da5.nnUNetTrainerDA5_betterIgnoreSampling_noSmooth,
    ignore_sampling_da5.nnUNetTrainerDA5ord0_betterIgnoreSampling,
    ignore_sampling_da5.nnUNetTrainerDA5ord0_betterIgnoreSampling_noSmooth,
]


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "")


def both_loaders(built: Any) -> tuple[Any, Any]:
    built._set_batch_size_and_oversample()
    np.random.seed(0)
    torch.manual_seed(0)
    train, validation = built.get_dataloaders()
    assert nnUNetTrainer.get_dataloaders.__globals__["nnUNetDataLoader"] is nnUNetDataLoader
    assert isinstance(train.data_loader, IgnoreSamplingLoader)
    assert isinstance(validation.data_loader, IgnoreSamplingLoader)
    return train, validation


def test_every_registered_trainer_can_be_built_by_nnunet() -> None:
    recipes = [nnUNetTrainerEarlyStopping, nnUNetTrainerFocalLoss, nnUNetTrainerAdamCosineWarmup]
    others = [nnUNetTrainer_noSmooth, nnUNetTrainer_earlyStopValLoss, *recipes]
    classes = [*TRAINERS, *others, *multi_task_trainers().values()]
    assert {cls.__name__: cls.__module__ for cls in classes} == MODULE_OF_TRAINER
    for cls in classes:
        assert cls.__init__ is nnUNetTrainer.__init__, f"{cls.__name__} must not have its own __init__"


def test_nnunet_still_builds_its_loaders_by_a_global_name() -> None:
    function = nnUNetTrainer.get_dataloaders
    assert "nnUNetDataLoader" in function.__code__.co_names, (
        "get_dataloaders no longer calls nnUNetDataLoader: nnunet_ext.trainers.nnunet_internals has "
        "to find another way to replace the loader."
    )
    assert function.__globals__["nnUNetDataLoader"] is nnUNetDataLoader
    ours = list(inspect.signature(IgnoreSamplingLoader.__init__).parameters)
    assert ours == list(inspect.signature(nnUNetDataLoader.__init__).parameters)


@pytest.mark.parametrize("cls", TRAINERS)
def test_each_trainer_loads_batches_with_our_loader(cls: type, tmp_path: Path) -> None:
    built = trainer(cls, tmp_path, patch_size=(16, 16, 16))
    for loader in both_loaders(built):
        for _ in range(2):
            batch = next(loader)
            assert batch["data"].shape == (2, 1, 16, 16, 16)
            assert [tuple(target.shape) for target in batch["target"]] == [
                (2, 1, 16, 16, 16),
                (2, 1, 8, 8, 8),
            ]
            assert set(batch["target"][0].unique().tolist()) <= {0, 1, 2, IGNORE}


def test_validation_patches_always_show_annotation_and_padding_is_ignored(tmp_path: Path) -> None:
    _, validation = both_loaders(
        trainer(nnUNetTrainer_betterIgnoreSampling, tmp_path, patch_size=(16, 16, 16), shape=(14, 20, 18))
    )
    for _ in range(5):
        batch = next(validation)
        annotated = batch["target"][0] != IGNORE
        assert torch.all(annotated.flatten(1).sum(1) == 16 * 16)  # one slice, never cut short
        assert torch.all(batch["target"][0][batch["data"] == 0] == IGNORE)


def test_two_dimensional_training(tmp_path: Path) -> None:
    train, validation = both_loaders(
        trainer(nnUNetTrainer_betterIgnoreSampling, tmp_path, patch_size=(24, 16), shape=(5, 20, 18))
    )
    assert next(train)["target"][0].shape == (2, 1, 24, 16)
    for _ in range(5):
        batch = next(validation)
        assert torch.all((batch["target"][0] != IGNORE).flatten(1).sum(1) == 20 * 16)


def test_single_slice_augmentation_of_flat_patches(tmp_path: Path) -> None:
    train, _ = both_loaders(
        trainer(nnUNetTrainer_betterIgnoreSampling, tmp_path, patch_size=(4, 16, 16), shape=(9, 20, 18))
    )
    assert train.data_loader.patch_size[0] == 4
    assert next(train)["data"].shape == (2, 1, 4, 16, 16)


def test_cascade_training(tmp_path: Path) -> None:
    for loader in both_loaders(
        trainer(nnUNetTrainer_betterIgnoreSampling, tmp_path, patch_size=(16, 16, 16), cascade=True)
    ):
        batch = next(loader)
        assert batch["data"].shape == (2, 3, 16, 16, 16)
        assert batch["target"][0].shape == (2, 1, 16, 16, 16)
        assert set(batch["target"][0].unique().tolist()) <= {0, 1, 2, IGNORE}


def test_regions_training(tmp_path: Path) -> None:
    train, validation = both_loaders(
        trainer(nnUNetTrainer_betterIgnoreSampling, tmp_path, patch_size=(16, 16, 16), labels=REGIONS)
    )
    assert next(train)["target"][0].shape == (2, 3, 16, 16, 16)
    batch = next(validation)
    assert torch.all(batch["target"][0][:, -1:][batch["data"] == 0])


class BrokenTrainer(nnUNetTrainer_betterIgnoreSampling):
    def get_tr_and_val_datasets(self) -> Any:
        assert nnUNetTrainer.get_dataloaders.__globals__["nnUNetDataLoader"] is IgnoreSamplingLoader
        message = "no data"
        raise OSError(message)


def test_the_stock_loader_is_back_after_an_error(tmp_path: Path) -> None:
    built = trainer(BrokenTrainer, tmp_path, patch_size=(16, 16, 16))
    built._set_batch_size_and_oversample()
    with pytest.raises(OSError, match="no data"):
        built.get_dataloaders()
    assert nnUNetTrainer.get_dataloaders.__globals__["nnUNetDataLoader"] is nnUNetDataLoader


class TrainerWithOtherLoaders:
    def get_dataloaders(self) -> Any:
        return "other", "loaders"


class UnsuitableTrainer(IgnoreSamplingMixin, TrainerWithOtherLoaders):
    pass


def test_a_trainer_whose_loaders_cannot_be_replaced_is_refused() -> None:
    with pytest.raises(NnunetChangedError, match=r"bases of UnsuitableTrainer uses the global name nnUNetDataLoader"):
        UnsuitableTrainer().get_dataloaders()


def test_a_trainer_of_another_package_that_builds_loaders_itself_gets_ours_too() -> None:
    namespace: dict[str, Any] = {"nnUNetDataLoader": nnUNetDataLoader}
    exec("class Other:\n    def get_dataloaders(self):\n        return nnUNetDataLoader, None", namespace)
    with replaced_loader_class(namespace["Other"], IgnoreSamplingLoader):
        assert namespace["Other"]().get_dataloaders()[0] is IgnoreSamplingLoader
    assert namespace["Other"]().get_dataloaders()[0] is nnUNetDataLoader


class ShortTrainer(ignore_sampling.nnUNetTrainer_betterIgnoreSampling_earlyStopValLoss):
    def initialize(self) -> None:
        self.num_iterations_per_epoch = self.num_val_iterations_per_epoch = 1
        super().initialize()


def test_early_stopped_training_leaves_a_final_checkpoint_and_stops_again_when_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "1")
    monkeypatch.setenv(MIN_DELTA_VARIABLE, "1000")
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    built = trainer(ShortTrainer, tmp_path / "first", patch_size=(16, 16, 16))
    built.run_training()
    assert built.current_epoch == 2
    checkpoint = Path(built.output_folder) / "checkpoint_final.pth"
    assert torch.load(checkpoint, weights_only=False)["current_epoch"] == 2

    resumed = trainer(ShortTrainer, tmp_path / "second", patch_size=(16, 16, 16))
    resumed.load_checkpoint(str(checkpoint))
    resumed.run_training()
    assert resumed.current_epoch == 2
    assert torch.load(Path(resumed.output_folder) / "checkpoint_final.pth", weights_only=False)["current_epoch"] == 2
    log = Path(resumed.log_file).read_text()
    assert "patience 1 epochs, min_delta 1000.0" in log
    assert "Early stopping before epoch 2" in log
