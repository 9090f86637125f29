"""Connected components of small masks, by hand and by property."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from evaluation.components import (
    COMPONENT_METRICS,
    ComponentCounts,
    component_f1,
    component_precision,
    component_recall,
    count_components,
)
from nnunet_ext.errors import InputError

MASKS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6))
PAIRS = MASKS.flatmap(lambda mask: st.tuples(st.just(mask), hnp.arrays(np.bool_, mask.shape)))


def row(text):
    """Return a mask of one row of voxels; # is inside."""
    return np.array([[[character == "#" for character in text]]])


def count(pred, ref, spacing=(1, 1, 1), **more):
    return count_components(row(pred), row(ref), spacing, **more)


def test_components_that_share_a_voxel_match():
    found = count("##..#...####", ".##...#....#")
    assert found == ComponentCounts(n_ref=3, n_pred=3, detected=2, correct=2)
    assert component_precision(found) == pytest.approx(2 / 3)
    assert component_recall(found) == pytest.approx(2 / 3)
    assert component_f1(found) == pytest.approx(2 / 3)


def test_one_prediction_may_detect_several_and_several_may_be_correct():
    assert count("#########", "##.##.#.#") == ComponentCounts(n_ref=4, n_pred=1, detected=4, correct=1)
    assert count("##.##.#.#", "#########") == ComponentCounts(n_ref=1, n_pred=4, detected=1, correct=4)


def test_the_threshold_is_exceeded_not_reached():
    assert count("##..", ".##.", threshold=0.3).detected == 1
    assert count("##..", "####", threshold=0.5).detected == 0
    assert count("##..", "####", threshold=0.49).detected == 1


def test_corners_connect():
    diagonal = np.eye(3, dtype=bool)
    assert count_components(diagonal[None], diagonal[None], (1, 1, 1)).n_ref == 1
    cube = diagonal[:, :, None] & diagonal[:, None, :]
    assert count_components(cube, cube, (1, 1, 1)) == ComponentCounts(1, 1, 1, 1)


def test_small_components_are_taken_out_first():
    assert count("#.###", "##.##", (5, 0.5, 0.4), min_volume=3) == ComponentCounts(n_ref=0, n_pred=1)
    assert count("#.###", "##.##", (5, 0.5, 0.4), min_volume=2) == ComponentCounts(2, 1, 1, 1)
    assert count("###", "###", (0.1, 0.1, 0.1), min_volume=0.003) == ComponentCounts(1, 1, 1, 1)


def test_a_component_whose_counterpart_was_taken_out_is_missed():
    assert count("#..", "###", min_volume=2) == ComponentCounts(n_ref=1, n_pred=0)


@pytest.mark.parametrize(
    ("pred", "ref", "empty", "score"),
    [("...", "...", "both", math.nan), ("#..", "...", "ref", 0), ("...", "#.#", "pred", 0), ("#..", "..#", "none", 0)],
)
def test_empty_masks(pred, ref, empty, score):
    found = count(pred, ref)
    assert found.empty == empty
    assert all(metric(found) == pytest.approx(score, nan_ok=True) for metric in COMPONENT_METRICS.values())


def test_counts_add_up():
    assert ComponentCounts(3, 2, 1, 1) + ComponentCounts(1, 1, 1, 1) == ComponentCounts(4, 3, 2, 2)


def test_instances_that_overlap_in_part():
    # The layout of a published multi-instance case: one prediction touches both squares, one lies inside the first.
    ref, pred = np.zeros((2, 1, 30, 30), dtype=bool)
    for start, stop in ((1, 10), (11, 20)):
        ref[0, start:stop, start:stop] = True
    for start, stop in ((1, 3), (7, 13)):
        pred[0, start:stop, start:stop] = True
    assert count_components(pred, ref, (1, 1, 1)) == ComponentCounts(2, 2, 2, 2)
    assert count_components(pred, ref, (1, 1, 1), threshold=0.06) == ComponentCounts(2, 2, 1, 1)


@given(PAIRS, st.sampled_from([0.0, 0.2, 0.5]), st.integers(0, 4))
@settings(deadline=None)
def test_counts_are_those_of_every_pair_of_components(pair, threshold, min_voxels):
    components = []
    for mask in pair:
        labels, number = ndimage.label(mask, np.ones((3, 3, 3)))
        found = [labels == value for value in range(1, number + 1)]
        components.append([one for one in found if one.sum() >= min_voxels])
    iou = np.array([[(p & r).sum() / (p | r).sum() for r in components[1]] for p in components[0]])
    matched = iou.reshape(len(components[0]), len(components[1])) > threshold
    expected = ComponentCounts(
        len(components[1]), len(components[0]), int(matched.any(axis=0).sum()), int(matched.any(axis=1).sum())
    )
    assert count_components(*pair, (1, 1, 1), min_volume=min_voxels, threshold=threshold) == expected
    if threshold == 0.5:
        assert expected.detected == expected.correct


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": 1.0}, "IoU threshold is 1.0"),
        ({"threshold": math.nan}, "IoU threshold"),
        ({"min_volume": -1}, "smallest volume is -1"),
        ({"spacing": (1, 1)}, "three positive numbers"),
        ({"reference": np.zeros((1, 1, 3), dtype=int)}, "expected a boolean mask"),
    ],
)
def test_unusable_input_is_named(change, message):
    arguments = {"prediction": row("#.#"), "reference": row("###"), "spacing": (1, 1, 1), **change}
    with pytest.raises(InputError, match=message):
        count_components(**arguments)
