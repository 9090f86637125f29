"""Pixels of a front become lines, ordered from end to end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from evaluation.front_extraction import front_of_zones
from nnunet_ext.front_lines.vectorize import SHORTEST_BRANCH, path_length, vectorize


def front_at(pixels, shape=(30, 30)):
    front = np.zeros(shape, bool)
    front[tuple(np.array(pixels).T)] = True
    return front


def test_a_staircase_is_one_line_in_order():
    pixels = [(2, 20), (3, 19), (4, 18), (4, 17), (4, 16), (5, 15), (6, 15), (7, 15)]
    [[line]] = vectorize(front_at(pixels))
    assert line.tolist() == [list(pixel) for pixel in pixels]
    assert path_length(line) == pytest.approx(4 + 3 * math.sqrt(2))


def test_a_line_turns_back_without_jumps():
    pixels = [(5, k) for k in range(2, 25)] + [(r, 25) for r in range(6, 20)] + [(20, k) for k in range(24, 1, -1)]
    [[line]] = vectorize(front_at(pixels))
    assert line.tolist() == [list(pixel) for pixel in pixels]


def test_parts_are_separate_from_top_to_bottom():
    parts = vectorize(front_at([(20, k) for k in range(5)] + [(3, k) for k in range(10, 18)]))
    assert [[line[0].tolist() for line in lines] for lines in parts] == [[[3, 10]], [[20, 0]]]


def test_a_branch_begins_on_the_longest_path():
    trunk, branch = [(10, k) for k in range(30)], [(r, 12) for r in range(11, 22)]
    [[longest, second]] = vectorize(front_at(trunk + branch))
    assert longest.tolist() == [list(pixel) for pixel in trunk]
    # The step off the trunk is diagonal.
    assert second[1:].tolist() == [list(pixel) for pixel in branch]
    assert second[0].tolist() in longest.tolist()


def test_teeth_are_no_branches():
    trunk = [(10, k) for k in range(30)]
    [lines] = vectorize(front_at([*trunk, (9, 4), (11, 15), (12, 15)]))
    assert [line.tolist() for line in lines] == [[list(pixel) for pixel in trunk]]


def test_a_ring_is_covered_by_two_lines_with_common_ends():
    rows, columns = np.indices((40, 40))
    zones = np.where(np.hypot(rows - 20, columns - 20) < 12, 2, 3)
    front = front_of_zones(zones, resolution=20, min_length=0)
    [lines] = vectorize(front)
    assert len(lines) == 2
    ends = [{tuple(line[0]), tuple(line[-1])} for line in lines]
    gaps = [min(math.dist(a, b) for b in ends[1]) for a in ends[0]]
    assert max(gaps) <= math.sqrt(2)
    assert sum(map(path_length, lines)) == pytest.approx(2 * math.pi * 12.5, rel=0.1)


def test_a_single_pixel_is_a_point():
    [[line]] = vectorize(front_at([(4, 7)]))
    assert line.tolist() == [[4, 7]]
    assert path_length(line) == 0


def test_no_front_has_no_lines():
    assert vectorize(np.zeros((5, 5), bool)) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 3))
def test_lines_of_any_front_step_from_neighbour_to_neighbour_and_come_near_every_pixel(seed, smoothness):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((32, 32)), smoothness)
    front = front_of_zones(np.where(noise > 0, 2, 3), resolution=20, min_length=0)
    parts = vectorize(front)
    assert len(parts) == ndimage.label(front, np.ones((3, 3)))[1]
    covered = np.zeros_like(front)
    for line in (line for lines in parts for line in lines):
        assert (np.abs(np.diff(line, axis=0)).max(axis=1, initial=0) == (1 if len(line) > 1 else 0)).all()
        assert front[tuple(line.T)].all()
        covered[tuple(line.T)] = True
    far = ndimage.distance_transform_cdt(~covered, "chessboard")[front]
    assert far.size == 0 or far.max() <= SHORTEST_BRANCH
