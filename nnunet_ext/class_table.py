"""The classes of an annotation: ids, names and colours, read from one JSON file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """Classes of an annotation; id 0 means not annotated.

    Parameters
    ----------
    names
        Name of each real class by its id, 1…K without a gap.
    colors
        RGB colour (0…255) by id, for the ids that have one.
    unannotated
        Name of id 0.
    dataset_id, dataset_name, normalization
        What the file says about the dataset, if it does.
    """

    names: dict[int, str]
    colors: dict[int, Color] = field(default_factory=dict)
    unannotated: str = "ToPredict"
    dataset_id: int | None = None
    dataset_name: str | None = None
    normalization: str | None = None


def read_class_table(path: Path) -> ClassTable:
    """Read a class file.

    The form is ``{"TaskID": 777, "DatasetName": "Soil", "norm_type": "zscore", "labels": {"0": "ToPredict",
    "1": "SoilMatrix", …}, "colors": {"0": [0, 0, 0], …}}``; only ``labels`` is required.

    Raises
    ------
    InputError
        If ids are not 0…K without a gap, names are empty or double, or a colour is not three numbers 0…255.
    """
    content = read_json(path)
    names = _names(path, content.get("labels"))
    colors = {
        _id(path, key): _color(path, key, value)
        for key, value in _object(path, "colors", content.get("colors")).items()
    }
    stray = sorted(set(colors) - set(names))
    if stray:
        message = f"{path}: 'colors' has ids {stray} that 'labels' does not have"
        raise InputError(message)
    return ClassTable(
        names={key: name for key, name in names.items() if key != 0},
        colors=colors,
        unannotated=names[0],
        dataset_id=_optional_int(path, "TaskID", content.get("TaskID")),
        dataset_name=_optional_text(path, "DatasetName", content.get("DatasetName")),
        normalization=_optional_text(path, "norm_type", content.get("norm_type")),
    )


def _names(path: Path, labels: object) -> dict[int, str]:
    names = {_id(path, key): str(name).strip() for key, name in _object(path, "labels", labels).items()}
    if sorted(names) != list(range(len(names))) or len(names) < 2:
        message = f"{path}: 'labels' needs the ids 0 (not annotated), 1, 2, … without a gap, found {sorted(names)}"
        raise InputError(message)
    empty = [key for key, name in names.items() if not name]
    double = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if empty or double:
        message = f"{path}: every class in 'labels' needs a name of its own; empty: {empty}, used twice: {double}"
        raise InputError(message)
    reserved = [name for key, name in names.items() if key != 0 and name in ("background", "ignore")]
    if reserved:
        message = f"{path}: 'labels' uses {reserved}, which nnU-Net reserves; choose another name"
        raise InputError(message)
    return names


def _object(path: Path, key: str, value: object) -> dict[str, Any]:
    if value is None and key != "labels":
        return {}
    if not isinstance(value, dict):
        message = f"{path}: expected an object under '{key}', such as {{\"1\": …}}, found {value!r}"
        raise InputError(message)
    return value


def _id(path: Path, key: str) -> int:
    try:
        return int(key)
    except ValueError:
        message = f"{path}: class ids are whole numbers, found '{key}'"
        raise InputError(message) from None


def _color(path: Path, key: str, value: object) -> Color:
    if isinstance(value, list) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value):
        return value[0], value[1], value[2]
    message = f"{path}: the colour of id {key} must be three whole numbers 0…255, found {value!r}"
    raise InputError(message)


def _optional_int(path: Path, key: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        return int(str(value))
    except ValueError:
        message = f"{path}: '{key}' must be a whole number, found {value!r}"
        raise InputError(message) from None


def _optional_text(path: Path, key: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    message = f"{path}: '{key}' must be text, found {value!r}"
    raise InputError(message)
