"""Curves in checkpoints, and how they are put together with those of the logs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.training.checkpoints import CheckpointCurves, curves_of, merge, newest, read_checkpoint
from evaluation.training.logs import (
    EPOCH_TIME,
    LEARNING_RATE,
    LOG_VARIANCE,
    MEAN_PSEUDO_DICE,
    PSEUDO_DICE,
    TRAIN_LOSS,
    VAL_LOSS,
    Curve,
)
from nnunet_ext.errors import InputError
from tests.evaluation.training.model_folders import nnunet_logging, write_checkpoint

LOSS = Curve(TRAIN_LOSS)


def with_losses(*losses, first=0):
    return {number: {LOSS: loss} for number, loss in enumerate(losses, start=first)}


def test_curves_of_nnunet(tmp_path):
    logging = nnunet_logging([-0.5, -0.25], ended=1000.0)
    logging["dice_per_class_or_region"][1] = [np.float32(np.nan), np.float32(0.75)]
    read = read_checkpoint(write_checkpoint(tmp_path / "checkpoint_final.pth", logging, init_args={"fold": 0}))
    assert read.ended == 1000.0
    assert read.epochs[0] == {
        LOSS: -0.5,
        Curve(VAL_LOSS): -0.5,
        Curve(MEAN_PSEUDO_DICE): pytest.approx(0.6),
        Curve(PSEUDO_DICE, "1"): 0.5,
        Curve(PSEUDO_DICE, "2"): pytest.approx(0.7),
        Curve(LEARNING_RATE): 0.00536,
        Curve(EPOCH_TIME): 10.0,
    }
    assert math.isnan(read.epochs[1][Curve(PSEUDO_DICE, "1")])
    assert list(read.epochs) == [0, 1]


def test_curves_of_tasks_and_of_other_trainers():
    logging = {"train_loss/front": [0.5], "dice/front": [0.25], "log_variance/front": [-1.0], "grad_norm": [3], "x": 1}
    assert curves_of(logging) == {
        0: {
            Curve(TRAIN_LOSS, "front"): 0.5,
            Curve(MEAN_PSEUDO_DICE, "front"): 0.25,
            Curve(LOG_VARIANCE, "front"): -1.0,
            Curve("grad_norm"): 3.0,
        }
    }


def test_an_epoch_that_has_begun_but_not_ended_has_no_time():
    logging = {"lrs": [0.5, 0.25], "epoch_start_timestamps": [10.0, 20.0], "epoch_end_timestamps": [15.0]}
    assert curves_of(logging) == {
        0: {Curve(LEARNING_RATE): 0.5, Curve(EPOCH_TIME): 5.0},
        1: {Curve(LEARNING_RATE): 0.25},
    }


@pytest.mark.parametrize("logging", [None, [1, 2]])
def test_a_checkpoint_without_curves_is_named(tmp_path, logging):
    path = write_checkpoint(tmp_path / "checkpoint_best.pth", logging)
    with pytest.raises(InputError, match=r"checkpoint_best\.pth: expected nnU-Net's curves under the key 'logging'"):
        read_checkpoint(path)


def test_a_checkpoint_with_odd_curves_is_named(tmp_path):
    path = write_checkpoint(tmp_path / "checkpoint_best.pth", {"dice_per_class_or_region": [0.5]})
    with pytest.raises(InputError, match=r"checkpoint_best\.pth: its curves are not one value per epoch"):
        read_checkpoint(path)


def test_a_broken_checkpoint_is_named(tmp_path):
    whole = write_checkpoint(tmp_path / "whole.pth", nnunet_logging([0.5])).read_bytes()
    for name, content in {
        "empty.pth": b"",
        "text.pth": b"not a checkpoint",
        "cut.pth": whole[: len(whole) // 2],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: cannot be read as a checkpoint: .+"):
            read_checkpoint(tmp_path / name)


def test_the_newest_checkpoint_counts_not_the_furthest(tmp_path):
    old = CheckpointCurves(tmp_path / "checkpoint_final.pth", with_losses(1, 2, 3), 500.0)
    new = CheckpointCurves(tmp_path / "checkpoint_best.pth", with_losses(4), 900.0)
    assert newest([old, new]) is newest([new, old]) is new
    assert newest([]) is None


def test_of_checkpoints_without_time_the_furthest_counts(tmp_path):
    short = CheckpointCurves(tmp_path / "checkpoint_final.pth", with_losses(1), -math.inf)
    long = CheckpointCurves(tmp_path / "checkpoint_best.pth", with_losses(1, 2), -math.inf)
    assert newest([short, long]) is newest([long, short]) is long


def test_the_exact_value_of_the_checkpoint_wins_over_the_rounded_one():
    epochs, parted = merge(with_losses(0.1235, math.nan, 0.3), with_losses(0.12346, math.nan))
    assert [values[LOSS] for values in epochs.values()] == [0.12346, pytest.approx(math.nan, nan_ok=True), 0.3]
    assert parted is None


def test_each_has_what_the_other_lacks():
    task = Curve(LOG_VARIANCE, "front")
    logged, saved = {0: {LOSS: 0.5, task: 1.0}}, {0: {LOSS: 0.5, Curve(EPOCH_TIME): 9.0}, 1: {LOSS: 0.25}}
    assert merge(logged, saved) == ({0: {LOSS: 0.5, task: 1.0, Curve(EPOCH_TIME): 9.0}, 1: {LOSS: 0.25}}, None)


def test_one_alone_is_taken_as_it_is():
    assert merge({}, with_losses(0.5)) == (with_losses(0.5), None)
    assert merge(with_losses(0.5), {}) == (with_losses(0.5), None)


def test_from_the_first_epoch_that_was_trained_again_the_log_counts():
    # resumed at epoch 1 after the checkpoint of epoch 3, and killed in epoch 3
    epochs, parted = merge(with_losses(0.5, 0.41, 0.31), with_losses(0.50001, 0.4, 0.3, 0.2))
    assert [values[LOSS] for values in epochs.values()] == [0.50001, 0.41, 0.31]
    assert parted == 1


@pytest.mark.parametrize(("logged", "saved"), [(0.5, 0.5002), (math.nan, 0.5), (0.5, math.nan)])
def test_values_that_differ_by_more_than_the_rounding_part(logged, saved):
    assert merge(with_losses(logged), with_losses(saved))[1] == 0


def test_a_large_loss_has_the_rounding_of_its_float():
    assert merge(with_losses(123456.79), with_losses(123456.7890625))[1] is None


def test_a_checkpoint_of_the_format_before_zip(tmp_path):
    import torch

    path = tmp_path / "checkpoint_final.pth"
    torch.save({"logging": nnunet_logging([0.5])}, path, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path).epochs[0][LOSS] == 0.5
