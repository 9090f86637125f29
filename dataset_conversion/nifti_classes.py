"""The classes of a label map with any values: which label each gets, and regions made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BACKGROUND, IGNORE = "background", "ignore"


@dataclass(frozen=True)
class Classes:
    """Classes of label maps and masks, in the order of their labels 1, 2, ….

    Parameters
    ----------
    values
        Value in the files of each class of the label map, by name; background is 0.
    masks
        Names of the classes that have a mask each; their labels come behind those of ``values``.
    ignore
        Value in the files of voxels that are not annotated, None if there are none; it gets the highest label.
    """

    values: dict[str, int]
    masks: tuple[str, ...] = ()
    ignore: int | None = None

    @property
    def labels(self) -> dict[str, int]:
        """Label by name, with ``background`` and ``ignore``, as in dataset.json."""
        names = [BACKGROUND, *self.values, *self.masks, *([] if self.ignore is None else [IGNORE])]
        return {name: label for label, name in enumerate(names)}

    @property
    def label_of_value(self) -> dict[int, int]:
        """Label by value in the files."""
        labels = self.labels
        ignored = {} if self.ignore is None else {self.ignore: labels[IGNORE]}
        return {0: 0, **{value: labels[name] for name, value in self.values.items()}, **ignored}

    @property
    def keeps_values(self) -> bool:
        """Whether every value is its own label, and there are no masks: a label map may stay as it is then."""
        return not self.masks and all(value == label for value, label in self.label_of_value.items())


def parse_classes(names: Sequence[str], masks: Sequence[str] = ()) -> Classes:
    """Read names of classes in the order of their values.

    Parameters
    ----------
    names
        ``NAME`` has the value after that of the name before it, beginning with 1; ``NAME=VALUE`` another one. A
        ``background`` in front is 0 and may be left out; ``ignore``, at the end, is for voxels without annotation.
    masks
        Names of masks.

    Raises
    ------
    InputError
        If a name or value is there twice, or not usable.
    """
    values: dict[str, int] = {}
    value = 0
    for number, text in enumerate(names):
        name, equals, given = text.partition("=")
        if equals and not given.isdecimal():
            message = f"--classes {text}: expected NAME or NAME=VALUE with a whole number"
            raise InputError(message)
        value = int(given) if equals else value + 1
        if number == 0 and name == BACKGROUND and (value == 0 or not equals):
            value = 0
            continue
        if value == 0 or value in values.values():
            message = f"--classes {text}: value {value} is taken already, expected a value of its own for each class"
            raise InputError(message)
        if name in values:
            message = f"--classes: '{name}' is there twice"
            raise InputError(message)
        values[name] = value
    ignore = values.pop(IGNORE) if IGNORE in values and list(values)[-1] == IGNORE else None
    _check_names([*values, *masks])
    return Classes(values, tuple(masks), ignore)


def classes_from_values(values: Iterable[int], masks: Sequence[str] = ()) -> Classes:
    """Return ``class_1``, ``class_2``, … for the values that were found, in their order."""
    found = sorted(set(values) - {0})
    return replace(parse_classes([f"class_{n}={value}" for n, value in enumerate(found, 1)], masks))


def region_labels(
    classes: Classes, regions: Mapping[str, Sequence[str]]
) -> tuple[dict[str, int | list[int]], list[int]]:
    """Return ``labels`` and ``regions_class_order`` of dataset.json for regions that overlap.

    Parameters
    ----------
    classes
        The classes.
    regions
        Names of the classes in each region. nnU-Net writes one predicted region over the other in this order, so that
        large ones come first.

    Returns
    -------
    tuple of dict and list
        Labels by name of the region; and for each region the label to write: the class that no later region has.

    Raises
    ------
    InputError
        If a class is unknown or in no region, or a label map could not be made of the regions.
    """
    labels = classes.labels
    known = [*classes.values, *classes.masks]
    unknown = sorted({name for names in regions.values() for name in names} - set(known))
    if unknown:
        message = f"--regions: no class {', '.join(unknown)}, expected some of {', '.join(known)}"
        raise InputError(message)
    reserved = [name for name in regions if name in (BACKGROUND, IGNORE)]
    if reserved:
        message = f"--regions: '{reserved[0]}' is reserved by nnU-Net, choose another name"
        raise InputError(message)
    without = [name for name in known if not any(name in names for names in regions.values())]
    if without:
        message = f"--regions: classes {', '.join(without)} are in no region, so that nothing would be learnt of them"
        raise InputError(message)
    order = []
    for number, (region, names) in enumerate(regions.items()):
        later = {name for others in list(regions.values())[number + 1 :] for name in others}
        own = [name for name in names if name not in later]
        if len(own) != 1:
            shown = ", ".join(own) or "none"
            message = (
                f"--regions {region}: expected one class that no later region has, found {shown}; predictions could "
                "not be turned back into classes"
            )
            raise InputError(message)
        order.append(labels[own[0]])
    parts: dict[str, int | list[int]] = {BACKGROUND: 0}
    for region, names in regions.items():
        values = sorted(labels[name] for name in names)
        parts[region] = values[0] if len(values) == 1 else values
    if classes.ignore is not None:
        parts[IGNORE] = labels[IGNORE]
    return parts, order


def parse_regions(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read ``NAME=CLASS,CLASS``, one per region.

    Raises
    ------
    InputError
        If a text has another form, or a name is there twice.
    """
    regions: dict[str, list[str]] = {}
    for text in texts:
        name, equals, names = text.partition("=")
        parts = [part.strip() for part in names.split(",")]
        if not equals or not name or not all(parts) or len(set(parts)) < len(parts):
            message = f"--regions {text}: expected NAME=CLASS,CLASS,… with each class once"
            raise InputError(message)
        if name in regions:
            message = f"--regions: '{name}' is there twice"
            raise InputError(message)
        regions[name] = parts
    return regions


def _check_names(names: Sequence[str]) -> None:
    reserved = [name for name in names if name in (BACKGROUND, IGNORE) or not name.strip()]
    if reserved:
        message = (
            f"class name '{reserved[0]}': expected a name of its own for every class; 'background' can only be the "
            "first of --classes, and 'ignore' the last"
        )
        raise InputError(message)
    doubles = sorted({name for name in names if list(names).count(name) > 1})
    if doubles:
        message = f"class names {', '.join(doubles)} are there twice, expected a name of its own for every class"
        raise InputError(message)
