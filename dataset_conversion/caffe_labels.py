"""Label maps of calving fronts: from front and zones to what the network learns, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from dataset_conversion.caffe_tasks import FUSED_FRONT
from nnunet_ext.caffe.grey_levels import ZONES
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dataset_conversion.caffe_tasks import CaffeTask
    from nnunet_ext.multitask.joint_labels import JointLabels

GLACIER, OCEAN = list(ZONES).index("glacier"), list(ZONES).index("ocean")


def dilated(line: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Dilate a line by a square.

    Parameters
    ----------
    line
        Mask (y, x).
    width
        Side of the square in pixels, odd; also the width that a straight line gets.

    Returns
    -------
    ndarray of bool
        Every pixel with a pixel of the line in the square around it.
    """
    grown: NDArray[np.bool_] = ndimage.maximum_filter(line.astype(bool), size=width, mode="constant")
    return grown


def zone_boundary(zones: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the glacier pixels of which a 4-neighbour belongs to another zone, whichever it is.

    Parameters
    ----------
    zones
        Class indices (y, x). What lies outside of the image is no neighbour.
    """
    return _edge(zones == GLACIER)


def training_label(
    task: CaffeTask, front: NDArray[Any] | None, zones: NDArray[Any] | None, *, front_width: int
) -> NDArray[np.uint8]:
    """Make the label map of an image.

    Parameters
    ----------
    task
        What it is for.
    front, zones
        Front mask and class indices of the zones (y, x); only those that the task needs.
    front_width
        Width of front and boundary in pixels, see `dilated`.

    Returns
    -------
    ndarray of uint8
        Labels (y, x) as dataset.json has them; joint labels if the task has several label maps.

    Raises
    ------
    InputError
        If one of those that the task needs is missing.
    """
    maps: dict[str, NDArray[Any]] = {}
    if front is not None:
        maps["front"] = dilated(front, front_width)
    if zones is not None:
        maps |= {"zones": zones, "boundary": dilated(zone_boundary(zones), front_width)}
    missing = [part for part in task.parts if part not in maps]
    if missing or not task.parts:
        message = f"task '{task.name}' needs the label maps {list(task.parts)}, not given: {missing}"
        raise InputError(message)
    if task.is_fused:
        return np.where(maps["front"], FUSED_FRONT, maps["zones"]).astype(np.uint8)
    if task.joint is None:
        return maps[task.parts[0]].astype(np.uint8)
    return task.joint.encode(np.stack([maps[part] for part in task.parts])).astype(np.uint8)


def predicted_maps(
    task: CaffeTask, codes: NDArray[Any], *, joint: JointLabels | None = None
) -> Mapping[str, NDArray[Any]]:
    """Take predicted labels apart.

    Parameters
    ----------
    task
        What was predicted.
    codes
        Labels (y, x) as dataset.json has them, whole numbers.
    joint
        How they were encoded; default: as the task does it.

    Returns
    -------
    dict
        Class indices (y, x) of each part. In a fused prediction the front is the class as predicted, and the zones
        are those below it, see `zones_below_front`.

    Raises
    ------
    InputError
        If a joint or fused label is none that the task has. Other values come back as they are.
    """
    joint = joint or task.joint
    if task.is_fused:
        return {"front": (codes == FUSED_FRONT).astype(np.uint8), "zones": zones_below_front(codes)}
    if joint is None:
        return {task.parts[0]: codes}
    return dict(zip(task.parts, joint.decode(codes), strict=True))


def zones_below_front(fused: NDArray[Any]) -> NDArray[np.uint8]:
    """Give every front pixel of a fused label to the nearer of glacier and ocean; all others stay what they are.

    Parameters
    ----------
    fused
        Class indices (y, x): those of the zones, and 4 for the front.

    Returns
    -------
    ndarray of uint8
        Class indices of the zones. At the same (Euclidean) distance of both, and where there is neither in the image,
        ocean.

    Raises
    ------
    InputError
        If there are other values.
    """
    front = fused == FUSED_FRONT
    if int(fused.max(initial=0)) > FUSED_FRONT or int(fused.min(initial=0)) < 0:
        message = f"labels from {fused.min()} to {fused.max()} found, expected 0 to {FUSED_FRONT}"
        raise InputError(message)
    zones = fused.astype(np.uint8)
    pixels = np.argwhere(front)
    to_glacier, to_ocean = (_distances(pixels, fused == zone) for zone in (GLACIER, OCEAN))
    zones[front] = np.where(to_glacier < to_ocean, GLACIER, OCEAN)
    return zones


def _distances(pixels: NDArray[Any], zone: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how far each pixel, outside of a zone, is away from it; infinite if there is no such zone."""
    # The nearest pixel of a zone is at its edge, and a tree of these few is faster than a map of all distances. Both
    # are roots of whole numbers, so that equal distances are equal.
    edge = np.argwhere(_edge(zone))
    if not len(edge) or not len(pixels):
        return np.full(len(pixels), np.inf)
    distances: NDArray[np.float64] = cKDTree(edge).query(pixels)[0]
    return distances


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels of a mask with a 4-neighbour, inside the image, that is not in it."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(mask, border_value=1)
    return mask & ~inner
