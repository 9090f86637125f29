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
from nnunet_ext.machine_memory import resident_memory
from tests.inference.full_disk import no_space

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def rolling(scratch: Path | None = None, depth: int = 4, dtype: torch.dtype = torch.float32) -> RollingPlanes:
    return RollingPlanes(2, depth, 3, 5, dtype=dtype, device=CPU, scratch=scratch)


def moves() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 7), max_size=8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.half])
@pytest.mark.parametrize("in_file", [False, True])
@settings(deadline=None, max_examples=25)
@given(depth=st.integers(1, 6), steps=moves())
def test_planes_move_as_a_window_over_the_whole_volume(tmp_path_factory, in_file, dtype, depth, steps):
    scratch = tmp_path_factory.mktemp("rolling") / "planes.sums" if in_file else None
    whole = torch.zeros((2, sum(steps) + depth, 3, 5), dtype=dtype)
    held = rolling(scratch, depth, dtype)
    start = 0
    for number, step in enumerate([0, *steps]):
        start += step
        held.move_to(start)
        held.relax()
        for planes in (whole[:, start : start + depth], held.planes(start, start + depth)):
            planes += torch.arange(planes.numel(), dtype=dtype).reshape(planes.shape) + number
        np.testing.assert_array_equal(held.values.numpy(), whole[:, start : start + depth].numpy())
    held.close()


def test_a_move_by_nothing_keeps_every_plane():
    held = rolling()
    held.planes(0, 4)[:] = 7
    held.move_to(0)
    assert (held.values == 7).all()


def test_planes_are_views():
    held = rolling()
    held.move_to(3)
    held.planes(4, 6)[:] = 1
    assert held.values[0, :, 0, 0].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(("first", "last"), [(1, 4), (5, 7), (4, 3)])
def test_planes_that_are_not_held_are_refused(first, last):
    held = rolling()
    held.move_to(2)
    with pytest.raises(IndexError, match=rf"planes {first} to {last} asked for, held are 2 to 6"):
        held.planes(first, last)


def test_there_is_no_way_back():
    held = rolling()
    held.move_to(2)
    with pytest.raises(IndexError, match="cannot move back from plane 2 to 1"):
        held.move_to(1)


def test_the_scratch_file_has_all_its_space_from_the_start_and_is_removed_on_close(tmp_path):
    path = tmp_path / "fold0.sums"
    held = rolling(path)
    assert path.stat().st_size == 2 * 4 * 3 * 5 * 4 <= path.stat().st_blocks * 512
    held.close()
    assert not path.exists()


def test_numbers_in_a_scratch_file_outlive_that_the_system_takes_its_memory_back(tmp_path):
    held = rolling(tmp_path / "fold0.sums")
    held.values += 3
    held.relax()
    assert (held.values == 3).all()


def test_a_disk_that_is_too_full_for_a_scratch_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("os.posix_fallocate", no_space)
    with pytest.raises(OutputError, match=r"fold0\.sums: no space left on the disk, 0\.00 GB needed, .* GB free"):
        rolling(tmp_path / "fold0.sums")


@pytest.mark.parametrize("in_file", [False, True])
@settings(deadline=None, max_examples=40)
@given(
    width=st.integers(1, 3000),
    first=st.integers(0, 3),
    count=st.integers(0, 4),
    rows=st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted),
)
def test_rows_that_are_cleared_are_zeros_and_no_others(tmp_path_factory, in_file, width, first, count, rows):
    scratch = tmp_path_factory.mktemp("rolling") / "planes.sums" if in_file else None
    held = RollingPlanes(2, 4, 3, width, dtype=torch.half, device=CPU, scratch=scratch)
    held.values += 3
    held.move_to(0)
    expected = held.values.numpy().copy()
    last = min(4, first + count)
    expected[:, first:last, rows[0] : rows[1]] = 0
    held.clear(first, last, *rows)
    np.testing.assert_array_equal(held.values.numpy(), expected)
    held.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the memory")
def test_memory_is_taken_by_what_is_written_to_and_given_back():
    before = resident_memory()
    held = RollingPlanes(4, 64, 256, 1024, dtype=torch.half, device=CPU)
    assert resident_memory() - before < 2**24
    held.values[:, :, :128] += 1
    assert resident_memory() - before > 60 * 2**20
    held.clear(0, 64, 0, 128)
    assert resident_memory() - before < 2**24
    held.planes(32, 64)[:] = 1
    held.move_to(32)
    assert resident_memory() - before < 80 * 2**20
    assert (held.planes(32, 64) == 1).all()
    assert not held.planes(64, 96).any()
    held.close()


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read from /proc")
@pytest.mark.parametrize("step", [1, 12])
def test_a_move_does_not_bring_a_scratch_file_into_memory(tmp_path, step):
    held = RollingPlanes(2, 16, 1024, 1024, dtype=torch.half, device=CPU, scratch=tmp_path / "planes.sums")
    before = resident_memory()
    held.move_to(step)
    # All of it are 64 MB, a plane 4.
    assert resident_memory() - before < 16 * 2**20
    held.close()
