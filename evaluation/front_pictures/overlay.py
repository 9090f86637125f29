"""Overlay of two calving fronts on an image: label blue, prediction yellow, both magenta, the box cyan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

LABEL = (0, 0, 255)
PREDICTION = (255, 255, 0)
OVERLAP = (255, 0, 255)
BOX = (0, 255, 255)


def front_overlay(
    image: npt.NDArray[Any],
    label: npt.NDArray[Any],
    prediction: npt.NDArray[Any],
    box: tuple[slice, slice] | None = None,
    *,
    width: int = 3,
) -> npt.NDArray[np.uint8]:
    """Draw two fronts and the box over an image.

    Parameters
    ----------
    image
        Grey levels 0 to 255, shape (H, W).
    label
        Front of the label, nonzero where it is, shape (H, W).
    prediction
        Predicted front, nonzero where it is, shape (H, W).
    box
        Rows and columns in which fronts count, or ``None``. Its outline lies on the outermost pixels of the box.
    width
        Width of all lines in pixels; even widths become the next odd one. Fronts are widened before they are
        laid over each other, so that two fronts a pixel apart show their overlap.

    Returns
    -------
    ndarray
        Colours, uint8, shape (H, W, 3).

    Raises
    ------
    InputError
        If the shapes differ, the image is not uint8, or the width is below 1.
    """
    _check(image, label, prediction, width)
    wide_label, wide_prediction = widened(label != 0, width), widened(prediction != 0, width)
    colours = np.repeat(image[..., None], 3, axis=2)
    if box is not None:
        colours[box_outline(image.shape, box, width=width)] = BOX
    colours[wide_label] = LABEL
    colours[wide_prediction] = PREDICTION
    colours[wide_label & wide_prediction] = OVERLAP
    return colours


def line_width(shape: tuple[int, ...], *, shown: int = 900) -> int:
    """Return an odd width of lines that stays about 3 pixels when the longer side is reduced to ``shown`` pixels."""
    return 2 * round(max(shape) / shown) + 1 if max(shape) > shown else 3


def widened(line: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    """Return a line dilated with a square, to ``width`` pixels if it was one pixel wide; shape (H, W)."""
    from scipy import ndimage

    reach = width // 2
    if reach == 0 or not line.any():
        return line
    wide: npt.NDArray[np.bool_] = ndimage.maximum_filter(line, size=2 * reach + 1, mode="constant", cval=0)
    return wide


def box_outline(shape: tuple[int, ...], box: tuple[slice, slice], *, width: int = 1) -> npt.NDArray[np.bool_]:
    """Return the pixels of the outline of a box, which lies inside the box; shape (H, W)."""
    rows, columns = (
        slice(*side.indices(size)) if side != slice(None) else slice(0, size)
        for side, size in zip(box, shape, strict=True)
    )
    outline = np.zeros(shape, bool)
    outline[rows, columns] = True
    outline[rows.start + width : max(rows.stop - width, 0), columns.start + width : max(columns.stop - width, 0)] = (
        False
    )
    return outline


def _check(image: npt.NDArray[Any], label: npt.NDArray[Any], prediction: npt.NDArray[Any], width: int) -> None:
    if image.ndim != 2 or image.dtype != np.uint8:
        message = f"image: expected uint8 of two axes, found {image.dtype} of shape {image.shape}"
        raise InputError(message)
    for name, array in (("label", label), ("prediction", prediction)):
        if array.shape != image.shape:
            message = f"{name}: shape {array.shape}, but the image has {image.shape}"
            raise InputError(message)
    if width < 1:
        message = f"width: {width}, expected at least 1"
        raise InputError(message)
