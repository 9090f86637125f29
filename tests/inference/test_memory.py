from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.errors import InputError
from nnunet_ext.inference import memory
from nnunet_ext.inference.memory import (
    Demand,
    choose_layout,
    default_memory,
    parse_memory,
)
from nnunet_ext.inference.tile_grid import TileGrid, tile_grid

if TYPE_CHECKING:
    from nnunet_ext.inference.sliding import Layout

GIB = 2**30
SCRATCH = Path("scratch")
HELD = 300 * 2**20
GRID = tile_grid((2000, 1000, 800), (64, 96, 80), 0.5)
PLANE = 1000 * 800


@pytest.fixture(autouse=True)
def _held_already(monkeypatch):
    monkeypatch.setattr(memory, "resident_memory", lambda: HELD)


def chosen(grid: TileGrid = GRID, **more: Any) -> tuple[Layout, Demand]:
    settings: dict[str, Any] = {
        "channels": 2,
        "heads": 3,
        "folds": 5,
        "network": GIB,
        "resampling": 0,
        "available": 64 * GIB,
        "on_device": 0,
        "by_strip": False,
        "scratch": SCRATCH,
    }
    return choose_layout(grid, **{**settings, **more})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8G", 8 * GIB),
        ("500M", 500 * 2**20),
        ("1.5g", 3 * 2**29),
        ("8 GB", 8 * GIB),
        ("8GiB", 8 * GIB),
        (" 2T ", 2 * 2**40),
        ("64k", 65536),
        ("8000000000", 8_000_000_000),
        ("12B", 12),
    ],
)
def test_sizes_are_read_with_units_of_1024(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["abc", "", "-8G", "0G", "8X", "G", "1,5G", "1e9", "8 G G", "nan", "8iB", "9" * 400])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match=r"^--memory .*: expected a size such as 8G or 500M$"):
        parse_memory(text)


@given(st.text(max_size=30))
def test_no_text_ends_in_anything_but_a_size_or_a_message(text):
    with suppress(InputError):
        assert parse_memory(text) > 0


def test_sums_stay_in_memory_where_they_fit():
    layout, demand = chosen()
    sums = 64 * PLANE * 5 * 3 * 2
    assert (layout.scratch, layout.on_device, layout.depth) == (None, False, 64)
    assert demand.sums == sums + 2 * 64 * PLANE * 4
    assert demand.total == HELD + GIB + demand.sums + demand.work
    assert demand.disk == 0


def test_small_integers_are_kept_as_stored_but_where_padding_would_be_normalised():
    layout, demand = chosen(stored=np.dtype(np.uint16))
    assert layout.stored == np.uint16
    assert demand.sums == chosen()[1].sums - 2 * 64 * PLANE * 2
    small = tile_grid((60, 1000, 800), (64, 96, 80), 0.5)
    assert chosen(small, stored=np.dtype(np.uint16)) == chosen(small)
    assert chosen(small)[0].stored is None


def test_sums_that_do_not_fit_go_to_scratch_files_and_need_less_memory():
    _, in_memory = chosen()
    layout, on_disk = chosen(available=in_memory.total - 1)
    assert layout.scratch == SCRATCH
    assert layout.depth == 64
    assert on_disk.total < in_memory.total
    assert on_disk.disk == in_memory.sums
    # Lines of one window's height, of the image and of one fold.
    assert on_disk.sums == int(64 * PLANE * 96 / 1000 * (2 * 4 + 3 * 2))
    assert "of scratch files" in str(on_disk)


def test_memory_that_is_just_enough_is_enough():
    _, in_memory = chosen()
    assert chosen(available=in_memory.total)[0].scratch is None
    _, on_disk = chosen(available=in_memory.total - 1)
    assert chosen(available=on_disk.total)[0].scratch == SCRATCH


def test_too_little_memory_is_refused_with_what_would_do():
    _, in_memory = chosen()
    _, on_disk = chosen(available=in_memory.total - 1)
    with pytest.raises(InputError) as caught:
        chosen(available=on_disk.total - 1)
    numbers = [f"{size / GIB:.2f} GB" for size in (on_disk.total - 1, on_disk.total, in_memory.total)]
    assert str(caught.value) == (
        f"{numbers[0]} of memory is too little, expected {numbers[1]}, or {numbers[2]} to do without scratch files; "
        "give more (--memory; default: four fifths of what is free), or end other programs"
    )


def test_sums_stay_on_a_device_that_has_twice_their_size():
    sums = 64 * PLANE * 5 * 3 * 2
    on_device, demand = chosen(on_device=2 * sums)
    assert on_device.on_device
    assert demand.sums == 2 * 64 * PLANE * 4
    assert not chosen(on_device=2 * sums - 1)[0].on_device


def test_a_large_device_does_not_do_away_with_the_limit_of_memory():
    with pytest.raises(InputError, match="too little"):
        chosen(on_device=100 * GIB, available=2**20)


def test_slices_of_two_dimensional_models_are_closed_several_at_a_time():
    layout, _ = chosen(tile_grid((2000, 100, 80), (96, 80), 0.5))
    assert layout.depth == layout.closing == 16


def test_large_planes_are_closed_one_by_one():
    layout, _ = chosen(tile_grid((200, 10000, 8000), (64, 96, 80), 0.5), available=1000 * GIB)
    assert layout.closing == 1


def test_demand_says_what_it_is_made_of():
    text = str(Demand(GIB, 2 * GIB, 3 * GIB, 4 * GIB, 0))
    assert (
        text == "10.00 GB of memory (1.00 GB held already, network 2.00 GB, sums over windows 3.00 GB, blocks 4.00 GB)"
    )


def test_default_is_four_fifths_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10 * GIB)
    monkeypatch.setattr(memory, "memory_limits", list)
    assert default_memory() == 8 * GIB + HELD


def test_default_keeps_to_the_limit_of_a_container_or_job(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10 * GIB)
    monkeypatch.setattr(memory, "memory_limits", lambda: [50 * GIB, 5 * GIB])
    assert default_memory() == 4 * GIB


@pytest.mark.parametrize(
    ("shape", "planes"),
    [
        # Rows of windows at 0, 32, 64: of all lines 32 planes, of those in a window of 96 lines another 32.
        ((128, 960, 800), 32 + 32 * 0.1),
        # One row: nothing is left of it.
        ((64, 960, 800), 64 * 0.1),
        # Rows at 0 and 6: nearly all planes of the first row are those of the second as well.
        ((70, 960, 800), 58 + 6 * 0.1),
    ],
)
def test_strips_take_the_planes_that_the_next_row_needs_and_one_window_more(monkeypatch, shape, planes):
    monkeypatch.setattr(memory, "PAGES_CAN_BE_GIVEN_BACK", True)
    grid = tile_grid(shape, (64, 96, 80), 0.5)
    layout, demand = chosen(grid, by_strip=True, channels=1)
    plane = 960 * 800
    assert layout == chosen(grid, channels=1)[0]
    assert demand.sums == pytest.approx(64 * plane * 4 + planes * 5 * 3 * plane * 2, abs=1)
    whole = chosen(grid, channels=1)[1]
    assert whole.sums == 64 * plane * 4 + 64 * 5 * 3 * plane * 2
    monkeypatch.setattr(memory, "PAGES_CAN_BE_GIVEN_BACK", False)
    assert chosen(grid, by_strip=True, channels=1)[1] == whole
