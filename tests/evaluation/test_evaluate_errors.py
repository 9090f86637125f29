"""Cases that cannot be scored: all of them are named, and nothing is written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
import tifffile

from evaluation.evaluate import evaluate
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from tests.evaluation.label_folders import (
    random_labels,
    read_table,
    write_dataset_json,
    write_folder,
    write_label,
)

ARRAY = random_labels(0, [0, 1, 2])


def folders(tmp_path, cases=("a", "b")):
    g = write_folder(tmp_path / "g", dict.fromkeys(cases, ARRAY))
    p = write_folder(tmp_path / "p", dict.fromkeys(cases, ARRAY))
    return g, p


def score(tmp_path, **options):
    options = {"label_values": [1, 2], **options}
    return evaluate({"prediction": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", **options)


def problems(tmp_path, **options):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadCasesError) as caught:
        score(tmp_path, **options)
    assert sorted(tmp_path.iterdir()) == before
    return caught.value.problems


def test_missing_extra_and_doubled_cases_are_told_together(tmp_path):
    g, p = folders(tmp_path, ("a", "b", "c"))
    (p / "a.nii.gz").unlink()
    (g / "b.nii.gz").unlink()
    write_label(p / "c.mha", ARRAY)
    told = "\n".join(problems(tmp_path))
    assert f"{g / 'a.nii.gz'}: no prediction of case 'a' in {p}" in told
    assert f"{p / 'b.nii.gz'}: no label of case 'b' in {g}" in told
    assert f"{p / 'c.mha'}" in told
    assert f"{p / 'c.nii.gz'}" in told


def test_names_are_paired_exactly(tmp_path):
    write_folder(tmp_path / "g", {"S1": ARRAY})
    write_folder(tmp_path / "p", {"S10": ARRAY})
    assert len(problems(tmp_path)) == 2


def test_other_shapes_spacings_origins_and_directions(tmp_path):
    _, p = folders(tmp_path, "abcdef")
    write_label(p / "a.nii.gz", ARRAY[1:])
    write_label(p / "b.nii.gz", ARRAY, spacing=(1.0, 2.002, 3.0))
    write_label(p / "c.nii.gz", ARRAY, origin=(0.0, 0.002, 0.0))
    write_label(p / "d.nii.gz", ARRAY, direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    write_label(p / "e.nii.gz", ARRAY, spacing=(1.0, 2.0005, 3.0), origin=(0.0, 0.0005, 0.0))
    (p / "f.nii.gz").write_bytes((p / "f.nii.gz").read_bytes()[:20])
    told = problems(tmp_path)
    assert len(told) == 5
    for case, problem in zip("abcdf", told, strict=True):
        assert str(p / f"{case}.nii.gz") in problem
    assert "shape (3, 5, 6) instead of (4, 5, 6)" in told[0]
    assert "spacing (3, 2.002, 2) instead of (3, 2, 2)" not in told[1]
    assert "spacing (3, 2.002, 1) instead of (3, 2, 1)" in told[1]
    assert "origin (0, 0.002, 0) instead of (0, 0, 0)" in told[2]
    assert "direction" in told[3]


def test_small_spacings_are_compared_relative_to_their_size(tmp_path):
    write_label(tmp_path / "g" / "a.mha", ARRAY, spacing=(0.0190, 0.0190, 0.0190))
    write_label(tmp_path / "p" / "a.mha", ARRAY, spacing=(0.0195, 0.0190, 0.0190))
    assert "spacing (0.019, 0.019, 0.0195)" in problems(tmp_path)[0]


def test_undeclared_values_are_named_with_file_and_voxels(tmp_path):
    g, p = folders(tmp_path)
    write_dataset_json(p, {"background": 0, "x": 1, "y": 2, "ignore": 3})
    odd = ARRAY.copy()
    odd[0, 0, :2] = 17
    write_label(g / "a.nii.gz", odd)
    write_label(p / "b.nii.gz", np.where(odd == 17, 18, odd).astype(np.uint8))
    told = problems(tmp_path, label_values=None)
    assert len(told) == 2
    assert f"{g / 'a.nii.gz'}: values 17 (2 voxels) found, expected labels [0, 1, 2, 3]" in told[0]
    assert f"{p / 'b.nii.gz'}: values 18 (2 voxels) found" in told[1]


def test_voxels_are_read_even_if_headers_or_names_do_not_fit(tmp_path):
    g, p = folders(tmp_path, "abcd")
    (p / "a.nii.gz").unlink()
    (p / "b.nii.gz").write_bytes(b"no volume")
    write_label(p / "c.nii.gz", ARRAY + np.float32(0.5))
    told = problems(tmp_path)
    assert len(told) == 3
    assert str(g / "a.nii.gz") in told[0]
    assert str(p / "b.nii.gz") in told[1]
    assert "holds" in told[2]
    assert str(p / "c.nii.gz") in told[2]


def test_listed_labels_make_other_values_background(tmp_path):
    folders(tmp_path)
    found = score(tmp_path, label_values=[1], metrics=["Dice", "HD"])
    assert [row.mean for row in found.summary] == [1.0, 0.0]


def test_truncated_voxels_are_told(tmp_path):
    g, _ = folders(tmp_path)
    content = (g / "a.nii.gz").read_bytes()
    (g / "a.nii.gz").write_bytes(content[:-30])
    told = problems(tmp_path)
    assert len(told) == 1
    assert str(g / "a.nii.gz") in told[0]


def test_folders_without_volumes(tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.jpg").touch()
    assert [problem.split(":")[0] for problem in problems(tmp_path)] == [
        str(tmp_path / "g"),
        str(tmp_path / "p"),
    ]


def test_folders_that_do_not_exist(tmp_path):
    with pytest.raises(MissingInputError) as caught:
        score(tmp_path)
    assert str(tmp_path / "g") in str(caught.value)
    assert str(tmp_path / "p") in str(caught.value)


def test_a_subset_is_scored_on_demand_and_for_a_fold(tmp_path):
    g, p = folders(tmp_path)
    (p / "b.nii.gz").unlink()
    assert len(score(tmp_path, subset=True).cases) == 1
    validation = tmp_path / "model" / "fold_0" / "validation"
    validation.parent.mkdir(parents=True)
    p.rename(validation)
    write_dataset_json(tmp_path / "model", {"background": 0, "x": 1, "y": 2})
    found = evaluate({"m": validation}, g, tmp_path / "fold", metrics=["Dice", "IoU"])
    assert [row.class_name for row in found.summary] == ["x", "x", "y", "y"]


def test_tiff_spacing_comes_from_the_side_car(tmp_path):
    for folder in ("g", "p"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", ARRAY, photometric="minisblack")
        (tmp_path / folder / "a.json").write_text(json.dumps({"spacing": [3, 2, 1]}))
    score(tmp_path)
    inputs = json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"]
    assert {record["path"] for record in inputs} >= {
        str(tmp_path / "g" / "a.json"),
        str(tmp_path / "p" / "a.tif"),
    }
    (tmp_path / "p" / "a.json").write_text(json.dumps({"spacing": [3, 2, 2]}))
    assert "spacing (3, 2, 2) instead of (3, 2, 1)" in problems(tmp_path, overwrite=True)[0]
    (tmp_path / "p" / "a.json").write_text(json.dumps({"spacing": "3 mm"}))
    assert "three positive numbers" in problems(tmp_path, overwrite=True)[0]
    (tmp_path / "p" / "a.json").unlink()
    score(tmp_path, overwrite=True)


def test_tiff_files_of_one_slice_are_cases(tmp_path):
    for folder in ("g", "p"):
        (tmp_path / folder).mkdir()
        for case in ("a", "b"):
            tifffile.imwrite(tmp_path / folder / f"{case}.tif", ARRAY[0])
    assert [case.case for case in score(tmp_path).cases] == ["a", "b"]


def test_formats_may_differ(tmp_path):
    for ending in ("mha", "nrrd", "nii.gz"):
        write_label(tmp_path / "g" / f"{ending[:1]}{len(ending)}.nii.gz", ARRAY)
        image = SimpleITK.ReadImage(str(tmp_path / "g" / f"{ending[:1]}{len(ending)}.nii.gz"))
        (tmp_path / "p").mkdir(exist_ok=True)
        SimpleITK.WriteImage(image, str(tmp_path / "p" / f"{ending[:1]}{len(ending)}.{ending}"))
    score(tmp_path, metrics=["Dice", "NSD"])
    rows = read_table(tmp_path / "out" / "cases.csv")
    assert {row["value"] for row in rows} == {"1.0"}


def test_output_is_not_replaced_unasked(tmp_path):
    folders(tmp_path)
    score(tmp_path)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        score(tmp_path)
    score(tmp_path, overwrite=True)
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(OutputExistsError, match=r"notes\.txt"):
        score(tmp_path, overwrite=True)


def test_output_never_replaces_an_input(tmp_path):
    g, p = folders(tmp_path)
    for output in (g, tmp_path):
        with pytest.raises(InputError, match="would replace the input"):
            evaluate({"m": p}, g, output, label_values=[1], overwrite=True)
    assert len(list(g.iterdir())) == 2


def test_unknown_metrics(tmp_path):
    folders(tmp_path)
    with pytest.raises(InputError, match="Hausdorff"):
        score(tmp_path, metrics=["Dice", "Hausdorff"])
