"""AdamW, its schedule and its settings, as nnU-Net builds, trains, saves and continues them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find_trainer
from trainer_builders import trainer

from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.trainers import adam_cosine_warmup
from nnunet_ext.trainers.adam_cosine_warmup import (
    GRADIENT_CLIP_VARIABLE,
    LEARNING_RATE_VARIABLE,
    NNUNETS_CLIP,
    WARMUP_VARIABLE,
    WEIGHT_DECAY_VARIABLE,
    AdamSettings,
    nnUNetTrainerAdamCosineWarmup,
)
from nnunet_ext.trainers.warmup_cosine import learning_rate

VARIABLES = (LEARNING_RATE_VARIABLE, WEIGHT_DECAY_VARIABLE, WARMUP_VARIABLE, GRADIENT_CLIP_VARIABLE)
EPOCHS = 4


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)


def built(folder: Path) -> Any:
    cls = find_trainer(f"nnUNetTrainerAdamCosineWarmup_{EPOCHS}epochs")
    made = trainer(cls, folder, patch_size=(16, 16, 16))
    made.num_iterations_per_epoch, made.num_val_iterations_per_epoch = 2, 1
    return made


def logged_rates(made: Any) -> list[float]:
    rates: list[float] = made.logger.get_value("lrs", step=None)
    return rates


def expected_rates(peak: float = 8e-4, warmup: float = 1) -> list[float]:
    return [learning_rate(epoch, EPOCHS, peak=peak, warmup=warmup) for epoch in range(EPOCHS)]


def interrupted(folder: Path) -> Path:
    """Train two of the epochs and return the checkpoint."""
    first = built(folder)
    first.save_every = 2
    start_epoch = first.on_epoch_start

    def stop_after_two() -> None:
        if first.current_epoch == 2:
            raise KeyboardInterrupt
        start_epoch()

    first.on_epoch_start = stop_after_two
    with pytest.raises(KeyboardInterrupt):
        first.run_training()
    return Path(first.output_folder) / "checkpoint_latest.pth"


def test_nnunets_step_still_clips_to_12_in_front_of_the_optimizer() -> None:
    """Pins an internal: a smaller norm is clipped to once more, a larger one cannot be had."""
    code = nnUNetTrainer.train_step.__code__
    assert "clip_grad_norm_" in code.co_names
    assert NNUNETS_CLIP in code.co_consts


def test_nnunet_still_steps_the_schedule_with_the_epoch_and_saves_the_optimizer_alone() -> None:
    """Pins internals: the schedule has no state, and the settings travel with the optimizer."""
    assert "self.lr_scheduler.step(self.current_epoch)" in inspect.getsource(nnUNetTrainer.on_train_epoch_start)
    assert "self.optimizer.state_dict()" in inspect.getsource(nnUNetTrainer.save_checkpoint)
    assert "self.optimizer.load_state_dict(" in inspect.getsource(nnUNetTrainer.load_checkpoint)


def test_the_docstring_names_every_variable_and_its_default() -> None:
    text = inspect.getdoc(nnUNetTrainerAdamCosineWarmup) or ""
    defaults = AdamSettings()
    values = (defaults.learning_rate, defaults.weight_decay, defaults.warmup_epochs, defaults.gradient_clip)
    for variable, value in zip(VARIABLES, values, strict=True):
        assert f"``{variable}`` ({f'{value:.4f}'.rstrip('0').rstrip('.')})" in text


def test_a_training_follows_the_schedule(tmp_path: Path) -> None:
    made = built(tmp_path)
    made.run_training()
    assert logged_rates(made) == expected_rates()
    assert type(made.optimizer) is torch.optim.AdamW
    assert [group["weight_decay"] for group in made.optimizer.param_groups] == [1e-4]
    in_optimizer = [parameter for group in made.optimizer.param_groups for parameter in group["params"]]
    assert {id(parameter) for parameter in in_optimizer} == {id(parameter) for parameter in made.network.parameters()}
    text = Path(made.log_file).read_text()
    assert "learning_rate 0.0008, weight_decay 0.0001, warmup_epochs 1, gradient_clip 12" in text


def test_the_environment_sets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("0.01", "0", "2.5", "0.5"), strict=True):
        monkeypatch.setenv(name, value)
    made = built(tmp_path)
    made.initialize()
    assert made.settings == AdamSettings(0.01, 0.0, 2.5, 0.5)
    assert (made.initial_lr, made.weight_decay) == (0.01, 0.0)
    assert made.optimizer.param_groups[0]["weight_decay"] == 0
    made.lr_scheduler.step(1)
    assert made.optimizer.param_groups[0]["lr"] == learning_rate(1, EPOCHS, peak=0.01, warmup=2.5)


def test_all_wrong_settings_are_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("0", "-1", "4.5", "12.5"), strict=True):
        monkeypatch.setenv(name, value)
    made = built(tmp_path)
    with pytest.raises(BadCasesError) as caught:
        made.run_training()
    assert caught.value.problems == [
        f"{LEARNING_RATE_VARIABLE} must be a number above 0, but is '0'.",
        f"{WEIGHT_DECAY_VARIABLE} must be a number, at least 0, but is '-1'.",
        f"{WARMUP_VARIABLE} must be a number of epochs from 0 to 4, the length of the training, but is '4.5'.",
        f"{GRADIENT_CLIP_VARIABLE} must be a number above 0 and at most 12, to which nnU-Net clips in any case, "
        "but is '12.5'.",
    ]
    assert made.network is None


def gradients_at_step(made: Any, factor: float) -> torch.Tensor:
    """Give the gradients of the first step, for a loss that is ``factor`` times its value."""
    made.initialize()
    loss = made.loss
    made.loss = lambda output, target: factor * loss(output, target)
    torch.manual_seed(0)
    batch = {
        "data": torch.randn(2, 1, 16, 16, 16),
        "target": [torch.randint(0, 3, (2, 1, size, size, size)) for size in (16, 8, 4)],
    }
    seen: list[torch.Tensor] = []

    def look(*_: Any) -> None:
        parameters = [p.grad.flatten() for p in made.network.parameters() if p.grad is not None]
        seen.append(torch.cat(parameters).clone())

    made.optimizer.register_step_pre_hook(look)
    made.set_deep_supervision_enabled(True)
    made.train_step(batch)
    return seen[0]


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "with a gradient scaler"])
@pytest.mark.parametrize(("clip", "norm"), [("0.25", 0.25), ("12", 12.0), (None, 12.0)])
def test_large_gradients_are_clipped_to_the_norm_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: str | None, norm: float, scaled: bool
) -> None:
    if clip is not None:
        monkeypatch.setenv(GRADIENT_CLIP_VARIABLE, clip)
    made = built(tmp_path)
    made.grad_scaler = torch.amp.GradScaler("cpu") if scaled else None
    found = gradients_at_step(made, 1e4)
    assert found.norm().item() == pytest.approx(norm, rel=1e-4)


def test_small_gradients_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GRADIENT_CLIP_VARIABLE, "5")
    found = gradients_at_step(built(tmp_path), 1e-3)
    assert 0 < found.norm().item() < 0.1


def test_a_continued_training_goes_on_along_the_same_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEARNING_RATE_VARIABLE, "0.002")
    monkeypatch.setenv(WEIGHT_DECAY_VARIABLE, "0.3")
    monkeypatch.setenv(WARMUP_VARIABLE, "2")
    monkeypatch.setenv(GRADIENT_CLIP_VARIABLE, "3")
    checkpoint = interrupted(tmp_path / "first")
    for name in VARIABLES:
        monkeypatch.delenv(name)
    resumed = built(tmp_path / "second")
    resumed.load_checkpoint(str(checkpoint))
    assert resumed.current_epoch == 2
    assert resumed.settings == AdamSettings(0.002, 0.3, 2.0, 3.0)
    assert resumed.optimizer.param_groups[0]["weight_decay"] == 0.3
    steps = [state["step"].item() for state in resumed.optimizer.state.values()]
    assert set(steps) == {4.0}
    resumed.run_training()
    assert logged_rates(resumed) == expected_rates(peak=0.002, warmup=2)


def test_the_environment_goes_before_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEARNING_RATE_VARIABLE, "0.002")
    checkpoint = interrupted(tmp_path / "first")
    monkeypatch.setenv(LEARNING_RATE_VARIABLE, "0.001")
    monkeypatch.setenv(WEIGHT_DECAY_VARIABLE, "0.7")
    resumed = built(tmp_path / "second")
    resumed.load_checkpoint(str(checkpoint))
    assert resumed.optimizer.param_groups[0]["weight_decay"] == 0.7
    resumed.run_training()
    assert logged_rates(resumed) == [*expected_rates(peak=0.002)[:2], *expected_rates(peak=0.001)[2:]]
    assert "The environment changes the settings of the checkpoint, " in Path(resumed.log_file).read_text()
    saved = torch.load(Path(resumed.output_folder) / "checkpoint_final.pth", weights_only=False)
    assert saved["optimizer_state"]["param_groups"][0][adam_cosine_warmup.KEY_IN_CHECKPOINT] == {
        "learning_rate": 0.001,
        "weight_decay": 0.7,
        "warmup_epochs": 1.0,
        "gradient_clip": 12.0,
    }


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    stock = trainer(nnUNetTrainer, tmp_path / "first", patch_size=(16, 16, 16))
    stock.num_epochs, stock.num_iterations_per_epoch, stock.num_val_iterations_per_epoch = 1, 1, 1
    stock.run_training()
    made = built(tmp_path / "second")
    with pytest.raises(InputError, match=r"checkpoint_final\.pth: no settings of AdamW there"):
        made.load_checkpoint(str(Path(stock.output_folder) / "checkpoint_final.pth"))
