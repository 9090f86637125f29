"""Draw and write one picture: read the files that it needs, make it, save it, and return its caption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evaluation.front_pictures import box_plots, timeline, zone_areas
from evaluation.front_pictures.animations import (
    OVERLAY_COLOURS,
    Checkpoint,
    date_colours,
    progress_frames,
    retreat_frames,
    write_gif,
)
from evaluation.front_pictures.files import png_shape, read_image, read_zones
from evaluation.front_pictures.fronts_over_time import fronts_caption, fronts_over_time
from evaluation.front_pictures.lines import DatedFront, dated_front, extents, placement
from evaluation.front_pictures.overlay import front_overlay, line_width
from evaluation.front_pictures.style import counted, save_figure
from evaluation.front_pictures.zone_areas import ZoneAreas, areas_over_time
from nnunet_ext.caffe.bounding_boxes import read_bounding_box

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from evaluation.front_pictures.front_files import FrontFile
    from evaluation.front_pictures.rows import ImageRow

    Box = tuple[slice, slice]

PLAIN = 70
"""Grey level behind fronts where there is no image."""

OVERLAY_CAPTION = "Blue label, yellow prediction, magenta both{box}. Lines are {width} pixels wide."


def draw_overlay(path: Path, files: tuple[Path, FrontFile, FrontFile, Path | None], *, width: int | None) -> str:
    """Write the overlay of one image, pixel by pixel, as PNG; the files are image, label, prediction and box."""
    from PIL import Image

    image, label, prediction, box = files
    pixels = read_image(image)
    width = line_width(pixels.shape) if width is None else width
    overlay = front_overlay(pixels, label.read(), prediction.read(), _box(box, pixels.shape), width=width)
    Image.fromarray(overlay).save(path, "PNG")
    return OVERLAY_CAPTION.format(box=", cyan box" if box else "", width=width)


def draw_box_plots(path: Path, rows: Sequence[ImageRow], formats: Sequence[str], *, notes: bool) -> str:
    """Write the box plots of the front error."""
    caption = box_plots.CAPTION
    figure = box_plots.error_box_plots(rows, caption=caption if notes else "")
    _save(figure, path, formats)
    return caption + box_plots.WITHOUT * any(row.no_front for row in rows)


def draw_timeline(path: Path, rows: Sequence[ImageRow], formats: Sequence[str], *, notes: bool) -> str:
    """Write the timeline of acquisitions."""
    _save(timeline.timeline(rows, caption=timeline.CAPTION if notes else ""), path, formats)
    return timeline.CAPTION + timeline.BY_SEASON * any(row.season == "winter" for row in rows)


def draw_fronts(
    path: Path,
    rows: Sequence[ImageRow],
    fronts: Mapping[str, Mapping[str, FrontFile]],
    images: Mapping[str, Path],
    formats: Sequence[str],
    *,
    notes: bool,
) -> str:
    """Write the fronts of a glacier over time; the latest image lies behind, if there is one."""
    lines = {
        source: [_front(row, of_source[row.case]) for row in rows if row.case in of_source]
        for source, of_source in fronts.items()
    }
    latest = next((row for row in reversed(rows) if row.case in images), None)
    background = None if latest is None else (read_image(images[latest.case]), latest.resolution)
    behind = "" if latest is None else f"{latest.satellite} image of {latest.date}"
    caption = fronts_caption(lines, background=behind)
    figure = fronts_over_time(lines, rows[0].glacier, background=background, caption=caption if notes else "")
    _save(figure, path, formats)
    return f"{rows[0].glacier}: {caption}"


def measure_areas(row: ImageRow, zones: Path) -> ZoneAreas:
    """Read the zones of an image and measure them."""
    indices = read_zones(zones)
    extent = (indices.shape[1] * row.resolution, indices.shape[0] * row.resolution)
    return ZoneAreas(row.case, row.date, row.resolution, extent, zone_areas.zone_areas(indices, row.resolution))


def draw_areas(
    path: Path,
    glacier: str,
    series: Mapping[str, Sequence[ZoneAreas]],
    models: Sequence[str],
    formats: Sequence[str],
    *,
    notes: bool,
) -> str:
    """Write the zone areas of a glacier over time; the models are all of the table, in its order."""
    caption = zone_areas.CAPTION if notes else ""
    _save(areas_over_time(series, glacier, caption=caption, models=models), path, formats)
    return f"{glacier}: {zone_areas.CAPTION}"


def draw_retreat(
    path: Path,
    rows: Sequence[ImageRow],
    source: str,
    fronts: Mapping[str, FrontFile],
    images: Mapping[str, Path],
    *,
    seconds: float,
) -> str:
    """Write the GIF of a glacier's retreat."""
    lines = [_front(row, fronts[row.case]) for row in rows]
    behind = [read_image(images[row.case]) if row.case in images else None for row in rows]
    title = f"{rows[0].glacier}, {source}"
    number = write_gif(path, retreat_frames(lines, title, behind), seconds, kept=date_colours(lines))
    return f"{title}: fronts of {counted(number, 'image')} in order of date. {placement(extents(lines))}"


def draw_progress(
    path: Path,
    row: ImageRow,
    checkpoints: Mapping[str, FrontFile],
    image: Path | None,
    label: FrontFile | None,
    box: Path | None,
    *,
    seconds: float,
) -> str:
    """Write the GIF of a training's progress on one image."""
    shape = png_shape(next(iter(checkpoints.values())).path)
    pixels: npt.NDArray[np.uint8] = np.full(shape, PLAIN, np.uint8) if image is None else read_image(image)
    frames = progress_frames(
        pixels,
        None if label is None else label.read(),
        [Checkpoint(name, front.read()) for name, front in checkpoints.items()],
        row.case,
        resolution=row.resolution,
        box=_box(box, shape),
    )
    write_gif(path, frames, seconds, kept=OVERLAY_COLOURS)
    within = ", of the prediction inside the box" if box is not None else ""
    return (
        f"Front after {', '.join(checkpoints)}: blue label, yellow prediction, magenta both. "
        f"Mean distance to the label in both directions{within}."
    )


def _front(row: ImageRow, file: FrontFile) -> DatedFront:
    return dated_front(file.read(), row.resolution, row.date, row.satellite)


def _box(path: Path | None, shape: tuple[int, ...]) -> Box | None:
    return None if path is None else read_bounding_box(path, (shape[0], shape[1]))


def _save(figure: object, path: Path, formats: Sequence[str]) -> None:
    for name in formats:
        save_figure(figure, path.with_name(f"{path.name}.{name}"))
