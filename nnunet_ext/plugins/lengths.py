"""Trainers of any length: ``<trainer>_<N>epochs`` is the trainer, trained for N epochs.

The classes are made on demand and are attributes of this module, so that they pickle by name like any other.
"""

from __future__ import annotations

import re
from typing import Any

_LENGTH = re.compile(r"(?P<trainer>.+)_(?P<epochs>[1-9]\d*)epochs?")


class _FixedLength:
    """``num_epochs`` as the trainer's name says it, whatever the base class assigns."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __get__(self, instance: object, owner: type) -> int:
        return self.epochs

    def __set__(self, instance: object, value: int) -> None:
        """Leave the length alone: the base class's constructor assigns its default."""


def split_length(name: str) -> tuple[str, int] | None:
    """Split ``<trainer>_<N>epochs`` into trainer and N; None if the name has no such end."""
    match = _LENGTH.fullmatch(name)
    return (match["trainer"], int(match["epochs"])) if match else None


def with_length(trainer: type, name: str) -> type:
    """Return the subclass of ``trainer`` that ``name`` asks for, the same one for the same name.

    Parameters
    ----------
    trainer
        The trainer whose name stands before the length.
    name
        ``<trainer>_<N>epochs``. It becomes the class's name, and so the name of nnU-Net's output folder.
    """
    made = globals().get(name)
    if isinstance(made, type) and made.__base__ is trainer:
        return made
    split = split_length(name)
    if split is None:
        message = f"{name} does not end in _<N>epochs"
        raise ValueError(message)
    # No __init__: nnU-Net looks the parameters of the constructor's signature up in its own locals().
    body: dict[str, Any] = {
        "num_epochs": _FixedLength(split[1]),
        "__module__": __name__,
        "__doc__": f"``{trainer.__name__}``, trained for {split[1]} epochs.",
    }
    globals()[name] = type(name, (trainer,), body)
    return globals()[name]  # type: ignore[no-any-return]


def __getattr__(name: str) -> type:
    """Find a class of this module by name in a process that has not made it yet (unpickling)."""
    if split_length(name) is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    found: type = recursive_find_trainer_class_by_name(name)
    return found
