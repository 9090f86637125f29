from __future__ import annotations

import numpy as np
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.imageio import Geometry

lengths = st.floats(1e-3, 1e3)
positions = st.floats(-1e4, 1e4)
triples = st.tuples(positions, positions, positions)


@given(
    spacing=st.tuples(lengths, lengths, lengths),
    origin=triples,
    direction=st.tuples(triples, triples, triples),
)
def test_geometry_survives_the_way_to_itk_and_back(spacing, origin, direction):
    geometry = Geometry(spacing, origin, direction)
    assert Geometry.from_itk(*geometry.to_itk()) == geometry


def test_geometry_takes_the_numbers_of_simpleitk_in_reversed_order():
    image = SimpleITK.Image(2, 3, 4, SimpleITK.sitkUInt8)
    image.SetSpacing((0.5, 0.6, 2.5))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, 0, 0, 1, 1, 0, 0))
    geometry = Geometry.from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    assert geometry.spacing == (2.5, 0.6, 0.5)
    assert geometry.origin == (3, 2, 1)
    # Array axis z (ITK's k) points along space axis y.
    assert [row[0] for row in geometry.direction] == [0, 1, 0]


def test_shifted_origin_is_where_simpleitk_puts_the_first_voxel_of_the_crop():
    image = SimpleITK.Image(9, 9, 9, SimpleITK.sitkUInt8)
    image.SetSpacing((0.5, 0.6, 2.5))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, 0, 0, -1, 1, 0, 0))
    geometry = Geometry.from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    crop = image[3:, 2:, 1:]
    assert np.allclose(geometry.shifted((1, 2, 3)).origin, crop.GetOrigin()[::-1])
