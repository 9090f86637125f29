"""Read the segments of 3D Slicer: what a file has by name, and the voxels of its layers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.label_map import count_values
from dataset_conversion.task_labels import whole_numbers
from nnunet_ext.errors import InputError, UnsupportedFormatError
from nnunet_ext.imageio import ending_of, open_volume
from nnunet_ext.imageio.grid import Grid, grid_of
from nnunet_ext.imageio.volume import library_errors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ENDINGS = (".nrrd", ".mha", ".mhd", ".nii", ".nii.gz")
"""Endings of volumes that have a place in space, which segmentations are brought to their image by."""

MAX_VALUES = 128
"""More values than that are grey values and no label map; TotalSegmentator, for one, has 117."""

LOOKS = ("color", "terminology", "tags")
"""What is kept of a segment for the way back, in the form that slicerio gives and takes."""

_SEGMENT_KEY = re.compile(r"Segment\d+_(ID|Name|LabelValue)")
_REPRESENTATIONS = ("Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation")


@dataclass(frozen=True)
class Segment:
    """A segment: the voxels of a layer that have a value.

    Parameters
    ----------
    name
        As 3D Slicer shows it, without outer blanks.
    layer, value
        Where it is.
    look
        Its colour, terminology and other tags, as far as the file has them, see ``LOOKS``.
    """

    name: str
    layer: int
    value: int
    look: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layers:
    """The voxels of a segmentation.

    Parameters
    ----------
    grid
        Of each layer.
    voxels
        Whole numbers of shape (layer, z, y, x).
    """

    grid: Grid
    voxels: NDArray[Any]


def load_slicerio() -> Any:
    """Import slicerio, which reads and writes the segmentations of 3D Slicer.

    Raises
    ------
    UnsupportedFormatError
        If it is not installed; says how to.
    """
    try:
        import_module("nrrd")
        return import_module("slicerio")
    except ImportError as error:
        message = f"segmentations of 3D Slicer need slicerio and pynrrd: pip install 'nnunet_ext[slicer]' ({error})"
        raise UnsupportedFormatError(message) from error


def names_of_segments(path: Path) -> list[str]:
    """Return the names of the segments in a file's header; none if it is no segmentation of 3D Slicer."""
    keys = _header(path)
    return [_name(keys, number) for number in _numbers(keys)]


def read_segments(path: Path) -> tuple[list[Segment], bool]:
    """Return what segments a file has; its voxels are read only if the header does not say so.

    Parameters
    ----------
    path
        Segmentation of 3D Slicer; or a label map without names, in which each value but 0 is a segment that is named
        like the value.

    Returns
    -------
    tuple
        The segments in the order of the file, and whether it has names for them.

    Raises
    ------
    InputError
        If the file is damaged, two segments have one name, or it looks like an image.
    UnsupportedFormatError
        If segments are fractional, or slicerio is missing.
    """
    if ending_of(path) not in ENDINGS:
        message = (
            f"{path}: does not say where voxels lie in space, expected a segmentation ending in {', '.join(ENDINGS)}"
        )
        raise UnsupportedFormatError(message)
    keys = _header(path)
    if not _numbers(keys):
        return _segments_of_values(path), False
    _refuse_fractional(path, keys)
    with library_errors(path):
        entries = load_slicerio().read_segmentation(str(path), skip_voxels=True)["segments"]
    # Before there were layers, each segment had one of its own, with the value 1.
    has_own = not any("layer" in entry for entry in entries) and _count_layers(path) > 1
    segments = []
    for number, entry in enumerate(entries):
        name = str(entry.get("name", entry["id"])).strip()
        layer, value = entry.get("layer", number if has_own else 0), entry.get("labelValue", 1)
        segments.append(Segment(name, layer, value, {key: entry[key] for key in LOOKS if key in entry}))
    _refuse_doubles(path, segments)
    return segments, True


