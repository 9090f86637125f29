"""What nnU-Net's resampling does along each axis of a volume, and whether it can be done slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FUNCTION = "resample_data_or_seg_to_shape"
ORDERS = (0, 1, 3)
LABEL_ORDERS = (0, 1)
# Keywords of the function that matter here, with the values it takes for those that plans leave out; None: nnU-Net's.
DEFAULTS = {"order": 3, "order_z": 0, "force_separate_z": False, "separate_z_anisotropy_threshold": None}


@dataclass(frozen=True)
class ResamplingPlan:
    """What is done along each axis.

    Parameters
    ----------
    in_shape, out_shape
        Voxels along each axis before and after.
    orders
        Order of the spline along each axis.
    separate_axis
        Axis whose slices are resized, and clipped, one by one before it is interpolated itself; None: no such axis.
    clip
        Whether values may leave the range of the input and are clipped to it, as skimage.transform.resize does.
    """

    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    orders: tuple[int, int, int]
    separate_axis: int | None
    clip: bool

    @property
    def needs_limits(self) -> bool:
        """Whether the volume must be passed once before, for the limits; a plane knows its own."""
        return self.clip and self.separate_axis != 0


def supported_resampling(function_name: str, keywords: Mapping[str, Any], *, labels: bool = False) -> dict[str, Any]:
    """Check that what plans ask for is resampling that can be done slab by slab.

    Parameters
    ----------
    function_name
        ``resampling_fn_data``, ``resampling_fn_probabilities`` or ``resampling_fn_seg`` of the configuration.
    keywords
        The keywords beside it, ``resampling_fn_..._kwargs``.
    labels
        Whether it is ``resampling_fn_seg``, for label maps.

    Returns
    -------
    dict
        The keywords of ``plan_resampling``.

    Raises
    ------
    InputError
        If the function, a keyword or its value is another than those that are known; all of them are named.
    """
    problems = []
    asked = DEFAULTS | dict(keywords)
    if function_name != FUNCTION:
        problems.append(f"function {function_name} (only {FUNCTION})")
    else:
        known = {"is_seg", *DEFAULTS}
        problems += [f"unknown keyword {name}={keywords[name]!r}" for name in sorted(set(keywords) - known)]
        problems += [
            f"{name}={asked[name]!r} (only {', '.join(map(str, orders))})"
            for name, orders in (("order", LABEL_ORDERS if labels else ORDERS), ("order_z", (0,) if labels else ORDERS))
            if asked[name] not in orders
        ]
        problems += [
            f"{name}={asked.get(name, False)!r} (only {', '.join(map(str, values))})"
            for name, values in (("is_seg", (labels,)), ("force_separate_z", (None, False, True)))
            if asked.get(name, False) not in values
        ]
    if problems:
        message = (
            f"the plans ask for resampling that is not known here: {'; '.join(problems)}; predict with "
            "nnUNetv2_predict, which holds the whole image in memory"
        )
        raise InputError(message)
    return {name: asked[name] for name in DEFAULTS}


def plan_resampling(
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    current_spacing: Sequence[float],
    new_spacing: Sequence[float],
    *,
    order: int,
    order_z: int,
    force_separate_z: bool | None,
    separate_z_anisotropy_threshold: float | None = None,
) -> ResamplingPlan | None:
    """Decide what is done along each axis, by nnU-Net's rule for the low-resolution axis.

    Parameters
    ----------
    in_shape, out_shape
        Voxels along each axis before and after.
    current_spacing, new_spacing
        Size of a voxel (mm) along each axis before and after.
    order, order_z
        Order of the splines (0, 1 or 3), and along the low-resolution axis when that is interpolated by itself.
    force_separate_z
        Whether it is; None: if one of the spacings is anisotropic.
    separate_z_anisotropy_threshold
        Ratio of largest to smallest spacing above which one is; None: nnU-Net's.

    Returns
    -------
    ResamplingPlan or None
        None when the shapes are equal: nnU-Net then leaves the volume as it is.

    Raises
    ------
    InputError
        If a shape or spacing is not that of a volume, or an order is not 0, 1 or 3.
    """
    from nnunetv2.configuration import ANISO_THRESHOLD
    from nnunetv2.preprocessing.resampling.default_resampling import determine_do_sep_z_and_axis

    before, after = _three_sizes("in_shape", in_shape), _three_sizes("out_shape", out_shape)
    for name, spacing in (("current_spacing", current_spacing), ("new_spacing", new_spacing)):
        if len(spacing) != 3 or not all(s > 0 for s in spacing):
            message = f"{name}: {tuple(spacing)}, expected three numbers above 0"
            raise InputError(message)
    for name, value in (("order", order), ("order_z", order_z)):
        if value not in ORDERS:
            message = f"{name}: {value}, expected one of {', '.join(map(str, ORDERS))}"
            raise InputError(message)
    if before == after:
        return None
    threshold = ANISO_THRESHOLD if separate_z_anisotropy_threshold is None else separate_z_anisotropy_threshold
    separate, axis = determine_do_sep_z_and_axis(force_separate_z, current_spacing, new_spacing, threshold)
    separate_axis = int(axis) if separate else None
    first, second, third = (order_z if axis == separate_axis else order for axis in range(3))
    resized = any(before[axis] != after[axis] for axis in range(3) if axis != separate_axis)
    return ResamplingPlan(before, after, (first, second, third), separate_axis, clip=order > 1 and resized)


def _three_sizes(name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return a shape as three numbers of at least 1."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 3 or min(sizes) < 1:
        message = f"{name}: {sizes}, expected three sizes of at least 1"
        raise InputError(message)
    return sizes[0], sizes[1], sizes[2]
