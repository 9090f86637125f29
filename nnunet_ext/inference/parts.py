"""Parts of a prediction that several jobs make: which planes each decides on, and its files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.files import refuse_existing, sha256, write_json, written_when_complete
from nnunet_ext.inference.disk import clear_disk_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.inference.case import CaseImage
    from nnunet_ext.inference.plane_store import PlaneStore
    from nnunet_ext.inference.recipe import Box

PARTS_SUFFIX = ".parts"
LABELS_SUFFIX = ".labels"
PROBABILITIES_SUFFIX = ".probabilities"
KIND = "part of a prediction"


@dataclass(frozen=True)
class Part:
    """What stands in the JSON file beside the labels of a part.

    Parameters
    ----------
    case
        Name of the case.
    part, parts
        Number of the part, from 0, and how many there are.
    first, last
        Planes that it holds, along the first axis of the network.
    planes
        Planes of the whole crop.
    plane
        Height and width of a plane.
    dtype
        Of the labels.
    sha256
        Of the file with the labels.
    shape
        Voxels of the image (z, y, x).
    crop
        Where the crop lies in it.
    transpose
        Which axis of the image stands where in the network.
    geometry
        Spacing, origin and direction of the image (z, y, x).
    file_ending
        Of the prediction.
    identity
        Model, input and settings that it was made of.
    background
        Probabilities outside of the crop, one per head; empty for labels alone.
    probabilities_sha256
        Of the file with the probabilities (planes, heads, height, width), float16; empty without one.
    """

    case: str
    part: int
    parts: int
    first: int
    last: int
    planes: int
    plane: tuple[int, int]
    dtype: str
    sha256: str
    shape: tuple[int, int, int]
    crop: Box
    transpose: tuple[int, int, int]
    geometry: dict[str, Any]
    file_ending: str
    identity: dict[str, Any]
    background: tuple[float, ...] = ()
    probabilities_sha256: str = ""


def part_range(part: int, parts: int, row_starts: Sequence[int], planes: int) -> tuple[int, int]:
    """Return the planes that a part decides on; all parts together cover every plane once.

    Borders lie where rows of windows begin, since what lies before a row is not touched by it.

    Parameters
    ----------
    part, parts
        Number of the part, from 0, and how many there are.
    row_starts
        Planes at which rows of windows begin, ascending, the first one at most 0.
    planes
        Number of planes.
    """

    def border(index: int) -> int:
        if index == 0:
            return 0
        row = len(row_starts) * index // parts
        return min(planes, max(0, row_starts[row])) if row < len(row_starts) else planes

    return border(part), border(part + 1)


def write_part(
    output: Path, store: PlaneStore, image: CaseImage, layout: Mapping[str, Any], *, overwrite: bool
) -> Path:
    """Write the labels, and probabilities if there are any, of a finished part, and its JSON file last.

    Parameters
    ----------
    output
        Folder of the predictions; the part goes to ``<case>.parts`` there.
    store
        Its planes.
    image
        The case.
    layout
        ``part, parts, planes, plane, crop, transpose, file_ending, identity, background`` of `Part`; with a background,
        the store has probabilities.
    overwrite
        Whether the same part may be replaced.

    Returns
    -------
    Path
        The JSON file.
    """
    folder = output / f"{image.name}{PARTS_SUFFIX}"
    record_path = folder / part_name(layout["part"], layout["parts"])
    labels = store.labels()
    refuse_existing([record_path], overwrite=overwrite)
    digest = _write_planes(record_path.with_suffix(LABELS_SUFFIX), labels)
    probabilities = ""
    if layout.get("background"):
        probabilities = _write_planes(record_path.with_suffix(PROBABILITIES_SUFFIX), store.probabilities())
    record = Part(
        case=image.name,
        first=store.first,
        last=store.last,
        dtype=labels.dtype.name,
        sha256=digest,
        probabilities_sha256=probabilities,
        shape=image.shape,
        geometry=asdict(image.geometry),
        **layout,
    )
    write_json(record_path, {"kind": KIND, **asdict(record)})
    return record_path


def part_name(part: int, parts: int) -> str:
    """Return the name of the JSON file of a part."""
    return f"part{part:03d}of{parts:03d}.json"


def _write_planes(path: Path, planes: NDArray[Any]) -> str:
    """Write planes (n, …) and return the SHA-256 of the file."""
    with clear_disk_errors(path, planes.nbytes), written_when_complete(path, overwrite=True) as partial:
        with partial.open("wb") as file:
            for start in range(0, len(planes), 16):
                file.write(np.ascontiguousarray(planes[start : start + 16]).data)
        return sha256(partial)
