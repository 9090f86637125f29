from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.trainers.early_stopping import (
    METRIC_VARIABLE,
    METRICS,
    MIN_DELTA_VARIABLE,
    PATIENCE_VARIABLE,
    EarlyStoppingMixin,
    epochs_since_improvement,
    nnUNetTrainer_earlyStopValLoss,
    nnUNetTrainerEarlyStopping,
)

if TYPE_CHECKING:
    from pathlib import Path


class ScriptedTrainer(nnUNetTrainer):
    """nnU-Net's loop over epochs, its logger and its end of training, with losses and Dice from lists."""

    def __init__(self, folder: Path, losses: list[float], dice: list[float] | None = None) -> None:
        self.losses = losses
        self.dice = dice or [0.5] * len(losses)
        self.logger = MetaLogger(str(folder), False)
        self.output_folder = str(folder)
        self.device = torch.device("cpu")
        self.current_epoch = self.num_iterations_per_epoch = self.num_val_iterations_per_epoch = 0
        self.num_epochs = len(losses)
        self.local_rank = 0
        self.dataloader_train = self.dataloader_val = None
        self.printed: list[str] = []
        self.saved: dict[str, int] = {}

    def on_train_start(self) -> None: ...
    def on_train_epoch_start(self) -> None: ...
    def on_train_epoch_end(self, train_outputs: Any) -> None: ...
    def on_validation_epoch_start(self) -> None: ...

    def on_validation_epoch_end(self, val_outputs: Any) -> None:
        self.logger.log("mean_fg_dice", self.dice[self.current_epoch], self.current_epoch)
        self.logger.log("val_losses", self.losses[self.current_epoch], self.current_epoch)

    def on_epoch_end(self) -> None:
        self.current_epoch += 1

    def save_checkpoint(self, filename: str) -> None:
        self.saved[filename.rsplit("/", 1)[-1]] = self.current_epoch + 1

    def print_to_log_file(self, *args: Any, **_: Any) -> None:
        self.printed.append(" ".join(map(str, args)))


class EarlyTrainer(EarlyStoppingMixin, ScriptedTrainer):
    patience = 3
    min_delta = 0.1


class ByMetric(nnUNetTrainerEarlyStopping, ScriptedTrainer):
    patience = 2


FALLING_THEN_FLAT = [1.0, 0.8, 0.6, 0.55, 0.58, 0.51, 0.0, 0.0]


def test_training_ends_after_patience_epochs_without_improvement(tmp_path: Path) -> None:
    trainer = EarlyTrainer(tmp_path, FALLING_THEN_FLAT)
    trainer.run_training()
    assert trainer.logger.get_value("val_losses", step=None) == FALLING_THEN_FLAT[:6]
    assert trainer.saved == {"checkpoint_final.pth": 6}
    assert any("patience 3 epochs, min_delta 0.1" in line for line in trainer.printed)
    assert any(
        "before epoch 6: the validation loss has not improved by more than 0.1 for 3" in line
        for line in trainer.printed
    )


def test_training_that_improves_runs_to_its_last_epoch(tmp_path: Path) -> None:
    trainer = EarlyTrainer(tmp_path, [1.0 - 0.2 * epoch for epoch in range(8)])
    trainer.run_training()
    assert trainer.saved == {"checkpoint_final.pth": 8}
    assert not any("Early stopping before" in line for line in trainer.printed)


def continued(trainer: ScriptedTrainer, folder: Path, cls: type = EarlyTrainer) -> Any:
    resumed = cls(folder, trainer.losses, trainer.dice)
    resumed.logger.load_checkpoint(trainer.logger.get_checkpoint())
    resumed.current_epoch = trainer.current_epoch
    return resumed


def test_a_continued_training_goes_on_counting(tmp_path: Path) -> None:
    first = EarlyTrainer(tmp_path, FALLING_THEN_FLAT)
    first.num_epochs = 5
    first.run_training()
    resumed = continued(first, tmp_path)
    resumed.run_training()
    assert resumed.saved == {"checkpoint_final.pth": 6}


def test_a_stopped_training_stops_again_at_once(tmp_path: Path) -> None:
    first = EarlyTrainer(tmp_path, FALLING_THEN_FLAT)
    first.run_training()
    resumed = continued(first, tmp_path)
    resumed.run_training()
    assert resumed.current_epoch == 6
    assert resumed.saved == {"checkpoint_final.pth": 6}


def test_the_environment_sets_patience_and_min_delta(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "1")
    monkeypatch.setenv(MIN_DELTA_VARIABLE, "0.3")
    trainer = EarlyTrainer(tmp_path, FALLING_THEN_FLAT)
    trainer.run_training()
    assert (trainer.patience, trainer.min_delta) == (1, 0.3)
    assert trainer.saved == {"checkpoint_final.pth": 2}


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        (PATIENCE_VARIABLE, "0", "number of epochs, at least 1"),
        (PATIENCE_VARIABLE, "2.5", "number of epochs, at least 1"),
        (PATIENCE_VARIABLE, "", "number of epochs, at least 1"),
        (MIN_DELTA_VARIABLE, "-1", "finite number, at least 0"),
        (MIN_DELTA_VARIABLE, "nan", "finite number, at least 0"),
        (MIN_DELTA_VARIABLE, "small", "finite number, at least 0"),
    ],
)
def test_a_wrong_setting_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(variable, value)
    trainer = EarlyTrainer(tmp_path, FALLING_THEN_FLAT)
    with pytest.raises(InputError, match=f"{variable} must be a {rule}, but is '{value}'"):
        trainer.run_training()
    assert trainer.logger.get_value("val_losses", step=None) == []


