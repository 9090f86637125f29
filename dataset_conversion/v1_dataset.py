"""A raw dataset of nnU-Net v1 to one of nnU-Net v2."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from dataset_conversion.case_patterns import case_name_problem, similar_name_problems
from dataset_conversion.nifti_case import NiftiCase
from dataset_conversion.nifti_classes import BACKGROUND, parse_classes
from dataset_conversion.nifti_writer import Wanted, write_nifti_dataset
from dataset_conversion.raw_dataset import dataset_folder
from dataset_conversion.v1_splits import read_splits
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, listed
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from dataset_conversion.nifti_writer import ConvertedNifti

SOURCE = "v1"
ENDING = ".nii.gz"
_TASK = re.compile(r"Task(\d{1,3})_(.+)")


def convert_v1(
    folder: Path,
    *,
    dataset_id: int | None = None,
    name: str | None = None,
    splits: Path | None = None,
    output: Path | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> ConvertedNifti:
    """Convert a raw dataset of nnU-Net v1, files unchanged, cases as in its ``dataset.json``.

    Parameters
    ----------
    folder
        ``TaskXXX_Name`` with ``dataset.json``, ``imagesTr`` (``<case>_0000.nii.gz``, …), ``labelsTr`` and, if there are
        test cases, ``imagesTs`` and perhaps ``labelsTs``.
    dataset_id, name
        Of the dataset; default: those of the folder's name.
    splits
        ``splits_final.pkl`` of the preprocessed task: the folds are kept, as ``splits_final.json`` beside the new
        ``dataset.json``, from where planning copies it, and in the folder of ``$nnUNet_preprocessed`` if that is set.
    output
        Folder of raw datasets; default: ``$nnUNet_raw``.
    processes
        Number of cases that are worked on at the same time.
    overwrite
        Replace a dataset of the same name.

    Raises
    ------
    BadCasesError
        If an entry of ``dataset.json`` is no case, or a file is missing, damaged, or has another grid or other labels
        than expected; names all of it.
    InputError
        If ``dataset.json`` is not one of v1, or this is a task of the Medical Segmentation Decathlon.
    MissingInputError
        If ``dataset.json`` or ``splits`` is not there.
    OutputExistsError
        If the dataset, or its folds, exist and ``overwrite`` is false.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder"
        raise MissingInputError(message)
    task = _TASK.fullmatch(folder.resolve().name)
    if task is None and (dataset_id is None or name is None):
        message = f"{folder}: expected a folder TaskXXX_Name of nnU-Net v1; give -d and -n for another one"
        raise InputError(message)
    content = _read(folder / "dataset.json")
    channels = _channels(folder, content)
    classes, notes = _classes(folder, content)
    target = dataset_folder(
        output,
        int(task[1]) if task and dataset_id is None else dataset_id,
        task[2] if task and name is None else name,
        overwrite=overwrite,
    )
    train, problems = _names(folder, "training", content["training"])
    test, more = _names(folder, "test", content.get("test") or [])
    similar, _ = similar_name_problems({"training": train, "test": test})
    problems += more + similar
    if problems:
        raise BadCasesError(problems)
    _refuse_decathlon(folder, [*train, *test])
    cases = [
        NiftiCase(case, _images(folder / "imagesTr", case, len(channels)), _file(folder / "labelsTr", case))
        for case in train
    ]
    for case in test:
        label = _file(folder / "labelsTs", case)
        images = _images(folder / "imagesTs", case, len(channels))
        cases.append(NiftiCase(case, images, label if label.is_file() else None, is_test=True))
    problems = [problem for files in cases for problem in _missing(files)]
    folds = None
    if splits is not None:
        try:
            folds = read_splits(splits, train)
        except BadCasesError as error:
            problems += error.problems
    complete = [files for files in cases if not _missing(files)]
    wanted = Wanted(SOURCE, tuple(channels), classes, file_format=ENDING, splits=folds)
    arguments = {"folder": str(folder.absolute()), "splits": None if splits is None else str(splits.absolute())}
    done = write_nifti_dataset(target, complete, problems, wanted, arguments, processes, overwrite=overwrite)
    done.notes.extend(notes + _left_out(folder, train, test))
    return done


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    missing = [key for key in ("modality", "labels", "training") if key not in content]
    if missing:
        v2 = " It is of nnU-Net v2 already." if "channel_names" in content else ""
        message = f"{path}: expected dataset.json of nnU-Net v1, found no '{', '.join(missing)}'.{v2}"
        raise InputError(message)
    if not isinstance(content["training"], list) or not isinstance(content.get("test") or [], list):
        message = f"{path}: expected lists of cases under 'training' and 'test'"
        raise InputError(message)
    return content


