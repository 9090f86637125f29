from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.trainers.warmup_cosine import WarmupCosineSchedule, learning_rate


def rates(epochs: int, warmup: float, lowest: float = 0.0) -> list[float]:
    return [learning_rate(epoch, epochs, peak=1.0, warmup=warmup, lowest=lowest) for epoch in range(epochs)]


def test_a_short_schedule_by_hand() -> None:
    """Four epochs up, four down: the middle of an epoch is 1/8, 3/8, 5/8, 7/8 of either part."""
    eighth, three_eighths = math.cos(math.pi / 8), math.cos(3 * math.pi / 8)
    falling = [(1 + eighth) / 2, (1 + three_eighths) / 2, (1 - three_eighths) / 2, (1 - eighth) / 2]
    assert rates(8, 4) == pytest.approx([1 / 8, 3 / 8, 5 / 8, 7 / 8, *falling])
    assert rates(8, 4, lowest=0.2)[4:] == pytest.approx([0.2 + 0.8 * value for value in falling])


DRAWN = """
     *******
    *       ***
               **
   *             **
  *                **
 *                   **
                       ***
*                         ******
"""


def test_the_schedule_as_a_picture() -> None:
    """32 epochs from left to right, six of them warm-up; the rate in eighths of the peak."""
    levels = [int(8 * rate) for rate in rates(32, 6)]
    rows = ["".join("*" if level == row else " " for level in levels).rstrip() for row in reversed(range(8))]
    assert "\n".join(["", *rows, ""]) == DRAWN


def test_the_default_schedule_of_nnunets_length() -> None:
    found = rates(1000, 1)
    assert found[0] == 0.5
    assert found[1] == pytest.approx(1, abs=1e-5)
    assert found[500] == pytest.approx(0.5, abs=1e-3)
    assert found[999] == pytest.approx(0, abs=1e-5)
    assert found[999] > 0


def test_a_warm_up_of_part_of_an_epoch() -> None:
    assert rates(4, 1.5)[:2] == pytest.approx([1 / 3, 1])
    assert rates(4, 0.75)[0] == pytest.approx(2 / 3)
    assert rates(4, 0.25)[0] == pytest.approx((1 + math.cos(math.pi / 15)) / 2)


def test_a_training_that_is_all_warm_up() -> None:
    assert rates(2, 2) == pytest.approx([1 / 4, 3 / 4])
    assert rates(1, 1) == [0.5]


@given(st.data(), st.integers(1, 200), st.floats(0, 0.9))
def test_it_rises_then_falls_between_lowest_and_peak(data: st.DataObject, epochs: int, lowest: float) -> None:
    warmup = data.draw(st.floats(0, epochs))
    found = rates(epochs, warmup, lowest)
    turn = sum(epoch + 0.5 < warmup for epoch in range(epochs))
    assert all(before < after for before, after in pairwise(found[:turn]))
    assert all(before > after for before, after in pairwise(found[turn:]))
    assert min(found) > 0
    assert max(found) <= 1
    assert min([1.0, *found[turn:]]) >= lowest


def test_every_parameter_group_gets_the_rate_of_the_epoch_in_any_order() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": [parameter]} for parameter in parameters], lr=9.0)
    schedule = WarmupCosineSchedule(optimizer, epochs=8, peak=2.0, warmup=4)
    for epoch in (5, 0, 7):
        schedule.step(epoch)
        expected = learning_rate(epoch, 8, peak=2.0, warmup=4)
        assert [group["lr"] for group in optimizer.param_groups] == [expected] * 2
