"""The patch of a trained model along an axis of an image, from plans.json."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json
from nnunet_ext.inference.pieces import halo_width

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nnunet_ext.imageio import Geometry

DEFAULT_CONFIGURATION = "3d_fullres"
DEFAULT_PATCH = (48, 224, 224)
"""Patch (z, y, x) without a model, in voxels of the image itself."""

_OF_EACH_IMAGE = ("ZScoreNormalization", "RescaleTo01Normalization")


@dataclass(frozen=True)
class PlanPatch:
    """Patch and voxel size of a configuration, in the order of the image's axes.

    Parameters
    ----------
    patch
        Voxels along z, y, x.
    spacing
        Voxel size in mm along z, y, x that the patch is in; None along an axis that nnU-Net does not resample: it is
        the image's own.
    reorients
        Whether nnU-Net's reader turns images to standard axes first, which z, y, x then mean.
    own_normalization
        nnU-Net's normalisations whose numbers are those of each image, and so of each piece.
    file_ending
        Ending of the images that the model takes, or None without a model.
    """

    patch: tuple[int, int, int] = DEFAULT_PATCH
    spacing: tuple[float | None, float | None, float | None] = (None, None, None)
    reorients: bool = False
    own_normalization: tuple[str, ...] = ()
    file_ending: str | None = None

    def halo(self, axis: int, geometry: Geometry) -> int:
        """Return the halo in voxels that the pieces of an image need along an axis (0, 1, 2: z, y, x)."""
        spacing = geometry.spacing[axis]
        if self.reorients:
            # The axis of space (z, y, x) that this axis of the array runs along.
            axis = max(range(3), key=lambda row: abs(geometry.direction[row][axis]))
        planned = self.spacing[axis]
        return halo_width(self.patch[axis], spacing if planned is None else planned, spacing)


def read_plan_patch(model: Path, configuration: str | None = None) -> PlanPatch:
    """Return the patch of a trained model.

    Parameters
    ----------
    model
        Folder of the model, with ``plans.json`` and ``dataset.json``.
    configuration
        Which of the plans' configurations; default: the one that the folder's name ends with, else ``3d_fullres``.

    Raises
    ------
    MissingInputError
        If a file is not there.
    InputError
        If the plans have no such configuration, or no usable patch.
    """
    path = model / "plans.json"
    plans = read_json(path)
    ending = read_json(model / "dataset.json").get("file_ending")
    if not isinstance(ending, str):
        message = f"{model / 'dataset.json'}: file_ending {ending!r} found, expected the ending of the images"
        raise InputError(message)
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict):
        message = f"{path}: no configurations there, expected plans of nnU-Net v2"
        raise InputError(message)
    if configuration is None:
        named = model.absolute().name.split("__")[-1]
        configuration = named if named in configurations else DEFAULT_CONFIGURATION
    settings = _resolved(configurations, configuration, path)
    order = plans.get("transpose_forward")
    if not isinstance(order, list) or sorted(order) != [0, 1, 2]:
        message = f"{path}: transpose_forward {order!r} found, expected the axes 0, 1, 2 in some order"
        raise InputError(message)
    patch, spacing = (_positive(settings.get(key)) for key in ("patch_size", "spacing"))
    if not patch or len(patch) != len(spacing):
        message = (
            f"{path}: configuration '{configuration}': patch_size {settings.get('patch_size')!r} and spacing "
            f"{settings.get('spacing')!r} found, expected 2 or 3 positive numbers each"
        )
        raise InputError(message)
    if len(patch) == 2:
        # A 2D network sees one slice at a time and leaves the distance of slices as it is.
        patch, spacing = [1, *patch], [None, *spacing]
    # Entry k of the plans belongs to axis order[k] of the image.
    z, y, x = (order.index(axis) for axis in range(3))
    schemes = settings.get("normalization_schemes") or []
    return PlanPatch(
        patch=(patch[z], patch[y], patch[x]),
        spacing=(spacing[z], spacing[y], spacing[x]),
        reorients="Reorient" in str(plans.get("image_reader_writer")),
        own_normalization=tuple(scheme for scheme in dict.fromkeys(schemes) if scheme in _OF_EACH_IMAGE),
        file_ending=ending,
    )


def _resolved(configurations: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """Return a configuration with what it inherits."""
    settings: dict[str, Any] = {}
    seen: list[str] = []
    following: str | None = name
    while following is not None:
        found = configurations.get(following)
        if not isinstance(found, dict) or following in seen:
            message = f"{path}: no usable configuration '{following}', expected one of {', '.join(configurations)} (-c)"
            raise InputError(message)
        seen.append(following)
        settings = found | settings
        following = found.get("inherits_from")
    return settings


def _positive(values: object) -> list[Any]:
    """Return 2 or 3 positive numbers as they are, and an empty list for anything else."""
    if not isinstance(values, list) or len(values) not in (2, 3):
        return []
    good = [isinstance(value, (int, float)) and math.isfinite(value) and value > 0 for value in values]
    return list(values) if all(good) else []
