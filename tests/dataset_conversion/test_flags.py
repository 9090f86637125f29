"""Every flag of the clinical commands reaches the function behind it, under the parameter that means it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nnunet_ext.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "convert nifti": (
        "dataset_conversion.nifti_dataset.convert_nifti",
        "-i DATA --image {case}_t1.nii --image {case}_t2.nii --label {case}.nii --masks a={case}_a.nii b={case}_b.nii "
        "--masks c={case}_c.nii "
        "--test-image test/{case}_t1.nii --test-image test/{case}_t2.nii --test-label test/{case}.nii -d 7 -n Organ "
        "--channels T1 T2 --classes liver spleen=4 --regions all=liver,spleen spleen=spleen --overlap first "
        "--missing-ok --unlabelled-as-test --format nrrd -o RAW -np 3 --overwrite",
        {
            "folder": Path("DATA"),
            "image": ["{case}_t1.nii", "{case}_t2.nii"],
            "label": "{case}.nii",
            "masks": ["a={case}_a.nii", "b={case}_b.nii", "c={case}_c.nii"],
            "test_image": ["test/{case}_t1.nii", "test/{case}_t2.nii"],
            "test_label": "test/{case}.nii",
            "dataset_id": 7,
            "name": "Organ",
            "channels": ["T1", "T2"],
            "classes": ["liver", "spleen=4"],
            "regions": ["all=liver,spleen", "spleen=spleen"],
            "overlap": "first",
            "missing_ok": True,
            "unlabelled_as_test": True,
            "file_format": "nrrd",
            "output": Path("RAW"),
            "processes": 3,
            "overwrite": True,
        },
    ),
    "convert segthor": (
        "dataset_conversion.segthor.convert_segthor",
        "-i DATA -d 56 -n Thorax --unlabelled-as-test -o RAW -np 3 --overwrite",
        {
            "folder": Path("DATA"),
            "dataset_id": 56,
            "name": "Thorax",
            "unlabelled_as_test": True,
            "output": Path("RAW"),
            "processes": 3,
            "overwrite": True,
        },
    ),
    "convert brats": (
        "dataset_conversion.brats.convert_brats",
        "-i DATA --layout 2023 -d 138 -n Glioma --unlabelled-as-test -o RAW -np 3 --overwrite",
        {
            "folder": Path("DATA"),
            "layout": "2023",
            "dataset_id": 138,
            "name": "Glioma",
            "unlabelled_as_test": True,
            "output": Path("RAW"),
            "processes": 3,
            "overwrite": True,
        },
    ),
    "convert v1": (
        "dataset_conversion.v1_dataset.convert_v1",
        "-i Task042_Organ -d 43 -n Other --splits splits_final.pkl -o RAW -np 3 --overwrite",
        {
            "folder": Path("Task042_Organ"),
            "dataset_id": 43,
            "name": "Other",
            "splits": Path("splits_final.pkl"),
            "output": Path("RAW"),
            "processes": 3,
            "overwrite": True,
        },
    ),
    "convert nii_to_niigz": (
        "dataset_conversion.nifti_folder.nii_to_niigz",
        "-i DATA -o GZ -np 3 --overwrite",
        {"folder": Path("DATA"), "output": Path("GZ"), "processes": 3, "overwrite": True},
    ),
    "convert slicer_nrrd": (
        "dataset_conversion.slicer_dataset.convert_slicer_nrrd",
        "-i images -l segmentations -d 11 -n Lungs -o RAW --classes lungs airways --missing-ok --drop-unlisted "
        "--overlap last --as-tasks --test-fraction 0.2 --seed 4 --test-cases test.txt --channels CT --format nii.gz "
        "--dicom --series 1.2 1.3 -np 3 --overwrite",
        {
            "images": "images",
            "segmentations": "segmentations",
            "dataset_id": 11,
            "name": "Lungs",
            "output": Path("RAW"),
            "classes": ["lungs", "airways"],
            "classes_file": None,
            "missing_ok": True,
            "drop_unlisted": True,
            "overlap": "last",
            "as_tasks": True,
            "test_fraction": 0.2,
            "seed": 4,
            "test_cases": Path("test.txt"),
            "channels": ["CT"],
            "file_format": "nii.gz",
            "dicom": True,
            "series": ["1.2", "1.3"],
            "processes": 3,
            "overwrite": True,
        },
    ),
    "export slicer_nrrd": (
        "dataset_conversion.export_slicer.export_slicer_nrrd",
        "-i predictions -o out --dataset MODEL --format nrrd -np 3 --overwrite",
        {
            "predictions": Path("predictions"),
            "output": Path("out"),
            "dataset": Path("MODEL"),
            "file_format": "nrrd",
            "processes": 3,
            "overwrite": True,
        },
    ),
    "postprocess": (
        "dataset_conversion.postprocess.postprocess",
        "-i predictions -o out --rules rules.json --dataset MODEL -np 3 --overwrite",
        {
            "predictions": Path("predictions"),
            "output": Path("out"),
            "rules": Path("rules.json"),
            "dataset": Path("MODEL"),
            "processes": 3,
            "overwrite": True,
        },
    ),
}


class Reached(Exception):  # noqa: N818 - no error
    """The function was called."""


def recorder(calls: list[dict[str, Any]]) -> Callable[..., None]:
    def function(*positional: Any, **named: Any) -> None:
        calls.append({"positional": list(positional), **named})
        raise Reached

    return function


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_arrives(command, monkeypatch):
    target, words, expected = COMMANDS[command]
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(target, recorder(calls))
    with pytest.raises(Reached):
        main([*command.split(), *words.split()])
    (found,) = calls
    assert found.pop("positional") == []
    assert found == expected


def test_a_file_of_classes_arrives(monkeypatch):
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("dataset_conversion.slicer_dataset.convert_slicer_nrrd", recorder(calls))
    words = ["convert", "slicer_nrrd", "-i", "images", "-l", "segmentations", "-d", "11", "-n", "Lungs"]
    with pytest.raises(Reached):
        main([*words, "--classes-file", "classes.json"])
    assert (calls[0]["classes"], calls[0]["classes_file"]) == (None, Path("classes.json"))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_flag_is_left_out_here(command):
    """A flag that is added to a command has to be added above."""
    from importlib import import_module

    from nnunet_ext.cli import VERBS

    verb: Any = VERBS
    for word in command.split():
        verb = verb[word]
    flags: list[str] = []
    parser = SimpleNamespace(add_argument=lambda *names, **_: flags.append(names[0]))
    parser.add_mutually_exclusive_group = lambda **_: parser
    import_module(verb.module).add_arguments(parser)
    given = set(COMMANDS[command][1].split()) | {"--classes-file"}
    assert set(flags) <= given
