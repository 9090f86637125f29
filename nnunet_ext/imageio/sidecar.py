"""nnU-Net's side-car of a TIFF volume: ``<case>.json`` with the spacing, which its reader and writer go by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json, write_json
from nnunet_ext.imageio.names import TIFF_ENDINGS, has_ending, volume_name
from nnunet_ext.imageio.open import open_volume

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_ext.imageio.geometry import Geometry
    from nnunet_ext.imageio.volume import Volume


def open_with_sidecar(path: Path, case: str | None = None) -> Volume:
    """Open a volume of an nnU-Net folder; a TIFF with a side-car has the spacing that stands there.

    Parameters
    ----------
    path
        The volume.
    case
        Name of the side-car without ending, where it is not the volume's own: images have a channel number.

    Raises
    ------
    InputError
        If the side-car's spacing is not three positive numbers, or the volume cannot be read.
    """
    return open_volume(path, _spacing(path, case or volume_name(path)))


def write_sidecar(folder: Path, case: str, geometry: Geometry) -> None:
    """Write ``<case>.json``; nnU-Net reads the spacing (z, y, x) in mm, the origin is for the record."""
    write_json(folder / f"{case}.json", {"spacing": list(geometry.spacing), "origin": list(geometry.origin)})


def _spacing(path: Path, case: str) -> tuple[float, float, float] | None:
    sidecar = path.with_name(f"{case}.json")
    if not has_ending(path, TIFF_ENDINGS) or not sidecar.is_file():
        return None
    spacing = read_json(sidecar).get("spacing")
    if spacing is None:
        return None
    if not isinstance(spacing, list) or len(spacing) != 3 or not all(isinstance(v, (int, float)) for v in spacing):
        message = f"{sidecar}: spacing {spacing!r} found, expected three positive numbers of mm (z, y, x)"
        raise InputError(message)
    z, y, x = (float(value) for value in spacing)
    return z, y, x
