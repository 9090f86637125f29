"""Grey levels become class indices and class indices the same grey levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_ext.caffe.grey_levels import FRONT, ZONES, to_grey, to_indices
from nnunet_ext.errors import InputError


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=5), elements=st.integers(0, 3)))
def test_back_and_forth_is_the_identity(indices):
    found, inexact = to_indices(to_grey(indices, ZONES), ZONES)
    np.testing.assert_array_equal(found, indices)
    assert (found.dtype, inexact) == (np.uint8, 0)


def test_the_palette_does_not_depend_on_what_occurs():
    np.testing.assert_array_equal(to_grey(np.array([1, 2, 3]), ZONES), [64, 127, 254])
    np.testing.assert_array_equal(to_grey(np.ones((1, 2), int), FRONT), [[255, 255]])


def test_other_grey_values_are_told_with_their_pixels():
    with pytest.raises(InputError, match=r"63 \(2 pixels\), 200 \(1 pixels\) found, expected 0 \(na\), 64 \(rock\)"):
        to_indices(np.array([[63, 63, 200, 254]]), ZONES)


def test_within_the_tolerance_the_nearest_level_counts():
    found, inexact = to_indices(np.array([1, 63, 66, 127, 255], np.uint8), ZONES, tolerance=2)
    np.testing.assert_array_equal(found, [0, 1, 1, 2, 3])
    assert inexact == 4
    with pytest.raises(InputError, match="67"):
        to_indices(np.array([67]), ZONES, tolerance=2)


def test_an_index_without_level():
    with pytest.raises(InputError, match=r"\[4\] found, expected 0 to 3: na, rock"):
        to_grey(np.array([0, 4]), ZONES)
