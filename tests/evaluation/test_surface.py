"""Surface distances against analytic solids, a naive reference, SimpleITK and published known answers."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from evaluation import mesh as mesh_module
from evaluation import surface as surface_module
from evaluation.masks import union_box
from evaluation.surface import boundary_iou, surface_distances, surface_voxels
from evaluation.surface_scores import (
    SURFACE_METRICS,
    SurfaceDistances,
    assd,
    hd,
    hd95,
    hd95_pooled,
    masd,
    nsd,
    percentile,
)
from nnunet_ext.errors import InputError
from tests.builders import SHARED_DATA

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 1.0, 1.0), (5.0, 0.8, 0.8)]
ROUTES = {"tree": (0, 0), "map": (10**9, 10**9), "near in the tree, far in the map": (0, 10**9)}

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(*[hnp.arrays(np.bool_, shape)] * 2))
STEPS = st.tuples(*[st.floats(0.1, 8)] * 3)


def box(shape, *ranges):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*edges) for edges in ranges)] = True
    return mask


def plane(shape, *ranges):
    return box((1, *shape), (0, 1), *ranges)


def ball(radius, spacing, size=27.0):
    grid = np.ogrid[tuple(slice(math.ceil(2 * size / step) + 1) for step in spacing)]
    return sum((index * step - size) ** 2 for index, step in zip(grid, spacing, strict=True)) <= radius**2


def naive_surface(mask):
    padded = np.pad(mask, 1)
    axes = [axis for axis in range(3) if axis or mask.shape[0] > 1]
    return np.array(
        [
            voxel
            for voxel in np.argwhere(mask)
            if not all(
                padded[tuple(voxel + 1 + step * np.eye(3, dtype=int)[axis])] for axis in axes for step in (-1, 1)
            )
        ]
    ).reshape(-1, 3)


def naive(pred, ref, spacing):
    """Return both lists of distances from every pair of surface voxels."""
    distances = cdist(naive_surface(pred) * spacing, naive_surface(ref) * spacing)
    return distances.min(axis=1, initial=np.inf), distances.min(axis=0, initial=np.inf)


def lists(there, back, **weights):
    return SurfaceDistances(np.array(there, dtype=float), np.array(back, dtype=float), **weights)


def take_route(monkeypatch, route):
    near, far = ROUTES[route]
    monkeypatch.setattr(surface_module, "MAP_VOXELS", near)
    monkeypatch.setattr(surface_module, "MAP_VOXELS_FAR", far)


# Surfaces


def test_the_surface_is_the_face_neighbours_and_the_image_edge():
    mask = box((5, 6, 7), (1, 4), (1, 5), (1, 6))
    assert np.array_equal(mask & ~surface_voxels(mask), box((5, 6, 7), (2, 3), (2, 4), (2, 5)))
    full = np.ones((4, 4, 4), dtype=bool)
    assert np.array_equal(full & ~surface_voxels(full), box((4, 4, 4), (1, 3), (1, 3), (1, 3)))


def test_a_corner_neighbour_outside_does_not_make_a_surface():
    mask = np.ones((5, 5, 5), dtype=bool)
    mask[1, 1, 1] = False
    assert not surface_voxels(mask)[2, 2, 2]
    assert surface_voxels(mask)[2, 1, 1]


def test_one_slice_is_a_plane_unless_it_is_a_crop():
    ref, pred = plane((9, 9), (2, 7), (2, 7)), plane((9, 9), (2, 7), (2, 8))
    assert len(surface_distances(pred, ref, (5, 1, 1)).to_prediction) == 16
    assert len(surface_distances(pred, ref, (5, 1, 1), planar=False).to_prediction) == 25
    thick_ref, thick_pred = (np.pad(mask, [(1, 1), (0, 0), (0, 0)]) for mask in (ref, pred))
    assert len(surface_distances(thick_pred, thick_ref, (5, 1, 1)).to_prediction) == 25


@given(PAIRS, STEPS)
@settings(deadline=None)
def test_distances_are_those_of_every_pair_of_surface_voxels(pair, spacing):
    pred, ref = pair
    found = surface_distances(pred, ref, spacing)
    there, back = naive(pred, ref, spacing)
    np.testing.assert_allclose(found.to_reference, there, rtol=5e-5)
    np.testing.assert_allclose(found.to_prediction, back, rtol=5e-5)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", [(9, 12, 11), (1, 20, 25)])
def test_every_route_gives_the_distances_of_every_pair(monkeypatch, route, spacing, shape):
    take_route(monkeypatch, route)
    rng = np.random.default_rng(0)
    for density in (0.02, 0.3, 0.8):
        pred, ref = (rng.random((2, *shape)) < density) | box((2, *shape), (0, 2), (0, 1), (0, 1), (0, 1))
        found = surface_distances(pred, ref, spacing)
        there, back = naive(pred, ref, spacing)
        np.testing.assert_allclose(found.to_reference, there, rtol=2e-6)
        np.testing.assert_allclose(found.to_prediction, back, rtol=2e-6)


@pytest.mark.parametrize("route", ROUTES)
def test_surfaces_on_the_edge_of_the_box_are_found_on_every_route(monkeypatch, route):
    take_route(monkeypatch, route)
    full, hollow = np.ones((5, 5, 5), dtype=bool), np.ones((5, 5, 5), dtype=bool)
    hollow[2, 2, 2] = False
    assert hd(surface_distances(hollow, full, (1, 1, 1))) == pytest.approx(1)
    thin = box((2, 9, 9), (0, 2), (0, 9), (0, 9))
    assert hd(surface_distances(box((2, 9, 9), (0, 2), (0, 9), (0, 1)), thin, (1, 1, 1))) == pytest.approx(8)


# Properties


@given(PAIRS, STEPS)
@settings(deadline=None)
def test_the_distances_are_symmetric(pair, spacing):
    one, other = (surface_distances(*masks, spacing) for masks in (pair, pair[::-1]))
    np.testing.assert_array_equal(one.to_reference, other.to_prediction)
    for metric in SURFACE_METRICS.values():
        assert metric(one) == pytest.approx(metric(other), nan_ok=True)


@given(PAIRS, STEPS, st.tuples(*[st.tuples(st.integers(1, 3), st.integers(1, 3))] * 3))
@settings(deadline=None)
def test_the_place_in_the_image_does_not_matter(pair, spacing, margins):
    here = surface_distances(*pair, spacing, planar=False if len(pair[0]) == 1 else None)
    there = surface_distances(*(np.pad(mask, margins) for mask in pair), spacing)
    np.testing.assert_array_equal(here.to_reference, there.to_reference)
    np.testing.assert_array_equal(here.to_prediction, there.to_prediction)


@given(PAIRS, STEPS, st.floats(0.1, 10), st.sampled_from(["voxel", "mesh"]))
@settings(deadline=None)
def test_distances_grow_with_the_spacing(pair, spacing, factor, surface):
    small = surface_distances(*pair, spacing, surface=surface)
    large = surface_distances(*pair, [factor * step for step in spacing], surface=surface)
    np.testing.assert_allclose(large.to_reference, factor * small.to_reference, rtol=5e-5, atol=1e-5)
    for metric in SURFACE_METRICS.values():
        assert metric(large) == pytest.approx(factor * metric(small), rel=5e-5, abs=1e-5, nan_ok=True)


@given(hnp.arrays(np.bool_, SHAPES), STEPS, st.sampled_from(["voxel", "mesh"]))
@settings(deadline=None)
def test_a_mask_is_at_no_distance_from_itself(mask, spacing, surface):
    found = surface_distances(mask, mask, spacing, surface=surface)
    assert all(metric(found) == pytest.approx(0, abs=1e-6) for metric in SURFACE_METRICS.values())
    assert nsd(found, 1e-6) == pytest.approx(1 if mask.any() else math.nan, nan_ok=True)
    assert boundary_iou(mask, mask, spacing, 1) == pytest.approx(1 if mask.any() else math.nan, nan_ok=True)


# Analytic solids


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("surface", ["voxel", "mesh"])
def test_boxes_that_differ_by_one_side(spacing, surface):
    ref = box((14, 16, 18), (2, 10), (3, 13), (4, 12))
    pred = box((14, 16, 18), (2, 12), (3, 13), (4, 12))
    found = surface_distances(pred, ref, spacing, surface=surface)
    assert hd(found) == pytest.approx(2 * spacing[0])
    assert nsd(found, 2 * spacing[0]) == pytest.approx(1)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_boxes_apart_have_the_distances_of_their_sides(spacing):
    ref, pred = box((30, 8, 8), (2, 6), (2, 6), (2, 6)), box((30, 8, 8), (20, 24), (2, 6), (2, 6))
    found = surface_distances(pred, ref, spacing)
    assert hd(found) == pytest.approx(18 * spacing[0])
    assert found.to_reference.min() == pytest.approx(15 * spacing[0])
    assert masd(found) == pytest.approx(assd(found))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("surface", "below"), [("voxel", 0.55), ("mesh", 0.75)])
def test_concentric_spheres_are_apart_by_the_difference_of_their_radii(spacing, surface, below):
    found = surface_distances(ball(25, spacing), ball(20, spacing), spacing, surface=surface)
    assert 5 <= hd(found) < 6.1
    assert 5 <= hd95(found) < 5.8
    assert 5 - below < masd(found) <= assd(found) < 5
    assert nsd(found, 5 - max(1.5, 0.75 * spacing[0])) < 0.1
    assert nsd(found, 6.1) == pytest.approx(1)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_mesh_of_a_sphere_is_a_little_larger_than_the_sphere(spacing):
    mask = ball(20, spacing)
    found = surface_distances(mask, mask, spacing, surface="mesh")
    assert 1.05 < found.prediction_weights.sum() / (4 * math.pi * 20**2) < 1.25


def test_the_mesh_of_a_box_has_its_area_less_the_bevelled_edges():
    found = surface_distances(*[box((12, 12, 12), (1, 11), (1, 11), (1, 11))] * 2, (2, 1, 1), surface="mesh")
    bevels = 4 * 18 * math.hypot(0.5, 0.5) + 8 * 9 * math.hypot(1, 0.5) + 8 * 0.375
    assert found.prediction_weights.sum() == pytest.approx(2 * 81 + 4 * 162 + bevels)
    lengths = surface_distances(*[plane((12, 12), (1, 11), (1, 11))] * 2, (7, 2, 1), surface="mesh").reference_weights
    assert lengths.sum() == pytest.approx(2 * 9 + 2 * 18 + 4 * math.hypot(1, 0.5))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radii", [(8, 9), (5, 12)])
def test_the_nearest_triangles_are_found(monkeypatch, spacing, radii):
    masks = [ball(radius, spacing, size=14) for radius in radii]
    found = surface_distances(*masks, spacing, surface="mesh")
    monkeypatch.setattr(mesh_module, "NEAREST_TRIANGLES", 400)
    better = surface_distances(*masks, spacing, surface="mesh")
    np.testing.assert_allclose(found.to_reference, better.to_reference, atol=1e-9)
    np.testing.assert_allclose(found.to_prediction, better.to_prediction, atol=1e-9)


def test_a_point_is_nearest_to_the_inside_a_side_or_a_corner_of_a_triangle():
    triangle = np.array([[0, 0, 0], [0, 4, 0], [0, 0, 3]], dtype=float)
    points = np.array([[2, 1, 1], [0, -3, 1], [0, 4, 3], [0, 7, -4], [-1, 0, 0]], dtype=float)
    squared = mesh_module._squared_to_triangle(points, np.repeat(triangle[None], len(points), axis=0))
    np.testing.assert_allclose(squared, [4, 9, (12 / 5) ** 2, 25, 1])


@given(hnp.arrays(np.float64, (5, 4, 3), elements=st.integers(-4, 4)))
@settings(deadline=None)
def test_no_point_of_a_triangle_is_nearer_than_its_distance(corners):
    point, triangles = corners[:, 0], corners[:, 1:]
    found = np.sqrt(mesh_module._squared_to_triangle(point, triangles))
    steps = np.linspace(0, 1, 41)
    weights = np.array([(u, v, 1 - u - v) for u, v in itertools.product(steps, steps) if u + v <= 1 + 1e-9])
    sampled = np.linalg.norm(point[:, None] - np.einsum("wc,nca->nwa", weights, triangles), axis=2).min(axis=1)
    assert np.all(found <= sampled + 1e-9)
    assert np.all(found >= sampled - 0.5)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_hausdorff_distance_of_masks_apart_is_that_of_simpleitk(spacing):
    shape = (16, 40, 40)
    ref = box(shape, (1, 6), (2, 12), (3, 9)) | box(shape, (2, 4), (5, 8), (9, 14))
    pred = box(shape, (9, 15), (20, 32), (22, 39))
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (ref, pred)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    theirs = sitk.HausdorffDistanceImageFilter()
    theirs.Execute(*images)
    assert hd(surface_distances(pred, ref, spacing)) == pytest.approx(theirs.GetHausdorffDistance(), rel=1e-5)


# Scores of two lists


def test_scores_by_hand():
    found = lists([0, 0, 1, 3], [0, 2])
    assert hd(found) == 3
    assert hd95(found) == pytest.approx(max(np.percentile([0, 0, 1, 3], 95), np.percentile([0, 2], 95)))
    assert hd95_pooled(found) == pytest.approx(np.percentile([0, 0, 1, 3, 0, 2], 95))
    assert assd(found) == pytest.approx(6 / 6)
    assert masd(found) == pytest.approx((1 + 1) / 2)
    assert nsd(found, 1) == pytest.approx(4 / 6)


def test_scores_by_hand_with_weights():
    found = lists([1, 2], [4, 0], prediction_weights=np.array([3.0, 1.0]), reference_weights=np.array([1.0, 39.0]))
    assert hd(found) == 4
    assert hd95(found) == 2
    assert hd95_pooled(found) == 1
    assert assd(found) == pytest.approx((3 + 2 + 4) / 44)
    assert masd(found) == pytest.approx((5 / 4 + 4 / 40) / 2)
    assert nsd(found, 1) == pytest.approx(42 / 44)


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 100)), st.floats(0, 100))
def test_percentiles_agree_with_numpy(values, percent):
    assert percentile(values, percent) == np.percentile(values, percent)
    weighted = percentile(values, percent, np.ones(len(values)))
    around = [np.percentile(values, percent, method=method) for method in ("lower", "higher")]
    assert around[0] <= weighted <= max(around[1], np.percentile(values, percent, method="inverted_cdf"))


def test_a_weighted_percentile_is_reached_exactly():
    assert percentile(np.arange(1.0, 21), 95, np.full(20, 0.1)) == 19
    assert percentile(np.array([5.0, 1.0]), 95, np.array([5.0, 95.0])) == 1
    assert percentile(np.array([5.0, 1.0]), 95, np.array([5.1, 94.9])) == 5


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("spacing", [*SPACINGS, (3.0, 0.73, 0.91), (0.1, 0.1, 0.1)])
def test_the_tolerance_is_inclusive_up_to_rounding(monkeypatch, route, spacing):
    take_route(monkeypatch, route)
    ref, pred = box((4, 4, 400), (0, 1), (0, 1), (300, 301)), box((4, 4, 400), (0, 1), (0, 1), (303, 304))
    pred[0, 0, 0] = ref[0, 0, 0] = True
    found = surface_distances(pred, ref, spacing)
    assert nsd(found, round(3 * spacing[2], 3)) == 1
    assert nsd(found, round(3 * spacing[2], 3) * 0.999) == 0.5


@pytest.mark.parametrize("surface", ["voxel", "mesh"])
@pytest.mark.parametrize(
    ("pred_size", "ref_size", "empty", "distance", "score"),
    [(0, 0, "both", 0.0, math.nan), (2, 0, "ref", math.nan, 0.0), (0, 2, "pred", math.nan, 0.0)],
)
def test_empty_masks(surface, pred_size, ref_size, empty, distance, score):
    pred, ref = (box((4, 5, 6), (1, 1 + size), (1, 3), (1, 3)) for size in (pred_size, ref_size))
    found = surface_distances(pred, ref, (2, 1, 1), surface=surface)
    assert found.empty == empty
    assert all(metric(found) == pytest.approx(distance, nan_ok=True) for metric in SURFACE_METRICS.values())
    assert nsd(found, 1) == pytest.approx(score, nan_ok=True)
    assert boundary_iou(pred, ref, (2, 1, 1), 1) == pytest.approx(score, nan_ok=True)


# Boundary IoU


def test_boundary_regions_by_hand():
    ref, pred = plane((12, 12), (1, 9), (1, 9)), plane((12, 12), (1, 9), (2, 10))
    ring, deep, deep_inside = 28, 48, 32
    assert boundary_iou(pred, ref, (1, 1, 1), 0) == pytest.approx(14 / (2 * ring - 14))
    assert boundary_iou(ref, ref, (1, 1, 1), 1) == 1
    assert boundary_iou(plane((12, 12), (2, 8), (2, 8)), ref, (1, 1, 1), 1) == pytest.approx(
        20 / (deep + deep_inside - 20)
    )
    assert boundary_iou(pred, ref, (1, 1, 1), 50) == pytest.approx(56 / 72)


@given(PAIRS, STEPS, st.floats(0.1, 10))
@settings(deadline=None)
def test_boundary_regions_are_those_of_every_pair(pair, spacing, distance):
    regions = []
    for mask in pair:
        voxels = np.argwhere(mask)
        depth = cdist(voxels * spacing, naive_surface(mask) * spacing).min(axis=1, initial=np.inf)
        if np.any(np.abs(depth - distance) < 1e-4):
            return
        regions.append({tuple(voxel) for voxel in voxels[depth < distance]})
    union = regions[0] | regions[1]
    expected = len(regions[0] & regions[1]) / len(union) if union else math.nan
    assert boundary_iou(*pair, spacing, distance) == pytest.approx(expected, nan_ok=True)


# Errors and boxes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": np.zeros((2, 3, 4), dtype=np.uint8)}, "prediction has shape .* uint8; expected a boolean mask"),
        ({"reference": np.zeros((3, 4), dtype=bool)}, "reference has shape .* with one slice for a 2D image"),
        ({"prediction": np.zeros((2, 3, 5), dtype=bool)}, "differ in shape"),
        ({"spacing": (1, 1)}, "three positive numbers"),
        ({"spacing": (1, 0, 1)}, "three positive numbers"),
        ({"spacing": (1, math.nan, 1)}, "three positive numbers"),
        ({"surface": "skin"}, "expected voxel or mesh"),
        ({"planar": True}, "2 slices and cannot be planar"),
    ],
)
def test_unusable_input_is_named(change, message):
    empty = np.zeros((2, 3, 4), dtype=bool)
    arguments = {"prediction": empty, "reference": empty, "spacing": (1, 1, 1), **change}
    with pytest.raises(InputError, match=message):
        surface_distances(**arguments)


@pytest.mark.parametrize("threshold", [-1, math.inf, math.nan])
def test_thresholds_are_numbers_of_mm(threshold):
    with pytest.raises(InputError, match="tolerance"):
        nsd(lists([0], [0]), threshold)
    with pytest.raises(InputError, match="distance"):
        boundary_iou(*[np.ones((1, 2, 2), dtype=bool)] * 2, (1, 1, 1), threshold)


@given(PAIRS)
def test_the_union_box_is_the_smallest_that_holds_both(pair):
    found = union_box(*pair)
    points = np.argwhere(pair[0] | pair[1])
    if len(points):
        assert found == tuple(slice(low, high + 1) for low, high in zip(points.min(0), points.max(0), strict=True))
    else:
        assert pair[0][found].size == 0


# Known answers of published suites, each under the definition of its source. Where that is not one of ours, the
# elements of its surface are made here, and our scores are taken from their distances.


def nearest(pred_elements, ref_elements, **weights):
    distances = cdist(pred_elements, ref_elements)
    return SurfaceDistances(distances.min(axis=1), distances.min(axis=0), **weights)


def surfels(mask, spacing):
    """Return the corners between voxels that the surface passes, and its area (length) in the cells around them.

    This is the surface of google-deepmind/surface-distance.
    """
    if mask.shape[0] == 1:
        lines, corners = mesh_module.triangles_around(mask[0]), spacing[1:]
    else:
        lines, corners = mesh_module.triangles_around(mask), spacing
    sizes = mesh_module.sizes_of(lines * corners)
    cells, owners = np.unique(np.floor(lines.mean(axis=1)), axis=0, return_inverse=True)
    return cells * corners, np.bincount(owners.ravel(), sizes)


def surfel_distances(pred, ref, spacing):
    (pred_cells, pred_sizes), (ref_cells, ref_sizes) = (surfels(mask, np.array(spacing)) for mask in (pred, ref))
    return nearest(pred_cells, ref_cells, prediction_weights=pred_sizes, reference_weights=ref_sizes)


def contour_corners(mask):
    """Return the corners of pixels on the contour; one where it touches itself counts twice (jeromerony/distorch)."""
    m = np.pad(mask, 1).astype(int)
    cells = np.stack([m[:-1, :-1], m[:-1, 1:], m[1:, :-1], m[1:, 1:]])
    inside = cells.sum(axis=0)
    touching = (inside == 2) & (cells[0] == cells[3])
    return np.concatenate([np.argwhere((inside > 0) & (inside < 4)), np.argwhere(touching)])


def pixel_sides(mask, spacing, steps=3):
    """Return the middles of the sides between voxels, and points spread over them (MeshMetrics)."""
    middles, spread = [], []
    offsets = np.linspace(-0.5, 0.5, steps)
    for axis in range(mask.ndim):
        sides = np.argwhere(np.diff(np.pad(mask, 1).astype(int), axis=axis)) + 0.5 * np.eye(mask.ndim)[axis]
        middles.append(sides * spacing)
        for shift in itertools.product(*([0] if other == axis else offsets for other in range(mask.ndim))):
            spread += [(sides + shift) * spacing]
    return np.concatenate(middles), np.concatenate(spread)


def known_answer(name):
    path = SHARED_DATA / "metrics" / "known_answers.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return next(entry for entry in json.loads(path.read_text()) if entry["id"] == name)


TWO_PIXELS = (plane((128, 128), (50, 51), (70, 71)), plane((128, 128), (50, 51), (72, 73)), (1, 2, 1))
TWO_VOXELS = (*(box((64, 64, 128), (50, 51), (60, 61), (at, at + 1)) for at in (70, 72)), (3, 2, 1))


@pytest.mark.parametrize(("name", "case"), [("dm2d_two_pixels", TWO_PIXELS), ("dm3d_two_voxels", TWO_VOXELS)])
def test_two_voxels_of_surface_distance(name, case):
    ref, pred, spacing = case
    assert hd(surface_distances(pred, ref, spacing)) == hd95(surface_distances(pred, ref, spacing)) == 2
    found = surfel_distances(pred, ref, spacing)
    scores = {"hd": hd(found), "hd95": hd95(found), "nsd_1mm": nsd(found, 1), "asd": [masd(found)] * 2}
    expected = {"hd": 2, "hd95": 2, "nsd_1mm": 0.5, "asd": [1.5, 1.5]}
    assert scores == {key: pytest.approx(value) for key, value in expected.items()}
    assert known_answer(name)["expect"].items() >= expected.items()


def half_cubes(size):
    return box((size,) * 3, (0, size // 2 + 1)), box((size,) * 3, (0, size // 2)), (2, 1, 1)


def test_half_cubes_of_surface_distance_in_small():
    pred, ref, spacing = half_cubes(20)
    found = surfel_distances(pred, ref, spacing)
    mesh = surface_distances(pred, ref, spacing, surface="mesh")
    assert hd(found) == hd95(found) == 2
    assert hd(mesh) == pytest.approx(2)
    assert hd95(mesh) == pytest.approx(2)
    assert assd(mesh) == pytest.approx(assd(found), rel=0.05)
    assert nsd(mesh, 1) == pytest.approx(nsd(found, 1), rel=0.02)


def test_half_cubes_of_surface_distance():
    expected = known_answer("dm3d_half_cubes")["expect"]
    pred, ref, spacing = half_cubes(100)
    mesh = surface_distances(pred, ref, spacing, surface="mesh")
    assert hd(mesh) == pytest.approx(expected["hd"])
    assert hd95(mesh) == pytest.approx(expected["hd95"])
    assert nsd(mesh, 1) == pytest.approx(expected["nsd_1mm"], abs=0.003)
    assert np.average(mesh.to_prediction, weights=mesh.reference_weights) == pytest.approx(0.322, abs=0.003)
    assert np.average(mesh.to_reference, weights=mesh.prediction_weights) == pytest.approx(0.339, abs=0.003)


SQUARE = plane((14, 14), (5, 9), (5, 9))
CROSS_REF = plane((11, 11), (3, 8), (3, 8))
CROSS = CROSS_REF | plane((11, 11), (5, 6), (1, 10)) | plane((11, 11), (1, 10), (5, 6))
PAN_REF = plane((4, 4), (1, 3), (1, 3))
PAN_PRED = np.array([[[0, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]]], dtype=bool)
STRIPES = np.array([[[0, 1, 0, 1], [0, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0]]], dtype=bool)
LEFT, RIGHT = plane((4, 4), (0, 4), (0, 2)), plane((4, 4), (0, 4), (1, 3))
SCORES = {
    **{"hd": hd, "hd95": hd95, "masd": masd, "assd": assd, "assd_meaning_masd": masd},
    **{"nsd_1": lambda found: nsd(found, 1), "nsd_2": lambda found: nsd(found, 2)},
    **{"assd_meaning_masd_spacing20": lambda found: 20 * masd(found), "hd_spacing20": lambda found: 20 * hd(found)},
    "nsd_05": lambda found: (np.mean(found.to_reference <= 0.5) + np.mean(found.to_prediction <= 0.5)) / 2,
}
KNOWN = {
    "mr_sn2.10_pred1": (
        SQUARE,
        plane((14, 14), (6, 8), (6, 8)),
        {"hd": 1.41, "masd": 1.07, "assd": 1.1, "nsd_1": 0.75},
    ),
    "mr_sn2.10_pred2": (
        SQUARE,
        plane((14, 14), (4, 10), (4, 10)),
        {"hd": 1.41, "masd": 1.04, "assd": 1.05, "nsd_1": 0.875},
    ),
    "mr_fig10": (CROSS_REF, CROSS, {"assd": 0.44, "masd": 0.425, "nsd_1": 0.89, "nsd_2": 1.0}),
    "pan_overpredicted": (PAN_REF, PAN_PRED, {"assd_meaning_masd": 0.625, "hd": 1.0, "hd95": 1.0}),
    "pan_underpredicted": (
        PAN_PRED,
        PAN_REF,
        {"assd_meaning_masd": 0.625, "hd": 1.0, "hd95": 1.0, "nsd_05": 0.375, "nsd_1": 1.0},
    ),
    "pan_nooverlap": (
        ~STRIPES,
        STRIPES,
        {"assd_meaning_masd": 1.05, "assd_meaning_masd_spacing20": 21.0, "hd_spacing20": 40.0},
    ),
    "pan_shifted": (RIGHT, LEFT, {"hd": 1.0, "hd95": 1.0}),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers_in_the_plane(name):
    ref, pred, expected = KNOWN[name]
    found = surface_distances(pred, ref, (1, 1, 1))
    assert {key: SCORES[key](found) for key in expected} == {
        key: pytest.approx(value, abs=0.006) for key, value in expected.items()
    }


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers_are_those_of_the_file(name):
    in_file = known_answer(name)["expect"]
    assert KNOWN[name][2] == {key: value for key, value in in_file.items() if key in SCORES}


def test_the_pooled_mean_of_panoptica_s_case_is_another_number():
    assert assd(surface_distances(PAN_PRED, PAN_REF, (1, 1, 1))) == pytest.approx(2 / 3)


def test_spacing_scales_the_scores_of_panoptica_s_case():
    found = surface_distances(STRIPES, ~STRIPES, (20, 20, 20))
    assert (masd(found), hd(found)) == pytest.approx((21, 40))


DISTORCH_REF = ["00000", "01000", "00110", "01110", "00000"]
DISTORCH_PRED = ["11000", "01100", "01110", "01100", "00000"]


def test_the_readme_of_distorch():
    expected = {"hd": 1.4142, "hd95_1to2": 1.0, "hd95_2to1": 1.1036, "asd_1to2": 0.2857, "asd_2to1": 0.4009}
    expected |= {"assd": 0.3471, "nsd": 0.9667}
    ref, pred = (np.array([[*map(int, row)] for row in rows], dtype=bool) for rows in (DISTORCH_REF, DISTORCH_PRED))
    found = nearest(contour_corners(pred), contour_corners(ref))
    scores = {
        "hd": hd(found),
        "hd95_1to2": percentile(found.to_prediction, 95),
        "hd95_2to1": percentile(found.to_reference, 95),
        "asd_1to2": found.to_prediction.mean(),
        "asd_2to1": found.to_reference.mean(),
        "assd": assd(found),
        "nsd": nsd(found, 1),
    }
    assert scores == {key: pytest.approx(value, abs=6e-5) for key, value in expected.items()}
    assert hd(surface_distances(pred[None], ref[None], (1, 1, 1))) == pytest.approx(expected["hd"], abs=6e-5)
    assert known_answer("distorch_readme_2d")["expect"] == expected


def test_both_empty_is_0_as_in_metricsreloaded_and_one_empty_is_nan():
    empty, full = np.zeros((2, 3, 3), dtype=bool), np.ones((2, 3, 3), dtype=bool)
    both, one = known_answer("mr_both_empty")["expect"], known_answer("mr_one_empty")["expect"]
    for name in ("hd", "hd95", "masd", "assd"):
        assert SCORES[name](surface_distances(empty, empty, (1, 1, 1))) == both[name] == 0
        assert math.isnan(SCORES[name](surface_distances(empty, full, (1, 1, 1))))
        assert one[name] == "nan"


def test_nsd_of_empty_masks_is_that_of_surface_distance():
    empty, full = np.zeros((2, 3, 3), dtype=bool), np.ones((2, 3, 3), dtype=bool)
    for name, masks in (
        ("dm_empty_pred", (empty, full)),
        ("dm_empty_ref", (full, empty)),
        ("dm_both_empty", [empty] * 2),
    ):
        expected = float(known_answer(name)["expect"]["nsd"])
        assert nsd(surface_distances(*masks, (1, 1, 1)), 1) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("name", "dimensions"), [("mesh_spheres_3d", 3), ("mesh_circles_2d", 2)])
def test_spheres_and_circles_of_meshmetrics(name, dimensions):
    expected = known_answer(name)["expect_mesh"]
    paths = [SHARED_DATA / "spheres" / f"example_{dimensions}d_{role}_mask.nii.gz" for role in ("pred", "ref")]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"no {paths[0]}")
    images = [sitk.ReadImage(str(path)) for path in paths]
    pred, ref = (sitk.GetArrayFromImage(image) > 0 for image in images)
    spacing = images[0].GetSpacing()[::-1]
    found = side_distances(pred, ref, spacing)
    for score in ("hd", "hd95", "masd", "assd"):
        assert SCORES[score](found) == pytest.approx(expected[score], abs=0.03 if score == "hd" else 2e-3)
    if dimensions == 2:
        pred, ref, spacing = pred[None], ref[None], (1.0, *spacing)
    ours = surface_distances(pred, ref, spacing, surface="mesh")
    for score in ("hd", "hd95", "masd", "assd"):
        assert SCORES[score](ours) == pytest.approx(15, abs=0.3)
    assert nsd(ours, 2) == expected["nsd_2"] == 0
    assert boundary_iou(pred, ref, spacing, 2) == 0


def side_distances(pred, ref, spacing):
    trees = surface_module.cKDTree
    (pred_middles, pred_spread), (ref_middles, ref_spread) = (pixel_sides(mask, spacing) for mask in (pred, ref))
    return SurfaceDistances(trees(ref_spread).query(pred_middles)[0], trees(pred_spread).query(ref_middles)[0])
