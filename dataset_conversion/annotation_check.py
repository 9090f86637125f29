"""Look through one scan and its sparse annotation before anything is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from dataset_conversion.label_map import UNANNOTATED, LabelMap, count_values
from dataset_conversion.normalization import IDENTITY, Normalization
from dataset_conversion.scan_writer import scan_normalization
from nnunet_ext.errors import NnunetExtError
from nnunet_ext.imageio import open_volume
from nnunet_ext.imageio.grid import grid_differences, grid_of

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_ext.imageio import Geometry, Volume


@dataclass
class Inspection:
    """What one case holds, and what is wrong with it.

    Parameters
    ----------
    image, annotation
        The files.
    problems
        One message each; the rest is only complete if there are none.
    shape
        Of the scan, (z, y, x).
    dtype
        The scan's own type.
    geometry, spacing_source
        Of the scan, and where the spacing comes from.
    voxels_of_id
        Voxels of each annotation id that occurs, 0 included.
    annotated
        Indices of the slices that hold an annotated voxel, ascending.
    normalization
        Computed over the whole scan; the identity where nothing is annotated, since such scans are left out.
    """

    image: Path
    annotation: Path
    problems: list[str] = field(default_factory=list)
    shape: tuple[int, int, int] = (0, 0, 0)
    dtype: str = ""
    geometry: Geometry | None = None
    spacing_source: str = ""
    voxels_of_id: dict[int, int] = field(default_factory=dict)
    annotated: list[int] = field(default_factory=list)
    normalization: Normalization = IDENTITY


def inspect_case(
    image: Path,
    annotation: Path,
    label_map: LabelMap,
    scheme: str,
    spacing: tuple[float, float, float] | None,
    unknown_as_ignore: bool,
) -> Inspection:
    """Read all of a scan and its annotation, slab by slab; collect problems instead of raising them.

    Parameters
    ----------
    image, annotation
        The files, or folders of slices.
    label_map
        Which ids there are.
    scheme
        How to normalise, see ``normalization.normalization_of``.
    spacing
        In mm (z, y, x), instead of the file's; None takes the file's.
    unknown_as_ignore
        Whether ids that ``label_map`` does not have count as not annotated.
    """
    found = Inspection(image, annotation)
    try:
        with open_volume(image, spacing) as scan, open_volume(annotation) as marks:
            found.shape, found.dtype = scan.shape, str(scan.dtype)
            found.geometry, found.spacing_source = scan.geometry, scan.spacing_source
            found.problems += _mismatches(scan, marks, spacing)
            if not found.problems:
                _count(found, marks, label_map)
            if found.annotated:
                found.normalization = scan_normalization(scan, scheme)
    except NnunetExtError as error:
        found.problems.append(str(error))
    unknown = label_map.unknown_ids(found.voxels_of_id)
    if unknown and not unknown_as_ignore:
        listed = ", ".join(f"{value} ({count} voxels)" for value, count in unknown.items())
        found.problems.append(
            f"{annotation}: ids {listed} are not in the class file, which has {sorted(label_map.label_of_id)}; "
            "correct the annotation or give --unknown-as-ignore"
        )
    return found


def _mismatches(scan: Volume, marks: Volume, spacing: tuple[float, float, float] | None) -> list[str]:
    expected = grid_of(scan)
    if spacing is not None:
        # the scan's own spacing is known to be wrong, so that its place in space says nothing either
        expected = replace(expected, has_spacing=False, is_placed=False)
    differences = grid_differences(grid_of(marks), expected)
    return [f"{marks.path}: {', '.join(differences)} (z, y, x) as in the image {scan.path}"] if differences else []


def _count(found: Inspection, marks: Volume, label_map: LabelMap) -> None:
    total: Counter[int] = Counter()
    known = [value for value in label_map.label_of_id if value != UNANNOTATED]
    for start, slab in marks.slabs():
        if np.issubdtype(slab.dtype, np.floating):
            whole = slab.astype(np.int64, copy=True) if np.isfinite(slab).all() else None
            if whole is None or not np.array_equal(whole, slab):
                found.problems.append(f"{marks.path}: expected whole numbers, found other {slab.dtype} values")
                return
            slab = whole
        total.update(count_values(slab))
        annotated = np.isin(slab, known).any(axis=(1, 2))
        found.annotated += (np.flatnonzero(annotated) + start).tolist()
    found.voxels_of_id = dict(sorted(total.items()))
