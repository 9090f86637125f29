"""What names of classes and regions are in label maps, by dataset.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

IGNORE = "ignore"


@dataclass(frozen=True)
class ClassNames:
    """The names of a dataset.

    Parameters
    ----------
    members
        Values of each class, or of each region, by name.
    written
        The value that a label map gets where a region is predicted, by its name; without ``regions_class_order``,
        those of regions of one value alone.
    source
        Where this comes from, for messages.
    """

    members: Mapping[str, tuple[int, ...]]
    written: Mapping[str, int]
    source: str

    @property
    def values(self) -> frozenset[int]:
        """All values that a label map may have."""
        return frozenset(value for values in self.members.values() for value in values)

    @property
    def known(self) -> str:
        """Names with their values, for messages."""
        shown = (f"{name} ({', '.join(map(str, values))})" for name, values in self.members.items())
        return ", ".join(shown)

    def values_of(self, given: int | str, *, written: bool) -> tuple[int, ...]:
        """Return the values of a class; none if it is unknown.

        Parameters
        ----------
        given
            Its name or value.
        written
            Of a region, return the one value that label maps get, not all that belong to it.
        """
        if isinstance(given, int):
            return (given,) if given in self.values else ()
        if written and given in self.written:
            return (self.written[given],)
        return self.members.get(given, ())


def names_of_dataset(content: Mapping[str, Any], source: str) -> ClassNames:
    """Read the names in a dataset.json or class file.

    Parameters
    ----------
    content
        Of the file. Where the labels are regions, the names of single classes are taken from what the converter wrote
        (``conversion``), so that both can be used.
    source
        The file, for messages.

    Raises
    ------
    InputError
        If there are no labels from name to values (or from id to name), or these are joint labels of several tasks.
    """
    if "tasks" in content:
        message = (
            f"{source}: joint labels of several tasks, expected the label map of one: 'nnunet_ext unstack' takes "
            "them apart"
        )
        raise InputError(message)
    labels = content.get("labels")
    if not isinstance(labels, dict) or not labels:
        message = f"{source}: expected names and values of the classes under the key 'labels', found {labels!r}"
        raise InputError(message)
    if all(isinstance(name, str) for name in labels.values()):
        labels = {name: int(number) for number, name in labels.items() if str(number).isdecimal()}
    members = {str(name): _values(name, value, source) for name, value in labels.items() if name != IGNORE}
    conversion = content.get("conversion")
    classes = conversion.get("classes") if isinstance(conversion, dict) else None
    for name, value in classes.items() if isinstance(classes, dict) else ():
        if type(value) is int and name != IGNORE:
            members.setdefault(str(name), (value,))
    return ClassNames(members, _written(members, labels, content, source), source)


def _values(name: object, value: object, source: str) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, list) else (value,)
    if not values or not all(type(item) is int for item in values):
        message = f"{source}: label {name!r} must be a whole number or a list of them, found {value!r}"
        raise InputError(message)
    return tuple(item for item in values if isinstance(item, int))


def _written(
    members: Mapping[str, tuple[int, ...]], labels: Mapping[str, Any], content: Mapping[str, Any], source: str
) -> dict[str, int]:
    """Return the value that each foreground region is written with, where there are regions."""
    regions = [str(name) for name in labels if name != IGNORE and members[str(name)] != (0,)]
    if all(len(members[name]) == 1 for name in regions):
        return {name: members[name][0] for name in regions}
    order = content.get("regions_class_order")
    if order is None:
        # A class file for an evaluation needs none.
        return {name: members[name][0] for name in regions if len(members[name]) == 1}
    if not isinstance(order, list) or len(order) != len(regions) or not all(type(value) is int for value in order):
        message = (
            f"{source}: expected 'regions_class_order' with a value for each of {', '.join(regions)}, found {order!r}"
        )
        raise InputError(message)
    return dict(zip(regions, order, strict=True))
