"""Encode one slice as a grey PNG file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.writer import OutputSpec


@contextmanager
def encode_png(partial: Path, spec: OutputSpec) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a PNG file of 8 or 16 bits to ``partial``; gives the function that takes the only slab."""
    del spec  # shape and type have been checked, and PNG holds no geometry

    def append(slab: NDArray[Any]) -> None:
        Image.fromarray(slab[0]).save(partial, format="PNG")

    yield append
