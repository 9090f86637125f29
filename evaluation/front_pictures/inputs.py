"""Which files the pictures are made of: found, opened and compared before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evaluation.front_pictures.files import FRONTS, IMAGE, ZONE, box_files, files_of, has_any, png_files, png_shape
from evaluation.front_pictures.front_files import ENDINGS, FrontFile
from evaluation.front_pictures.rows import one_row_per_case
from evaluation.front_pictures.zone_areas import LABEL
from nnunet_ext.caffe.bounding_boxes import read_bounding_box
from nnunet_ext.errors import BadCasesError, InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from evaluation.front_pictures.rows import ImageRow
    from evaluation.front_scores.inputs import Source
    from evaluation.front_scores.measure import Extraction

    Files = dict[str, Path]
    Fronts = dict[str, FrontFile]


@dataclass(frozen=True)
class Folders:
    """The folders that were given.

    Parameters
    ----------
    predictions
        By model: ``<case>_front.png``, ``<case>_zone.png``.
    labels
        ``<case>_front.png``.
    zones
        ``<case>_zones.png`` of the labels.
    boxes
        ``<case>*.txt``.
    images
        ``<case>.png`` or ``<case>_0000.png``.
    checkpoints
        By name, in the order of the frames: as predictions.
    """

    predictions: Mapping[str, Path] = field(default_factory=dict)
    labels: Path | None = None
    zones: Path | None = None
    boxes: Path | None = None
    images: Path | None = None
    checkpoints: Mapping[str, Path] = field(default_factory=dict)

    @property
    def all(self) -> list[Path]:
        """Every folder."""
        single = [folder for folder in (self.labels, self.zones, self.boxes, self.images) if folder is not None]
        return [*self.predictions.values(), *self.checkpoints.values(), *single]


@dataclass(frozen=True)
class Sources:
    """The files of each image, by case; fronts and zones by source as well: ``label`` and the models."""

    fronts: Mapping[str, Fronts]
    zones: Mapping[str, Files]
    images: Files
    boxes: Files
    checkpoints: Mapping[str, Fronts]


def missing_inputs(folders: Folders, rows: Sequence[ImageRow], extraction: Extraction | None = None) -> dict[str, str]:
    """Return what each plot that cannot be drawn would need.

    Parameters
    ----------
    folders
        What was given.
    rows
        Rows of the table.
    extraction
        How fronts are extracted; None if they are drawn as the files have them.

    Returns
    -------
    dict of str to str
        By plot, why it cannot be drawn; plots that can are not in it.

    Raises
    ------
    MissingInputError
        If a folder is not there.
    """
    front_models = _sources_of_models(folders, rows, extraction)
    zone_models = [model for model, folder in folders.predictions.items() if has_any(folder, ZONE)]
    some_front = folders.labels is not None or bool(front_models)
    cases = {row.case for row in rows}
    given = {
        "--images": folders.images is not None,
        "-g": folders.labels is not None,
        "-p with files <case>_front.png": bool(front_models),
    }
    reasons = {
        "overlay": " and ".join(flag for flag, there in given.items() if not there),
        "boxes": "" if not all(row.no_front for row in rows) else "images with both fronts in the table",
        "fronts": "" if some_front else "-g, or -p with files <case>_front.png",
        "areas": "" if folders.zones is not None or zone_models else "--zones, or -p with files <case>_zone.png",
        "timeline": "",
        "retreat": "" if some_front else "-g, or -p with files <case>_front.png",
        "progress": "--checkpoints" if not folders.checkpoints else "",
    }
    if folders.checkpoints and not _cases_of_checkpoints(
        folders, cases, _sources_of_checkpoints(folders, rows, extraction)
    ):
        reasons["progress"] = "--checkpoints with files <case>_front.png of images in the table"
    return {plot: f"needs {reason}" for plot, reason in reasons.items() if reason}


def missing_files(
    folders: Folders, rows: Sequence[ImageRow] = (), extraction: Extraction | None = None
) -> dict[str, str]:
    """Return which kind of file a model's folder does not have: a model may predict fronts, zones or both.

    Fronts that are extracted from zones are not missing. Parameters are those of `missing_inputs`.

    Raises
    ------
    BadCasesError
        If a folder has neither.
    """
    missing: dict[str, str] = {}
    problems = []
    drawn = _sources_of_models(folders, rows, extraction)
    for model, folder in folders.predictions.items():
        kinds = {"fronts": FRONTS, "zones": ZONE}
        absent = [kind for kind, endings in kinds.items() if not has_any(folder, endings)]
        if len(absent) == len(kinds):
            problems.append(f"-p {folder}: no files <case>_front.png or <case>_zone.png")
        missing |= {
            f"{kind} of {model}": f"no file *{kinds[kind][0]} in {folder}"
            for kind in absent
            if not (kind == "fronts" and model in drawn)
        }
    if problems:
        raise BadCasesError(problems)
    return missing


def find_sources(
    folders: Folders, rows: Sequence[ImageRow], plots: Collection[str], extraction: Extraction | None = None
) -> tuple[Sources, list[str]]:
    """Find the files that some plots need, and compare their shapes.

    Parameters
    ----------
    folders
        What was given.
    rows
        Rows of the table, which say which images each model has.
    plots
        Which to draw; for these there is all that they need.
    extraction
        How predicted fronts are extracted; None to draw them as the files have them.

    Returns
    -------
    Sources
        The files.
    list of str
        One message per file that is missing, cannot be opened, or does not fit to the others of its image.
    """
    problems: list[str] = []

    def found(cases: Sequence[str], folder: Path | None, endings: Sequence[str]) -> Files:
        if folder is None:
            return {}
        files, wrong = files_of(cases, folder, endings)
        problems.extend(wrong)
        return files

    resolution_of = {row.case: row.resolution for row in rows}
    images_of = [row.case for row in one_row_per_case(rows)]
    of_model = {model: [row.case for row in rows if row.model == model] for model in folders.predictions}
    models = _sources_of_models(folders, rows, extraction)
    stages = _sources_of_checkpoints(folders, rows, extraction)
    tried = _cases_of_checkpoints(folders, images_of, stages) if "progress" in plots else []
    lines = bool({"overlay", "fronts", "retreat"} & set(plots))
    boxes: Files = {}
    cut = lines and extraction is not None and bool(models)
    if folders.boxes is not None and (cut or {"overlay", "progress"} & set(plots)):
        boxes, wrong = box_files(images_of if cut or "overlay" in plots else tried, folders.boxes)
        problems.extend(wrong)

    def predicted(cases: Sequence[str], folder: Path, source: Source) -> Fronts:
        return {
            case: FrontFile(path, source, resolution_of[case], extraction, boxes.get(case))
            for case, path in found(cases, folder, ENDINGS[source]).items()
        }

    fronts: dict[str, Fronts] = {}
    zones: dict[str, Files] = {}
    if (lines or tried) and folders.labels is not None:
        labels = found(images_of if lines else tried, folders.labels, FRONTS)
        fronts[LABEL] = {case: FrontFile(path, "front", resolution_of[case]) for case, path in labels.items()}
    if "areas" in plots and folders.zones is not None:
        zones[LABEL] = found(images_of, folders.zones, ZONE)
    for model, folder in folders.predictions.items():
        if lines and model in models:
            fronts[model] = predicted(of_model[model], folder, models[model])
        if "areas" in plots and has_any(folder, ZONE):
            zones[model] = found(of_model[model], folder, ZONE)
    needed = images_of if lines else tried
    images = found(needed, folders.images, IMAGE)
    checkpoints = {
        name: predicted(tried, folder, stages[name]) for name, folder in folders.checkpoints.items() if tried
    }
    sources = Sources(fronts, zones, images, boxes, checkpoints)
    return sources, problems + _shape_problems(sources, images_of)


def _sources_of_models(folders: Folders, rows: Sequence[ImageRow], extraction: Extraction | None) -> dict[str, Source]:
    """Return what the front of each model is drawn from, if its folder has that: what it was scored from."""
    said: dict[str, Source] = {row.model: row.source for row in rows} if extraction is not None else {}
    wanted = {model: said.get(model, "front") for model in folders.predictions}
    return {model: source for model, source in wanted.items() if has_any(folders.predictions[model], ENDINGS[source])}


def _sources_of_checkpoints(
    folders: Folders, rows: Sequence[ImageRow], extraction: Extraction | None
) -> dict[str, Source]:
    """Return what the front of each checkpoint is drawn from: as the models in the table, else what there is."""
    if extraction is None:
        return dict.fromkeys(folders.checkpoints, "front")
    order: tuple[Source, Source] = ("zone", "front") if {row.source for row in rows} == {"zone"} else ("front", "zone")
    return {
        name: next((source for source in order if has_any(folder, ENDINGS[source])), order[0])
        for name, folder in folders.checkpoints.items()
    }


def _cases_of_checkpoints(folders: Folders, cases: Collection[str], sources: Mapping[str, Source]) -> list[str]:
    """Return the images that at least one checkpoint has a front of: often a few are predicted, not all."""
    there = {
        name.removesuffix(ending)
        for stage, folder in folders.checkpoints.items()
        for name in png_files(folder)
        for ending in ENDINGS[sources[stage]]
        if name.endswith(ending)
    }
    return [case for case in sorted(cases) if case in there]


def _shape_problems(sources: Sources, cases: Sequence[str]) -> list[str]:
    fronts = [*sources.fronts.values(), *sources.checkpoints.values()]
    paths_of = [{case: front.path for case, front in of_source.items()} for of_source in fronts]
    groups: list[Mapping[str, Path]] = [sources.images, *paths_of, *sources.zones.values()]
    problems = []
    for case in cases:
        paths = [group[case] for group in groups if case in group]
        shapes = [png_shape(path) for path in paths]
        problems += [
            f"{path}: {shape[0]} rows and {shape[1]} columns, but {paths[0]} has {shapes[0][0]} and {shapes[0][1]}"
            for path, shape in zip(paths, shapes, strict=True)
            if shape != shapes[0]
        ]
        if case in sources.boxes and shapes:
            try:
                read_bounding_box(sources.boxes[case], shapes[0])
            except InputError as error:
                problems.append(str(error))
    return problems