def test_the_metrics_are_values_that_nnunet_logs_every_epoch(tmp_path: Path) -> None:
    """Pins an internal: their names, and that the logger itself averages the pseudo Dice."""
    logger = MetaLogger(str(tmp_path), False)
    for epoch, value in enumerate((0.5, 0.7)):
        logger.log("mean_fg_dice", value, epoch)
        logger.log("val_losses", -value, epoch)
    found = {name: logger.get_value(metric.key, step=None) for name, metric in METRICS.items()}
    assert found["val_loss"] == [-0.5, -0.7]
    assert found["pseudo_dice"] == [0.5, 0.7]
    assert found["ema_pseudo_dice"] == pytest.approx([0.5, 0.9 * 0.5 + 0.1 * 0.7])


@pytest.mark.parametrize(
    ("metric", "epochs"),
    [
        # The loss falls, the Dice is best in the third epoch; its moving average rises for two epochs more.
        (None, 7),
        ("ema_pseudo_dice", 7),
        ("pseudo_dice", 5),
        ("val_loss", 9),
    ],
)
def test_the_metric_that_is_set_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str | None, epochs: int
) -> None:
    if metric is not None:
        monkeypatch.setenv(METRIC_VARIABLE, metric)
    dice = [0.1, 0.2, 0.9, 0.8, 0.7, 0.1, 0.1, 0.1, 0.1]
    trainer = ByMetric(tmp_path, [-0.1 * epoch for epoch in range(9)], dice)
    trainer.run_training()
    assert trainer.saved == {"checkpoint_final.pth": epochs}
    words = METRICS[metric or "ema_pseudo_dice"].words
    assert f"Early stopping on the {words}: patience 2 epochs, min_delta 0.0" in trainer.printed
    stopped = f"Early stopping before epoch {epochs}: the {words} has not improved by more than 0.0 for 2 epochs."
    assert (stopped in trainer.printed) == (epochs < 9)


def test_a_training_that_is_continued_by_another_metric_counts_all_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ByMetric(tmp_path, [-0.1 * epoch for epoch in range(9)], [0.5] * 9)
    monkeypatch.setenv(METRIC_VARIABLE, "val_loss")
    first.num_epochs = 4
    first.run_training()
    monkeypatch.setenv(METRIC_VARIABLE, "pseudo_dice")
    resumed = continued(first, tmp_path, ByMetric)
    resumed.run_training()
    assert resumed.saved == {"checkpoint_final.pth": 4}


def test_a_trainer_with_a_metric_in_its_name_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ByLoss(nnUNetTrainer_earlyStopValLoss, ScriptedTrainer):
        pass

    monkeypatch.setenv(METRIC_VARIABLE, "pseudo_dice")
    monkeypatch.setenv(PATIENCE_VARIABLE, "1")
    trainer = ByLoss(tmp_path, [-0.1 * epoch for epoch in range(4)])
    trainer.run_training()
    assert trainer.saved == {"checkpoint_final.pth": 4}


def test_all_wrong_settings_are_named_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METRIC_VARIABLE, "dice")
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    monkeypatch.setenv(MIN_DELTA_VARIABLE, "-1")
    with pytest.raises(BadCasesError) as caught:
        ByMetric(tmp_path, [0.0]).run_training()
    assert caught.value.problems == [
        f"{METRIC_VARIABLE} must be one of val_loss, ema_pseudo_dice, pseudo_dice, but is 'dice'.",
        f"{PATIENCE_VARIABLE} must be a number of epochs, at least 1, but is '0'.",
        f"{MIN_DELTA_VARIABLE} must be a finite number, at least 0, but is '-1'.",
    ]


def test_the_docstring_names_every_variable_and_its_default() -> None:
    text = nnUNetTrainerEarlyStopping.__doc__ or ""
    for variable, value in (
        (METRIC_VARIABLE, f"``{nnUNetTrainerEarlyStopping.metric}``"),
        (PATIENCE_VARIABLE, nnUNetTrainerEarlyStopping.patience),
        (MIN_DELTA_VARIABLE, f"{nnUNetTrainerEarlyStopping.min_delta:g}"),
    ):
        assert f"``{variable}`` ({value})" in text


@pytest.mark.parametrize(
    ("losses", "min_delta", "epochs"),
    [
        ([], 0, 0),
        ([2.0], 0.5, 0),
        ([1.0, 1.0], 0, 1),
        ([1.0, 0.95, 0.9, 0.85], 0.1, 0),
        ([1.0, 0.95, 0.9], 0.1, 2),
        ([math.nan, math.nan], 0, 2),
        ([1.0, math.nan, 0.5, math.nan], 0, 1),
        ([math.nan, -3.0], 0, 0),
    ],
)
def test_epochs_since_the_last_improvement(losses: list[float], min_delta: float, epochs: int) -> None:
    assert epochs_since_improvement(losses, min_delta) == epochs


@given(st.lists(st.floats(-10, 10), min_size=1), st.floats(0, 1))
def test_one_more_epoch_counts_one_more_or_starts_again(losses: list[float], min_delta: float) -> None:
    before, after = (epochs_since_improvement(part, min_delta) for part in (losses[:-1], losses))
    assert after in (0, before + 1)
