"""Boxes of the values of label volumes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evaluation import boxes as boxes_module
from evaluation.boxes import class_box, value_boxes
from evaluation.masks import grown_box, union_box
from nnunet_ext.errors import InputError

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)
TYPES = [*(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), ">i2", ">u4", "?"]


def naive(labels):
    found = {}
    for value in np.unique(labels):
        points = np.argwhere(labels == value)
        found[int(value)] = tuple(slice(low, high + 1) for low, high in zip(points.min(0), points.max(0), strict=True))
    return found


@given(st.sampled_from(TYPES).flatmap(lambda kind: st.tuples(hnp.arrays(kind, SHAPES), st.permutations(range(3)))))
@settings(deadline=None)
def test_boxes_are_those_of_each_value_in_any_type_and_order_of_axes(drawn):
    labels = drawn[0].transpose(drawn[1])
    found = value_boxes(labels)
    assert found == naive(labels)
    assert list(found) == sorted(found)


@given(hnp.arrays(np.int32, SHAPES, elements=st.integers(-3, 4)), st.integers(1, 40))
@settings(deadline=None)
def test_boxes_are_joined_over_chunks(labels, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes_module, "CHUNK_VOXELS", size)
        assert value_boxes(labels) == naive(labels)
        patch.setattr(boxes_module, "SMALL", 0)
        assert value_boxes(labels) == naive(labels)


@pytest.mark.parametrize("value", [65535, 65536, 2**63 - 1])
def test_large_values_are_found(value):
    labels = np.zeros((3, 4, 5), dtype=np.int64)
    labels[1, 2:4, 3] = value
    everywhere = (slice(0, 3), slice(0, 4), slice(0, 5))
    assert value_boxes(labels) == {0: everywhere, value: (slice(1, 2), slice(2, 4), slice(3, 4))}


def test_a_volume_without_voxels_has_no_boxes():
    assert value_boxes(np.zeros((0, 4, 4), dtype=np.uint8)) == {}


@pytest.mark.parametrize("labels", [np.zeros((2, 2, 2)), np.zeros((2, 2), dtype=int)])
def test_labels_are_a_volume_of_integers(labels):
    with pytest.raises(InputError, match="expected a volume"):
        value_boxes(labels)


@given(
    SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.uint8, shape, elements=st.integers(0, 4))] * 2)),
    st.sets(st.integers(0, 5)),
)
def test_a_class_box_holds_all_its_values_in_all_volumes_and_is_the_smallest(pair, values):
    found = class_box(values, *map(value_boxes, pair))
    assert found == union_box(*(np.isin(labels, list(values)) for labels in pair))


def test_a_grown_box_ends_at_the_image():
    assert grown_box((slice(0, 2), slice(3, 4), slice(2, 5)), (4, 5, 5)) == (slice(0, 3), slice(2, 5), slice(1, 5))
