"""Map the ids of a sparse annotation to nnU-Net's labels, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nnunet_ext.class_table import ClassTable

UNANNOTATED = 0


@dataclass(frozen=True)
class LabelMap:
    """A one-to-one map of annotation ids to labels.

    Parameters
    ----------
    label_of_id
        Label of every annotation id; id 0, not annotated, has the ignore label.
    """

    label_of_id: dict[int, int]

    @property
    def ignore_label(self) -> int:
        """The label of voxels without annotation, the highest of all."""
        return self.label_of_id[UNANNOTATED]

    def unknown_ids(self, counts: dict[int, int]) -> dict[int, int]:
        """Return those ``{id: voxels}`` whose id the map does not have."""
        return {value: count for value, count in sorted(counts.items()) if value not in self.label_of_id}

    def to_labels(self, annotation: NDArray[Any]) -> NDArray[np.uint8 | np.uint16]:
        """Map annotation ids, of any shape, to labels; ids that the map does not have become the ignore label."""
        return _look_up(annotation, self.label_of_id, self.ignore_label)

    def to_ids(self, labels: NDArray[Any]) -> NDArray[np.uint8 | np.uint16]:
        """Map labels, of any shape, back to annotation ids; label 0, if no class has it, to not annotated.

        Raises
        ------
        InputError
            If there is a label that the map does not produce; names labels and voxel counts.
        """
        # A network may predict label 0 where no class has it: nnU-Net fills what it cropped away with it.
        id_of_label = {0: UNANNOTATED, **{label: value for value, label in self.label_of_id.items()}}
        unknown = {value: n for value, n in count_values(labels).items() if value not in id_of_label}
        if unknown:
            listed = ", ".join(f"{value} ({count} voxels)" for value, count in sorted(unknown.items()))
            message = f"labels {listed} do not belong to this dataset, whose labels are {sorted(id_of_label)}"
            raise InputError(message)
        return _look_up(labels, id_of_label, UNANNOTATED)

    def to_json(self) -> dict[str, int]:
        """Return the map as a JSON object."""
        return {str(value): label for value, label in self.label_of_id.items()}

    @classmethod
    def from_json(cls, content: dict[str, int]) -> LabelMap:
        """Build a map from what ``to_json`` returned."""
        return cls({int(value): int(label) for value, label in content.items()})


def sparse_label_map(classes: int, *, first_class_is_background: bool = True) -> LabelMap:
    """Return the map for a sparse annotation with ``classes`` real classes, ids 1…K, and 0 for not annotated.

    Parameters
    ----------
    classes
        Number of real classes K.
    first_class_is_background
        If true, ids 1…K become labels 0…K−1 and 0 becomes K, the ignore label. If false, ids 1…K stay, 0 becomes
        K+1, and label 0 is unused: nnU-Net then treats the first class as foreground.
    """
    shift = 1 if first_class_is_background else 0
    ids = range(1, classes + 1)
    return LabelMap({UNANNOTATED: classes + 1 - shift, **{value: value - shift for value in ids}})


def dataset_labels(table: ClassTable, label_map: LabelMap) -> dict[str, int]:
    """Return ``labels`` for dataset.json: names to labels, with nnU-Net's ``background`` and ``ignore``."""
    foreground = {name: label_map.label_of_id[value] for value, name in table.names.items()}
    named = {name: label for name, label in foreground.items() if label != 0}
    return {"background": 0, **named, "ignore": label_map.ignore_label}


def count_values(array: NDArray[Any]) -> dict[int, int]:
    """Return how many voxels of an integer array hold each value that occurs in it."""
    if array.dtype in (np.uint8, np.uint16):
        counts = np.zeros(np.iinfo(array.dtype).max + 1, dtype=np.int64)
        for part in _parts(array):
            counts += np.bincount(part, minlength=counts.size)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(array, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _look_up(array: NDArray[Any], table: dict[int, int], other: int) -> NDArray[np.uint8 | np.uint16]:
    """Replace every value of ``array`` by ``table``, and values that it does not have by ``other``."""
    target = np.uint8 if max(other, *table.values()) <= np.iinfo(np.uint8).max else np.uint16
    small = array.dtype in (np.uint8, np.uint16)
    size = np.iinfo(array.dtype).max + 1 if small else max(table) + 2
    values = np.full(size, other, dtype=target)
    possible = {value: label for value, label in table.items() if value < size}
    values[list(possible)] = list(possible.values())
    if small:
        mapped: NDArray[np.uint8 | np.uint16] = np.empty(array.shape, dtype=target)
        for source, place in zip(_parts(array), _parts(mapped), strict=True):
            np.take(values, source, out=place, mode="clip")  # clips nothing: the table has every value
        return mapped
    inside = (array >= 0) & (array < size - 1)
    return np.take(values, np.where(inside, array, size - 1).astype(np.intp))


def _parts(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Cut an array, flattened, into parts of a million voxels: numpy copies each as indices of 8 bytes."""
    return np.array_split(array.reshape(-1), max(1, array.size >> 20))
