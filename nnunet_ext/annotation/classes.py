"""The classes as the window shows them: with a colour and a key for each."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_ext.class_table import ClassTable, Color

UNANNOTATED = 0
LARGEST_ID = 255
"""Annotations are uint8."""


@dataclass(frozen=True)
class AnnotationClass:
    """A class that can be painted.

    Parameters
    ----------
    id
        Value of its voxels; 0 takes an annotation away.
    name
        For people.
    color
        Red, green, blue, 0 to 255.
    key
        Key that selects it, as napari writes it (``3``, ``Alt-3``); empty if there is none.
    """

    id: int
    name: str
    color: Color
    key: str


def annotation_classes(table: ClassTable) -> list[AnnotationClass]:
    """Return all classes in the order of their ids, with 0, not annotated, first.

    The keys are the digits for 0 to 9, and Alt with a digit for 10 to 19. A class without colour gets one.

    Raises
    ------
    InputError
        If there are more classes than uint8 holds.
    """
    if len(table.names) > LARGEST_ID:
        message = f"{len(table.names)} classes, expected at most {LARGEST_ID}: annotations are uint8"
        raise InputError(message)
    names = {UNANNOTATED: table.unannotated, **table.names}
    taken = list(table.colors.values())
    classes = []
    for value, name in sorted(names.items()):
        color = table.colors.get(value) or ((0, 0, 0) if value == UNANNOTATED else _unused_color(taken))
        taken.append(color)
        classes.append(AnnotationClass(value, name, color, _key(value)))
    return classes


def _key(value: int) -> str:
    if value < 10:
        return str(value)
    return f"Alt-{value - 10}" if value < 20 else ""


def _unused_color(taken: Sequence[Color]) -> Color:
    """Return the bright colour that is furthest from those that are taken."""
    wheel = [
        colorsys.hsv_to_rgb(hue / 24, saturation, value)
        for saturation, value in ((0.9, 0.95), (0.5, 1.0), (0.9, 0.6))
        for hue in range(24)
    ]
    candidates = [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in wheel]
    return max(candidates, key=lambda color: min((_distance(color, other) for other in taken), default=0))


def _distance(one: Color, other: Color) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
