"""From the predicted labels of an image to its files, and from the files back to what is known of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.caffe_labels import predicted_maps
from evaluation.front_extraction import front_of_mask, front_of_zones
from nnunet_ext.caffe.grey_levels import FRONT, ZONES, to_grey
from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json, written_when_complete
from nnunet_ext.front_lines.geojson import MILLIMETRES, RECORD, front_geojson, geojson_text
from nnunet_ext.front_lines.vectorize import path_length, vectorize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from dataset_conversion.caffe_predictions import Encoding
    from evaluation.front_scores.measure import Extraction
    from nnunet_ext.front_lines.scenes import Scene

GEOJSON, OVERLAY = "geojson", "overlay"
FOUND, NO_FRONT = "front", "no front"
FOREIGN = "not written by this command"


@dataclass(frozen=True)
class Recipe:
    """How the files of an image are made.

    Parameters
    ----------
    encoding
        What the labels of the model are.
    source
        ``zone`` or ``front``: the label map that the front is extracted from.
    extraction
        How it is extracted.
    settings
        All that the result depends on beside the image, for the record.
    """

    encoding: Encoding
    source: str
    extraction: Extraction
    settings: Mapping[str, Any]


def targets(output: Path, stem: str, parts: Sequence[str]) -> dict[str, Path]:
    """Return the files of an image by what they are; in the order in which they appear."""
    zones = {"zones": output / f"{stem}_zone.png"} if "zones" in parts else {}
    return {
        GEOJSON: output / f"{stem}.geojson",
        **zones,
        "front": output / f"{stem}_front.png",
        OVERLAY: output / f"{stem}_overlay.png",
    }


def finished_record(files: Mapping[str, Path]) -> dict[str, Any] | None:
    """Return what is known of an image whose files are all there; None if it has to be predicted.

    Raises
    ------
    InputError
        If one of the files is there, but this command has not written them.
    """
    there = [path for path in files.values() if path.exists()]
    if not there:
        return None
    # The GeoJSON file appears first, so that nothing of ours is ever without it.
    record = read_json(files[GEOJSON]).get(RECORD) if files[GEOJSON] in there else None
    if not isinstance(record, dict):
        message = f"{there[0]}: {FOREIGN}; choose another output or give --overwrite"
        raise InputError(message)
    return record if len(there) == len(files) else None


def known_of(scene: Scene, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the record that is known before the prediction: what the files depend on."""
    rows, columns = scene.box or (None, None)
    return {
        "resolution": scene.resolution,
        "box": None if rows is None or columns is None else [rows.start, rows.stop, columns.start, columns.stop],
        "transform": None if scene.place is None else list(scene.place.transform),
        "crs": None if scene.place is None else scene.place.crs,
        **settings,
    }


def finish(
    scene: Scene, image: npt.NDArray[np.uint8], labels: npt.NDArray[Any], files: Mapping[str, Path], recipe: Recipe
) -> dict[str, Any]:
    """Extract the front of an image and write its files, all or none.

    Parameters
    ----------
    scene, image
        The image, and its grey levels (H, W).
    labels
        Predicted labels (H, W).
    files
        As of ``targets``; what is there is replaced.
    recipe
        How to do it.

    Returns
    -------
    dict
        The record: what is known of the image and its front.

    Raises
    ------
    InputError
        If the labels do not fit to the image or the model.
    """
    if labels.shape != scene.shape or image.shape != scene.shape:
        message = f"{scene.path}: labels {labels.shape} and image {image.shape}, expected {scene.shape} (y, x)"
        raise InputError(message)
    maps = predicted_maps(recipe.encoding.task, labels, joint=recipe.encoding.joint)
    front = _front(maps, scene, recipe)
    parts = vectorize(front)
    length = sum(path_length(line) for lines in parts for line in lines) * scene.resolution
    record = {
        "stem": scene.stem,
        "state": FOUND if parts else NO_FRONT,
        "length_m": round(length, MILLIMETRES),
        "parts": len(parts),
        "predicted_pixels": int(front.sum()),
        **known_of(scene, recipe.settings),
    }
    lines = front_geojson(parts, record, resolution=scene.resolution, place=scene.place)
    pictures = {"front": to_grey(front.astype(np.uint8), FRONT), OVERLAY: _overlay(image, front, scene)}
    if "zones" in files:
        pictures["zones"] = to_grey(maps["zones"], ZONES)
    _write(files, pictures, lines)
    return record


def _front(maps: Mapping[str, npt.NDArray[Any]], scene: Scene, recipe: Recipe) -> npt.NDArray[np.bool_]:
    how = recipe.extraction
    if recipe.source == "front":
        return front_of_mask(
            maps["front"],
            resolution=scene.resolution,
            box=scene.box,
            compat=how.compat,
            min_length=how.min_length,
            bridged_gap=how.bridged_gap,
        )
    return front_of_zones(
        maps["zones"],
        resolution=scene.resolution,
        box=scene.box,
        compat=how.compat,
        min_length=how.min_length,
        strait_width=how.strait_width,
        bridged_gap=how.bridged_gap,
    )


def _overlay(image: npt.NDArray[np.uint8], front: npt.NDArray[np.bool_], scene: Scene) -> npt.NDArray[np.uint8]:
    from evaluation.front_pictures.overlay import front_overlay, line_width

    return front_overlay(image, np.zeros_like(front), front, scene.box, width=line_width(image.shape))


def _write(files: Mapping[str, Path], pictures: Mapping[str, npt.NDArray[np.uint8]], lines: Mapping[str, Any]) -> None:
    """Write all files under temporary names, and rename them only when all are there."""
    from PIL import Image

    with ExitStack() as stack:
        # Renamed from the last to the first.
        partial = {
            what: stack.enter_context(written_when_complete(files[what], overwrite=True))
            for what in reversed(list(files))
        }
        for what, picture in pictures.items():
            Image.fromarray(picture).save(partial[what], format="PNG")
        partial[GEOJSON].write_text(geojson_text(lines), encoding="utf-8")
        # From here on the image counts as unfinished until its last file has been renamed.
        files[OVERLAY].unlink(missing_ok=True)