def read_layers(path: Path, segments: list[Segment], *, is_named: bool) -> Layers:
    """Read the voxels of a segmentation.

    Parameters
    ----------
    path
        The file.
    segments, is_named
        What ``read_segments`` has found in it.

    Raises
    ------
    InputError
        If the file is damaged, or does not have the layer of a segment.
    """
    if not is_named:
        with open_volume(path) as volume:
            return Layers(grid_of(volume), whole_numbers(volume.slab(0, volume.shape[0]), str(path))[None])
    from nnunet_ext.imageio.itk import header_geometry, header_reader

    with library_errors(path):
        voxels = load_slicerio().read_segmentation(str(path))["voxels"]
        # slicerio's axes are x, y, z, with layers before them.
        voxels = np.moveaxis(voxels, (-3, -1), (-1, -3))
    layers = whole_numbers(voxels if voxels.ndim == 4 else voxels[None], str(path))
    wrong = [f"'{s.name}' (layer {s.layer})" for s in segments if not 0 <= s.layer < len(layers)]
    if wrong:
        message = f"{path}: segments {', '.join(wrong)} are in no layer, expected one of {len(layers)}"
        raise InputError(message)
    _, z, y, x = layers.shape
    grid = Grid(path, (z, y, x), header_geometry(header_reader(path)), has_spacing=True, is_placed=True)
    return Layers(grid, np.ascontiguousarray(layers))


def key_of(name: str) -> str:
    """Return what names of segments are compared by: without outer blanks and regard to case."""
    return name.strip().casefold()


def _header(path: Path) -> dict[str, str]:
    if ending_of(path) != ".nrrd":
        return {}
    from nnunet_ext.imageio.itk import header_reader

    if path.stat().st_size == 0:
        message = f"{path}: the file is empty, expected a volume"
        raise InputError(message)
    reader = header_reader(path)
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def _numbers(keys: dict[str, str]) -> list[int]:
    return sorted({int(key[len("Segment") : key.index("_")]) for key in keys if _SEGMENT_KEY.fullmatch(key)})


def _name(keys: dict[str, str], number: int) -> str:
    return keys.get(f"Segment{number}_Name", keys.get(f"Segment{number}_ID", str(number))).strip()


def _count_layers(path: Path) -> int:
    from nnunet_ext.imageio.itk import header_reader

    return int(header_reader(path).GetNumberOfComponents())


def _refuse_fractional(path: Path, keys: dict[str, str]) -> None:
    found = [keys[key] for key in _REPRESENTATIONS if "fractional" in keys.get(key, "").lower()]
    if found:
        message = (
            f"{path}: its segments are stored as '{found[0]}', expected 'Binary labelmap'; choose that as source "
            "representation in the module Segmentations of 3D Slicer and save again"
        )
        raise UnsupportedFormatError(message)


def _refuse_doubles(path: Path, segments: list[Segment]) -> None:
    keys = [key_of(segment.name) for segment in segments]
    doubles = sorted({segment.name for segment in segments if keys.count(key_of(segment.name)) > 1})
    if doubles:
        names = ", ".join(f"'{name}'" for name in doubles)
        message = f"{path}: several segments are called {names}, expected different names; rename or delete them"
        raise InputError(message)
    if "" in keys:
        message = f"{path}: a segment has no name, expected one for each"
        raise InputError(message)


def _segments_of_values(path: Path) -> list[Segment]:
    values: set[int] = set()
    with open_volume(path) as volume:
        for _, slab in volume.slabs():
            values.update(count_values(whole_numbers(slab, str(path))))
            if len(values) > MAX_VALUES or min(values) < 0:
                message = (
                    f"{path}: at least {len(values)} values from {min(values)} to {max(values)} found, expected at "
                    f"most {MAX_VALUES} labels from 0; this looks like an image: are -i and -l swapped?"
                )
                raise InputError(message)
    return [Segment(str(value), 0, value) for value in sorted(values) if value != 0]
