"""A label map as it is after rules, slab by slab."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nnunet_ext.class_rules.small_components import voxels_of_small_components
from nnunet_ext.errors import InputError
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.imageio.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nnunet_ext.class_rules.rules import Rule


def open_with_rules(path: Path, rules: Sequence[Rule]) -> Volume:
    """Open a label map of an nnU-Net folder as it is after rules; ``with`` closes it.

    Raises
    ------
    InputError
        As ``RuledVolume``, and if the file cannot be read.
    """
    volume = open_with_sidecar(path)
    if not rules:
        return volume
    try:
        return RuledVolume(volume, rules)
    except BaseException:
        volume.close()
        raise


def check_rules(volume: Volume, rules: Sequence[Rule]) -> None:
    """Raise ``InputError`` if rules cannot be used on a label map, whatever its voxels are."""
    for rule in rules:
        if volume.dtype.kind in "iu":
            limits = np.iinfo(volume.dtype)
            if not limits.min <= rule.target <= limits.max:
                message = f"{volume.path}: voxels of {volume.dtype} cannot be {rule.target} (rule '{rule.text}')"
                raise InputError(message)
        if rule.below_mm3 is not None and not volume.has_spacing:
            message = f"{volume.path}: no voxel size in the file, expected one for the rule '{rule.text}'"
            raise InputError(message)


class RuledVolume(Volume):
    """A label map whose voxels are those of a file after some rules, one applied after the other.

    What the rules change is found out here, in one pass over the file per rule; a slab is in memory at a time, and the
    places of voxels in small components.

    Parameters
    ----------
    volume
        The label map; closed with this one.
    rules
        The rules, in order.

    Raises
    ------
    InputError
        If a value does not fit into the type of the file, or a volume in mm³ is asked for where the file has no voxel
        size.
    """

    def __init__(self, volume: Volume, rules: Sequence[Rule]) -> None:
        super().__init__(volume.path, volume.info)
        self._volume = volume
        self._changes: list[_Change] = []
        self.changed: list[int] = []
        """Number of voxels that each rule changes."""
        check_rules(volume, rules)
        for rule in rules:
            change, voxels = self._change(rule)
            self.changed.append(voxels)
            if change is not None and voxels:
                self._changes.append(change)

    def close(self) -> None:
        """Close the file."""
        self._volume.close()

    def _read(self, start: int, stop: int) -> npt.NDArray[Any]:
        slab = self._volume.slab(start, stop)
        for change in self._changes:
            change.apply(slab, start)
        return slab

    def _change(self, rule: Rule) -> tuple[_Change | None, int]:
        """Return what a rule does to the label map after the rules before it, and to how many voxels."""
        limit = rule.limit(math.prod(self.geometry.spacing))
        if rule.per_component:
            places = voxels_of_small_components(self._masks(rule), limit)
            change = _Places(places, rule.target)
            return change, sum(change.count(slab, start) for start, slab in self.slabs()) if places.size else 0
        total = kept = 0
        for _, slab in self.slabs():
            total += int(np.count_nonzero(_mask(slab, rule.values)))
            kept += int(np.count_nonzero(slab == rule.target)) if rule.target in rule.values else 0
        return (_Values(rule.values, rule.target), total - kept) if total < limit else (None, 0)

    def _masks(self, rule: Rule) -> Iterator[npt.NDArray[np.bool_]]:
        for _, slab in self.slabs():
            yield _mask(slab, rule.values)


class _Change(Protocol):
    def apply(self, slab: npt.NDArray[Any], start: int) -> None:
        """Change a slab that begins with slice ``start``."""


class _Values:
    """All voxels of some values."""

    def __init__(self, values: tuple[int, ...], target: int) -> None:
        self._values, self._target = values, target

    def apply(self, slab: npt.NDArray[Any], start: int) -> None:
        slab[_mask(slab, self._values)] = self._target


class _Places:
    """Voxels by their number in the volume, ascending."""

    def __init__(self, places: npt.NDArray[np.int64], target: int) -> None:
        self._places, self._target = places, target

    def apply(self, slab: npt.NDArray[Any], start: int) -> None:
        slab.reshape(-1)[self._within(slab, start)] = self._target

    def count(self, slab: npt.NDArray[Any], start: int) -> int:
        """Return how many voxels of a slab would have another value."""
        return int(np.count_nonzero(slab.reshape(-1)[self._within(slab, start)] != self._target))

    def _within(self, slab: npt.NDArray[Any], start: int) -> npt.NDArray[np.int64]:
        first = start * math.prod(slab.shape[1:])
        low, high = np.searchsorted(self._places, [first, first + slab.size])
        return self._places[low:high] - first


def _mask(slab: npt.NDArray[Any], values: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.asarray(slab == values[0] if len(values) == 1 else np.isin(slab, values))
