"""The trainers for several label maps per case, as nnU-Net builds and runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from multitask_builders import PLANS, TWO_IGNORED, build, dataset_json, multi_task_trainers, plans, preprocessed_dataset
from nnunetv2.training.logging.nnunet_logger import LocalLogger, MetaLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.losses import UncertaintyLoss, level_weights
from nnunet_ext.multitask.reconstruction import scaled
from nnunet_ext.multitask.task_log import TaskLogger
from nnunet_ext.trainers.multitask import (
    nnUNetTrainerMTL,
    nnUNetTrainerMTLearly,
    nnUNetTrainerMTLearly_betterIgnoreSampling,
    nnUNetTrainerMTLlate,
)
from nnunet_ext.trainers.multitask_reconstruction import nnUNetTrainerMTLrecon
from nnunet_ext.trainers.multitask_uncertainty import nnUNetTrainerMTLearlyUncertainty
from tests.multitask.coupled_tasks import THREE, TWO

if TYPE_CHECKING:
    from nnunet_ext.multitask.joint_labels import JointLabels

TRAINERS = list(multi_task_trainers().values())
RESUMED = [
    nnUNetTrainerMTLearly,
    nnUNetTrainerMTLearlyUncertainty,
    nnUNetTrainerMTLrecon,
]


@pytest.fixture(autouse=True)
def _restored_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "")


@pytest.mark.parametrize("cls", TRAINERS)
@pytest.mark.parametrize("patch_size", [(16, 16), (16, 16, 16)], ids=["2d", "3d"])
def test_every_trainer_takes_a_step(cls: type, patch_size: tuple[int, ...], tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    built = build(cls, patch_size=patch_size)
    built.on_train_start()
    recon = "recon" in cls.__name__
    before = {name: value.clone() for name, value in built.network.state_dict().items()}
    result = built.train_step(next(built.dataloader_train))
    assert np.isfinite(result["loss"])
    assert result["task_losses"].shape == (3 + recon,)
    assert np.isfinite(result["task_losses"]).all()
    changed = [name for name, value in built.network.state_dict().items() if not torch.equal(value, before[name])]
    assert any("encoder" in name for name in changed)
    assert recon == any("reconstruction" in name for name in changed)
    with torch.no_grad():
        found = built.validation_step(next(built.dataloader_val))
    assert found["task_losses"].shape == (3 + recon,)
    for counts in ("tp_hard", "fp_hard", "fn_hard"):
        assert found[counts].shape == (5,)


def test_flat_patches_are_augmented_slice_by_slice(tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    for cls in (nnUNetTrainerMTLrecon, nnUNetTrainerMTLearly_betterIgnoreSampling):
        built = build(cls, patch_size=(4, 16, 16))
        built.on_train_start()
        assert built.dataloader_train.data_loader.patch_size[0] == 4
        batch = next(built.dataloader_train)
        assert batch["target"][0].shape == (2, 3, 4, 16, 16)
        assert np.isfinite(built.train_step(batch)["loss"])


@pytest.mark.parametrize("cls", TRAINERS)
def test_decoders_are_those_that_the_name_says(cls: type, tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    built = build(cls)
    built.initialize()
    decoders = {"MTLearly": 3, "MTLlate": 1}.get(next((n for n in ("MTLearly", "MTLlate") if n in cls.__name__), ""), 3)
    assert len(built.network.decoder.decoders) == decoders
    assert (built.network.reconstruction_decoder is not None) == ("recon" in cls.__name__)
    assert isinstance(built.loss, UncertaintyLoss) == ("Uncertainty" in cls.__name__)
    assert built.loss.terms[0].level_weights == level_weights(3, deep_supervision=False)
    assert built.loss.terms[1].level_weights == level_weights(3)
    thirds = 1 / 4 if "recon" in cls.__name__ else 1 / 3
    assert built.loss.weights == pytest.approx((thirds,) * built.loss.num_terms)


def test_the_branching_of_the_plans_is_used_where_the_trainer_has_none(tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    changed = plans(THREE, (16, 16))["configurations"]
    changed["full"]["architecture"]["multitask"]["branching"] = "late"
    built = build(nnUNetTrainerMTL, configurations=changed)
    built.initialize()
    assert len(built.network.decoder.decoders) == 1


@pytest.mark.parametrize("joint", [TWO, TWO_IGNORED], ids=["all annotated", "partly ignored"])
def test_hits_and_errors_are_counted_per_class_where_it_is_annotated(joint: JointLabels, tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path, joint)
    built = build(nnUNetTrainerMTL, joint)
    built.on_train_start()
    batch = next(built.dataloader_val)
    front, zones = batch["target"][0].long().unbind(1)
    predicted = zones.clone()
    predicted[0][zones[0] == 1] = 2  # rock is taken for glacier in one of the patches
    logits = [torch.nn.functional.one_hot(p, n).movedim(-1, 1) for p, n in ((front, 2), (predicted, 4))]
    annotated = torch.ones_like(front, dtype=torch.bool)
    if joint.all_ignored:
        annotated[:, :5] = False
        for target in batch["target"]:
            target[:, 0, : 5 * target.shape[2] // 16], target[:, 1, : 5 * target.shape[2] // 16] = 2, 4
    full = torch.cat(logits, 1).float()
    built.network = lambda _: [full, full[..., ::2, ::2], full[..., ::4, ::4]]
    found = built.validation_step(batch)
    pairs = [(front == 1, front == 1), *((predicted == c, zones == c) for c in (1, 2, 3))]
    for name, count in {
        "tp_hard": lambda p, t: p & t,
        "fp_hard": lambda p, t: p & ~t,
        "fn_hard": lambda p, t: ~p & t,
    }.items():
        assert found[name].tolist() == [int((count(p, t) & annotated).sum()) for p, t in pairs], name


def test_training_logs_and_draws_every_task(tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    built = build(nnUNetTrainerMTLrecon)
    built.num_epochs = 2
    built.run_training()
    folder = Path(built.output_folder)
    log = torch.load(folder / "checkpoint_final.pth", weights_only=False)["logging"]
    tasks = [*THREE.names, "reconstruction"]
    for curve in ("train_loss", "val_loss"):
        assert all(np.isfinite(log[f"{curve}/{name}"]).all() and len(log[f"{curve}/{name}"]) == 2 for name in tasks)
        total = np.mean([log[f"{curve}/{name}"] for name in tasks], 0)
        assert log["train_losses" if curve == "train_loss" else "val_losses"] == pytest.approx(total, abs=1e-5)
    classes = np.array(log["dice_per_class_or_region"])
    assert log["dice/zones"] == pytest.approx(np.nanmean(classes[:, 1:4], 1), nan_ok=True)
    assert log["dice/boundary"] == pytest.approx(classes[:, 4], nan_ok=True)
    assert (folder / "progress.png").read_bytes().startswith(b"\x89PNG")
    text = Path(built.log_file).read_text()
    assert "zones: pseudo Dice rock " in text
    assert all(f"{name}: train_loss " in text for name in tasks)


@pytest.mark.parametrize("cls", RESUMED)
def test_a_resumed_training_goes_on_where_it_stopped(
    cls: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TaskLogger, "plot_progress_png", lambda *_: None)  # takes longer than an epoch
    preprocessed_dataset(tmp_path)
    first = build(cls)
    first.initialize()
    first.num_epochs = 2
    first.run_training()
    resumed = build(cls)
    resumed.load_checkpoint(str(Path(first.output_folder) / "checkpoint_final.pth"))
    assert resumed.current_epoch == 2
    assert resumed.logger.get_checkpoint() == first.logger.get_checkpoint()
    for name, value in first.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value)
    if isinstance(first.loss, UncertaintyLoss):
        assert first.log_variances.any()
        assert torch.equal(resumed.log_variances, first.log_variances)
        assert resumed.loss.log_variances is resumed.log_variances
        assert resumed.optimizer.param_groups[1]["params"][0] is resumed.log_variances
        assert resumed.optimizer.param_groups[1]["weight_decay"] == 0
        assert len(first.logger.get_value("log_variance/zones", None)) == 2
    resumed.on_train_epoch_start()
    assert [group["lr"] for group in resumed.optimizer.param_groups] == pytest.approx(
        [0.01 * 0.5**0.9] * len(resumed.optimizer.param_groups)
    )
    resumed.run_training()
    assert resumed.current_epoch == 4
    assert len(resumed.logger.get_value("dice/zones", None)) == 4


def test_a_dataset_without_tasks_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    content = {**dataset_json(TWO), "labels": {"background": 0, "front": 1}}
    del content["tasks"], content["regions_class_order"]
    stock = {**plans(TWO, (16, 16)), "label_manager": "LabelManager"}
    built = nnUNetTrainerMTLlate(stock, "full", 0, content, torch.device("cpu"))
    with pytest.raises(InputError, match=r"^nnUNetTrainerMTLlate trains several tasks.*`nnunet_ext stack` makes one"):
        built.initialize()


def test_plans_that_are_not_made_for_the_tasks_are_refused_with_the_planner(tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    other_tasks = plans(TWO, (16, 16))["configurations"]
    for changed in ({"label_manager": "LabelManager"}, {"configurations": other_tasks}):
        built = build(nnUNetTrainerMTLearly, **changed)
        with pytest.raises(InputError, match=rf"tasks front, zones, boundary, which {PLANS}.*-pl StackedLabelPlanner"):
            built.initialize()


def test_a_cascade_is_refused(tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    configurations = plans(THREE, (16, 16))["configurations"]
    configurations["low"] = {**configurations["full"], "next_stage": "full"}
    configurations["full"] = {**configurations["full"], "previous_stage": "low"}
    with pytest.raises(InputError, match="has no cascade: train low or 3d_fullres"):
        build(nnUNetTrainerMTLearly, configurations=configurations).initialize()


def test_the_image_is_rebuilt_in_training_and_not_in_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocessed_dataset(tmp_path)
    built = build(nnUNetTrainerMTLrecon)
    built.initialize()
    assert built.network.reconstruct is False
    built.on_train_start()
    batch = next(built.dataloader_val)
    assert built.network(batch["data"])[0].shape[1] == sum(THREE.heads) + 1
    torch.testing.assert_close(batch["target"][-1], torch.stack([scaled(image) for image in batch["data"]]))

    channels = []

    def predict(trainer: nnUNetTrainer, _: bool) -> None:
        channels.append(trainer.network(batch["data"])[0].shape[1])

    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", predict)
    monkeypatch.setattr("nnunet_ext.trainers.multitask.score_folder", lambda *_: {"mean": {}})
    built.perform_actual_validation()
    assert channels == [sum(THREE.heads)]
    assert built.network.reconstruct is True

    built.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    weights = torch.load(tmp_path / "checkpoint.pth", weights_only=False)["network_weights"]
    network = type(built).build_network_architecture(
        built.plans_manager, built.configuration_manager, 1, built.label_manager.num_segmentation_heads, False
    )
    network.load_state_dict(weights, strict=True)
    assert network(batch["data"]).shape[1] == sum(THREE.heads)


@pytest.mark.parametrize("cls", [nnUNetTrainerMTLearly, nnUNetTrainerMTLlate])
def test_nnunet_switches_deep_supervision(cls: type, tmp_path: Path) -> None:
    preprocessed_dataset(tmp_path)
    built = build(cls)
    built.initialize()
    image = torch.zeros(1, 1, 16, 16)
    assert len(built.network(image)) == 3
    built.set_deep_supervision_enabled(False)
    assert built.network(image).shape == (1, 8, 16, 16)
    built.set_deep_supervision_enabled(True)
    assert len(built.network(image)) == 3


def test_nnunets_logger_still_has_the_parts_that_curves_of_tasks_need(tmp_path: Path) -> None:
    logger = MetaLogger(str(tmp_path), False)
    assert isinstance(logger.local_logger, LocalLogger)
    assert logger.get_checkpoint() is logger.local_logger.my_fantastic_logging
