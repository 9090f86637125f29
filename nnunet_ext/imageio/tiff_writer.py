"""Encode zlib-compressed TIFF stacks with spacing and colours that ImageJ understands, slab by slab."""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from nnunet_ext.imageio.writer import OutputSpec

# Offsets of classic TIFF end at 4 GiB; what does not compress grows a little.
_CLASSIC_BYTES = 3.5e9
_UINT32_MAX = 2**32 - 1


@contextmanager
def encode_tiff(partial: Path, spec: OutputSpec) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a TIFF stack to ``partial``; gives the function that appends a slab.

    One page per slice. Above 3.5 GB of voxels it is a BigTIFF, which ImageJ opens with Bio-Formats only.
    """
    _, y, x = spec.geometry.spacing
    options: dict[str, Any] = {"photometric": "minisblack"}
    if spec.colors is not None:
        options = {"photometric": "palette", "colormap": color_map(spec.colors)}
    description: str | None = _description(spec)
    bigtiff = prod(spec.shape) * spec.dtype.itemsize > _CLASSIC_BYTES
    with tifffile.TiffWriter(partial, bigtiff=bigtiff, byteorder="<") as tif:

        def append(slab: NDArray[Any]) -> None:
            nonlocal description
            tif.write(
                slab,
                compression="zlib",
                # Level 6 takes 1.5 to 2 times as long and gains next to nothing on grey values.
                compressionargs={"level": 1},
                resolution=(pixels_per_mm(x), pixels_per_mm(y)),
                resolutionunit="NONE",
                contiguous=False,
                description=description,
                metadata=None,
                **options,
            )
            # ImageJ's text belongs to the first page alone.
            description = None

        yield append


def pixels_per_mm(spacing: float) -> tuple[int, int]:
    """Return ``1 / spacing`` as numerator and denominator of a TIFF rational, both below 2**32.

    Parameters
    ----------
    spacing
        Distance of voxel centres in mm. From 1e-4 to 1e3 mm it comes back within 1e-6 of itself.
    """
    rate = Fraction(1) / Fraction(spacing)
    # A denominator this small keeps the numerator below the limit as well.
    limit = int(_UINT32_MAX / max(Fraction(1), rate))
    rounded = rate.limit_denominator(max(1, limit - 1))
    return rounded.numerator, rounded.denominator


def color_map(colors: Mapping[int, tuple[int, int, int]]) -> NDArray[np.uint16]:
    """Return a TIFF colour map.

    Parameters
    ----------
    colors
        Red, green, blue (0 to 255) of voxel values 0 to 255; values not named keep their grey.

    Returns
    -------
    numpy.ndarray
        Shape (3, 256), uint16, 0 to 65535.
    """
    table = np.tile(np.arange(256, dtype=np.uint16), (3, 1))
    for value, color in colors.items():
        table[:, value] = color
    return table * np.uint16(257)


def _description(spec: OutputSpec) -> str:
    depth, spacing = spec.shape[0], float(spec.geometry.spacing[0])
    return f"ImageJ=1.54f\nimages={depth}\nslices={depth}\nunit=mm\nspacing={spacing!r}\nloop=false\n"
