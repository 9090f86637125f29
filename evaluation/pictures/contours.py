"""Pictures of one slice: the image in grey, and the outlines of every class in reference and prediction."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from evaluation.labels import LabelSet

    Mask = NDArray[np.bool_]
    Picture = NDArray[np.uint8]
    Color = tuple[int, int, int]

FITTING_SIDE = 640
"""Small slices are enlarged by a whole number, so that their longer side has about so many pixels."""

LARGEST_SIDE = 1400
"""Larger slices are reduced, so that their longer side has so many pixels."""

PLAIN_GREY = 48
"""Grey of slices without image."""

PERCENTILES = (0.5, 99.5)
"""Image values that become black and white; beyond them lie metal, air bubbles and broken pixels."""

LINE_WIDTH = 1.6
"""In pixels, as are dashes and hatches."""

DEEPEST = 0.4
"""Of a voxel: how far inside their class lines lie at most; thin structures would vanish further inside."""

RIM_WIDTH = 1.4
"""What the dark rim of a line adds to its width."""

DASHES = (7.0, 5.0)
HATCH_DISTANCE = 9
HATCH_CONTRAST = 50
DIMMED = 0.45
"""Factor for the brightness of what no class is annotated for."""

# Bright enough for a dark image, and told apart with colour-blind eyes as far as so many can be.
_COLORS = (
    *((64, 200, 255), (255, 200, 40), (255, 90, 90), (90, 230, 120)),
    *((230, 130, 255), (255, 150, 60), (150, 160, 255), (200, 240, 90)),
)
_DOTS_PER_INCH = 64  # a power of two, so that sizes in inches are exact


@dataclass(frozen=True)
class LineColors:
    """Colours (red, green, blue; 0 to 255) of a class: of its reference and of its prediction."""

    reference: Color
    prediction: Color


def overlay_picture(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    label_set: LabelSet,
    *,
    image: NDArray[Any] | None = None,
    colors: Sequence[LineColors] | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
    zoom: float | None = None,
) -> Picture:
    """Draw the outlines of all classes: solid in the reference, dashed in the prediction.

    Voxels that are annotated for no class are dimmed, and those that some class is not annotated for are hatched.

    Parameters
    ----------
    reference, prediction
        Label maps (rows, columns) of the same shape.
    label_set
        The classes, and what is ignored for each.
    image
        Shown in grey, from the 0.5th to the 99.5th percentile; same shape. Default: plain dark grey.
    colors
        One per class. Default: `line_colors`.
    spacing
        Distance of voxel centres along rows and columns, in any unit; pixels of the picture are square.
    zoom
        Pixels of the picture per shorter side of a voxel. Default: `fitting_zoom`.

    Returns
    -------
    ndarray of uint8
        (height, width, 3): red, green and blue.

    Raises
    ------
    InputError
        If shapes differ, or spacing or zoom are not positive.
    """
    _check(reference, prediction, image, spacing)
    zoom = fitting_zoom(reference.shape, spacing) if zoom is None else zoom
    if not zoom > 0:
        message = f"zoom {zoom} given, expected a positive number"
        raise InputError(message)
    size = _size(reference.shape, spacing, zoom)
    ground = _ground(reference, image, size)
    ground = _mark_ignored(ground, ignored_voxels(reference, label_set))
    scale = (size[0] / reference.shape[0], size[1] / reference.shape[1])
    lines: list[tuple[NDArray[np.float64], Color, bool]] = []
    colors = line_colors(len(label_set.classes)) if colors is None else colors
    for labels, is_prediction in ((reference, False), (prediction, True)):
        for scored, color in zip(label_set.classes, colors, strict=True):
            chosen = color.prediction if is_prediction else color.reference
            outlines = class_outlines(labels, scored.values, scale)
            lines += [(outline, chosen, is_prediction) for outline in outlines]
    return _draw(ground, lines)


def line_colors(classes: int) -> list[LineColors]:
    """Choose colours: one per class, or two for a single class, whose reference and prediction then differ in it."""
    if classes == 1:
        return [LineColors(_COLORS[0], _COLORS[1])]
    return [LineColors(color, color) for color in map(_color, range(classes))]


def fitting_zoom(shape: tuple[int, ...], spacing: tuple[float, float]) -> float:
    """Return the zoom at which a slice can be read: a whole number from 1, or a fraction for huge slices."""
    shorter = min(spacing)
    longest = max(voxels * step / shorter for voxels, step in zip(shape, spacing, strict=True))
    if longest > LARGEST_SIDE:
        return LARGEST_SIDE / longest
    return max(1, round(FITTING_SIDE / longest))


def class_outlines(
    labels: NDArray[Any], values: Collection[int], scale: tuple[float, float]
) -> list[NDArray[np.float64]]:
    """Outline a class.

    Parameters
    ----------
    labels
        Label map (rows, columns).
    values
        Values of the class.
    scale
        Pixels of the picture per row and per column.

    Returns
    -------
    list of ndarray
        Closed lines (points, 2) as x, y in pixels of the picture, (0, 0) being its corner. They lie half a line's
        width inside, so that those of classes side by side do not hide each other.
    """
    from skimage.measure import find_contours

    mask = np.isin(labels, list(values))
    rows, columns = (np.flatnonzero(mask.any(axis=other)) for other in (1, 0))
    if not rows.size:
        return []
    # Voxels become about square, so that lines lie equally far inside on all sides.
    finest = min(scale)
    repeats = [max(1, round(step / finest)) for step in scale]
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].repeat(repeats[0], 0).repeat(repeats[1], 1)
    level = 0.5 + min(DEEPEST, LINE_WIDTH / 2 / finest)
    contours: list[NDArray[np.float64]] = find_contours(  # type: ignore[no-untyped-call]
        np.pad(box, 1).astype(np.float32), level
    )
    # Voxel 1 of the padded box is its first one, whose centre lies half a voxel behind the corner.
    corner = np.array([rows[0], columns[0]])
    return [(((points - 0.5) / repeats + corner) * scale)[:, ::-1] for points in contours]


def ignored_voxels(reference: NDArray[Any], label_set: LabelSet) -> NDArray[np.uint8]:
    """Find what is not annotated.

    Parameters
    ----------
    reference
        Label map of any shape.
    label_set
        The classes, and what is ignored for each.

    Returns
    -------
    ndarray of uint8
        0 where all classes are annotated, 1 where some are not, and 2 where none is.
    """
    values, inverse = np.unique(reference, return_inverse=True)
    ignored = [[value in label_set.ignored_for(scored) for scored in label_set.classes] for value in values.tolist()]
    codes = np.array([int(any(flags)) + int(all(flags)) for flags in ignored], np.uint8)
    return codes[inverse].reshape(reference.shape)


def _color(index: int) -> Color:
    if index < len(_COLORS):
        return _COLORS[index]
    # The golden ratio puts every further hue where the others leave most room.
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.45 + 0.3 * (index % 2), 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _check(
    reference: NDArray[Any], prediction: NDArray[Any], image: NDArray[Any] | None, spacing: tuple[float, float]
) -> None:
    for role, array in (("prediction", prediction), ("image", image)):
        if array is not None and array.shape != reference.shape:
            message = f"{role} and reference differ in shape: {array.shape} and {reference.shape}"
            raise InputError(message)
    if reference.ndim != 2 or not reference.size:
        message = f"expected a slice with rows and columns, found the shape {reference.shape}"
        raise InputError(message)
    if len(spacing) != 2 or not all(np.isfinite(spacing)) or min(spacing) <= 0:
        message = f"spacing {spacing} given, expected two positive numbers"
        raise InputError(message)


def _size(shape: tuple[int, ...], spacing: tuple[float, float], zoom: float) -> tuple[int, int]:
    shorter = min(spacing)
    height, width = (max(1, round(voxels * step / shorter * zoom)) for voxels, step in zip(shape, spacing, strict=True))
    return height, width


def _ground(reference: NDArray[Any], image: NDArray[Any] | None, size: tuple[int, int]) -> Picture:
    """Return the grey picture (height, width) that lines are drawn on."""
    from PIL import Image

    if image is None:
        return np.full(size, PLAIN_GREY, np.uint8)
    grey = Image.fromarray(_grey(image)).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(grey)


def _grey(image: NDArray[Any]) -> Picture:
    values = image.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(image.shape, PLAIN_GREY, np.uint8)
    low, high = np.percentile(values[finite], PERCENTILES)
    if low == high:
        # Hardly anything is in the slice; show what there is.
        low, high = values[finite].min(), values[finite].max()
    if low == high:
        return np.full(image.shape, PLAIN_GREY, np.uint8)
    scaled = np.nan_to_num((values - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    grey: Picture = np.rint(255 * scaled.clip(0, 1)).astype(np.uint8)
    return grey


def _mark_ignored(ground: Picture, ignored: NDArray[np.uint8]) -> Picture:
    """Dim and hatch what is not annotated."""
    from PIL import Image

    height, width = ground.shape
    codes = np.asarray(Image.fromarray(ignored).resize((width, height), Image.Resampling.NEAREST))
    rows, columns = np.ogrid[:height, :width]
    hatched = (codes > 0) & ((rows + columns) % HATCH_DISTANCE == 0)
    marked = np.where(codes == 2, ground * np.float32(DIMMED), ground)
    lines = np.where(marked < 128, marked + HATCH_CONTRAST, marked - HATCH_CONTRAST)
    return np.where(hatched, lines, marked).astype(np.uint8)


def _draw(ground: Picture, lines: Sequence[tuple[NDArray[np.float64], Color, bool]]) -> Picture:
    """Draw lines (points, colour, whether dashed) on a grey picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    height, width = ground.shape
    figure = Figure(figsize=(width / _DOTS_PER_INCH, height / _DOTS_PER_INCH), dpi=_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.imshow(ground, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), interpolation="nearest")
    # All dark rims come first, so that none lies over the line of a neighbour.
    for is_rim, dashed in ((True, False), (True, True), (False, False), (False, True)):
        width_here = LINE_WIDTH + RIM_WIDTH * is_rim
        chosen = [(line, color) for line, color, is_dashed in lines if is_dashed == dashed]
        collection = LineCollection(
            [line for line, _ in chosen],
            colors=[(0, 0, 0, 0.6) if is_rim else tuple(part / 255 for part in color) for _, color in chosen],
            linewidths=width_here * 72 / _DOTS_PER_INCH,
            # Matplotlib takes dashes as multiples of the width.
            linestyles=[(0, [length / width_here for length in DASHES])] if dashed else "solid",
            capstyle="butt",
        )
        axes.add_collection(collection, autolim=False)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba: Picture = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return rgba[..., :3].copy()
