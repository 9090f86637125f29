from __future__ import annotations

import pytest

from nnunet_ext.errors import BadCasesError
from nnunet_ext.trainers.environment import Setting, choice, number, read_settings

POSITIVE = Setting("TEST_POSITIVE", "a number above 0", number(lambda value: value > 0))
COLOUR = Setting("TEST_COLOUR", "red or blue", choice(("red", "blue")))


def test_values_are_parsed_and_missing_ones_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_COLOUR", raising=False)
    monkeypatch.setenv("TEST_POSITIVE", "3e-4")
    assert read_settings([COLOUR, POSITIVE]) == [None, 3e-4]


def test_all_wrong_values_are_named_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_COLOUR", "green")
    monkeypatch.setenv("TEST_POSITIVE", "0")
    with pytest.raises(BadCasesError) as caught:
        read_settings([COLOUR, POSITIVE])
    assert caught.value.problems == [
        "TEST_COLOUR must be red or blue, but is 'green'.",
        "TEST_POSITIVE must be a number above 0, but is '0'.",
    ]


@pytest.mark.parametrize("text", ["", "many", "inf", "nan", "-1", "1,5"])
def test_what_is_no_allowed_finite_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TEST_POSITIVE", text)
    with pytest.raises(BadCasesError, match=f"but is '{text}'"):
        read_settings([POSITIVE])
