"""Encode gzip-compressed NRRD files slab by slab."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import igzip_threaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.writer import OutputSpec

_TYPES = {"float32": "float", "float64": "double"}


@contextmanager
def encode_nrrd(partial: Path, spec: OutputSpec) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a ``.nrrd`` file to ``partial``; gives the function that appends a slab."""
    with partial.open("wb") as file:
        file.write(_header(spec))
        with igzip_threaded.open(file, "wb", compresslevel=2, threads=2) as stream:

            def append(slab: NDArray[Any]) -> None:
                stream.write(slab.data.cast("B"))

            yield append


def _header(spec: OutputSpec) -> bytes:
    spacing, origin, direction = spec.geometry.to_itk()
    # One vector per array axis: a column of ITK's matrix, as long as the spacing.
    columns = (np.reshape(direction, (3, 3)) * spacing).T
    lines = (
        "NRRD0004",
        f"type: {_TYPES.get(spec.dtype.name, spec.dtype.name)}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, spec.shape[::-1]))}",
        f"space directions: {' '.join(_vector(column) for column in columns)}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(origin)}",
    )
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _vector(values: Iterable[float]) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"
