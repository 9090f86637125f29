"""Planes that move through a volume, in memory and in a scratch file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_ext.errors import OutputError
from nnunet_ext.inference.rolling import RollingPlanes
from nnunet_ext.inference.scratch_planes import ScratchPlanes
from nnunet_ext.machine_memory import resident_memory
from tests.inference.full_disk import no_space

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_ext.inference.held_planes import HeldPlanes

CPU = torch.device("cpu")
EVERYWHERE = pytest.mark.parametrize("in_file", [False, True])


def planes(
    folder: Path | None = None,
    depth: int = 4,
    dtype: torch.dtype = torch.float32,
    channels: int = 2,
    height: int = 3,
    width: int = 5,
    start: int = 0,
) -> HeldPlanes:
    """Planes in memory, or in a file of a folder."""
    size = (channels, depth, height, width)
    if folder is None:
        return RollingPlanes(*size, dtype=dtype, device=CPU, start=start)
    return ScratchPlanes(*size, dtype=dtype, path=folder / "fold0.sums", start=start)


def fill(held: HeldPlanes, first: int, last: int, value: float) -> None:
    with held.lines(first, last, 0, held.shape[2]) as values:
        values[:] = value


def content(held: HeldPlanes) -> torch.Tensor:
    return held.read_lines(held.start, held.start + held.depth, 0, held.shape[2]).clone()


@EVERYWHERE
@pytest.mark.parametrize("dtype", [torch.float32, torch.half, torch.int16])
@settings(deadline=None, max_examples=25)
@given(depth=st.integers(1, 6), start=st.integers(0, 9), steps=st.lists(st.integers(0, 7), max_size=8), data=st.data())
def test_planes_move_as_a_window_over_the_whole_volume(tmp_path_factory, in_file, dtype, depth, start, steps, data):
    folder = tmp_path_factory.mktemp("planes") if in_file else None
    whole = torch.zeros((2, start + sum(steps) + depth, 3, 5), dtype=dtype)
    held = planes(folder, depth, dtype, start=start)
    for number, step in enumerate([0, *steps]):
        start += step
        held.move_to(start)
        first, last = sorted(data.draw(st.tuples(*[st.integers(start, start + depth)] * 2)))
        top, bottom = sorted(data.draw(st.tuples(*[st.integers(0, 3)] * 2)))
        with held.lines(first, last, top, bottom) as lines:
            for values in (whole[:, first:last, top:bottom], lines):
                values += torch.arange(values.numel(), dtype=dtype).reshape(values.shape) + number
        np.testing.assert_array_equal(content(held).numpy(), whole[:, start : start + depth].numpy())
    held.close()


@EVERYWHERE
def test_a_move_by_nothing_keeps_every_plane(tmp_path, in_file):
    held = planes(tmp_path if in_file else None)
    fill(held, 0, 4, 7)
    held.move_to(0)
    assert (content(held) == 7).all()
    held.close()


@EVERYWHERE
@pytest.mark.parametrize(("first", "last"), [(1, 4), (5, 7), (4, 3)])
def test_planes_that_are_not_held_are_refused(tmp_path, in_file, first, last):
    held = planes(tmp_path if in_file else None)
    held.move_to(2)
    for ask in (held.lines, held.read_lines, held.give_up):
        with pytest.raises(IndexError, match=rf"planes {first} to {last} asked for, held are 2 to 6"):
            ask(first, last, 0, 3)
    held.close()


@EVERYWHERE
def test_there_is_no_way_back(tmp_path, in_file):
    held = planes(tmp_path if in_file else None)
    held.move_to(2)
    with pytest.raises(IndexError, match="cannot move back from plane 2 to 1"):
        held.move_to(1)
    held.close()


@EVERYWHERE
@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 3000),
    first=st.integers(0, 3),
    count=st.integers(0, 4),
    rows=st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted),
)
def test_lines_are_given_up_and_no_others(tmp_path_factory, in_file, width, first, count, rows):
    held = planes(tmp_path_factory.mktemp("planes") if in_file else None, dtype=torch.half, width=width)
    fill(held, 0, 4, 3)
    last = min(4, first + count)
    held.give_up(first, last, *rows)
    others = np.ones((2, 4, 3, width), dtype=bool)
    others[:, first:last, rows[0] : rows[1]] = False
    assert (content(held).numpy()[others] == 3).all()
    held.move_to(last)
    assert not content(held)[:, 4 - last :].any()
    held.close()


def test_the_scratch_file_has_all_its_space_from_the_start_and_is_removed_on_close(tmp_path):
    path = tmp_path / "fold0.sums"
    held = planes(tmp_path)
    assert path.stat().st_size == 2 * 4 * 3 * 5 * 4 <= path.stat().st_blocks * 512
    held.close()
    assert not path.exists()


def test_a_disk_that_is_too_full_for_a_scratch_file_is_named_and_no_file_left(tmp_path, monkeypatch):
    monkeypatch.setattr("os.posix_fallocate", no_space)
    with pytest.raises(OutputError, match=r"fold0\.sums: no space left on the disk, 0\.00 GB needed, .* GB free"):
        planes(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_file_that_somebody_cut_is_named(tmp_path):
    held = planes(tmp_path)
    with (tmp_path / "fold0.sums").open("r+b") as file:
        file.truncate(30)
    with pytest.raises(OSError, match=r"fold0\.sums: 30 bytes of a plane could be read, expected 60"):
        content(held)
    held.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the memory")
def test_memory_is_taken_by_what_is_written_to_and_given_back():
    before = resident_memory()
    held = planes(depth=64, dtype=torch.half, channels=4, height=256, width=1024)
    assert resident_memory() - before < 2**24
    with held.lines(0, 64, 0, 128) as values:
        values += 1
    assert resident_memory() - before > 60 * 2**20
    held.give_up(0, 64, 0, 128)
    assert resident_memory() - before < 2**24
    fill(held, 32, 64, 1)
    held.move_to(32)
    assert resident_memory() - before < 80 * 2**20
    assert (held.read_lines(32, 64, 0, 256) == 1).all()
    assert not held.read_lines(64, 96, 0, 256).any()
    held.close()


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read from /proc")
def test_only_lines_of_a_scratch_file_that_are_looked_at_take_memory(tmp_path):
    held = planes(tmp_path, depth=32, dtype=torch.half, height=1024, width=512)
    before = resident_memory()
    # All of it are 64 MB; these lines are 4, scattered over all of it.
    for _ in range(3):
        with held.lines(held.start, held.start + 32, 100, 164) as values:
            values += 1
            assert resident_memory() - before < 8 * 2**20
        del values
        held.move_to(held.start + 16)
    assert resident_memory() - before < 8 * 2**20
    held.close()
