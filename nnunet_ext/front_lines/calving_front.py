"""From SAR images and a trained model to calving fronts as pictures and lines."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from evaluation.evaluate_fronts import MIN_LENGTH, Compat, Source
from nnunet_ext.errors import InputError, MissingInputError, OutputExistsError
from nnunet_ext.inference.model import CHECKPOINT, check_step_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_ext.front_lines.model import Model, Predict
    from nnunet_ext.front_lines.table import CalvingFronts

_CRS = re.compile(r"[A-Za-z]+:[0-9A-Za-z]+")


def calving_front(
    images: Path,
    model: Path,
    output: Path,
    *,
    folds: Sequence[str | int] | None = None,
    boxes: Path | None = None,
    resolution: float | None = None,
    source: Source | None = None,
    compat: Compat | None = None,
    min_length: float = MIN_LENGTH,
    strait_width: int = 0,
    bridged_gap: int = 0,
    crs: str | None = None,
    pixel_coordinates: bool = False,
    checkpoint: str = CHECKPOINT,
    device: str = "cuda",
    step_size: float = 0.5,
    disable_tta: bool = False,
    processes: int = 1,
    overwrite: bool = False,
    predict: Predict | None = None,
) -> CalvingFronts:
    """Predict images and write ``<stem>_zone.png``, ``_front.png``, ``_overlay.png``, ``.geojson`` and fronts.csv.

    The files of an image appear together. Images whose files are there are not predicted again. An image that cannot
    be used or predicted does not stop the others; the result and fronts.csv name it.

    Parameters
    ----------
    images
        Folder of 8-bit images of one channel, ``<stem>.png`` or ``<stem>_0000.png``, also ``.tif``.
    model
        Folder ``<trainer>__<plans>__<configuration>`` of a model of any task of 'nnunet_ext convert caffe'.
    output
        Folder to write.
    folds
        Folds to predict with, the mean of which counts. Default: all that are there.
    boxes
        Folder of the bounding boxes ``<stem>*.txt``, one per image; a front outside does not count.
    resolution
        Metres per pixel of images whose names (CaFFe) and georeferencing do not say it.
    source
        What the front is extracted from. Default: the zones, if the model predicts them.
    compat
        ``caffe`` for islands, lakes and overflowing boxes as in the code of the benchmark.
    min_length
        Parts of a front that are not longer are dropped, in metres.
    strait_width
        Straits of up to this number of pixels have no front; zones only.
    bridged_gap
        Gaps of up to this number of pixels do not divide a front.
    crs
        Coordinate system of world files, which do not name it, such as ``EPSG:3413``.
    pixel_coordinates
        Whether to leave georeferencing alone and write lines in pixels.
    checkpoint
        Name of the files with the weights.
    device
        ``cuda``, ``cpu`` or ``mps``.
    step_size
        Step of the window over the image, as part of the patch.
    disable_tta
        Whether to predict without the mirrored images.
    processes
        With more than one, fronts are extracted and written beside the prediction. These processes import the
        calling script, which needs ``if __name__ == "__main__":``.
    overwrite
        Whether to predict images again whose files are there.
    predict
        What predicts an image instead of nnU-Net: from grey levels (H, W) and spacing (z, y, x) to labels (H, W).

    Returns
    -------
    CalvingFronts
        What became of each image.

    Raises
    ------
    InputError, MissingInputError
        If a folder, the model or an argument cannot be used.
    BadCasesError
        If images were finished with other settings; names all of them.
    OutputExistsError
        If fronts.csv is there and not from this command.
    """
    from evaluation.front_scores.measure import Extraction
    from nnunet_ext.front_lines.finish import Recipe
    from nnunet_ext.front_lines.model import find_model, load_predictor
    from nnunet_ext.front_lines.scenes import Hints, find_images
    from nnunet_ext.front_lines.table import TABLE, write_table
    from nnunet_ext.front_lines.work import Work

    images, output, boxes = Path(images), Path(output), None if boxes is None else Path(boxes)
    _check_options(source=source, compat=compat, resolution=resolution, crs=crs, step_size=step_size)
    _check_numbers(min_length=min_length, strait_width=strait_width, bridged_gap=bridged_gap, processes=processes)
    _check_folders(images, output, boxes, overwrite=overwrite)
    trained = find_model(Path(model), None if folds is None else [str(fold) for fold in folds], checkpoint)
    chosen = _source(source, trained)
    settings = {
        "model": trained.name,
        "folds": list(trained.folds),
        "checkpoint": checkpoint,
        "from": chosen,
        "compat": compat,
        "min_length": min_length,
        "strait_width": strait_width,
        "bridged_gap": bridged_gap,
        "step_size": step_size,
        "mirroring": not disable_tta,
    }
    recipe = Recipe(
        trained.encoding, chosen, Extraction(compat == "caffe", min_length, strait_width, bridged_gap), settings
    )
    hints = Hints(resolution, boxes, pixel_coordinates, crs or "", compat == "caffe")
    work = Work(output, trained, recipe, overwrite=overwrite)
    work.plan(find_images(images), hints)
    if work.pending and predict is None:
        predict = load_predictor(trained, device=device, step_size=step_size, mirroring=not disable_tta)
    output.mkdir(parents=True, exist_ok=True)
    try:
        if predict is not None:
            work.do(predict, processes)
    finally:
        found = work.result()
        write_table(output / TABLE, found.images)
    return found


def _check_options(
    *, source: str | None, compat: str | None, resolution: float | None, crs: str | None, step_size: float
) -> None:
    for flag, value, known in (("--from", source, get_args(Source)), ("--compat", compat, get_args(Compat))):
        if value is not None and value not in known:
            message = f"{flag} {value}: expected {' or '.join(known)}"
            raise InputError(message)
    if resolution is not None and not (math.isfinite(resolution) and resolution > 0):
        message = f"--resolution {resolution}: expected metres per pixel above 0"
        raise InputError(message)
    if crs is not None and not _CRS.fullmatch(crs):
        message = f"--crs {crs}: expected authority and code, such as EPSG:3413"
        raise InputError(message)
    check_step_size(step_size)


def _check_numbers(*, min_length: float, strait_width: int, bridged_gap: int, processes: int) -> None:
    for flag, value, lowest in (
        ("--min-length", min_length, 0),
        ("--strait-width", strait_width, 0),
        ("--bridged-gap", bridged_gap, 0),
        ("-np", processes, 1),
    ):
        if not lowest <= value < math.inf:
            message = f"{flag} {value}: expected a number from {lowest}"
            raise InputError(message)


def _check_folders(images: Path, output: Path, boxes: Path | None, *, overwrite: bool) -> None:
    from nnunet_ext.front_lines.table import TABLE, is_table

    if boxes is not None and not boxes.is_dir():
        message = f"{boxes}: no such folder (--boxes)"
        raise MissingInputError(message)
    if output.resolve() == images.resolve():
        message = f"{output}: is the folder of the images; choose another output (-o)"
        raise InputError(message)
    if os.path.lexists(output) and not output.is_dir():
        message = f"{output}: is a file, expected a folder to write to (-o)"
        raise InputError(message)
    table = output / TABLE
    if table.exists() and not overwrite and not is_table(table):
        message = f"{table}: not written by this command; choose another output or give --overwrite"
        raise OutputExistsError(message)


def _source(asked: str | None, model: Model) -> str:
    """Return what the front is extracted from: where both are predicted, zones give the smaller errors."""
    there = {"zones": "zone", "front": "front"}
    possible = [there[part] for part in ("zones", "front") if part in model.parts]
    if asked is not None and asked not in possible:
        message = f"--from {asked}: the model predicts {', '.join(model.parts)} only"
        raise InputError(message)
    return asked or possible[0]
