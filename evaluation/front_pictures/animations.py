"""GIFs: the retreat of a glacier over its dates, and the progress of a training over its checkpoints."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.front_pictures.fronts_over_time import DateColours, show_image
from evaluation.front_pictures.lines import extents, whole_extent
from evaluation.front_pictures.overlay import BOX, LABEL, OVERLAP, PREDICTION, front_overlay, line_width
from evaluation.front_pictures.style import FONT_SIZE, GREY, INK, literal, new_figure
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from evaluation.front_pictures.lines import DatedFront

    Frame = npt.NDArray[np.uint8]
    Colour = tuple[int, int, int]

PANEL = 5.0
"""Longer side of the picture in a frame in inches; a frame has `DPI` pixels for each."""

DPI = 110
SCALE_COLOURS = 64
OVERLAY_COLOURS = (LABEL, PREDICTION, OVERLAP, BOX)
"""What `progress_frames` draws with."""

HELD = 3
"""The last frame is shown so many times as long as the others."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint of a training predicts for an image.

    Parameters
    ----------
    name
        Written into the frame, such as ``epoch 50``.
    front
        Predicted front, nonzero where it is, shape (H, W).
    """

    name: str
    front: npt.NDArray[Any]


def retreat_frames(
    fronts: Sequence[DatedFront], title: str, images: Sequence[npt.NDArray[np.uint8] | None] | None = None
) -> Iterator[Frame]:
    """Draw a frame per image of a glacier: its front, bold, over all earlier ones coloured by date.

    Parameters
    ----------
    fronts
        In the order of the frames: by date.
    title
        The glacier, and what the fronts come from.
    images
        Image behind each front, shape (H, W), or ``None`` for none.

    Yields
    ------
    ndarray
        Colours, uint8, all of the same shape (height, width, 3).

    Raises
    ------
    InputError
        If there are no fronts, not as many images, or their dates fall.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import Normal, Stroke

    images = [None] * len(fronts) if images is None else images
    if not fronts or len(images) != len(fronts):
        message = f"{title}: {len(fronts)} fronts and {len(images)} images, expected as many, and at least one"
        raise InputError(message)
    if any(after.date < before.date for before, after in pairwise(fronts)):
        message = f"{title}: fronts are not in the order of their dates"
        raise InputError(message)
    figure, axes, heading = _frame_figure(*whole_extent(extents(fronts)), title)
    colour_of = DateColours([front.date for front in fronts])
    if colour_of.first < colour_of.last:
        colour_of.add_bar(figure, [axes])
    shown: Any = None
    for number, (front, image) in enumerate(zip(fronts, images, strict=True), start=1):
        background = None if image is None else show_image(axes, image, front.resolution, alpha=0.8)
        if shown is not None:
            shown.set(linewidths=1.2, path_effects=[Stroke(linewidth=1.9, foreground="white", alpha=0.5), Normal()])
        lines = [_drawable(points) / 1000 for points in front.lines]
        shown = axes.add_collection(
            LineCollection(
                lines,
                colors=[colour_of(front.date)],
                linewidths=2.4,
                capstyle="round",
                path_effects=[Stroke(linewidth=4.2, foreground="white"), Normal()],
            )
        )
        nothing = "" if front.lines else ", no front"
        heading.set_text(f"{front.date.isoformat()}  {literal(front.satellite)}{nothing}   {number}/{len(fronts)}")
        yield _pixels(figure)
        if background is not None:
            background.remove()


def progress_frames(
    image: npt.NDArray[np.uint8],
    label: npt.NDArray[Any] | None,
    checkpoints: Sequence[Checkpoint],
    title: str,
    *,
    resolution: float,
    box: tuple[slice, slice] | None = None,
) -> Iterator[Frame]:
    """Draw a frame per checkpoint: the predicted front and that of the label over the image.

    Parameters
    ----------
    image
        Grey levels, shape (H, W).
    label
        Front of the label, nonzero where it is, or ``None`` if it is not known.
    checkpoints
        In the order of the frames.
    title
        The image.
    resolution
        Pixel size in metres.
    box
        Rows and columns in which a predicted front counts: outlined.

    Yields
    ------
    ndarray
        Colours, uint8, all of the same shape (height, width, 3).

    Raises
    ------
    InputError
        If there are no checkpoints, or a front has another shape than the image.
    """
    if not checkpoints:
        message = f"{title}: no checkpoints"
        raise InputError(message)
    rows, columns = image.shape
    figure, axes, heading = _frame_figure(columns * resolution, rows * resolution, title)
    _colour_legend(figure, label=label is not None, box=box is not None)
    known = np.zeros(image.shape, bool) if label is None else label
    shown: Any = None
    for number, checkpoint in enumerate(checkpoints, start=1):
        colours = front_overlay(image, known, checkpoint.front, box, width=line_width(image.shape, shown=500))
        if shown is None:
            shown = show_image(axes, colours, resolution)
        shown.set_data(colours)
        error = "" if label is None else f", {mean_distance(checkpoint.front, label, resolution, box)}"
        heading.set_text(f"{literal(checkpoint.name)}{error}   {number}/{len(checkpoints)}")
        yield _pixels(figure)


