"""The tables of docs/recipes.md name every variable of the trainers, with the default that it has."""

from __future__ import annotations

import re

from nnunet_ext.trainers import adam_cosine_warmup, early_stopping
from tests.builders import ROOT


def documented() -> dict[str, str]:
    """Return the default of each variable, as the page has it."""
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(NNUNET_EXT_\w+)` \| `?([^|`]+?)`? \|", text, flags=re.M))


def test_defaults_are_those_of_the_code() -> None:
    trainer = early_stopping.nnUNetTrainerEarlyStopping
    settings = adam_cosine_warmup.AdamSettings()
    expected = {
        adam_cosine_warmup.LEARNING_RATE_VARIABLE: settings.learning_rate,
        adam_cosine_warmup.WEIGHT_DECAY_VARIABLE: settings.weight_decay,
        adam_cosine_warmup.WARMUP_VARIABLE: settings.warmup_epochs,
        adam_cosine_warmup.GRADIENT_CLIP_VARIABLE: settings.gradient_clip,
        early_stopping.METRIC_VARIABLE: trainer.metric,
        early_stopping.PATIENCE_VARIABLE: trainer.patience,
        early_stopping.MIN_DELTA_VARIABLE: trainer.min_delta,
    }
    found = documented()
    assert found.keys() == expected.keys()
    for variable, default in expected.items():
        assert found[variable] == (default if isinstance(default, str) else f"{default:.4f}".rstrip("0").rstrip("."))
