"""Find the files of an evaluation of fronts, and pair those of the same image."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from evaluation.front_scores.label_maps import image_shape, read_image
from evaluation.front_scores.names import read_image_name
from nnunet_ext.caffe.names import stem_of
from nnunet_ext.errors import InputError, MissingInputError, NnunetExtError
from nnunet_ext.imageio import is_supported, natural_key, volume_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from evaluation.front_scores.names import ImageName

FRONT, ZONE = ("_front",), ("_zones", "_zone")
PLAIN = ("",)
CHANNEL = "_0000"
BOX_ENDING = ".txt"
Source = Literal["front", "zone"]


@dataclass(frozen=True)
class FrontCase:
    """The files of an image and of what a model predicted for it.

    Parameters
    ----------
    model
        Name of the model.
    case
        Stem of the image.
    name
        What the stem says.
    source
        Whether ``prediction`` is the mask of a front or a map of zones.
    prediction
        What the front is extracted from.
    label
        Mask of the labelled front.
    predicted_zones, zones
        Maps of zones that are compared with each other.
    box
        Text file of the bounding box.
    image
        What is shown behind the fronts.
    """

    model: str
    case: str
    name: ImageName
    source: Source
    prediction: Path
    label: Path
    predicted_zones: Path | None = None
    zones: Path | None = None
    box: Path | None = None
    image: Path | None = None

    @property
    def maps(self) -> list[Path]:
        """Files with pixels, each once."""
        paths = (self.label, self.prediction, self.predicted_zones, self.zones, self.image)
        return list(dict.fromkeys(path for path in paths if path is not None))

    @property
    def files(self) -> list[Path]:
        """Every file that is read."""
        return self.maps + ([self.box] if self.box is not None else [])


def find_cases(
    predictions: Mapping[str, Path],
    fronts: Path,
    *,
    zones: Path | None = None,
    boxes: Path | None = None,
    images: Path | None = None,
    source: Source | None = None,
    resolution: float | None = None,
    subset: bool = False,
) -> tuple[list[FrontCase], list[str]]:
    """Pair predictions, labels, boxes and images by the stem that their names share.

    Parameters
    ----------
    predictions
        Folder of each model: ``<stem>_front.png`` and ``<stem>_zone.png``, or label maps ``<stem>`` with indices.
    fronts
        Folder of the labels ``<stem>_front.png``.
    zones
        Folder of the labels ``<stem>_zones.png``. At least one model has to predict zones then.
    boxes
        Folder of the bounding boxes ``<stem>*.txt``.
    images
        Folder of the images ``<stem>.png``.
    source
        What the front is extracted from. Default: from the masks of fronts where a folder has any, else from zones.
    resolution
        Metres per pixel of images whose names do not say it.
    subset
        Whether labels without prediction are left out.

    Returns
    -------
    list of FrontCase
        By model, then by stem.
    list of str
        All that is wrong: files without partner, several files of one stem, sizes that differ, names that say nothing.

    Raises
    ------
    MissingInputError
        If a folder does not exist.
    """
    folders = [folder for folder in (*predictions.values(), fronts, zones, boxes, images) if folder is not None]
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        message = f"no such folder: {', '.join(absent)}"
        raise MissingInputError(message)
    labels, problems = files_by_stem(fronts, FRONT)
    names: dict[str, ImageName] = {}
    for stem, path in labels.items():
        try:
            names[stem] = read_image_name(stem, resolution)
        except InputError as error:
            problems.append(f"{path}: {error}")
    cases = []
    without_zones: dict[str, list[str]] = {}
    for model, folder in predictions.items():
        found, wrong = _cases_of_model(model, folder, labels, names, source=source, subset=subset)
        problems += wrong
        if zones is not None:
            predicted, wrong = files_by_stem(folder, ZONE, plain=not found or found[0].source == "zone")
            wrong += _missing("predicted zones", predicted, (case.case for case in found), folder)
            if predicted:
                problems += wrong
            else:
                without_zones[model] = wrong
            found = [replace(case, predicted_zones=predicted.get(case.case)) for case in found]
        cases += found
    # Beside others, a model of the front alone has no scores of zones.
    if len(without_zones) == len(predictions):
        problems += [problem for wrong in without_zones.values() for problem in wrong]
    stems = [case.case for case in cases]
    partners: dict[str, dict[str, Path]] = {}
    for what, partner_folder in (("zones", zones), ("box", boxes), ("image", images)):
        partners[what] = {}
        if partner_folder is not None:
            partners[what], wrong = _partners(what, partner_folder, stems)
            problems += wrong + _missing(what, partners[what], stems, partner_folder)
    cases = [
        replace(
            case,
            zones=partners["zones"].get(case.case),
            box=partners["box"].get(case.case),
            image=partners["image"].get(case.case),
        )
        for case in cases
    ]
    return cases, problems + _shape_problems(cases)


def files_by_stem(folder: Path, suffixes: Sequence[str], *, plain: bool = True) -> tuple[dict[str, Path], list[str]]:
    """Return the files whose names end with one of some suffixes, by what stands before it.

    Parameters
    ----------
    folder
        Folder to look into, not into folders in it.
    suffixes
        Such as ``_front``.
    plain
        Whether files without any suffix are taken where there are none with these.

    Returns
    -------
    dict of str to Path
        In natural order.
    list of str
        One message per stem with several files, and one where there is no file at all.
    """
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        if path.is_file() and is_supported(path) and not path.name.startswith("."):
            stem = stem_of(volume_name(path))
            found[volume_name(path).removeprefix(stem), stem].append(path)
    chosen = suffixes if not plain or any(suffix in suffixes for suffix, _ in found) else PLAIN
    files: dict[str, list[Path]] = defaultdict(list)
    for (suffix, stem), paths in found.items():
        if suffix in chosen:
            files[stem] += paths
    expected = " or ".join(f"<stem>{suffix}.png" for suffix in suffixes)
    if not files:
        return {}, [f"{folder}: no file found, expected {expected}"]
    problems = [
        f"image {stem!r} has several files: {', '.join(map(str, paths))}"
        for stem, paths in files.items()
        if len(paths) > 1
    ]
    return {stem: paths[0] for stem, paths in files.items()}, problems


def boxes_by_stem(folder: Path, stems: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
    """Return the text file of each image whose name begins with its stem.

    What follows the stem begins with no letter or digit, so that orbit 9 does not get the box of orbit 92.

    Returns
    -------
    dict of str to Path
        Of the images that have one.
    list of str
        One message per image with several.
    """
    texts = [path for path in sorted(folder.iterdir()) if path.suffix.lower() == BOX_ENDING and path.is_file()]
    boxes, problems = {}, []
    for stem in dict.fromkeys(stems):
        own = re.compile(rf"{re.escape(stem)}(?![0-9A-Za-z])")
        found = [path for path in texts if own.match(path.name)]
        if found:
            boxes[stem] = found[0]
        if len(found) > 1:
            problems.append(f"image {stem!r} has several boxes: {', '.join(map(str, found))}")
    return boxes, problems


def _cases_of_model(
    model: str,
    folder: Path,
    labels: Mapping[str, Path],
    names: Mapping[str, ImageName],
    *,
    source: Source | None,
    subset: bool,
) -> tuple[list[FrontCase], list[str]]:
    try:
        kind = source or _source_of(folder)
    except NnunetExtError as error:
        return [], [str(error)]
    predicted, problems = files_by_stem(folder, FRONT if kind == "front" else ZONE)
    problems += [
        f"{path}: no label of image {stem!r} among the fronts" for stem, path in predicted.items() if stem not in labels
    ]
    if not subset:
        problems += [
            f"{path}: no prediction of image {stem!r} in {folder}"
            for stem, path in labels.items()
            if stem not in predicted
        ]
    shared = [stem for stem in predicted if stem in names]
    return [FrontCase(model, stem, names[stem], kind, predicted[stem], labels[stem]) for stem in shared], problems


def _source_of(folder: Path) -> Source:
    """Return what a folder holds; where the names do not say it, zones have other values than fronts."""
    for kind, suffixes in (("front", FRONT), ("zone", ZONE)):
        if files_by_stem(folder, suffixes, plain=False)[0]:
            return "front" if kind == "front" else "zone"
    files, _ = files_by_stem(folder, PLAIN)
    holds_zones = any(not set(read_image(path).ravel().tolist()) <= {0, 1, 255} for path in files.values())
    return "zone" if holds_zones else "front"


def _partners(what: str, folder: Path, stems: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    if what == "box":
        return boxes_by_stem(folder, stems)
    if what == "zones":
        return files_by_stem(folder, ZONE)
    files, problems = files_by_stem(folder, PLAIN)
    # nnU-Net's name of the first channel, as in the input of nnUNetv2_predict.
    return {stem.removesuffix(CHANNEL): path for stem, path in files.items()}, problems


def _missing(what: str, found: Mapping[str, Path], stems: Iterable[str], folder: Path) -> list[str]:
    return [f"image {stem!r} has no {what} in {folder}" for stem in dict.fromkeys(stems) if stem not in found]


def _shape_problems(cases: Sequence[FrontCase]) -> list[str]:
    """Compare the sizes of all maps with those of the labels, from the headers."""
    shapes: dict[Path, tuple[int, int]] = {}
    problems = []
    for path in dict.fromkeys(path for case in cases for path in case.maps):
        try:
            shapes[path] = image_shape(path)
        except NnunetExtError as error:
            problems.append(str(error))
    for case in cases:
        expected = shapes.get(case.label)
        for path in case.maps[1:]:
            found = shapes.get(path)
            if found is not None and expected is not None and found != expected:
                problems.append(
                    f"{path}: {found[0]} rows and {found[1]} columns, expected {expected[0]} and {expected[1]} "
                    f"as in {case.label}"
                )
    return problems
