"""What of nnU-Net's insides the sliding window goes by: a release that changes it has to fail here."""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window

from nnunet_ext.inference.model import find_trained_model, load_predictor
from tests.inference.predict_runs import SMALL
from tests.inference.trained_model import write_trained_model

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = {
    "windows, weights and sums": (nnUNetPredictor._internal_predict_sliding_window_return_logits, "c22b59e404065c5f"),
    "order of windows": (nnUNetPredictor._internal_get_sliding_window_slicers, "16c112969d01e69a"),
    "padding": (nnUNetPredictor.predict_sliding_window_return_logits, "aedfd07402fcfd91"),
    "mirroring": (nnUNetPredictor._internal_maybe_mirror_and_predict, "220a7ee99a71b4b3"),
    "mean of folds": (nnUNetPredictor.predict_logits_from_preprocessed_data, "0511306e59b41e26"),
    "weights": (compute_gaussian, "182c9a794e21ea2a"),
    "steps": (compute_steps_for_sliding_window, "1e25d522e5a5bd1d"),
}


def parameters(function: Callable[..., object]) -> dict[str, object]:
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize("part", SOURCES)
def test_the_source_that_the_sliding_window_agrees_with_is_unchanged(part):
    function, expected = SOURCES[part]
    source = inspect.getsource(inspect.unwrap(function))
    found = hashlib.sha256(source.encode()).hexdigest()[:16]
    assert found == expected, f"nnU-Net changed its {part}: compare with nnunet_ext/inference/sliding.py:\n{source}"


def test_weights_have_these_parameters():
    assert parameters(compute_gaussian) == {
        "tile_size": inspect.Parameter.empty,
        "sigma_scale": 1.0 / 8,
        "value_scaling_factor": 1,
        "dtype": torch.float16,
        "device": torch.device("cuda", 0),
    }
    assert list(parameters(compute_steps_for_sliding_window)) == ["image_size", "tile_size", "tile_step_size"]


def test_a_loaded_predictor_has_what_is_asked_of_it(tmp_path):
    model = write_trained_model(tmp_path / "model", folds=2, **{**SMALL, "mirroring": True})
    predictor = load_predictor(find_trained_model(model), device="cpu", step_size=0.5, mirroring=True)
    assert predictor.device == torch.device("cpu")
    assert len(predictor.list_of_parameters) == 2
    assert predictor.label_manager.num_segmentation_heads == 3
    assert tuple(predictor.configuration_manager.patch_size) == (10, 12, 10)
    assert (predictor.use_mirroring, tuple(predictor.allowed_mirroring_axes)) == (True, (0, 1, 2))
    assert predictor.use_gaussian
    predictor.network.load_state_dict(predictor.list_of_parameters[1])
    with torch.inference_mode():
        logits = predictor._internal_maybe_mirror_and_predict(torch.zeros((1, 1, 10, 12, 10)))
    assert (logits.shape, logits.dtype) == ((1, 3, 10, 12, 10), torch.float32)


def test_mirroring_is_the_mean_over_all_combinations_of_axes(tmp_path):
    model = write_trained_model(tmp_path / "model", **{**SMALL, "mirroring": True})
    predictor = load_predictor(find_trained_model(model), device="cpu", step_size=0.5, mirroring=True)
    predictor.network.eval()
    patch = torch.rand((1, 1, 10, 12, 10), generator=torch.Generator().manual_seed(0))
    flips = [(), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4)]
    with torch.inference_mode():
        found = predictor._internal_maybe_mirror_and_predict(patch)
        expected = sum(torch.flip(predictor.network(torch.flip(patch, axes)), axes) for axes in flips) / 8
    torch.testing.assert_close(found, expected)
