"""What the trainers rely on inside nnU-Net, with a clear error where it is not there any more."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADER_NAME = "nnUNetDataLoader"

AnyTrainer: Any = object
"""Base of a mixin, whose methods call those of whatever trainer comes after it."""

AnyLoader: Any = object
"""The same for loaders."""


class NnunetChangedError(NnunetExtError, RuntimeError):
    """nnU-Net, or the trainer in between, is not built as a trainer of this package needs it."""


@contextmanager
def replaced_loader_class(trainer_class: type, loader_class: type) -> Iterator[None]:
    """Let a trainer's ``get_dataloaders`` find another class under the name ``nnUNetDataLoader``.

    Parameters
    ----------
    trainer_class
        Class whose ``get_dataloaders``, with those of its bases, build loaders.
    loader_class
        What they find instead; a subclass of nnU-Net's.

    Raises
    ------
    NnunetChangedError
        If none of them refers to that name, so that the stock loader would be used without a word.
    """
    namespaces = _namespaces_that_build_loaders(trainer_class)
    if not namespaces:
        message = (
            f"No get_dataloaders among the bases of {trainer_class.__name__} uses the global name "
            f"{LOADER_NAME}, so the loader cannot be replaced. This package was tested with nnunetv2 2.8.1."
        )
        raise NnunetChangedError(message)
    originals = [namespace[LOADER_NAME] for namespace in namespaces]
    try:
        for namespace in namespaces:
            namespace[LOADER_NAME] = loader_class
        yield
    finally:
        for namespace, original in zip(namespaces, originals, strict=True):
            namespace[LOADER_NAME] = original


def bare_network(trainer: Any) -> Any:
    """Return a trainer's network without the wrappers for several GPUs and for compilation."""
    network = trainer.network.module if trainer.is_ddp else trainer.network
    return getattr(network, "_orig_mod", network)


def _namespaces_that_build_loaders(trainer_class: type) -> list[dict[str, Any]]:
    functions = (
        inspect.unwrap(cls.__dict__["get_dataloaders"])
        for cls in trainer_class.__mro__
        if "get_dataloaders" in cls.__dict__
    )
    return [
        function.__globals__
        for function in functions
        if LOADER_NAME in function.__code__.co_names and LOADER_NAME in function.__globals__
    ]
