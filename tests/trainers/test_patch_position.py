from __future__ import annotations

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from nnunet_ext.errors import InputError
from nnunet_ext.trainers.patch_position import central_crop_offset, draw_any_corner, draw_corner


@st.composite
def drawn_corners(draw: st.DrawFn) -> tuple[tuple[int, ...], ...]:
    shape = tuple(draw(st.lists(st.integers(1, 30), min_size=1, max_size=3)))
    voxel = tuple(draw(st.integers(0, size - 1)) for size in shape)
    patch = tuple(draw(st.integers(1, 30)) for _ in shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return voxel, shape, patch, draw_corner(voxel, shape, patch, rng), draw_any_corner(shape, patch, rng)


@given(drawn_corners())
def test_a_drawn_patch_contains_the_voxel_and_wastes_no_space(drawn: tuple[tuple[int, ...], ...]) -> None:
    for voxel, size, patch, corner, any_corner in zip(*drawn, strict=True):
        assert corner <= voxel < corner + patch
        for start in (corner, any_corner):
            if size >= patch:
                assert 0 <= start <= size - patch
            else:
                assert start <= 0
                assert size <= start + patch


@pytest.mark.parametrize(
    ("voxel", "size", "patch", "corners"),
    [(50, 100, 10, range(41, 51)), (2, 100, 10, range(3)), (99, 100, 10, [90]), (3, 8, 12, range(-4, 1))],
)
def test_every_possible_corner_is_drawn_equally_often(
    voxel: int, size: int, patch: int, corners: range | list[int]
) -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_corner((voxel,), (size,), (patch,), rng)[0] for _ in range(2000)]
    counts = [drawn.count(corner) for corner in corners]
    assert sum(counts) == len(drawn)
    assert len(counts) == 1 or chisquare(counts).pvalue > 0.01


def test_a_voxel_outside_of_the_volume_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(5, 10\) is outside of \(10, 10\)"):
        draw_corner((5, 10), (10, 10), (4, 4), np.random.default_rng(0))


sizes = st.integers(1, 9).flatmap(lambda final: st.tuples(st.just(final), st.integers(final, final + 7)))


@given(st.lists(sizes, min_size=2, max_size=3))
def test_the_offset_is_that_of_the_spatial_transform(axes: list[tuple[int, int]]) -> None:
    final, patch = zip(*axes, strict=True)
    image = torch.arange(float(np.prod(patch))).reshape(1, *patch)
    cropped = SpatialTransform(final, 0, False)(image=image)["image"]
    offset = central_crop_offset(patch, final)
    assert torch.equal(cropped, image[(slice(None), *map(_slice, offset, final))])


@given(st.integers(1, 5), sizes, sizes)
def test_the_offset_is_that_of_the_spatial_transform_on_single_slices(
    depth: int, y: tuple[int, int], x: tuple[int, int]
) -> None:
    patch, final = (depth, y[1], x[1]), (depth, y[0], x[0])
    image = torch.arange(float(np.prod(patch))).reshape(1, *patch)
    sample = Convert3DTo2DTransform()(image=image)
    cropped = Convert2DTo3DTransform()(**SpatialTransform(final[1:], 0, False)(**sample))["image"]
    offset = central_crop_offset(patch, final)
    assert torch.equal(cropped, image[(slice(None), *map(_slice, offset, final))])


def _slice(start: int, length: int) -> slice:
    return slice(start, start + length)