def _channels(folder: Path, content: dict[str, Any]) -> list[str]:
    modality = content["modality"]
    expected = {str(number) for number in range(len(modality))} if isinstance(modality, dict) else None
    if not expected or set(modality) != expected:
        message = f'{folder / "dataset.json"}: expected \'modality\' such as {{"0": "CT"}}, found {modality!r}'
        raise InputError(message)
    return [str(modality[str(number)]) for number in range(len(modality))]


def _classes(folder: Path, content: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the classes, and a note if background had another name."""
    path, labels = folder / "dataset.json", content["labels"]
    if not isinstance(labels, dict) or not all(str(key).isdecimal() for key in labels):
        message = f'{path}: expected \'labels\' of nnU-Net v1, such as {{"0": "background"}}, found {labels!r}'
        raise InputError(message)
    names = {int(value): str(name) for value, name in labels.items()}
    if sorted(names) != list(range(len(names))):
        message = f"{path}: expected the values 0, 1, 2, … without a gap in 'labels', found {sorted(names)}"
        raise InputError(message)
    try:
        classes = parse_classes([f"{names[value]}={value}" for value in sorted(names) if value])
    except InputError as error:
        message = f"{path}: {error}"
        raise InputError(message) from error
    renamed = names[0] != BACKGROUND
    return classes, [f"value 0, '{names[0]}', is 'background' now, as nnU-Net v2 wants it"] if renamed else []


def _names(folder: Path, key: str, entries: list[Any]) -> tuple[list[str], list[str]]:
    """Return the cases of ``training`` or ``test``, and what is wrong with entries."""
    path, suffix = folder / "dataset.json", "Tr" if key == "training" else "Ts"
    names, problems = [], []
    for entry in entries:
        files = {f"images{suffix}": entry} if isinstance(entry, str) else {}
        if isinstance(entry, dict):
            files = {f"{kind}s{suffix}": entry[kind] for kind in ("image", "label") if kind in entry}
        found = {_case(file, inside) for inside, file in files.items()}
        case = found.pop() if len(found) == 1 else None
        if case is None or (key == "training" and len(files) < 2):
            expected = f"./images{suffix}/<case>{ENDING}"
            if key == "training":
                expected += f" and ./labels{suffix}/<case>{ENDING} of one case"
            problems.append(f"{path}: '{key}' has {entry!r}, expected {expected}")
        elif case in names:
            problems.append(f"{path}: '{key}' has case '{case}' more than once")
        else:
            names.append(case)
    return names, problems


def _case(file: Any, inside: str) -> str | None:
    """Return the case of a file, if it lies in the folder where it should."""
    if not isinstance(file, str) or not file.endswith(ENDING) or "\\" in file:
        return None
    parts = PurePosixPath(file).parts
    name = parts[-1].removesuffix(ENDING)
    return name if parts == (inside, parts[-1]) and case_name_problem(name) is None else None


def _file(folder: Path, case: str) -> Path:
    return folder / f"{case}{ENDING}"


def _images(folder: Path, case: str, channels: int) -> tuple[Path, ...]:
    return tuple(_file(folder, f"{case}_{channel:04d}") for channel in range(channels))


def _refuse_decathlon(folder: Path, cases: list[str]) -> None:
    odd = [case for case in cases for part in ("imagesTr", "imagesTs") if _file(folder / part, case).is_file()]
    if odd:
        message = (
            f"{folder}: images without channel number ({listed(odd)}), as in the Medical Segmentation Decathlon; "
            f"expected <case>_0000{ENDING}. Use nnU-Net's own command: nnUNetv2_convert_MSD_dataset -i {folder}"
        )
        raise InputError(message)


def _missing(files: NiftiCase) -> list[str]:
    needed = [*files.images, *([] if files.label is None else [files.label])]
    return [
        f"{path}: no such file, expected for case '{files.case}' of dataset.json"
        for path in needed
        if not path.is_file()
    ]


def _left_out(folder: Path, train: list[str], test: list[str]) -> list[str]:
    """Name label maps and images that dataset.json does not list."""
    notes = []
    for part, names in (("imagesTr", train), ("labelsTr", train), ("imagesTs", test)):
        if not (folder / part).is_dir():
            continue
        found = {path.name.removesuffix(ENDING) for path in (folder / part).glob(f"[!.]*{ENDING}")}
        cases = {name[:-5] for name in found if re.search(r"_\d{4}$", name)} if part.startswith("images") else found
        odd = sorted(cases - set(names))
        if odd:
            notes.append(f"{folder / part}: not in dataset.json and left out: {listed(odd)}")
    return notes
