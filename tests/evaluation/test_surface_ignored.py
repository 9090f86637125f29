"""Surfaces of masks in images that are annotated in part: ignored voxels are neither in a mask nor outside it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from evaluation import surface as surface_module
from evaluation.boxes import class_box, value_boxes
from evaluation.masks import check_masks, grown_box
from evaluation.surface import boundary_iou, surface_distances, surface_voxels
from evaluation.surface_scores import SURFACE_METRICS, hd, nsd
from nnunet_ext.errors import InputError

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)
TRIPLES = SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.bool_, shape)] * 3))
STEPS = st.tuples(*[st.floats(0.1, 8)] * 3)
ROUTES = {"tree": (0, 0), "map": (10**9, 10**9), "near in the tree, far in the map": (0, 10**9)}


def box(shape, *ranges):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*edges) for edges in ranges)] = True
    return mask


def is_outside(voxel, axis, step, mask, ignored):
    """Tell whether a neighbour is annotated and not in the mask, or beyond an image edge that counts."""
    there, back = ((*voxel[:axis], voxel[axis] + side, *voxel[axis + 1 :]) for side in (step, -step))
    if 0 <= there[axis] < mask.shape[axis]:
        return not mask[there] and not ignored[there]
    return not (0 <= back[axis] < mask.shape[axis] and ignored[back])


def naive_surface(mask, ignored):
    axes = [axis for axis in range(3) if axis or mask.shape[0] > 1]
    found = [
        voxel
        for voxel in itertools.product(*map(range, mask.shape))
        if mask[voxel]
        and not ignored[voxel]
        and any(is_outside(voxel, axis, step, mask, ignored) for axis in axes for step in (-1, 1))
    ]
    return np.array(found).reshape(-1, 3)


def naive(pred, ref, ignored, spacing):
    pred_voxels, ref_voxels = (naive_surface(mask, ignored) * spacing for mask in (pred, ref))
    distances = cdist(pred_voxels, ref_voxels)
    return distances.min(axis=1, initial=np.inf), distances.min(axis=0, initial=np.inf)


def take_route(monkeypatch, route):
    near, far = ROUTES[route]
    monkeypatch.setattr(surface_module, "MAP_VOXELS", near)
    monkeypatch.setattr(surface_module, "MAP_VOXELS_FAR", far)


@given(TRIPLES, STEPS)
@settings(deadline=None)
def test_distances_are_those_of_every_pair_of_surface_voxels(masks, spacing):
    pred, ref, ignored = masks
    found = surface_distances(pred, ref, spacing, ignored=ignored)
    there, back = naive(pred, ref, ignored, spacing)
    np.testing.assert_allclose(found.to_reference, there, rtol=5e-5)
    np.testing.assert_allclose(found.to_prediction, back, rtol=5e-5)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 0.8)])
@pytest.mark.parametrize("annotated", [0.1, 0.5, 0.95])
def test_every_route_gives_the_distances_of_every_pair(monkeypatch, route, spacing, annotated):
    take_route(monkeypatch, route)
    rng = np.random.default_rng(0)
    for density in (0.05, 0.5, 0.97):
        pred, ref = rng.random((2, 8, 10, 9)) < density
        ignored = rng.random((8, 10, 9)) > annotated
        found = surface_distances(pred, ref, spacing, ignored=ignored)
        there, back = naive(pred, ref, ignored, spacing)
        np.testing.assert_allclose(found.to_reference, there, rtol=2e-6)
        np.testing.assert_allclose(found.to_prediction, back, rtol=2e-6)


@pytest.mark.parametrize("route", ROUTES)
def test_a_solid_slab_of_surface_voxels_is_at_no_distance_from_itself_on_every_route(monkeypatch, route):
    take_route(monkeypatch, route)
    # Two full slices between unannotated ones and background: every voxel is surface, each touching the background.
    mask = box((6, 9, 9), (2, 4), (0, 9), (0, 9))
    ignored = box((6, 9, 9), (0, 2), (0, 9), (0, 9))
    found = surface_distances(mask, box((6, 9, 9), (2, 3), (0, 9), (0, 9)), (2, 1, 1), ignored=ignored)
    assert len(found.to_reference) == 81 + 4 * 8
    assert hd(found) == pytest.approx(2)


@given(TRIPLES)
@settings(deadline=None)
def test_surface_voxels_are_annotated_voxels_of_the_mask_next_to_annotated_ones_outside(masks):
    mask, _, ignored = masks
    expected = np.zeros_like(mask)
    # Here a volume of one slice is no plane: the image edge is beside every voxel.
    voxels = naive_surface(mask, ignored) if len(mask) > 1 else np.argwhere(mask & ~ignored)
    expected[tuple(voxels.astype(int).T)] = True
    np.testing.assert_array_equal(surface_voxels(mask, ignored=ignored), expected)


@given(TRIPLES)
@settings(deadline=None)
def test_without_ignored_voxels_nothing_changes(masks):
    pred, ref, _ = masks
    one = surface_distances(pred, ref, (3, 1, 2))
    other = surface_distances(pred, ref, (3, 1, 2), ignored=np.zeros_like(pred))
    np.testing.assert_allclose(one.to_reference, other.to_reference, rtol=2e-6)
    np.testing.assert_allclose(one.to_prediction, other.to_prediction, rtol=2e-6)


def in_a_volume(plane, slices, at):
    """Put a plane into a volume, annotated in that slice alone and full of the class elsewhere."""
    volume = np.ones((slices, *plane.shape[1:]), dtype=bool)
    volume[at] = plane[0]
    return volume


@given(st.data())
@settings(deadline=None)
def test_one_annotated_slice_has_the_surfaces_and_distances_of_that_slice(data):
    pred, ref = (data.draw(hnp.arrays(np.bool_, (1, 6, 7))) for _ in range(2))
    at = data.draw(st.sampled_from([0, 2, 4]))
    ignored = np.ones((5, 6, 7), dtype=bool)
    ignored[at] = False
    spacing = (5, 1, 0.8)
    volumes = [in_a_volume(mask, 5, at) for mask in (pred, ref)]
    inside, alone = surface_distances(*volumes, spacing, ignored=ignored), surface_distances(pred, ref, spacing)
    np.testing.assert_allclose(inside.to_reference, alone.to_reference, rtol=2e-6)
    np.testing.assert_allclose(inside.to_prediction, alone.to_prediction, rtol=2e-6)
    for distance in (0, 1):
        expected = boundary_iou(pred, ref, spacing, distance)
        assert boundary_iou(*volumes, spacing, distance, ignored=ignored) == pytest.approx(expected, nan_ok=True)


def test_an_image_edge_counts_where_the_other_side_is_annotated():
    mask = box((5, 6, 6), (0, 2), (1, 5), (1, 5))
    ignored = box((5, 6, 6), (2, 5), (0, 6), (0, 6))
    assert np.count_nonzero(surface_voxels(mask, ignored=ignored)[0]) == 16
    ignored[1] = True
    assert np.count_nonzero(surface_voxels(mask, ignored=ignored)[0]) == 12


def test_a_mask_among_ignored_voxels_alone_has_no_surface():
    mask, ref = box((5, 5, 5), (2, 3), (2, 3), (2, 3)), box((5, 5, 5), (2, 3), (2, 3), (4, 5))
    ignored = ~(mask | ref)
    ignored[1, 2, 4] = False
    found = surface_distances(mask, ref, (1, 1, 1), ignored=ignored)
    assert found.empty == "pred"
    assert found.to_prediction.tolist() == [math.inf]
    assert math.isnan(hd(found))
    assert nsd(found, 1) == 0


def test_where_all_is_ignored_both_are_empty():
    full = np.ones((3, 4, 5), dtype=bool)
    found = surface_distances(full, full, (1, 1, 1), ignored=full)
    assert found.empty == "both"
    assert all(metric(found) == 0 for metric in SURFACE_METRICS.values())
    assert math.isnan(boundary_iou(full, full, (1, 1, 1), 2, ignored=full))


@given(TRIPLES, STEPS, st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3))
@settings(deadline=None)
def test_a_crop_with_a_margin_of_one_voxel_gives_the_same(masks, spacing, margins):
    pred, ref, ignored = (np.pad(mask, margins, constant_values=mask is masks[2]) for mask in masks)
    cut = grown_box(class_box([True], *map(value_boxes, (pred, ref))), pred.shape)
    planar = pred.shape[0] == 1
    whole = surface_distances(pred, ref, spacing, ignored=ignored)
    part = surface_distances(pred[cut], ref[cut], spacing, ignored=ignored[cut], planar=planar)
    np.testing.assert_allclose(whole.to_reference, part.to_reference, rtol=2e-6)
    np.testing.assert_allclose(whole.to_prediction, part.to_prediction, rtol=2e-6)


@given(TRIPLES, st.sampled_from([0, 0.9, 1, 1.2, 1.5, 1.7, 2, 2.3, 2.6, 3, 4.1, 5.9]))
@settings(deadline=None)
def test_the_boundary_iou_is_that_of_the_voxels_near_the_surfaces(masks, distance):
    pred, ref, ignored = masks
    spacing = np.array([2, 1, 1.5])
    regions = []
    for mask in (pred, ref):
        region = np.zeros_like(mask)
        voxels, surface = np.argwhere(mask & ~ignored), naive_surface(mask, ignored)
        near = cdist(voxels * spacing, surface * spacing).min(axis=1, initial=np.inf) <= distance * (1 + 1e-6)
        region[tuple(voxels[near].T)] = True
        regions.append(region)
    union = np.count_nonzero(regions[0] | regions[1])
    expected = np.count_nonzero(regions[0] & regions[1]) / union if union else math.nan
    assert boundary_iou(pred, ref, spacing, distance, ignored=ignored) == pytest.approx(expected, nan_ok=True)


# What is refused


def test_a_mesh_of_masks_with_ignored_voxels_is_refused_with_the_way_out():
    mask = box((4, 4, 4), (1, 3), (1, 3), (1, 3))
    with pytest.raises(InputError, match="--surface voxel"):
        surface_distances(mask, mask, (1, 1, 1), surface="mesh", ignored=box(mask.shape, (0, 1), (0, 1), (0, 1)))
    found = surface_distances(mask, mask, (1, 1, 1), surface="mesh", ignored=np.zeros_like(mask))
    assert hd(found) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ignored", [np.zeros((4, 4, 5), dtype=bool), np.zeros((4, 4, 4), dtype=np.uint8)])
def test_the_mask_of_ignored_voxels_is_boolean_and_of_the_shape_of_the_image(ignored):
    mask = np.ones((4, 4, 4), dtype=bool)
    for refusing in (
        lambda: check_masks(mask, mask, (1, 1, 1), ignored=ignored),
        lambda: surface_distances(mask, mask, (1, 1, 1), ignored=ignored),
        lambda: boundary_iou(mask, mask, (1, 1, 1), 1, ignored=ignored),
        lambda: surface_voxels(mask, ignored=ignored),
    ):
        with pytest.raises(
            InputError, match=r"ignored voxels has shape .* expected a boolean mask of shape \(4, 4, 4\)"
        ):
            refusing()
