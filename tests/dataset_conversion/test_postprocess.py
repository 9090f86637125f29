"""Predictions after rules: which files change, what stands beside them, and that nothing is half-written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dataset_conversion.brats import convert_brats
from dataset_conversion.postprocess import postprocess
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json, write_json
from nnunet_ext.imageio import read_volume, write_volume
from nnunet_ext.imageio.sidecar import write_sidecar
from tests.dataset_conversion.nifti_folders import GEOMETRY, image_of, label_of, names_in, put

if TYPE_CHECKING:
    from pathlib import Path

LABELS = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing tumour": 3}
RULE = {"from": "enhancing tumour", "to": "necrosis", "below_voxels": 10}


def label_with(count: int, shape: tuple[int, int, int] = (4, 6, 8)) -> np.ndarray:
    """Return a label map with a row of oedema, and so many voxels of enhancing tumour."""
    labels = label_of(0, 2, shape=shape)
    labels.reshape(-1)[:count] = 3
    return labels


def rule_file(folder: Path, *rules: object) -> Path:
    path = folder / "rules.json"
    write_json(path, {"rules": list(rules or [RULE])})
    return path


def predictions(folder: Path, ending: str = ".nii.gz", **counts: int) -> Path:
    """Write predictions with so many voxels of enhancing tumour each."""
    for case, count in counts.items():
        put(folder / f"{case}{ending}", label_with(count))
    write_json(folder / "dataset.json", {"labels": LABELS, "file_ending": ending})
    write_json(folder / "plans.json", {"plans_name": "nnUNetPlans"})
    return folder


def run(folder: Path, predicted: Path, *rules: object, **more: object):
    options = {"rules": rule_file(folder, *rules), "processes": 1, **more}
    return postprocess(predicted, folder / "out", **options)


def test_each_case_is_compared_by_itself(tmp_path):
    predicted = predictions(tmp_path / "p", exactly=10, fewer=9, none=0, many=40)
    done = run(tmp_path, predicted)
    assert done.changed == {"exactly": (0,), "fewer": (9,), "many": (0,), "none": (0,)}
    assert (done.rules, done.cases_of(0)) == (("enhancing tumour to necrosis below 10 voxels",), ["fewer"])
    for case in ("exactly", "none", "many"):
        assert (tmp_path / "out" / f"{case}.nii.gz").read_bytes() == (predicted / f"{case}.nii.gz").read_bytes()
    labels, geometry = read_volume(tmp_path / "out" / "fewer.nii.gz")
    original = read_volume(predicted / "fewer.nii.gz")
    np.testing.assert_array_equal(labels, np.where(original[0] == 3, 1, original[0]))
    assert labels.dtype == original[0].dtype
    assert geometry == original[1]


def test_cases_of_different_size(tmp_path):
    predicted = predictions(tmp_path / "p", small=9)
    put(predicted / "large.nii.gz", label_with(9, (12, 30, 20)))
    done = run(tmp_path, predicted)
    assert done.changed == {"large": (9,), "small": (9,)}
    assert read_volume(tmp_path / "out" / "large.nii.gz")[0].shape == (12, 30, 20)


def test_what_stands_beside_the_predictions_comes_along(tmp_path):
    predicted = predictions(tmp_path / "p", a=9, b=0)
    run(tmp_path, predicted)
    assert names_in(tmp_path / "out") == ["a.nii.gz", "b.nii.gz", "dataset.json", "plans.json", "postprocess.json"]
    for name in ("dataset.json", "plans.json"):
        assert (tmp_path / "out" / name).read_bytes() == (predicted / name).read_bytes()
    record = read_json(tmp_path / "out" / "postprocess.json")
    assert (record["tool"], record["rules"]) == ("nnunet_ext", [RULE])
    assert record["changed_voxels"] == {"a": [9], "b": [0]}


def test_the_dataset_may_be_elsewhere(tmp_path):
    predicted = predictions(tmp_path / "p", a=9)
    (tmp_path / "model").mkdir()
    (predicted / "dataset.json").rename(tmp_path / "model" / "names.json")
    with pytest.raises(MissingInputError, match=r"no dataset\.json"):
        run(tmp_path, predicted)
    run(tmp_path, predicted, dataset=tmp_path / "model" / "names.json")
    assert read_json(tmp_path / "out" / "dataset.json")["labels"] == LABELS


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".tif"])
def test_the_format_stays(tmp_path, ending):
    predicted = tmp_path / "p"
    geometry = GEOMETRY if ending != ".tif" else type(GEOMETRY)(GEOMETRY.spacing)
    put(predicted / f"a{ending}", label_with(9), geometry)
    if ending == ".tif":
        write_sidecar(predicted, "a", geometry)
    write_json(predicted / "dataset.json", {"labels": LABELS, "file_ending": ending})
    run(tmp_path, predicted)
    labels, _ = read_volume(tmp_path / "out" / f"a{ending}")
    np.testing.assert_array_equal(labels, np.where(label_with(9) == 3, 1, label_with(9)))
    assert (tmp_path / "out" / "a.json").is_file() == (ending == ".tif")


def test_the_spacing_beside_a_tiff_file_counts(tmp_path):
    write_volume(tmp_path / "p" / "a.tif", label_with(9), type(GEOMETRY)())
    write_sidecar(tmp_path / "p", "a", type(GEOMETRY)((2.0, 1.0, 1.0)))
    write_json(tmp_path / "p" / "dataset.json", {"labels": LABELS, "file_ending": ".tif"})
    rule = {"from": 3, "to": 1, "below_mm3": 18}
    assert run(tmp_path, tmp_path / "p", rule).changed == {"a": (0,)}
    rule["below_mm3"] = 18.1
    assert run(tmp_path, tmp_path / "p", rule, overwrite=True).changed == {"a": (9,)}


def test_brats_with_its_regions(tmp_path):
    for name in ("t1", "t1ce", "t2", "flair"):
        put(tmp_path / "brats" / "B1" / f"B1_{name}.nii.gz", image_of())
    put(tmp_path / "brats" / "B1" / "B1_seg.nii.gz", label_of(1, 2, 4))
    dataset = convert_brats(tmp_path / "brats", output=tmp_path / "raw", processes=1).folder
    put(tmp_path / "p" / "B1.nii.gz", label_with(9))
    put(tmp_path / "p" / "B2.nii.gz", label_with(10))
    for source in ("enhancing", "enhancing_tumor"):
        for target in ("necrosis", "tumor_core", 1):
            rule = {"from": source, "to": target, "below_voxels": 10}
            done = run(tmp_path, tmp_path / "p", rule, dataset=dataset, overwrite=True)
            assert done.changed == {"B1": (9,), "B2": (0,)}
            labels = read_volume(tmp_path / "out" / "B1.nii.gz")[0]
            np.testing.assert_array_equal(labels, np.where(label_with(9) == 3, 1, label_with(9)))
    # Oedema and enhancing tumour together are 42 voxels, of which none is necrosis.
    rule = {"from": "whole_tumor", "to": "background", "below_voxels": 42}
    assert run(tmp_path, tmp_path / "p", rule, dataset=dataset, overwrite=True).changed == {"B1": (41,), "B2": (0,)}


def test_values_that_no_class_has_and_damaged_files_are_all_named(tmp_path):
    predicted = predictions(tmp_path / "p", a=9, b=9, c=9)
    put(predicted / "b.nii.gz", label_of(7))
    put(predicted / "d.nii.gz", label_with(9) / np.float32(2))
    (predicted / "c.nii.gz").write_bytes((predicted / "c.nii.gz").read_bytes()[:-40])
    with pytest.raises(BadCasesError) as caught:
        run(tmp_path, predicted)
    assert not (tmp_path / "out").exists()
    values, damaged, fractions = caught.value.problems
    assert f"{predicted / 'b.nii.gz'}: values 7 found, expected labels 0, 1, 2, 3 as in {predicted}" in values
    assert f"{predicted / 'c.nii.gz'}: " in damaged
    assert f"{predicted / 'd.nii.gz'}: values [1.5] found, expected whole numbers" in fractions


def test_an_existing_output_stays(tmp_path):
    predicted = predictions(tmp_path / "p", a=9)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.nii.gz").write_bytes(b"of another run")
    with pytest.raises(OutputExistsError, match=r"a\.nii\.gz"):
        run(tmp_path, predicted)
    assert names_in(tmp_path / "out") == ["a.nii.gz"]
    assert run(tmp_path, predicted, overwrite=True).changed == {"a": (9,)}
    assert read_volume(tmp_path / "out" / "a.nii.gz")[0].max() == 2


def test_the_predictions_themselves_are_not_replaced(tmp_path):
    predicted = predictions(tmp_path / "p", a=9)
    before = (predicted / "a.nii.gz").read_bytes()
    with pytest.raises(InputError, match="is the folder of the predictions"):
        postprocess(predicted, predicted, rules=rule_file(tmp_path), overwrite=True)
    assert (predicted / "a.nii.gz").read_bytes() == before


def test_nothing_half_written_is_left_when_the_disk_is_full(tmp_path, monkeypatch):
    predicted = predictions(tmp_path / "p", a=9)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnunet_ext.imageio.writer.VolumeWriter.write", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, predicted)
    assert names_in(tmp_path / "out") == []


def test_several_processes_and_the_command(tmp_path, capsys):
    predicted = predictions(tmp_path / "p", a=9, b=8, c=10)
    second = {"from": "oedema", "to": "background", "below_voxels": 1}
    words = ["postprocess", "-i", str(predicted), "-o", str(tmp_path / "out")]
    words += ["--rules", str(rule_file(tmp_path, RULE, second))]
    assert main([*words, "-np", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'out'}: 3 predictions",
        "enhancing tumour to necrosis below 10 voxels: 17 voxels in 2 cases: a, b",
        "oedema to background below 1 voxels: 0 voxels in 0 cases",
    ]
    for case, value in (("a", 1), ("b", 1), ("c", 3)):
        assert read_volume(tmp_path / "out" / f"{case}.nii.gz")[0][0, 0, 0] == value
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "rules.json").write_text(json.dumps({"rules": [{**RULE, "to": "bone"}]}))
    assert main([*words, "--overwrite"]) == 1
    assert "rules.json: rule 1: 'to' is 'bone', expected one of background (0)" in capsys.readouterr().err
