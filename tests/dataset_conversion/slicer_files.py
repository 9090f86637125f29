"""Small builders: images, segmentations as 3D Slicer writes them, DICOM series."""

from __future__ import annotations

import hashlib
import locale
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from nnunet_ext.imageio import Geometry, write_volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHAPE = (6, 8, 10)
GEOMETRY = Geometry((2.0, 0.5, 0.75), (-30.0, 12.0, 7.5))
TAG = "Segmentation.Status:inprogress|TerminologyEntry:Anatomy list~SCT^123^Anatomical Structure~SCT^{0}^{1}~^^~~^^~^^|"


def block(z: slice, y: slice, x: slice, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return a mask with one filled box."""
    mask = np.zeros(shape, bool)
    mask[z, y, x] = True
    return mask


LUNGS = block(slice(1, 4), slice(2, 5), slice(1, 4))
AIRWAYS = block(slice(2, 5), slice(5, 8), slice(6, 10))
NODULE = block(slice(3, 5), slice(3, 6), slice(2, 7))  # overlaps both


def image(path: Path, geometry: Geometry = GEOMETRY, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """Write an image of random grey values with sign, and return it."""
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape, dtype=np.int16)
    write_volume(path, voxels, geometry)
    return voxels


def segmentation(
    path: Path,
    segments: dict[str, np.ndarray],
    geometry: Geometry = GEOMETRY,
    *,
    layers: Sequence[int] | None = None,
    colors: dict[str, tuple[float, float, float]] | None = None,
    more: dict[str, str] | None = None,
    extra: np.ndarray | None = None,
) -> Path:
    """Write masks by segment name; all in one layer by default. ``extra`` is added to the first layer."""
    import nrrd

    numbers = list(layers or [0] * len(segments))
    first = next(iter(segments.values())) if segments else np.zeros(SHAPE, bool)
    voxels = np.zeros((max(numbers, default=0) + 1, *first.shape), np.uint8)
    header: dict[str, object] = {}
    for index, ((name, mask), layer) in enumerate(zip(segments.items(), numbers, strict=True)):
        value = 1 + numbers[:index].count(layer)
        voxels[layer][mask] = value
        color = (colors or {}).get(name, (0.1 * index, 0.5, 0.25))
        header |= {
            f"Segment{index}_ID": f"Segment_{index + 1}",
            f"Segment{index}_Name": name,
            f"Segment{index}_Color": " ".join(map(str, color)),
            f"Segment{index}_LabelValue": str(value),
            f"Segment{index}_Layer": str(layer),
            f"Segment{index}_Tags": TAG.format(100 + index, name.strip().title()),
        }
    if extra is not None:
        voxels[0] += extra.astype(np.uint8)
    spacing, origin, direction = geometry.to_itk()
    columns = (np.reshape(direction, (3, 3)) * spacing).T
    several = len(voxels) > 1
    header |= {
        "space": "left-posterior-superior",
        "kinds": ["list"] * several + ["domain"] * 3,
        "space directions": np.vstack([[np.nan] * 3, columns]) if several else columns,
        "space origin": np.array(origin),
        "encoding": "gzip",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        **(more or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    turned = voxels.transpose(0, 3, 2, 1)
    nrrd.write(str(path), turned if several else turned[0], header)
    return path


def two_cases(folder: Path, names: Sequence[str] = ("lungs", "airways")) -> tuple[Path, Path]:
    """Write images and segmentations of the cases 001 and 002; return their folders."""
    for number, case in enumerate(("001", "002")):
        image(folder / "images" / f"{case}.nrrd", seed=number)
        segmentation(folder / "segmentations" / f"{case}.seg.nrrd", dict(zip(names, (LUNGS, AIRWAYS), strict=True)))
    return folder / "images", folder / "segmentations"


def dicom(
    folder: Path,
    series: str,
    *,
    slices: Sequence[int] = range(6),
    modality: str = "CT",
    seed: int = 0,
    shift: float = 0.0,
    directions: dict[int, str] | None = None,
) -> None:
    """Write a DICOM series, 2 mm from slice to slice.

    ``slices`` are those that exist, ``shift`` is how far (mm) each stands behind the last within the plane, and
    ``directions`` are those of slices that are turned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    voxels = np.random.default_rng(seed).integers(-1000, 1000, SHAPE, dtype=np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    spacing, origin, _ = GEOMETRY.to_itk()
    for z in slices:
        plane = sitk.GetImageFromArray(voxels[z % SHAPE[0]])
        plane.SetSpacing(spacing[:2])
        position = (origin[0], origin[1] + z * shift, origin[2] + z * spacing[2])
        tags = {
            "0008|0060": modality,
            "0008|103e": f"series of {modality}",
            "0008|0018": f"{series}.{z + 1}",
            "0020|000e": series,
            "0020|000d": "1.2.3",
            "0020|0013": str(z),
            "0020|0032": "\\".join(map(str, position)),
            "0020|0037": (directions or {}).get(z, "1\\0\\0\\0\\1\\0"),
            "0018|0050": str(spacing[2]),
        }
        for key, value in tags.items():
            plane.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{series}_{z}.dcm"))
        writer.Execute(plane)
    # Writing DICOM (reading does not) leaves the process in the locale C, whose files are ASCII.
    locale.setlocale(locale.LC_ALL, before)


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
