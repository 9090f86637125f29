"""Front errors: the numbers of the benchmark's definition, a naive reference, and invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from evaluation.fronts import (
    count_no_front,
    front_distances,
    front_error,
    penalised_front_error,
    pooled_front_error,
)
from nnunet_ext.errors import InputError

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7))
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.bool_, shape)] * 2))
STEPS = st.tuples(*[st.floats(0.1, 30)] * 3)


def pixels(*marked, shape=(20, 20)):
    mask = np.zeros((1, *shape), dtype=bool)
    for row, column in marked:
        mask[0, row, column] = True
    return mask


def row(number):
    return pixels(*[(number, column) for column in range(10)])


def measure(prediction, label, metres):
    return front_distances(prediction, label, (999, metres, metres))


def images_of_the_specification():
    """A: 20 m, single pixels 3 px apart; B: 7 m, identical lines of 5 px; C: no prediction."""
    line = pixels(*[(4, column) for column in range(5)])
    return {
        "A": measure(pixels((2, 2)), pixels((2, 5)), 20),
        "B": measure(line, line, 7),
        "C": measure(pixels(), line, 7),
    }


def naive(prediction, label, spacing):
    first, second = np.argwhere(prediction) * spacing, np.argwhere(label) * spacing
    distances = cdist(first, second)
    return distances.min(axis=1, initial=np.inf), distances.min(axis=0, initial=np.inf)


# Known answers


def test_lines_three_rows_apart_at_7_metres():
    found = measure(row(8), row(5), 7)
    assert front_error(found) == 21.0
    assert (found.n_pred, found.n_label, found.sum_to_label, found.sum_to_prediction) == (10, 10, 210.0, 210.0)


def test_a_missed_pixel_counts_with_its_distance():
    # Distances 0 from the prediction, 0 and 70 from the label: 70 / 3.
    found = measure(pixels((0, 0)), pixels((0, 0), (0, 10)), 7)
    assert front_error(found) == pytest.approx(23.333, abs=5e-4)
    assert (found.to_label.tolist(), sorted(found.to_prediction)) == ([0.0], [0.0, 70.0])


def test_images_are_pooled_and_missing_fronts_are_counted():
    images = images_of_the_specification()
    assert pooled_front_error(images.values()) == 10.0
    means = [front_error(image) for image in images.values()]
    assert np.nanmean(means) == 30.0
    assert count_no_front(images.values()) == 1
    assert (images["C"].no_front, images["C"].empty) == (True, "pred")


def test_pooled_by_resolution():
    images = images_of_the_specification()
    assert pooled_front_error([images["A"]]) == 60.0
    assert pooled_front_error([images["B"], images["C"]]) == 0.0


def test_a_missed_front_costs_its_penalty_per_pixel():
    images = list(images_of_the_specification().values())
    # A: 60 + 60; B: ten zeros; C: five labelled pixels at 100.
    assert penalised_front_error(images, [1000, 1000, 100]) == pytest.approx((120 + 500) / 17)
    assert penalised_front_error(images[:2], [0, 0]) == pooled_front_error(images)


# Empty lines


def test_without_any_front_there_is_no_error():
    nothing = measure(pixels(), pixels(), 7)
    assert (front_error(nothing), pooled_front_error([nothing, nothing]), nothing.empty) == (0.0, 0.0, "both")
    assert penalised_front_error([nothing], [100]) == 0.0
    assert (nothing.sum_to_label, nothing.sum_to_prediction) == (0.0, 0.0)
    assert count_no_front([nothing]) == 1


@pytest.mark.parametrize(("prediction", "label", "empty"), [((), ((1, 1),), "pred"), (((1, 1),), (), "ref")])
def test_a_front_without_partner_has_no_error(prediction, label, empty):
    found = measure(pixels(*prediction), pixels(*label), 7)
    assert math.isnan(front_error(found))
    assert math.isnan(found.sum_to_prediction if label else found.sum_to_label)
    assert (found.sum_to_label if label else found.sum_to_prediction) == 0.0
    assert (found.n_pred, found.n_label, found.empty) == (len(prediction), len(label), empty)
    assert penalised_front_error([found], [100]) == 100.0
    nothing = measure(pixels(), pixels(), 7)
    assert math.isnan(pooled_front_error([found, nothing]))


def test_no_images_have_no_error():
    assert math.isnan(pooled_front_error([]))
    assert math.isnan(penalised_front_error([], []))
    assert count_no_front([]) == 0


# What counts


def test_all_pixels_count_not_only_the_edge():
    block = pixels(*[(y, x) for y in range(3, 8) for x in range(3, 8)])
    assert measure(block, row(0), 1).n_pred == 25


def test_ignored_pixels_count_for_neither_line():
    prediction, label = pixels((0, 0), (9, 9)), pixels((0, 2), (9, 8))
    found = front_distances(prediction, label, (1, 1, 1), ignored=pixels((0, 0), (9, 8)))
    assert (found.to_label.tolist(), found.to_prediction.tolist()) == ([pytest.approx(130**0.5)],) * 2
    assert prediction.sum() == label.sum() == 2


def test_the_spacing_of_each_axis_counts():
    assert front_error(front_distances(pixels((0, 0)), pixels((3, 4)), (999, 20, 10))) == pytest.approx(
        math.hypot(3 * 20, 4 * 10)
    )
    stack = np.zeros((3, 2, 2), dtype=bool)
    low, high = stack.copy(), stack.copy()
    low[0, 0, 0] = high[2, 0, 0] = True
    assert front_error(front_distances(low, high, (5, 1, 1))) == 10.0


def test_wrong_masks_spacings_and_penalties_are_refused():
    mask = pixels((0, 0))
    with pytest.raises(InputError, match="differ in shape"):
        front_distances(mask, mask[:, :5], (1, 1, 1))
    with pytest.raises(InputError, match="expected three positive numbers"):
        front_distances(mask, mask, (7, 7))
    with pytest.raises(InputError, match="ignored"):
        front_distances(mask, mask, (1, 1, 1), ignored=mask[:, :5])
    found = measure(mask, mask, 7)
    with pytest.raises(InputError, match="1 penalties for 2 images"):
        penalised_front_error([found, found], [1])
    with pytest.raises(InputError, match="penalty is nan"):
        penalised_front_error([found], [math.nan])
    with pytest.raises(InputError, match="penalty is -1"):
        penalised_front_error([found], [-1])


def test_long_lines_need_no_matrix():
    # Two lines of 200 000 pixels: a matrix of their distances would take 298 GiB.
    line = np.zeros((1, 3, 200_000), dtype=bool)
    first, second = line.copy(), line
    first[0, 0], second[0, 2] = True, True
    assert front_error(front_distances(first, second, (1, 1, 1))) == 2.0


# Invariants


@given(PAIRS, STEPS)
@settings(deadline=None)
def test_distances_are_those_of_every_pair(pair, spacing):
    found = front_distances(*pair, spacing)
    there, back = naive(*pair, spacing)
    np.testing.assert_allclose(found.to_label, there, rtol=1e-9)
    np.testing.assert_allclose(found.to_prediction, back, rtol=1e-9)


@given(PAIRS, STEPS)
@settings(deadline=None)
def test_swapping_the_lines_swaps_the_lists(pair, spacing):
    there, back = front_distances(*pair, spacing), front_distances(*pair[::-1], spacing)
    np.testing.assert_array_equal(there.to_label, back.to_prediction)
    np.testing.assert_array_equal(there.to_prediction, back.to_label)
    np.testing.assert_equal(front_error(there), front_error(back))


@given(PAIRS, STEPS, st.floats(0.1, 10))
@settings(deadline=None)
def test_the_error_scales_with_the_spacing(pair, spacing, factor):
    found = front_error(front_distances(*pair, spacing))
    scaled = front_error(front_distances(*pair, [factor * step for step in spacing]))
    np.testing.assert_allclose(scaled, factor * found, rtol=1e-9)


@given(PAIRS, STEPS, st.tuples(*[st.integers(0, 3)] * 6))
@settings(deadline=None)
def test_the_place_in_the_image_does_not_matter(pair, spacing, margins):
    padding = list(zip(margins[:3], margins[3:], strict=True))
    moved = [np.pad(mask, padding) for mask in pair]
    found, shifted = front_error(front_distances(*pair, spacing)), front_error(front_distances(*moved, spacing))
    np.testing.assert_allclose(shifted, found, rtol=1e-9, atol=1e-9)


@given(st.lists(PAIRS, max_size=4), STEPS)
@settings(deadline=None)
def test_pooled_errors_weigh_images_by_their_pixels(pairs, spacing):
    images = [front_distances(*pair, spacing) for pair in pairs]
    measured = [image for image in images if not image.no_front]
    if measured:
        both = [np.concatenate([image.to_label, image.to_prediction]) for image in measured]
        assert pooled_front_error(images) == pytest.approx(np.concatenate(both).mean())
        assert penalised_front_error(measured, [7.0] * len(measured)) == pytest.approx(pooled_front_error(images))


@given(PAIRS, STEPS)
@settings(deadline=None)
def test_a_missed_front_never_improves_the_penalised_error(pair, spacing):
    label = pair[1]
    found, missed = (front_distances(prediction, label, spacing) for prediction in (label, np.zeros_like(label)))
    if label.any():
        assert penalised_front_error([found], [5.0]) == 0.0
        assert penalised_front_error([missed], [5.0]) == 5.0
        assert penalised_front_error([found, missed], [5.0, 5.0]) == pytest.approx(5 / 3)
