"""A soil column made up by numbers: for the demonstration and for tests, where the truth must be known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNANNOTATED, MATRIX, STONE, ROOT, PORE = range(5)
GREY = {MATRIX: 128.0, STONE: 188.0, ROOT: 82.0, PORE: 36.0}
CLASS_FILE: dict[str, Any] = {
    "TaskID": 777,
    "DatasetName": "SoilPhantom",
    "norm_type": "zscore",
    "labels": {"0": "ToPredict", "1": "SoilMatrix", "2": "Stone", "3": "Root", "4": "Pore"},
    "colors": {"0": [0, 0, 0], "1": [115, 0, 102], "2": [255, 255, 0], "3": [204, 0, 0], "4": [0, 122, 153]},
}


@dataclass(frozen=True)
class SoilPhantom:
    """A scan and its truth.

    Parameters
    ----------
    image
        Grey values, uint8, (z, y, x).
    truth
        Class ids 1…4 (matrix, stone, root, pore), uint8, (z, y, x).
    """

    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def soil_phantom(shape: tuple[int, int, int], rng: np.random.Generator) -> SoilPhantom:
    """Make a soil column of aggregates with pores between them, stones, roots, blur and noise.

    Where a pore meets matrix, the blur makes the grey value of a root: a threshold alone cannot tell them apart.

    Parameters
    ----------
    shape
        Voxels along z, y, x, each at least 16.
    rng
        Source of randomness.
    """
    truth = np.full(shape, MATRIX, dtype=np.uint8)
    packing = gaussian_filter(rng.standard_normal(shape), 3)
    truth[packing < np.quantile(packing, 0.12)] = PORE
    size = min(shape)
    for _ in range(max(3, int(np.prod(shape) / 40_000))):
        truth[_ellipsoid(shape, rng.uniform(0, shape), rng.uniform(0.1, 0.2, 3) * size)] = STONE
    for _ in range(max(2, int(np.prod(shape[1:]) / 1_500))):
        truth[_root(shape, rng, radius=rng.uniform(0.05, 0.08) * size + 1)] = ROOT
    grey = np.array([0.0, *(GREY[value] for value in range(1, 5))])[truth]
    texture = gaussian_filter(rng.standard_normal(shape), 1.5)
    grey += 9 * texture / texture.std() * (truth == MATRIX)
    noisy = gaussian_filter(grey, 0.8) + rng.normal(0, 14, shape)
    return SoilPhantom(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), truth)


def sparse_annotation(truth: NDArray[np.uint8], rng: np.random.Generator, marks: int = 12) -> NDArray[np.uint8]:
    """Annotate one dense slice in the middle and a few square marks elsewhere; the rest is 0, not annotated.

    Parameters
    ----------
    truth
        Class ids, (z, y, x).
    rng
        Source of randomness.
    marks
        Number of 5×5 marks on other slices; each class has the same share of them.
    """
    annotation = np.zeros_like(truth)
    middle = max(0, len(truth) // 2 - 1)
    annotation[middle] = truth[middle]
    classes = [value for value in np.unique(truth) if value != UNANNOTATED]
    for index in range(marks):
        places = np.argwhere(truth == classes[index % len(classes)])
        z, y, x = places[rng.integers(len(places))]
        window = (z, slice(max(0, y - 2), y + 3), slice(max(0, x - 2), x + 3))
        annotation[window] = truth[window]
    return annotation


def _ellipsoid(shape: tuple[int, ...], center: NDArray[Any], radii: NDArray[Any]) -> NDArray[np.bool_]:
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, center, radii, strict=True))
    return np.asarray(distance <= 1)


def _root(shape: tuple[int, int, int], rng: np.random.Generator, radius: float) -> NDArray[np.bool_]:
    """Return a tube that runs down the column and wanders sideways."""
    mask = np.zeros(shape, dtype=bool)
    center = rng.uniform(0.1, 0.9, 2) * shape[1:]
    direction = rng.normal(0, 0.4, 2)
    y, x = np.ogrid[: shape[1], : shape[2]]
    for z in range(shape[0]):
        mask[z] = (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2
        direction = 0.9 * direction + rng.normal(0, 0.25, 2)
        center = center + direction
    return mask
