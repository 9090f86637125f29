"""Confusion matrices by hand, and that no annotated voxel is lost or counted twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.confusion import add_confusions, confusions
from evaluation.histogram import counts_of, joint_histogram
from evaluation.labels import LabelSet, ScoredClass
from nnunet_ext.errors import InputError

TUMOUR = (
    ScoredClass("whole", (1, 2, 3), region=True),
    ScoredClass("core", (2, 3), region=True),
    ScoredClass("enhancing", (3,), region=True),
)


def label_set(*classes, ignore=None, background="background"):
    return LabelSet(tuple(classes), ignore, None, "test", background)


def classes(**values):
    return tuple(ScoredClass(name, value if isinstance(value, tuple) else (value,)) for name, value in values.items())


def only(found):
    (matrix,) = found
    return matrix


def test_rows_are_the_reference_and_columns_the_prediction():
    reference, prediction = np.array([[0, 0, 1], [1, 1, 2]]), np.array([[0, 1, 1], [1, 2, 0]])
    found = only(confusions(joint_histogram(reference, prediction), label_set(*classes(root=1, pore=2))))
    assert (found.task, found.names) == ("", ("background", "root", "pore"))
    # Of two background voxels one is taken for root; of three of root one for pore; the one of pore is missed.
    assert found.counts.tolist() == [[1, 1, 0], [0, 2, 1], [1, 0, 0]]


def test_values_in_no_class_are_background():
    histogram = {(7, 1): 2, (1, 9): 3, (8, 9): 5, (-1, 0): 7}
    found = only(confusions(histogram, label_set(*classes(root=1))))
    assert found.counts.tolist() == [[12, 2], [3, 0]]


def test_background_has_one_row_even_if_it_is_scored():
    scored = (ScoredClass("soil", (0,)), *classes(root=1))
    found = only(confusions({(0, 1): 2, (1, 0): 3, (5, 0): 1}, label_set(*scored, background="soil")))
    assert found.names == ("soil", "root")
    assert found.counts.tolist() == [[1, 2], [3, 0]]


def test_a_class_of_several_labels_is_one_row():
    found = only(confusions({(1, 2): 4, (2, 3): 5}, label_set(*classes(a=(1, 2), b=3))))
    assert (found.names, found.counts.tolist()) == (("background", "a", "b"), [[0, 0, 0], [0, 4, 5], [0, 0, 0]])


def test_voxels_that_are_ignored_in_the_reference_are_left_out():
    found = only(confusions({(3, 1): 9, (1, 3): 2, (1, 1): 4}, label_set(*classes(root=1), ignore=3)))
    assert found.counts.tolist() == [[0, 0], [2, 4]]


def test_overlapping_regions_have_a_row_per_label():
    found = only(confusions({(0, 1): 1, (1, 3): 2, (2, 2): 3, (3, 0): 4, (9, 2): 5}, label_set(*TUMOUR)))
    assert found.names == ("background", "1 (whole)", "2 (whole, core)", "3 (whole, core, enhancing)")
    assert found.counts.tolist() == [[0, 1, 5, 0], [0, 0, 0, 2], [0, 0, 3, 0], [4, 0, 0, 0]]


def test_value_0_in_overlapping_regions_stays_background():
    scored = classes(everything=(0, 1, 2), one=1)
    found = only(confusions({(0, 1): 1, (2, 0): 2}, label_set(*scored)))
    assert found.names == ("background", "1 (everything, one)", "2 (everything)")
    assert found.counts.tolist() == [[0, 1, 0], [0, 0, 0], [2, 0, 0]]


def test_every_task_has_its_matrix_and_its_annotated_voxels():
    front = ScoredClass("front", (2, 3), True, "fronts", frozenset({4}))
    rock, ice = (ScoredClass(name, values, True, "zones") for name, values in (("rock", (1, 2, 4)), ("ice", (3,))))
    histogram = {(0, 0): 1, (1, 2): 2, (2, 1): 3, (3, 2): 4, (4, 3): 5, (9, 0): 6}
    fronts, zones = confusions(histogram, label_set(front, rock, ice, ignore=9))
    assert (fronts.task, fronts.names) == ("fronts", ("background", "front"))
    assert fronts.counts.tolist() == [[1, 2], [3, 4]]
    assert (zones.task, zones.names) == ("zones", ("background", "rock", "ice"))
    assert zones.counts.tolist() == [[1, 0, 0], [0, 5, 5], [0, 4, 0]]


def test_background_alone_is_no_task():
    zones = ScoredClass("rock", (1,), task="zones")
    assert [matrix.task for matrix in confusions({}, label_set(ScoredClass("background", (0,)), zones))] == ["zones"]


def test_names_that_are_the_same_are_told_apart():
    scored = (ScoredClass("background", (1,)), ScoredClass("root", (2, 3)), ScoredClass("root", (4,)))
    found = only(confusions({}, label_set(*scored)))
    assert found.names == ("background (no class)", "background (1)", "root (2, 3)", "root (4)")
    tricky = (ScoredClass("a", (1,)), ScoredClass("a", (2,)), ScoredClass("a (1)", (3,)))
    names = only(confusions({}, label_set(*tricky))).names
    assert len(set(names)) == len(names) == 4


def test_cases_are_added_up():
    labels = label_set(*classes(root=1))
    first, second = confusions({(0, 1): 1, (1, 1): 2}, labels), confusions({(1, 0): 3, (1, 1): 4}, labels)
    assert only(add_confusions([first, second])).counts.tolist() == [[0, 1], [3, 6]]
    assert only(first).counts.tolist() == [[0, 1], [0, 2]]
    assert only(add_confusions(iter([first]))).names == ("background", "root")
    assert add_confusions([]) == []


def test_matrices_of_other_classes_are_not_added():
    first, second = (confusions({}, label_set(*scored)) for scored in (classes(root=1), classes(pore=1)))
    with pytest.raises(InputError, match=r"pore.*cannot be added to.*root"):
        add_confusions([first, second])
    with pytest.raises(InputError, match="cannot be added"):
        add_confusions([first, []])


# Invariants

VALUES = st.integers(0, 5)
HISTOGRAMS = st.dictionaries(st.tuples(VALUES, VALUES), st.integers(1, 1000))
CLASSES = st.lists(
    st.builds(
        ScoredClass,
        name=st.sampled_from(["a", "b", "background", "1 (a)"]),
        values=st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True).map(tuple),
        task=st.sampled_from(["", "zones"]),
    ),
    max_size=5,
)


@given(HISTOGRAMS, CLASSES, st.sampled_from([None, 5]))
def test_every_annotated_voxel_is_counted_once_per_task(histogram, scored, ignore):
    annotated = sum(voxels for (ref, _), voxels in histogram.items() if ref != ignore)
    for matrix in confusions(histogram, label_set(*scored, ignore=ignore)):
        assert matrix.counts.sum() == annotated
        assert matrix.counts.shape == (len(matrix.names),) * 2
        assert len(set(matrix.names)) == len(matrix.names)


@given(HISTOGRAMS, CLASSES)
def test_swapping_the_maps_transposes_the_matrices(histogram, scored):
    swapped = {(pred, ref): voxels for (ref, pred), voxels in histogram.items()}
    labels = label_set(*scored)
    for there, back in zip(confusions(histogram, labels), confusions(swapped, labels), strict=True):
        assert np.array_equal(there.counts, back.counts.T)


@given(HISTOGRAMS)
def test_rows_agree_with_the_overlap_counts(histogram):
    scored = classes(a=1, b=(2, 4), c=3)
    found = only(confusions(histogram, label_set(*scored, ignore=5)))
    for index, one in enumerate(scored, start=1):
        counts = counts_of(histogram, one.values, {5})
        assert counts.tp == found.counts[index, index]
        assert counts.n_ref == found.counts[index].sum()
        assert counts.n_pred == found.counts[:, index].sum()


@given(HISTOGRAMS, HISTOGRAMS, CLASSES)
def test_the_sum_of_cases_is_the_matrix_of_their_summed_histograms(first, second, scored):
    labels = label_set(*scored)
    together = {key: first.get(key, 0) + second.get(key, 0) for key in first.keys() | second.keys()}
    added = add_confusions([confusions(first, labels), confusions(second, labels)])
    for matrix, expected in zip(added, confusions(together, labels), strict=True):
        assert np.array_equal(matrix.counts, expected.counts)
