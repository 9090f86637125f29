"""Find the images of the CaFFe benchmark and their label maps."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.caffe.names import SUFFIXES, parse_caffe_name, stem_of
from nnunet_ext.errors import InputError, MissingInputError, listed
from nnunet_ext.imageio.names import PNG_ENDING, has_ending, volume_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

IMAGES = "sar_images"
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Scene:
    """The files of an image.

    Parameters
    ----------
    stem
        Its name without ending, which is the name of the case.
    split
        ``train``, ``test``, or empty in a folder without such subfolders.
    image
        The image.
    labels
        Label map by folder: ``fronts``, ``zones``.
    """

    stem: str
    split: str
    image: Path
    labels: dict[str, Path] = field(default_factory=dict)


def find_scenes(root: Path, label_folders: Sequence[str]) -> tuple[list[Scene], list[str]]:
    """Find all images and their label maps.

    Parameters
    ----------
    root
        Folder ``data_raw`` of the benchmark: ``sar_images/{train,test}``, one of which may be missing, and beside it
        a folder with the same subfolders per kind of label map. Without label maps also a folder of images.
    label_folders
        ``fronts``, ``zones``; every image needs a file in each of them, and the other way round.

    Returns
    -------
    list of Scene
        Those that are complete, train before test, by stem.
    list of str
        One message per missing partner, doubled stem and name that says nothing about the image; such names are
        fine where no label map is asked for.

    Raises
    ------
    MissingInputError
        If there is no such folder, or none of images.
    InputError
        If there is no image.
    """
    if not root.is_dir():
        message = f"{root}: no such folder"
        raise MissingInputError(message)
    splits = {split: root / IMAGES / split for split in (TRAIN, TEST)}
    if not any(folder.is_dir() for folder in splits.values()):
        splits = {}
    if not splits and label_folders:
        message = (
            f"{root}: no folder {IMAGES}/{TRAIN} or {IMAGES}/{TEST}, expected one of them and label maps beside it"
        )
        raise MissingInputError(message)
    images = {split: _pngs(folder) for split, folder in (splits or {"": root}).items()}
    if not any(images.values()):
        message = f"{root}: no PNG image there, expected some in {IMAGES}/{TRAIN}, {IMAGES}/{TEST} or itself"
        raise InputError(message)

    problems = _name_problems([path for files in images.values() for path in files], known=bool(label_folders))
    labels = {name: {split: _pngs(root / name / split) for split in images} for name in label_folders}
    for kind, of_kind in {IMAGES: images, **labels}.items():
        problems += _doubles(kind, [path for files in of_kind.values() for path in files])
    scenes: dict[str, Scene] = {}
    for split, files in images.items():
        by_stem = {volume_name(path): path for path in files}
        partners = {name: {stem_of(volume_name(path)): path for path in labels[name][split]} for name in label_folders}
        for name, of_stem in partners.items():
            folder = root / name / split
            problems += [
                f"{by_stem[stem]}: no label map of it in {folder}; there are {listed(sorted(of_stem))}"
                for stem in sorted(by_stem.keys() - of_stem.keys())
            ]
            problems += [
                f"{of_stem[stem]}: no image of it in {root / IMAGES / split}; there are {listed(sorted(by_stem))}"
                for stem in sorted(of_stem.keys() - by_stem.keys())
            ]
        for stem in sorted(by_stem):
            paths = {name: of_stem[stem] for name, of_stem in partners.items() if stem in of_stem}
            if len(paths) == len(label_folders):
                scenes.setdefault(stem, Scene(stem, split, by_stem[stem], paths))
    return list(scenes.values()), problems


def choose_fraction(scenes: Sequence[Scene], fraction: float, seed: int) -> list[Scene]:
    """Draw a part of each split, at least one image of it.

    Parameters
    ----------
    scenes
        All images.
    fraction
        Of the images of a split, above 0 and up to 1.
    seed
        Of the draw, which depends on the names of the images only. With the same seed, a larger fraction holds all
        images of a smaller one.

    Returns
    -------
    list of Scene
        In the order of ``scenes``.

    Raises
    ------
    InputError
        If the fraction is another number, or the seed is negative.
    """
    if not 0 < fraction <= 1:
        message = f"--fraction {fraction}: expected a number above 0 and up to 1"
        raise InputError(message)
    if seed < 0:
        message = f"--seed {seed}: expected 0 or more"
        raise InputError(message)
    chosen = set()
    for split in sorted({scene.split for scene in scenes}):
        stems = sorted(scene.stem for scene in scenes if scene.split == split)
        order = np.random.default_rng(seed).permutation(len(stems))
        chosen |= {stems[i] for i in order[: max(1, round(fraction * len(stems)))]}
    return [scene for scene in scenes if scene.stem in chosen]


def _pngs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and has_ending(path, (PNG_ENDING,)) and not path.name.startswith(".")
    )


def _name_problems(images: Sequence[Path], *, known: bool) -> list[str]:
    """Return what is wrong with the names of images; ``known`` if they must be those of the benchmark."""
    problems = []
    for path in images:
        name = volume_name(path)
        if name.endswith(SUFFIXES):
            problems.append(f"{path}: this is the name of a label map, expected an image")
            continue
        try:
            parse_caffe_name(name)
        except InputError as error:
            problems += [f"{path}: {error}"] if known else []
    return problems


def _doubles(kind: str, paths: Sequence[Path]) -> list[str]:
    by_stem: defaultdict[str, list[Path]] = defaultdict(list)
    for path in paths:
        name = volume_name(path)
        by_stem[name if kind == IMAGES else stem_of(name)].append(path)
    return [
        f"'{stem}' is there more than once: {', '.join(map(str, found))}"
        for stem, found in by_stem.items()
        if len(found) > 1
    ]
