"""Sums that are given up strip by strip are the same numbers, and take less memory."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from nnunet_ext.inference import rolling
from nnunet_ext.inference.model import find_trained_model, load_predictor
from nnunet_ext.inference.sliding import Layout, SlidingWindow
from nnunet_ext.inference.tile_grid import tile_grid
from nnunet_ext.machine_memory import resident_memory
from tests.inference.trained_model import write_trained_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Noise:
    """Planes of noise."""

    channels = 1

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.values = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)

    def blocks(self, first: int, last: int) -> Iterator[Any]:
        for start in range(first, last, 5):
            yield self.values[:, start : min(last, start + 5)]

    def network_input(self, held: Any) -> Any:
        return held.copy()


def sliding(
    folder: Path,
    shape: tuple[int, int, int],
    layout: Layout,
    *,
    patch: tuple[int, int, int] = (10, 12, 10),
    **more: Any,
) -> SlidingWindow:
    model = find_trained_model(write_trained_model(folder, patch=patch, **more))
    predictor = load_predictor(model, device="cpu", step_size=0.5, mirroring=False)
    return SlidingWindow(predictor, tile_grid(shape, patch, 0.5), Noise(shape), layout)


@pytest.mark.parametrize("system_takes_pages_back", [True, False])
@pytest.mark.parametrize("shape", [(31, 33, 21), (10, 12, 10), (7, 5, 30), (23, 9, 8)])
@pytest.mark.parametrize(("first", "last"), [(0, None), (4, None), (3, -2)])
def test_labels_by_strip_are_those_of_whole_planes(
    shape: tuple[int, int, int],
    first: int,
    last: int | None,
    system_takes_pages_back: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not system_takes_pages_back:
        monkeypatch.setattr(rolling, "PAGES_CAN_BE_GIVEN_BACK", False)
    window = sliding(tmp_path / "model", shape, Layout(10, 3), folds=2)
    stop = shape[0] if last is None else shape[0] + last
    logits = np.concatenate(list(window.closed(first, stop)), axis=1)
    assert logits.shape == (3, stop - first, *shape[1:])
    parts: list[tuple[int, ...]] = []

    def decode(values: Any) -> Any:
        parts.append(values.shape)
        return values.argmax(0).astype(np.uint8)

    labels = np.concatenate(list(window.closed(first, stop, decode=decode)))
    np.testing.assert_array_equal(labels, logits.argmax(0))
    # A window more of lines at a time, not the whole plane, where there are several windows.
    assert max(part[2] for part in parts) <= max(12, shape[1] if shape[1] <= 12 else 0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the memory")
def test_strips_hold_about_half_of_the_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (25, 1200, 1000)
    window = sliding(tmp_path / "model", shape, Layout(10, 1), patch=(10, 80, 100))

    def ones(patch: torch.Tensor) -> torch.Tensor:
        return torch.ones((1, 3, *patch.shape[2:]))

    # The sums are what counts here, not what is summed.
    monkeypatch.setattr(window._predictor, "_internal_maybe_mirror_and_predict", ones)
    whole, strips = most_held(window, None), most_held(window, lambda values: values[0].astype(np.uint8))
    sums = 4 * 10 * 1200 * 1000 * 2
    assert whole > sums
    assert strips < whole - 0.3 * sums


def most_held(window: SlidingWindow, decode: Callable[[Any], Any] | None) -> int:
    """Return the most memory that is held while windows are summed."""
    held: list[int] = []
    before = resident_memory()
    with contextlib.closing(
        window.closed(0, window._grid.shape[0], lambda _: held.append(resident_memory()), decode=decode)
    ) as blocks:
        for _ in blocks:
            pass
    return max(held) - before
