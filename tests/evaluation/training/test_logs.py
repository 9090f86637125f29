"""What is read out of training logs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.training.logs import (
    EPOCH_TIME,
    LEARNING_RATE,
    LOG_VARIANCE,
    MEAN_PSEUDO_DICE,
    PSEUDO_DICE,
    TRAIN_LOSS,
    VAL_LOSS,
    Curve,
    class_names,
    combine_runs,
    parse_log,
    read_logs,
)
from tests.evaluation.training.model_folders import HEAD, STAMP, epoch_lines, write_log, write_text

LOSS = Curve(TRAIN_LOSS)


def losses(epochs):
    return {number: values[LOSS] for number, values in epochs.items()}


def run(*numbers, loss=0.0):
    """Return epochs whose loss tells the run and the epoch."""
    return [(number, {LOSS: loss + number}) for number in numbers]


def test_all_values_of_an_epoch():
    text = HEAD + (
        f"{STAMP}Epoch 0 \n{STAMP}Current learning rate: 1.2e-05 \n{STAMP}train_loss -0.1715 \n{STAMP}val_loss nan \n"
        f"{STAMP}Pseudo dice [np.float32(0.25), np.float32(nan), np.float32(0.75)] \n{STAMP}Epoch time: 12.3 s \n"
    )
    [(number, values)] = parse_log(text)
    assert number == 0
    assert math.isnan(values.pop(Curve(VAL_LOSS)))
    assert math.isnan(values.pop(Curve(PSEUDO_DICE, "2")))
    assert values == {
        Curve(LEARNING_RATE): 1.2e-05,
        LOSS: -0.1715,
        Curve(PSEUDO_DICE, "1"): 0.25,
        Curve(PSEUDO_DICE, "3"): 0.75,
        Curve(MEAN_PSEUDO_DICE): 0.5,
        Curve(EPOCH_TIME): 12.3,
    }


@pytest.mark.parametrize(
    "dice", ["[0.963, 0.5]", "[np.float64(0.963), np.float32(0.5)]", "[0.963,0.5]", "[.963, 5e-1]"]
)
def test_pseudo_dice_of_several_versions(dice):
    [(_, values)] = parse_log(epoch_lines(3, 0.1, dice=dice))
    assert values[Curve(PSEUDO_DICE, "1")] == 0.963
    assert values[Curve(PSEUDO_DICE, "2")] == 0.5


def test_the_mean_of_classes_that_all_are_nan_is_nan():
    [(_, values)] = parse_log(epoch_lines(0, 0.1, dice="[np.float32(nan)]"))
    assert math.isnan(values[Curve(MEAN_PSEUDO_DICE)])


def test_a_list_with_something_else_in_it_is_passed_over():
    [(_, values)] = parse_log(epoch_lines(0, 0.1, dice="[0.9, None]"))
    assert not [curve for curve in values if "dice" in curve.name]


@pytest.mark.parametrize("number", ["1e-05", "0.0", "-12", "+3.5", "inf", "nan", "1.2E-5"])
def test_every_way_to_write_a_number(number):
    [(_, values)] = parse_log(epoch_lines(0, number))
    assert values[LOSS] == pytest.approx(float(number), nan_ok=True)


def test_lines_without_timestamp_and_with_crlf():
    text = (HEAD + epoch_lines(0, 0.5)).replace(STAMP, "").replace("\n", "\r\n")
    assert losses(dict(parse_log(text))) == {0: 0.5}


def test_other_lines_are_passed_over():
    others = (
        "Mean Validation Dice:  0.98 \ntrain_loss is nan! \nEpoch 7 will be skipped \nEarly stopping before epoch 9: \n"
        "front: Mean Validation Dice front 0.9627 \nusing pin_memory on device 0\n{'train_loss 3': 4}\n"
    )
    clean, noisy = epoch_lines(0, 0.5), epoch_lines(0, 0.5) + others
    assert parse_log(others + noisy) == parse_log(clean)


def test_lines_of_tasks():
    text = (
        f"{STAMP}Epoch 4 \n{STAMP}front: log of variance -0.2500 \n{STAMP}front: train_loss -0.2127, val_loss 1.5 \n"
        f"{STAMP}reconstruction: train_loss 0.5000, val_loss nan \n{STAMP}my zones: pseudo Dice rock 0.2500, "
        "melting, wet ice nan, ocean 2 0.7500 \n"
    )
    [(_, values)] = parse_log(text)
    assert math.isnan(values.pop(Curve(VAL_LOSS, "reconstruction")))
    assert values == {
        Curve(LOG_VARIANCE, "front"): -0.25,
        Curve(TRAIN_LOSS, "front"): -0.2127,
        Curve(VAL_LOSS, "front"): 1.5,
        Curve(TRAIN_LOSS, "reconstruction"): 0.5,
        Curve(MEAN_PSEUDO_DICE, "my zones"): 0.5,
    }
    assert class_names(text) == ("my zones/rock", "my zones/melting, wet ice", "my zones/ocean 2")
    assert class_names(epoch_lines(0, 0.1)) == ()


def test_a_killed_training_keeps_the_values_of_its_last_epoch():
    text = epoch_lines(0, 0.5) + f"{STAMP} \n{STAMP}Epoch 1 \n{STAMP}Current learning rate: 0.00991 \n"
    assert parse_log(text)[1] == (1, {Curve(LEARNING_RATE): 0.00991})


@given(st.integers(min_value=0))
def test_a_cut_anywhere_loses_values_but_changes_none(cut):
    text = (
        epoch_lines(10, -0.1234, dice="[np.float32(0.12), np.float32(0.34)]", rate="1.2e-05")
        + f"{STAMP}Epoch 11 \n{STAMP}front: train_loss -0.2127, val_loss 1.55 \n"
        + f"{STAMP}zones: pseudo Dice rock 0.25, ice 0.75 \n"
    )
    whole = dict(parse_log(text))
    for number, values in parse_log(text[: cut % len(text)]):
        assert values.items() <= whole[number].items()


def test_the_later_run_wins_for_epochs_that_both_have():
    epochs, left_out = combine_runs([*run(0, 1, 2, 3), *run(2, 3, 4, loss=10)])
    assert losses(epochs) == {0: 0, 1: 1, 2: 12, 3: 13, 4: 14}
    assert left_out == ()


def test_epochs_behind_the_place_where_a_run_began_again_are_left_out():
    epochs, left_out = combine_runs([*run(0, 1, 2, 3, 4), *run(1, 2, loss=10)])
    assert losses(epochs) == {0: 0, 1: 11, 2: 12}
    assert left_out == (3, 4)


def test_a_run_killed_before_its_first_result_replaces_nothing():
    rate = Curve(LEARNING_RATE)
    epochs, left_out = combine_runs([*run(0, 1, 2), (1, {rate: 0.5}), (3, {rate: 0.25}), (4, {})])
    assert losses({number: epochs[number] for number in range(3)}) == {0: 0, 1: 1, 2: 2}
    assert epochs[3] == {rate: 0.25}
    assert 4 not in epochs
    assert left_out == ()


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), max_size=6))
def test_the_last_run_is_kept_whole_and_nothing_comes_after_it(runs):
    attempts = [run(*range(start, start + length), loss=100 * number) for number, (start, length) in enumerate(runs)]
    epochs, left_out = combine_runs([epoch for attempt in attempts for epoch in attempt])
    assert list(epochs) == sorted(epochs)
    assert set(epochs) | set(left_out) == {number for attempt in attempts for number, _ in attempt}
    assert not set(epochs) & set(left_out)
    if attempts:
        last = dict(attempts[-1])
        assert max(epochs) == max(last)
        assert {number: epochs[number] for number in last} == last


def test_logs_are_read_in_the_order_of_time_not_of_their_names(tmp_path):
    # as text, 2026_10_2 comes before 2026_9_30
    write_log(tmp_path, {0: 0.5, 1: 0.4}, "training_log_2026_9_30_10_00_00.txt")
    write_log(tmp_path, {1: 0.3}, "training_log_2026_10_2_09_00_00.txt")
    assert losses(read_logs(tmp_path.iterdir()).epochs) == {0: 0.5, 1: 0.3}


def test_a_renamed_log_is_ordered_by_its_first_line(tmp_path):
    write_text(tmp_path / "training_log_z.txt", epoch_lines(0, 0.5).replace("2026-11-21", "2026-02-01"))
    write_log(tmp_path, {0: 0.3}, "training_log_2026_10_2_09_00_00.txt")
    write_text(tmp_path / "training_log_a.txt", epoch_lines(0, 0.1).replace("2026-11-21", "2026-12-01"))
    assert losses(read_logs(tmp_path.iterdir()).epochs) == {0: 0.1}


def test_a_log_of_validation_only_changes_nothing(tmp_path):
    write_log(tmp_path, {0: 0.5, 1: 0.4}, "training_log_2026_9_30_10_00_00.txt")
    write_text(tmp_path / "training_log_2026_10_1_10_00_00.txt", HEAD + "Mean Validation Dice:  0.98 \n")
    assert losses(read_logs(tmp_path.iterdir()).epochs) == {0: 0.5, 1: 0.4}
