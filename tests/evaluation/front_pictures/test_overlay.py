"""Overlay of fronts on an image: colours, line widths and the box, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.front_pictures.overlay import box_outline, front_overlay, line_width, widened
from nnunet_ext.errors import InputError

BLUE, YELLOW, MAGENTA, CYAN, GREY = (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (90, 90, 90)


def image(rows=12, columns=12):
    return np.full((rows, columns), 90, np.uint8)


def line(column, rows=12, columns=12):
    front = np.zeros((rows, columns), np.uint8)
    front[:, column] = 255
    return front


def row_of(picture, row=6):
    return [tuple(int(level) for level in pixel) for pixel in picture[row]]


def test_label_is_blue_prediction_yellow_overlap_magenta_and_all_else_the_image():
    picture = front_overlay(image(), line(3), line(4), width=3)
    assert picture.dtype == np.uint8
    assert picture.shape == (12, 12, 3)
    # Label columns 2-4, prediction 3-5.
    assert row_of(picture) == [GREY, GREY, BLUE, MAGENTA, MAGENTA, YELLOW, *[GREY] * 6]


def test_a_width_of_one_draws_the_fronts_as_they_are():
    assert row_of(front_overlay(image(), line(3), line(4), width=1))[2:6] == [GREY, BLUE, YELLOW, GREY]


def test_fronts_lie_over_the_box_whose_outline_is_inside_it():
    picture = front_overlay(image(), line(3), line(9), (slice(2, 10), slice(1, 11)), width=1)
    assert row_of(picture) == [GREY, CYAN, GREY, BLUE, *[GREY] * 5, YELLOW, CYAN, GREY]
    assert row_of(picture, 2) == [GREY, CYAN, CYAN, BLUE, *[CYAN] * 5, YELLOW, CYAN, GREY]
    assert row_of(picture, 9)[5] == CYAN
    assert row_of(picture, 10)[5] == GREY


def test_a_box_narrower_than_its_lines_is_filled_and_no_larger():
    outline = box_outline((8, 8), (slice(1, 7), slice(2, 4)), width=3)
    assert outline.sum() == 6 * 2


def test_a_box_of_the_whole_image_may_be_given_as_open_slices():
    assert box_outline((4, 5), (slice(None), slice(None))).sum() == 2 * 5 + 2 * 2


def test_the_inputs_stay_as_they_are():
    grey, label = image(), line(3)
    front_overlay(grey, label, label, (slice(0, 5), slice(0, 5)))
    assert (grey == 90).all()
    assert (label == line(3)).all()


def test_lines_at_the_border_are_cut_off():
    assert widened(line(0) != 0, 5).sum() == 12 * 3
    assert not widened(np.zeros((4, 4), bool), 5).any()


@pytest.mark.parametrize(("side", "width"), [(1, 3), (900, 3), (1800, 5), (2700, 7)])
def test_lines_of_large_images_are_wider(side, width):
    assert line_width((10, side)) == width


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((image(), line(3, columns=9), line(3)), r"label: shape \(12, 9\), but the image has \(12, 12\)"),
        ((image(), line(3), line(3, rows=5)), r"prediction: shape \(5, 12\)"),
        ((image().astype(np.float32), line(3), line(3)), "expected uint8 of two axes, found float32"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        front_overlay(*arguments)


def test_a_width_below_one_is_refused():
    with pytest.raises(InputError, match="width: 0"):
        front_overlay(image(), line(3), line(3), width=0)
