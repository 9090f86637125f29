"""Coverage per class, and the labels that report where they are written to."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.annotation.classes import AnnotationClass, annotation_classes
from nnunet_ext.annotation.coverage import Coverage, coverage_text
from nnunet_ext.annotation.tracked import tracked
from nnunet_ext.class_table import ClassTable

CLASSES = [AnnotationClass(value, f"class {value}", (0, 0, value), str(value)) for value in range(4)]
SHAPE = (5, 4, 6)


def test_voxels_and_slices_are_counted_dense_and_sparse():
    labels = np.zeros(SHAPE, np.uint8)
    labels[1] = 1
    labels[1, 0, 0] = 2
    labels[3, 0, :2] = 1
    coverage = Coverage(SHAPE)
    coverage.update(labels, range(5))
    one, two, three = coverage.table(CLASSES)
    assert (one.voxels, one.slices, one.dense, one.sparse) == (25, 2, 1, 1)
    assert (two.voxels, two.slices, two.dense, two.sparse) == (1, 1, 1, 0)
    assert (three.voxels, three.slices) == (0, 0)
    assert coverage.annotated_slices() == [1, 3]
    assert coverage.annotated_share(1) == 1
    assert coverage.annotated_share(3) == 2 / 24


def test_a_slice_is_dense_from_95_percent_on():
    labels = np.ones((2, 10, 10), np.uint8)
    labels[0].flat[:5] = 0
    labels[1].flat[:6] = 0
    coverage = Coverage(labels.shape)
    coverage.update(labels, range(2))
    assert (coverage.table(CLASSES)[0].dense, coverage.table(CLASSES)[0].sparse) == (1, 1)


def test_the_table_for_the_terminal_has_a_line_per_class():
    lines = coverage_text(Coverage(SHAPE).table(CLASSES)).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1


index = st.integers(-5, 4)
slices = st.builds(slice, st.none() | index, st.none() | index, st.none() | st.sampled_from([1, 2, -1]))
keys = st.one_of(
    index,
    slices,
    st.just(Ellipsis),
    st.tuples(index, st.integers(0, 3)),
    st.tuples(slices, slices, st.integers(0, 5)),
    st.lists(index, min_size=1).map(np.array),
    st.lists(st.tuples(index, st.integers(0, 3), st.integers(0, 5)), min_size=1).map(
        lambda points: tuple(np.array(axis) for axis in zip(*points, strict=True))
    ),
    st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).random(SHAPE) < 0.03),
    st.lists(st.booleans(), min_size=5, max_size=5).map(np.array),
    st.just((Ellipsis, slice(0, 2))),
    st.just((None, 2)),
)


@given(st.lists(st.tuples(keys, st.integers(0, 3)), max_size=8))
def test_counting_the_reported_slices_is_as_good_as_counting_all(writes):
    reported: set[int] = set()
    labels = tracked(np.zeros(SHAPE, np.uint8), reported.update)
    coverage = Coverage(SHAPE)
    for key, value in writes:
        labels[key] = value
        coverage.update(np.asarray(labels), reported)
        reported.clear()
    everything = Coverage(SHAPE)
    everything.update(np.asarray(labels), range(5))
    assert coverage.table(CLASSES) == everything.table(CLASSES)


def test_one_painted_slice_is_all_that_is_reported():
    reported: list[int] = []
    labels = tracked(np.zeros(SHAPE, np.uint8), reported.extend)
    labels[3, 1:2, :] = 1
    labels[-1, 0, 0] = 1
    labels[np.array([2, 2]), np.array([0, 1]), np.array([0, 1])] = 1
    assert reported == [3, 4, 2]


def test_classes_without_colour_get_one_of_their_own_and_keys_go_beyond_nine():
    classes = annotation_classes(ClassTable({value: f"c{value}" for value in range(1, 22)}, {1: (255, 0, 0)}))
    assert len({one.color for one in classes}) == 22
    assert [classes[value].key for value in (0, 9, 10, 19, 20)] == ["0", "9", "Alt-0", "Alt-9", ""]
