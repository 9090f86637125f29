"""nnU-Net's readers, protected against post-processing that would wipe all tasks at once.

`nnUNetv2_find_best_configuration` tries to remove all but the largest component of a class and sets what it removes to
0, which in joint labels is background *of every task*. The only files that nnU-Net ever writes with the properties
that it got from reading a segmentation are those of post-processing. So these readers put the segmentation itself into
the properties, and write it back unchanged: no score improves, and nnU-Net decides against post-processing.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

if TYPE_CHECKING:
    from numpy.typing import NDArray

READ = "nnunet_ext_segmentation_as_read"
"""Key of the segmentation, shape (z, y, x), among its properties."""


class KeepsTasksMixin:
    """Put in front of a reader of nnU-Net: what was read as a segmentation is written unchanged."""

    def read_seg(self, seg_fname: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read a segmentation (1, z, y, x) and its properties, and put it among them."""
        seg, properties = super().read_seg(seg_fname)  # type: ignore[misc]
        return seg, properties | {READ: seg[0]}

    def write_seg(self, seg: NDArray[Any], output_fname: str, properties: dict[str, Any]) -> None:
        """Write a segmentation (z, y, x), or the one that was read if the properties hold one."""
        as_read = properties.get(READ)
        if as_read is not None:
            if not np.array_equal(seg, as_read):
                warnings.warn(
                    "nnU-Net's post-processing is left out: it sets what it removes to 0, which is background of "
                    "every task in joint labels.",
                    stacklevel=2,
                )
            seg = as_read.astype(np.uint16)
        super().write_seg(seg, output_fname, {k: v for k, v in properties.items() if k != READ})  # type: ignore[misc]


class StackedNaturalImage2DIO(KeepsTasksMixin, NaturalImage2DIO):
    """Reader of PNG, BMP and 2D TIFF."""


class StackedSimpleITKIO(KeepsTasksMixin, SimpleITKIO):
    """Reader of NIfTI, NRRD, MHA and GIPL through SimpleITK."""


class StackedSimpleITKIOWithReorient(KeepsTasksMixin, SimpleITKIOWithReorient):
    """The same, with axes put in standard order."""


class StackedTiff3DIO(KeepsTasksMixin, Tiff3DIO):
    """Reader of 3D TIFF."""


class StackedNibabelIO(KeepsTasksMixin, NibabelIO):
    """Reader of NIfTI through nibabel."""


class StackedNibabelIOWithReorient(KeepsTasksMixin, NibabelIOWithReorient):
    """The same, with axes put in standard order."""


READERS: dict[str, type] = {
    reader.__name__.removeprefix("Stacked"): reader
    for reader in (
        StackedNaturalImage2DIO,
        StackedSimpleITKIO,
        StackedSimpleITKIOWithReorient,
        StackedTiff3DIO,
        StackedNibabelIO,
        StackedNibabelIOWithReorient,
    )
}
"""From the name of nnU-Net's reader to the protected one."""
