"""Which pictures are drawn, how their files are called, and what draws each."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from evaluation.front_pictures import draw
from evaluation.front_pictures.rows import by_glacier, one_row_per_case
from evaluation.front_pictures.zone_areas import LABEL
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from evaluation.front_pictures.inputs import Sources
    from evaluation.front_pictures.rows import ImageRow
    from evaluation.front_pictures.zone_areas import ZoneAreas

LONGEST_NAME = 120
"""Bytes of a name in a file name; two of them and an ending are still a file name."""

Value = TypeVar("Value")

_UNSAFE = re.compile(r"[^\w.+=-]")


def plan(
    plots: Sequence[str],
    rows: Sequence[ImageRow],
    sources: Sources,
    areas: Mapping[str, Mapping[str, ZoneAreas]],
    *,
    formats: Sequence[str],
    width: int | None,
    seconds: float,
    notes: bool,
) -> dict[str, Callable[[Path], str]]:
    """Name all pictures.

    Parameters
    ----------
    plots
        Which to draw.
    rows
        Rows of the table.
    sources
        The files.
    areas
        Zone areas by source and case.
    formats, width, seconds, notes
        See `evaluation.front_plots.front_plots`.

    Returns
    -------
    dict
        By its name, relative to the output, what writes a picture to a path and returns its caption. Names of
        figures have no ending, which the formats add.

    Raises
    ------
    InputError
        If two pictures would have one name.
    """
    images = one_row_per_case(rows)
    models = [source for source in sources.fronts if source != LABEL]
    in_table = list(dict.fromkeys(row.model for row in rows))
    planned: list[tuple[str, Callable[[Path], str]]] = []
    if "overlay" in plots:
        for model in models:
            folder = f"overlay/{_safe(model)}" if len(models) > 1 else "overlay"
            for case, prediction in sources.fronts[model].items():
                drawn = (sources.images[case], sources.fronts[LABEL][case], prediction, sources.boxes.get(case))
                planned.append((f"{folder}/{_safe(case)}.png", partial(draw.draw_overlay, files=drawn, width=width)))
    if "boxes" in plots:
        planned.append(("boxes", partial(draw.draw_box_plots, rows=rows, formats=formats, notes=notes)))
    if "timeline" in plots:
        planned.append(("timeline", partial(draw.draw_timeline, rows=rows, formats=formats, notes=notes)))
    for glacier, own in by_glacier(images).items():
        if "fronts" in plots:
            files = {source: _some(of_source, own) for source, of_source in sources.fronts.items()}
            job = partial(
                draw.draw_fronts,
                rows=own,
                fronts={name: some for name, some in files.items() if some},
                images=_some(sources.images, own[-1:]),
                formats=formats,
                notes=notes,
            )
            planned.append((f"fronts/{_safe(glacier)}", job))
        if "areas" in plots:
            series = {source: list(_some(of_source, own).values()) for source, of_source in areas.items()}
            series = {source: some for source, some in series.items() if some}
            drawing = partial(
                draw.draw_areas, glacier=glacier, series=series, models=in_table, formats=formats, notes=notes
            )
            planned.append((f"areas/{_safe(glacier)}", drawing))
        if "retreat" in plots:
            for source, of_source in sources.fronts.items():
                there = [row for row in own if row.case in of_source]
                if there:
                    job = partial(
                        draw.draw_retreat,
                        rows=there,
                        source=source,
                        fronts=_some(of_source, there),
                        images=_some(sources.images, there),
                        seconds=seconds,
                    )
                    planned.append((f"retreat/{_safe(glacier)}_{_safe(source)}.gif", job))
    if "progress" in plots:
        planned += _plan_progress(images, sources, seconds)
    pictures = dict(planned)
    if len({name.casefold() for name in pictures}) < len(planned):
        names = [name for name, _ in planned]
        doubles = sorted({name for name in names if [other.casefold() for other in names].count(name.casefold()) > 1})
        message = f"several pictures would be called {', '.join(doubles)}; rename models or glaciers in the table"
        raise InputError(message)
    return pictures


def _plan_progress(
    images: Sequence[ImageRow], sources: Sources, seconds: float
) -> list[tuple[str, Callable[[Path], str]]]:
    labels = sources.fronts.get(LABEL, {})
    return [
        (
            f"progress/{_safe(row.case)}.gif",
            partial(
                draw.draw_progress,
                row=row,
                checkpoints={name: files[row.case] for name, files in sources.checkpoints.items()},
                image=sources.images.get(row.case),
                label=labels.get(row.case),
                box=sources.boxes.get(row.case),
                seconds=seconds,
            ),
        )
        for row in images
        if all(row.case in files for files in sources.checkpoints.values())
    ]


def _some(of_case: Mapping[str, Value], rows: Sequence[ImageRow]) -> dict[str, Value]:
    return {row.case: of_case[row.case] for row in rows if row.case in of_case}


def _safe(name: str) -> str:
    """Return a name that every file system takes; what it does not take becomes ``_``."""
    name = _UNSAFE.sub("_", name)
    while len(os.fsencode(name)) > LONGEST_NAME:
        name = name[:-1]
    return name if name.strip(".") else "_" * max(1, len(name))