def mean_distance(
    front: npt.NDArray[Any], label: npt.NDArray[Any], resolution: float, box: tuple[slice, slice] | None = None
) -> str:
    """Return the mean distance between two fronts, in both directions, as text in metres, or which one is missing.

    As in ``evaluate_fronts``, what is predicted outside of the box does not count, and the label is not cut.
    """
    from evaluation.fronts import front_distances, front_error

    counted = np.zeros(front.shape, bool)
    part = box if box is not None else (slice(None), slice(None))
    counted[part] = front[part] != 0
    distances = front_distances(counted[None], label[None] != 0, (resolution,) * 3)
    if distances.empty == "none":
        error = front_error(distances)
        return f"mean distance {error:.{1 if error < 10 else 0}f} m"
    return {"pred": "no front predicted", "ref": "no front in the label", "both": "no front"}[distances.empty]


def write_gif(path: Path, frames: Iterable[Frame], seconds: float = 0.5, *, kept: Sequence[Colour] = ()) -> int:
    """Write an endless GIF.

    Parameters
    ----------
    path
        File to write.
    frames
        Colours, uint8, all of the same shape (height, width, 3); at least one.
    seconds
        How long a frame is shown, in steps of a hundredth; the last one is shown `HELD` times as long.
    kept
        Colours that must not be changed: a frame of a GIF has 256, chosen by how often they occur.

    Returns
    -------
    int
        Number of frames.

    Raises
    ------
    InputError
        If there are no frames, or the time is below 0.02 s, which viewers do not keep to.
    """
    if not (math.isfinite(seconds) and seconds >= 0.02):
        message = f"{seconds} s per frame, expected at least 0.02"
        raise InputError(message)
    pictures = [_with_palette(frame, kept) for frame in frames]
    if not pictures:
        message = f"{path}: no frames"
        raise InputError(message)
    time = 10 * round(100 * seconds)
    durations = [time] * (len(pictures) - 1) + [HELD * time]
    pictures[0].save(path, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=1)
    return len(pictures)


def date_colours(fronts: Sequence[DatedFront]) -> list[Colour]:
    """Return the colours that `retreat_frames` draws with: those of the dates, and some of the scale beside."""
    colour_of = DateColours([front.date for front in fronts])
    days = np.linspace(colour_of.first.toordinal(), colour_of.last.toordinal(), SCALE_COLOURS).round().astype(int)
    dates = [datetime.date.fromordinal(int(day)) for day in days] + [front.date for front in fronts]
    levels = [[round(255 * level) for level in colour_of(date)[:3]] for date in dates[: 2 * SCALE_COLOURS]]
    return list(dict.fromkeys((red, green, blue) for red, green, blue in levels))


def _with_palette(frame: Frame, kept: Sequence[Colour]) -> Any:
    """Return a frame with 256 colours, among them white and those to keep; every pixel gets the nearest."""
    from PIL import Image
    from scipy.spatial import KDTree

    first = [(255, 255, 255), *kept][:256]
    levels: list[int] = []
    if len(first) < 256:
        levels = Image.fromarray(frame).quantize(256 - len(first), dither=Image.Dither.NONE).getpalette() or []
    palette = np.array([*first, *zip(*[iter(levels)] * 3, strict=True)], np.uint8)[:256]
    # Pillow's own search for the nearest colour is approximate: it makes white light grey.
    codes, places = np.unique(frame.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32), return_inverse=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    nearest = KDTree(palette.astype(np.float64)).query(colours.astype(np.float64))[1].astype(np.uint8)
    rows, columns = frame.shape[:2]
    picture = Image.frombytes("P", (columns, rows), nearest[places].tobytes())
    picture.putpalette(palette.tobytes())
    return picture


def _frame_figure(width: float, height: float, title: str) -> tuple[Any, Any, Any]:
    """Return figure, axes and heading of frames that show an area of some metres."""
    scale = PANEL / max(width, height)
    figure = new_figure(max(width * scale, 3.2) + 1.4, max(height * scale, 2.0) + 1.15)
    figure.set_dpi(DPI)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_xlim(0, width / 1000)
    axes.set_ylim(height / 1000, 0)
    axes.tick_params(labelsize=FONT_SIZE, color=GREY, labelcolor=INK)
    axes.spines[:].set_color(GREY)
    axes.set_xlabel("km from the left edge", fontsize=FONT_SIZE, color=INK)
    axes.set_ylabel("km from the upper edge", fontsize=FONT_SIZE, color=INK)
    figure.suptitle(literal(title), x=0.01, ha="left", fontsize=FONT_SIZE + 1.5, fontweight="bold", color=INK)
    # A space keeps the height of the line, so that all frames have one layout.
    heading = axes.set_title(" ", loc="left", fontsize=FONT_SIZE + 1.5, color=INK)
    return figure, axes, heading


def _colour_legend(figure: Any, *, label: bool, box: bool) -> None:
    from matplotlib.lines import Line2D

    shown = {"prediction": PREDICTION} | ({"label": LABEL, "both": OVERLAP} if label else {})
    shown |= {"box": BOX} if box else {}
    handles = [
        Line2D([], [], color=(colour[0] / 255, colour[1] / 255, colour[2] / 255), linewidth=3, label=name)
        for name, colour in shown.items()
    ]
    # White letters on dark, so that yellow and cyan show; below, where the axes leave room in any shape.
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        fontsize=FONT_SIZE,
        handlelength=1.2,
        frameon=True,
        facecolor="0.35",
        edgecolor="none",
        labelcolor="white",
    )


def _drawable(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Draw a line of one point as a dot: matplotlib's round caps need two."""
    return np.repeat(points, 2, axis=0) if len(points) == 1 else points


def _pixels(figure: Any) -> Frame:
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        figure.canvas.draw()
    # What later frames write must not move the axes.
    figure.set_layout_engine("none")
    return np.array(figure.canvas.buffer_rgba())[..., :3].copy()
