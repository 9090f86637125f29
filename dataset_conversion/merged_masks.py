"""Several masks of one class each, on any grid, put over a label map, slab by slab."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.label_grids import loss_problem, resample_labels
from dataset_conversion.task_labels import whole_numbers
from nnunet_ext.errors import InputError
from nnunet_ext.imageio.grid import Grid, grid_differences, grid_of
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio import Volume

FIRST, LAST, ERROR = "first", "last", "error"
OVERLAPS = (LAST, FIRST, ERROR)

Pair = tuple[int, int]


@dataclass
class OpenMasks:
    """The masks of a case, open for reading on the grid of its image.

    Parameters
    ----------
    names
        Their names, in order.
    resampled
        Lost and all voxels of each mask that lay on another grid, by name.
    """

    names: list[str]
    resampled: dict[str, Pair] = field(default_factory=dict)
    _volumes: dict[str, Volume] = field(default_factory=dict)
    _arrays: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    _values: dict[str, set[int]] = field(default_factory=dict)

    def slab(self, name: str, start: int, stop: int) -> NDArray[np.bool_] | None:
        """Return slices of a mask on the image's grid, (n, y, x); None where there is no file.

        Raises
        ------
        InputError
            If the file cannot be read, or has values other than 0 and one more.
        """
        if name in self._arrays:
            return self._arrays[name][start:stop]
        if name not in self._volumes:
            return None
        volume = self._volumes[name]
        return self._mask(name, volume.path, volume.slab(start, stop))

    def _mask(self, name: str, path: Path, voxels: NDArray[Any]) -> NDArray[np.bool_]:
        values = whole_numbers(voxels, str(path))
        seen = self._values.setdefault(name, set())
        mask: NDArray[np.bool_] = values != 0
        seen.update(np.unique(values[mask])[:20].tolist())
        if len(seen) > 1:
            shown = ", ".join(map(str, sorted(seen)[:10])) + (", …" if len(seen) > 10 else "")
            message = (
                f"{path}: values {shown} found, expected a mask of one class: 0 and one other value; give a label map "
                "of several classes by --label"
            )
            raise InputError(message)
        return mask

    def add(self, name: str, volume: Volume, image: Grid) -> None:
        """Take a mask in, resampled if it lies on another grid; raises what `open_masks` says."""
        grid = grid_of(volume)
        differences = grid_differences(grid, image)
        if not differences:
            self._volumes[name] = volume
            return
        if not grid.is_placed or not image.is_placed:
            message = (
                f"{volume.path}: {', '.join(differences)} (z, y, x) as in the image {image.path}; one of the files "
                "says nothing of its place in space, so that the mask cannot be resampled"
            )
            raise InputError(message)
        mask = self._mask(name, volume.path, volume.slab(0, volume.shape[0]))
        found = resample_labels(mask.astype(np.uint8), volume.geometry, image.shape, image.geometry)
        self.resampled[name] = (found.lost_voxels, found.total_voxels)
        problem = loss_problem(volume.path, found.lost_voxels, found.total_voxels)
        if problem:
            raise InputError(problem)
        self._arrays[name] = found.array != 0


@contextmanager
def open_masks(paths: Mapping[str, Path | None], image: Grid) -> Iterator[OpenMasks]:
    """Open masks; those on another grid than the image are brought on it, nearest neighbour, in physical space.

    Parameters
    ----------
    paths
        File of each mask by name; None where there is none.
    image
        Grid of the image.

    Raises
    ------
    InputError
        If a mask cannot be read, has several classes, lies outside the image, or has another shape and no place in
        space.
    """
    masks = OpenMasks(list(paths))
    with ExitStack() as stack:
        for name, path in paths.items():
            if path is not None:
                masks.add(name, stack.enter_context(open_with_sidecar(path)), image)
        yield masks


def overlay(base: NDArray[Any], masks: Iterable[tuple[int, NDArray[np.bool_]]], *, keep: str = LAST) -> dict[Pair, int]:
    """Put masks over a label map, in order, in place.

    Parameters
    ----------
    base
        Labels of any shape; 0 is background.
    masks
        Label and mask, of the same shape.
    keep
        What a voxel becomes that has a label already: ``last`` the label of the mask, ``first`` what it was.

    Returns
    -------
    dict
        Number of voxels for each pair of the label that was kept and the one that was lost.
    """
    overlaps: dict[Pair, int] = {}
    for label, mask in masks:
        taken = mask & (base != 0) & (base != label)
        if taken.any():
            for other, count in zip(*np.unique(base[taken], return_counts=True), strict=True):
                pair = (int(other), label) if keep == FIRST else (label, int(other))
                overlaps[pair] = overlaps.get(pair, 0) + int(count)
        base[mask & ~taken if keep == FIRST else mask] = label
    return overlaps


def overlay_slab(
    base: NDArray[Any], masks: OpenMasks, labels: Sequence[int], start: int, stop: int, *, keep: str
) -> tuple[dict[Pair, int], set[str]]:
    """Put a slab of every mask over ``base``; return overlaps, as ``overlay``, and the names of masks with voxels."""
    slabs = {name: masks.slab(name, start, stop) for name in masks.names}
    present = {name: slab for name, slab in slabs.items() if slab is not None}
    label_of = dict(zip(masks.names, labels, strict=True))
    overlaps = overlay(base, [(label_of[name], slab) for name, slab in present.items()], keep=keep)
    return overlaps, {name for name, slab in present.items() if slab.any()}
