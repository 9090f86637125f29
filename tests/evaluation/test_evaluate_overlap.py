"""Counts and overlap of small arrays, by hand and by property."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation import histogram as histogram_module
from evaluation.histogram import counts_of, joint_histogram
from evaluation.overlap import Counts, dice, iou, precision, recall, relative_volume_difference, specificity
from nnunet_ext.errors import InputError

LABELS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(0, 3))
PAIRS = LABELS.flatmap(lambda ref: st.tuples(st.just(ref), hnp.arrays(np.uint8, ref.shape, elements=st.integers(0, 3))))


def counts(ref, pred, values=(1,), ignore=None):
    ignored = () if ignore is None else (ignore,)
    return counts_of(joint_histogram(np.asarray(ref), np.asarray(pred)), values, ignored)


def test_counts_of_a_label_by_hand():
    found = counts([0, 1, 1, 1, 2, 0], [1, 1, 1, 0, 2, 0])
    assert found == Counts(tp=2, fp=1, fn=1, tn=2)
    assert (found.n_ref, found.n_pred, found.empty) == (3, 3, "none")
    assert dice(found) == pytest.approx(4 / 6)
    assert iou(found) == pytest.approx(2 / 4)


def test_a_region_is_the_union_of_its_labels():
    assert counts([1, 2, 2, 0], [2, 1, 0, 1], values=(1, 2)) == Counts(tp=2, fp=1, fn=1, tn=0)


def test_ignored_voxels_count_nowhere():
    assert counts([1, 9, 9, 0], [1, 1, 0, 9], ignore=9) == Counts(tp=1, tn=1)


def test_other_scores_by_hand():
    found = Counts(tp=6, fp=2, fn=3, tn=8)
    assert (precision(found), recall(found), specificity(found)) == (6 / 8, 6 / 9, 8 / 10)
    assert relative_volume_difference(found, 2.0) == pytest.approx((8 - 9) / 9)
    assert math.isnan(specificity(Counts(tp=3, fn=2)))
    assert specificity(Counts(fn=2, tn=3)) == 1


@pytest.mark.parametrize(
    ("found", "empty", "score"),
    [
        (Counts(tn=5), "both", math.nan),
        (Counts(fp=3), "ref", 0.0),
        (Counts(fn=3), "pred", 0.0),
        (Counts(tp=3), "none", 1.0),
    ],
)
def test_empty_masks(found, empty, score):
    assert found.empty == empty
    assert dice(found) == pytest.approx(score, nan_ok=True)
    assert [f(found) for f in (iou, precision, recall)] == pytest.approx([score] * 3, nan_ok=True)


def test_values_far_apart_and_negative():
    ref = np.array([-5, 60000, 60000, 2**31], dtype=np.int64)
    pred = np.array([7, -(2**31), 60000, 7], dtype=np.int64)
    expected = {(-5, 7): 1, (60000, -(2**31)): 1, (60000, 60000): 1, (2**31, 7): 1}
    assert joint_histogram(ref, pred) == expected


def test_whole_floating_point_numbers_and_booleans_are_labels():
    assert joint_histogram(np.array([0.0, 2.0]), np.array([True, False])) == {(0, 1): 1, (2, 0): 1}


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_other_numbers_are_refused(value):
    with pytest.raises(InputError, match=f"prediction holds {value}"):
        joint_histogram(np.array([0, 1]), np.array([0, value]))


def test_images_are_refused(monkeypatch):
    monkeypatch.setattr(histogram_module, "MAX_PAIRS", 10)
    with pytest.raises(InputError, match="not label maps"):
        joint_histogram(np.arange(20), np.arange(20))


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"\(2,\) and \(3,\)"):
        joint_histogram(np.zeros(2, np.uint8), np.zeros(3, np.uint8))


@given(PAIRS)
def test_scores_are_symmetric(pair):
    there, back = counts(*pair), counts(*reversed(pair))
    assert dice(there) == pytest.approx(dice(back), nan_ok=True)
    assert iou(there) == pytest.approx(iou(back), nan_ok=True)


@given(PAIRS)
def test_counts_are_those_of_masks(pair):
    ref, pred = (array == 1 for array in pair)
    expected = Counts(
        *(int(mask.sum()) for mask in (ref & pred, ~ref & pred, ref & ~pred, ~ref & ~pred)),
    )
    assert counts(*pair) == expected


@given(PAIRS, st.permutations(range(4)))
def test_renaming_labels_renames_scores(pair, order):
    renamed = [np.asarray(order, np.uint8)[array] for array in pair]
    for value in range(4):
        assert counts(*renamed, values=(order[value],)) == counts(*pair, values=(value,))


@given(PAIRS)
def test_slabs_add_up_to_the_whole(pair):
    ref, pred = pair
    total: Counter[tuple[int, int]] = Counter()
    for z in range(len(ref)):
        total.update(joint_histogram(ref[z], pred[z]))
    assert total == joint_histogram(ref, pred)


@given(PAIRS)
def test_chunks_add_up_to_the_whole(pair):
    whole = joint_histogram(*pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram_module, "CHUNK_VOXELS", 5)
        assert joint_histogram(*pair) == whole


@given(PAIRS)
def test_ignoring_is_removing_the_voxels(pair):
    ref, pred = pair
    kept = ref != 3
    assert counts(ref, pred, ignore=3) == counts(ref[kept], pred[kept])
