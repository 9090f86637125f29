"""Surface distances beside those of other packages, where these measure the same thing.

====================  ==========================================  =================================================
package               what of theirs                              is what of ours
====================  ==========================================  =================================================
SimpleITK             ``LabelContour``, away from the image edge  ``surface_voxels``
SimpleITK             Hausdorff filter on these contours          ``hd``, and its average ``masd``
MONAI                 Hausdorff distance, also with a percentile  ``hd``, ``hd95``
MONAI                 symmetric average surface distance          ``assd``
MONAI                 surface Dice of voxels                      ``nsd``
medpy (from 0.5)      ``hd``, ``hd95``, ``assd``                  ``hd``, ``hd95_pooled``, ``assd``
surface-distance      area of the surface elements                that of the mesh, nearly
surface-distance      distances between elements at the corners   distances of the mesh, up to half a diagonal
====================  ==========================================  =================================================

Distance maps of whole masks in SimpleITK, read at contours, are another thing: the filter measures from voxels that
touch the outside at a corner, too.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from evaluation.surface import surface_distances, surface_voxels
from evaluation.surface_scores import assd, hd, hd95, hd95_pooled, masd, nsd

SPACINGS = [(1.0, 1.0, 1.0), (2.5, 1.0, 1.0), (5.0, 0.8, 0.7)]
SHAPES = {"volume": (14, 26, 24), "plane": (1, 40, 50)}


def blobs(shape, seed, *, margin=0):
    """Return two masks that resemble each other; with a margin, they stay away from the image edge."""
    rng = np.random.default_rng(seed)
    inner = tuple(length - 2 * margin if length > 1 else 1 for length in shape)
    common, first, second = (ndimage.gaussian_filter(rng.normal(size=inner), [1.5, 2.5, 2.5]) for _ in range(3))
    pads = [(margin if length > 1 else 0,) * 2 for length in shape]
    pair = [np.pad(common + 0.4 * own > 0.02, pads) for own in (first, second)]
    assert all(mask.any() for mask in pair)
    assert (pair[0] != pair[1]).any()
    return pair


def images_of(pair, spacing):
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in pair]
    for image in images:
        image.SetSpacing(spacing[::-1])
    return images


@pytest.mark.parametrize("seed", range(3))
def test_the_surface_is_the_contour_of_simpleitk_away_from_the_edge(seed):
    for mask in blobs(SHAPES["volume"], seed, margin=1):
        contour = sitk.LabelContour(*images_of([mask], SPACINGS[0]), fullyConnected=False)
        np.testing.assert_array_equal(surface_voxels(mask), sitk.GetArrayFromImage(contour) > 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spacing", SPACINGS)
def test_distances_are_those_of_simpleitk_between_contours(spacing, seed):
    pair = blobs(SHAPES["volume"], seed, margin=1)
    theirs = sitk.HausdorffDistanceImageFilter()
    theirs.Execute(*(sitk.LabelContour(image, fullyConnected=False) for image in images_of(pair, spacing)))
    ours = surface_distances(*pair, spacing)
    assert hd(ours) == pytest.approx(theirs.GetHausdorffDistance(), rel=1e-5)
    assert masd(ours) == pytest.approx(theirs.GetAverageHausdorffDistance(), rel=1e-5)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scores_are_those_of_monai(shape, spacing, seed):
    theirs, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    pair = blobs(SHAPES[shape], seed)
    ours = surface_distances(*pair, spacing)
    masks = [mask[0] if shape == "plane" else mask for mask in pair]
    tensors = [torch.from_numpy(mask)[None, None] for mask in masks]
    options = {"include_background": True, "spacing": spacing[3 - masks[0].ndim :]}

    found = theirs.compute_hausdorff_distance(*tensors, **options)
    assert hd(ours) == pytest.approx(found.item(), rel=1e-5)
    found = theirs.compute_hausdorff_distance(*tensors, percentile=95, **options)
    assert hd95(ours) == pytest.approx(found.item(), rel=1e-5)
    found = theirs.compute_average_surface_distance(*tensors, symmetric=True, **options)
    assert assd(ours) == pytest.approx(found.item(), rel=1e-5)
    for tolerance in (0.9, 2.0):
        found = theirs.compute_surface_dice(*tensors, class_thresholds=[tolerance], **options)
        assert nsd(ours, tolerance) == pytest.approx(found.item(), abs=1e-5)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("spacing", SPACINGS)
def test_scores_are_those_of_medpy(spacing, seed):
    theirs = pytest.importorskip("medpy.metric.binary")
    pair = blobs(SHAPES["volume"], seed)
    ours = surface_distances(*pair, spacing)
    assert hd(ours) == pytest.approx(theirs.hd(*pair, spacing), rel=1e-5)
    assert hd95_pooled(ours) == pytest.approx(theirs.hd95(*pair, spacing), rel=1e-5)
    assert assd(ours) == pytest.approx(theirs.assd(*pair, spacing), rel=1e-5)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_mesh_has_the_area_and_nearly_the_distances_of_surface_distance(shape, spacing, seed):
    package = pytest.importorskip("surface_distance")
    pair = blobs(SHAPES[shape], seed)
    ours = surface_distances(*pair, spacing, surface="mesh")
    steps = spacing[1:] if shape == "plane" else spacing
    pred, ref = (mask[0] if shape == "plane" else mask for mask in pair)
    theirs = package.compute_surface_distances(ref, pred, steps)

    areas = {side: theirs[f"surfel_areas_{side}"] for side in ("pred", "gt")}
    assert ours.prediction_weights.sum() == pytest.approx(areas["pred"].sum(), rel=5e-3)
    assert ours.reference_weights.sum() == pytest.approx(areas["gt"].sum(), rel=5e-3)

    half = math.hypot(*steps) / 2  # from a corner between voxels to the end of an element around it, at most
    assert hd(ours) == pytest.approx(package.compute_robust_hausdorff(theirs, 100), abs=half)
    assert hd95(ours) == pytest.approx(package.compute_robust_hausdorff(theirs, 95), abs=half)
    average = np.average(
        package.compute_average_surface_distance(theirs), weights=[areas["gt"].sum(), areas["pred"].sum()]
    )
    assert assd(ours) == pytest.approx(average, abs=half / 3)
