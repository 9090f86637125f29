"""The front of an image as it is drawn: that of a file, or the one that ``evaluate_fronts`` extracted from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluation.front_pictures.files import FRONTS, ZONE, png_shape, read_front
from evaluation.front_scores.measure import Extraction, extract_front
from nnunet_ext.caffe.bounding_boxes import read_bounding_box
from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from evaluation.front_scores.inputs import Source

MANIFEST = "manifest.json"
"""Beside the table of ``evaluate_fronts``: says how fronts were extracted."""

ENDINGS: Mapping[Source, Sequence[str]] = {"front": FRONTS, "zone": ZONE}


@dataclass(frozen=True)
class FrontFile:
    """The front of one image.

    Parameters
    ----------
    path
        Mask of the front, or map of zones.
    source
        Which of the two it is; a front can only be extracted from zones.
    resolution
        Pixel size in metres.
    extraction
        How the front is extracted; None to take a mask as it is.
    box
        Text file of the box outside of which an extracted front does not count.
    """

    path: Path
    source: Source
    resolution: float
    extraction: Extraction | None = None
    box: Path | None = None

    def read(self) -> npt.NDArray[np.bool_]:
        """Return the front, shape (H, W).

        Raises
        ------
        InputError
            If a file is damaged or holds other values.
        """
        if self.extraction is None:
            return read_front(self.path)
        shape = png_shape(self.path)
        box = None if self.box is None else read_bounding_box(self.box, shape, compat=self.extraction.compat)
        return extract_front(self.path, self.source, resolution=self.resolution, extraction=self.extraction, box=box)


def extraction_beside(table: Path) -> Extraction | None:
    """Return how ``evaluate_fronts`` extracted the fronts of a table.

    Parameters
    ----------
    table
        images.csv.

    Returns
    -------
    Extraction or None
        None if no manifest.json of ``evaluate_fronts`` lies beside the table.

    Raises
    ------
    InputError
        If it lies there and does not say how.
    """
    path = table.with_name(MANIFEST)
    if not path.is_file():
        return None
    content = read_json(path)
    if content.get("command") != "evaluate_fronts":
        return None
    try:
        said = content["arguments"]
        return Extraction(
            said["compat"] == "caffe", float(said["min_length"]), int(said["strait_width"]), int(said["bridged_gap"])
        )
    except (KeyError, TypeError, ValueError) as error:
        message = (
            f"{path}: does not say how fronts were extracted, expected compat, min_length, strait_width and "
            "bridged_gap under arguments; without this file predictions are drawn as they are"
        )
        raise InputError(message) from error


def how_drawn(extraction: Extraction | None) -> str:
    """Say for the captions what predicted fronts are."""
    if extraction is None:
        return "Predicted fronts are drawn as the files have them."
    return (
        "Predicted fronts are drawn as evaluate_fronts scored them: extracted from the predicted masks or zones, one "
        f"pixel wide, without parts of up to {extraction.min_length:g} m and without what lies outside of the box."
    )
