"""Which slices become training cases."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_conversion.z_ranges import crop_range, split_ranges


@pytest.mark.parametrize(
    ("annotated", "expected"),
    [([99], (51, 148)), ([0], (0, 49)), ([199], (151, 200)), ([60, 120], (12, 169))],
)
def test_the_crops_of_the_specification(annotated, expected):
    assert crop_range(annotated, 200, 48) == expected


def test_no_context_keeps_the_annotated_slices_and_none_keeps_all():
    assert crop_range([5, 9], 20, 0) == (5, 10)
    assert crop_range([5, 9], 20, None) == (0, 20)


annotations = st.lists(st.integers(0, 99), min_size=1, max_size=20, unique=True).map(sorted)


@given(annotations, st.one_of(st.none(), st.integers(0, 60)), st.integers(1, 8))
def test_split_ranges_share_no_slice_and_lose_no_annotation(annotated, context, parts):
    ranges = split_ranges(annotated, 100, context, parts)
    assert len(ranges) == min(parts, len(annotated))
    for start, stop in ranges:
        assert 0 <= start < stop <= 100
        assert any(start <= z < stop for z in annotated)
    assert all(left[1] <= right[0] for left, right in pairwise(ranges))
    assert all(any(start <= z < stop for start, stop in ranges) for z in annotated)


@given(annotations, st.integers(0, 60))
def test_one_part_is_the_crop(annotated, context):
    assert split_ranges(annotated, 100, context, 1) == [crop_range(annotated, 100, context)]
