"""What the surface benchmarks run: this package and its peers, each as its own documentation shows it.

Every measure takes two boolean masks (z, y, x), prediction first, and their spacing, and returns the scores that it
knows, by the names below.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Scores = dict[str, float]
    Measure = Callable[[Mask, Mask, Sequence[float]], Scores]

SCORES = ("HD", "HD95", "ASSD")
NSD = "NSD 1 mm"
OURS, OURS_MESH = "ours", "ours, mesh"


def measures() -> dict[str, tuple[str, Callable[[bool], Measure]]]:
    """Return, by name, the package that has to be there and what makes the measure; ``True`` asks for NSD, too."""
    return {
        OURS: ("evaluation", ours),
        OURS_MESH: ("evaluation", ours_mesh),
        "surface-distance": ("surface_distance", surface_distance),
        "MONAI": ("monai", monai),
        "SimpleITK, contours": ("SimpleITK", simpleitk_contours),
        "SimpleITK, HD filter": ("SimpleITK", simpleitk_filter),
        "medpy": ("medpy", medpy),
    }


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def ours(with_nsd: bool, surface: str = "voxel") -> Measure:
    from evaluation.surface import surface_distances
    from evaluation.surface_scores import assd, hd, hd95, nsd

    def measure(pred: Mask, ref: Mask, spacing: Sequence[float]) -> Scores:
        found = surface_distances(pred, ref, spacing, surface=surface)
        scores = {"HD": hd(found), "HD95": hd95(found), "ASSD": assd(found)}
        return scores | {NSD: nsd(found, 1)} if with_nsd else scores

    return measure


def ours_mesh(with_nsd: bool) -> Measure:
    return ours(with_nsd, surface="mesh")


def surface_distance(with_nsd: bool) -> Measure:
    """Surface elements at the corners between voxels, weighted by area; ASSD is put together from its lists."""
    if not hasattr(np, "Inf"):
        np.Inf = np.inf  # version 0.1 is older than NumPy 2
    import surface_distance as package

    def measure(pred: Mask, ref: Mask, spacing: Sequence[float]) -> Scores:
        found = package.compute_surface_distances(ref, pred, spacing)
        there, back = package.compute_average_surface_distance(found)
        areas = found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()
        scores = {
            "HD": package.compute_robust_hausdorff(found, 100),
            "HD95": package.compute_robust_hausdorff(found, 95),
            "ASSD": np.average([there, back], weights=areas),
        }
        return scores | {NSD: package.compute_surface_dice_at_tolerance(found, 1)} if with_nsd else scores

    return measure


def monai(with_nsd: bool) -> Measure:
    """One call per score; each of them finds the surfaces and distances anew."""
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    def measure(pred: Mask, ref: Mask, spacing: Sequence[float]) -> Scores:
        pair = [torch.from_numpy(mask)[None, None] for mask in (pred, ref)]
        options = {"include_background": True, "spacing": tuple(map(float, spacing))}
        scores = {
            "HD": compute_hausdorff_distance(*pair, **options).item(),
            "HD95": compute_hausdorff_distance(*pair, percentile=95, **options).item(),
            "ASSD": compute_average_surface_distance(*pair, symmetric=True, **options).item(),
        }
        if with_nsd:
            scores[NSD] = compute_surface_dice(*pair, class_thresholds=[1.0], use_subvoxels=True, **options).item()
        return scores

    return measure


def simpleitk_contours(with_nsd: bool) -> Measure:
    """Distance map of each mask, read at the contour of the other one, in both directions."""
    import SimpleITK as sitk

    def measure(pred: Mask, ref: Mask, spacing: Sequence[float]) -> Scores:
        images = []
        for mask in (pred, ref):
            images.append(sitk.GetImageFromArray(mask.view(np.uint8)))
            images[-1].SetSpacing(tuple(spacing)[::-1])
        lists = []
        for target, other in (images[::-1], images):
            distances = sitk.Abs(sitk.SignedMaurerDistanceMap(target, squaredDistance=False, useImageSpacing=True))
            contour = sitk.LabelContour(other)  # an image that is named, as a view does not keep it alive
            where = sitk.GetArrayViewFromImage(contour) > 0
            lists.append(sitk.GetArrayViewFromImage(distances)[where].astype(np.float64))
        pooled = np.concatenate(lists)
        scores = {"HD": pooled.max(), "HD95": max(np.percentile(part, 95) for part in lists), "ASSD": pooled.mean()}
        return scores | {NSD: np.mean(pooled <= 1)} if with_nsd else scores

    return measure


def simpleitk_filter(with_nsd: bool) -> Measure:
    """Measure the Hausdorff distance of the masks, which the filter knows beside a mean that is none of ours."""
    import SimpleITK as sitk

    def measure(pred: Mask, ref: Mask, spacing: Sequence[float]) -> Scores:
        images = []
        for mask in (pred, ref):
            images.append(sitk.GetImageFromArray(mask.view(np.uint8)))
            images[-1].SetSpacing(tuple(spacing)[::-1])
        hausdorff = sitk.HausdorffDistanceImageFilter()
        hausdorff.Execute(*images)
        return {"HD": hausdorff.GetHausdorffDistance()}

    return measure


def medpy(with_nsd: bool) -> Measure:
    """One call per score; its HD95 is that of both lists together and its ASSD the mean of two means."""
    from medpy.metric.binary import assd, hd, hd95

    def measure(pred: Mask, ref: Mask, spacing: Sequence[float]) -> Scores:
        return {score: found(pred, ref, spacing) for score, found in (("HD", hd), ("HD95", hd95), ("ASSD", assd))}

    return measure
