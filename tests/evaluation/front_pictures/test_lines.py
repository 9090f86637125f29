"""Fronts as lines in metres: what is joined, where it lies, which images cover the same extent."""

from __future__ import annotations

import datetime

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.front_pictures.lines import dated_front, extents, placement, trace
from nnunet_ext.errors import InputError

DAY = datetime.date(2010, 1, 1)


def mask(*pixels, shape=(8, 8)):
    front = np.zeros(shape, bool)
    for row, column in pixels:
        front[row, column] = True
    return front


def lines_of(front, resolution=1.0):
    return [line.tolist() for line in trace(front, resolution)]


def test_points_are_pixel_centres_in_metres_x_before_y():
    assert lines_of(mask((1, 2), (2, 2)), 20.0) == [[[50.0, 30.0], [50.0, 50.0]]]


def test_a_staircase_is_one_line_without_short_cuts():
    found = lines_of(mask((0, 0), (0, 1), (1, 1), (1, 2)))
    assert found == [[[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [2.5, 1.5]]]


def test_pixels_that_touch_at_a_corner_are_joined():
    assert lines_of(mask((0, 0), (1, 1), (2, 0))) == [[[0.5, 0.5], [1.5, 1.5], [0.5, 2.5]]]


def test_two_parts_are_two_lines_and_a_single_pixel_is_a_point():
    assert sorted(lines_of(mask((0, 0), (5, 5), (6, 5)))) == [[[0.5, 0.5]], [[5.5, 5.5], [5.5, 6.5]]]


def test_three_branches_meet_in_one_pixel():
    found = lines_of(mask((0, 3), (1, 3), (2, 3), (2, 2), (2, 1), (2, 4), (2, 5)))
    assert len(found) == 3
    assert all([3.5, 2.5] in (line[0], line[-1]) for line in found)


def test_a_ring_is_closed():
    (ring,) = lines_of(mask((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)))
    assert ring[0] == ring[-1]
    assert len(ring) == 9


@given(arrays.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_lines_hold_every_pixel_and_no_step_is_longer_than_a_diagonal(front):
    lines = trace(front, 1.0)
    points = {(y - 0.5, x - 0.5) for line in lines for x, y in line.tolist()}
    assert points == {(float(row), float(column)) for row, column in np.argwhere(front)}
    steps = [tuple(sorted(map(tuple, pair))) for line in lines for pair in zip(line[:-1].tolist(), line[1:].tolist())]  # noqa: B905
    assert all(max(abs(a - b) for a, b in zip(first, last, strict=True)) == 1 for first, last in steps)
    assert len(steps) == len(set(steps))


def test_images_of_one_area_at_two_pixel_sizes_have_one_extent():
    coarse, fine = (
        dated_front(mask(shape=shape), size, DAY, "TSX") for shape, size in (((350, 450), 20), ((1000, 1285), 7))
    )
    assert extents([coarse, fine]) == [(9000, 7000)]
    assert "differ" not in placement(extents([coarse, fine]))


def test_the_caption_says_that_extents_differ():
    wide, narrow = (dated_front(mask(shape=shape), 20, DAY, "TSX") for shape in ((350, 450), (350, 300)))
    text = placement(extents([wide, narrow]))
    assert "not georeferenced" in text
    assert "differ in extent (6 × 7, 9 × 7 km)" in text


def test_a_pixel_size_of_zero_is_refused():
    with pytest.raises(InputError, match="positive pixel size"):
        trace(mask((1, 1)), 0)
