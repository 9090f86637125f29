"""Images to pieces, and predicted pieces to whole volumes."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.utilities.utils import get_identifiers_from_splitted_dataset_folder

from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.imageio import Geometry, open_volume, read_volume, write_volume
from nnunet_ext.inference import merge_pieces as merging
from nnunet_ext.inference import piece_files
from nnunet_ext.inference.merge_pieces import merge_pieces
from nnunet_ext.inference.split import split_images
from nnunet_ext.inference.split_manifest import MANIFEST

SHAPE = (20, 9, 11)
OBLIQUE = Geometry(
    spacing=(0.5, 0.25, 2.0),
    origin=(10.0, -20.0, 30.0),
    direction=((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0)),
)


def volume(shape=SHAPE, dtype=np.uint8, seed=0):
    values = np.random.default_rng(seed).integers(0, 250, shape)
    return (values / 7).astype(dtype) if np.issubdtype(dtype, np.floating) else values.astype(dtype)


def write_images(folder, ending=".mha", geometry=OBLIQUE, **images):
    for name, array in (images or {"S1_0000": volume()}).items():
        write_volume(folder / f"{name}{ending}", array, geometry)
    return folder


def small_halo(folder, halo=2, **more):
    """A model whose patch makes a halo of two voxels along each axis of the oblique image."""
    folder.mkdir()
    dataset = {"file_ending": ".mha", "labels": {"background": 0, "one": 1}, **more}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    configuration = {"patch_size": [2 * halo] * 3, "spacing": list(OBLIQUE.spacing)}
    plans = {
        "transpose_forward": [0, 1, 2],
        "image_reader_writer": "SimpleITKIO",
        "configurations": {"3d_fullres": configuration},
    }
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


def predict(pieces, folder, change=None):
    """Stand in for nnUNetv2_predict: each case's first channel is its label map."""
    folder.mkdir()
    for path in sorted(pieces.glob("*_0000.*")):
        array, geometry = read_volume(path)
        name = path.name.replace("_0000", "")
        write_volume(folder / name, array if change is None else change(array), geometry)
    return folder


def split_and_predict(tmp_path, pieces=4, axis="z", **images):
    write_images(tmp_path / "images", **images)
    model = small_halo(tmp_path / "model")
    done = split_images(tmp_path / "images", tmp_path / "pieces", model=model, pieces=pieces, axis=axis, processes=1)
    predict(tmp_path / "pieces", tmp_path / "predicted")
    return done


def merge(tmp_path, **options):
    options = {"manifest": tmp_path / "pieces", "processes": 1} | options
    return merge_pieces(tmp_path / "predicted", tmp_path / "out", **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_piece_is_the_image_there_and_lies_there(tmp_path, axis):
    done = split_and_predict(tmp_path, axis="zyx"[axis])
    case = done.cases[0]
    whole = volume()
    assert case.halo == 2
    assert len(case.pieces) == (3 if axis == 1 else 4)
    for name, piece in zip(case.piece_names, case.pieces, strict=True):
        array, geometry = read_volume(tmp_path / "pieces" / f"{name}_0000.mha")
        np.testing.assert_array_equal(array, whole.take(range(piece.extent.start, piece.extent.stop), axis))
        # Its first voxel is where it was: origin + start · spacing · (column of the direction).
        column = np.array(OBLIQUE.direction)[:, axis]
        expected = np.array(OBLIQUE.origin) + piece.extent.start * OBLIQUE.spacing[axis] * column
        np.testing.assert_allclose(geometry.origin, expected, atol=1e-9)
        assert (geometry.spacing, geometry.direction) == (OBLIQUE.spacing, OBLIQUE.direction)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 9), st.integers(1, 9)),
    pieces=st.integers(1, 9),
    halo=st.integers(1, 6),
    axis=st.sampled_from("zyx"),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]),
)
def test_merging_what_was_split_gives_the_image_back(shape, pieces, halo, axis, dtype):
    image = volume(shape, dtype, seed=pieces)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", S1_0000=image)
        model = small_halo(folder / "model", halo)
        split_images(folder / "images", folder / "pieces", model=model, pieces=pieces, axis=axis, processes=1)
        predict(folder / "pieces", folder / "predicted")
        merged = merge(folder)
        found, geometry = read_volume(merged.files["S1"])
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)
    assert geometry == OBLIQUE


@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_each_voxel_comes_from_the_piece_that_owns_it(tmp_path, axis):
    done = split_and_predict(tmp_path, axis=axis)
    case = done.cases[0]
    # Each piece is predicted as its own number.
    for number, name in enumerate(case.piece_names, 1):
        path = tmp_path / "predicted" / f"{name}.mha"
        array, geometry = read_volume(path)
        write_volume(path, np.full_like(array, number), geometry, overwrite=True)
    found, _ = read_volume(merge(tmp_path).files["S1"])
    along = np.moveaxis(found, case.axis, 0)
    for number, piece in enumerate(case.pieces, 1):
        assert (along[piece.core.start : piece.core.stop] == number).all()


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd", ".tif"])
@pytest.mark.parametrize("axis", ["z", "x"])
def test_every_format_goes_through(tmp_path, ending, axis):
    image = volume(dtype=np.uint16) * np.uint16(250)
    geometry = Geometry((0.019, 0.02, 0.021), (0, 0, 0) if ending == ".tif" else (1.0, 2.0, 3.0))
    write_images(tmp_path / "images", ending, geometry, S1_0000=image)
    done = split_images(tmp_path / "images", tmp_path / "pieces", axis=axis, pieces=3, processes=1)
    predict(tmp_path / "pieces", tmp_path / "predicted")
    # Without a model the halo is in voxels of the image, however small they are.
    assert done.cases[0].halo == {"z": 24, "x": 112}[axis]
    merged = merge(tmp_path)
    assert merged.files["S1"] == tmp_path / "out" / f"S1{ending}"
    found, where = read_volume(merged.files["S1"])
    np.testing.assert_array_equal(found, image)
    np.testing.assert_allclose(where.spacing, geometry.spacing, rtol=1e-6)
    np.testing.assert_allclose(where.origin, geometry.origin, rtol=1e-6)


def test_tif_pieces_have_the_spacing_that_nnunet_reads(tmp_path):
    write_images(tmp_path / "images", ".tif", Geometry((0.3, 0.2, 0.1)), S1_0000=volume())
    split_images(tmp_path / "images", tmp_path / "pieces", pieces=2, processes=1)
    sidecar = json.loads((tmp_path / "pieces" / "S1__2__0__20_.json").read_text())
    np.testing.assert_allclose(sidecar["spacing"], (0.3, 0.2, 0.1), rtol=1e-5)
    predict(tmp_path / "pieces", tmp_path / "predicted")
    merge(tmp_path)
    assert names(tmp_path / "out") == ["S1.json", "S1.tif"]


def test_a_side_car_has_the_last_word_on_the_spacing_of_a_tif(tmp_path):
    write_images(tmp_path / "images", ".tif", Geometry((1.0, 1.0, 1.0)), S1_0000=volume())
    (tmp_path / "images" / "S1.json").write_text('{"spacing": [0.5, 0.4, 0.3]}')
    done = split_images(tmp_path / "images", tmp_path / "pieces", pieces=2, processes=1)
    assert done.cases[0].geometry.spacing == (0.5, 0.4, 0.3)


def test_a_model_decides_on_the_format_of_the_pieces(tmp_path):
    write_images(tmp_path / "images", ".nrrd")
    done = split_images(
        tmp_path / "images", tmp_path / "pieces", model=small_halo(tmp_path / "model"), pieces=2, processes=1
    )
    assert names(done.folder) == ["S1__2__0__12__0000.mha", "S1__2__8__20__0000.mha", MANIFEST]
    with pytest.raises(InputError, match=r"the model reads \.mha only"):
        split_images(tmp_path / "images", tmp_path / "more", model=tmp_path / "model", file_format="tif")


def test_a_merged_format_may_be_chosen(tmp_path):
    split_and_predict(tmp_path)
    assert merge(tmp_path, file_format="nii.gz").files["S1"].name == "S1.nii.gz"
    with pytest.raises(InputError, match=r"'\.jpg' cannot be written"):
        merge(tmp_path, file_format="jpg")


def test_names_and_manifest_are_read_by_nnunet_as_the_cases_that_they_are(tmp_path):
    images = {f"{case}_000{channel}": volume(seed=channel) for case in ("S1", "S10", "a__b") for channel in (0, 1)}
    done = split_and_predict(tmp_path, pieces=11, **images)
    cases = get_identifiers_from_splitted_dataset_folder(str(tmp_path / "pieces"), ".mha")
    extents = [(max(0, start - 2), min(20, start + 4)) for start in range(0, 20, 2)]
    expected = [f"{case}__2__{start}__{stop}_" for case in ("S1", "S10", "a__b") for start, stop in extents]
    assert sorted(cases) == sorted(expected)
    assert sorted(name for case in done.cases for name in case.piece_names) == sorted(expected)
    assert names(tmp_path / "pieces") == sorted(
        [MANIFEST, *(f"{name}_000{channel}.mha" for name in expected for channel in (0, 1))]
    )


def test_cases_with_similar_names_and_stray_files_do_not_meet(tmp_path):
    images = {f"{case}_0000": volume(seed=seed) for seed, case in enumerate(("S1", "S10", "a__b", "S1__2__0__7_"))}
    split_and_predict(tmp_path, **images)
    write_volume(tmp_path / "predicted" / "S1.mha", volume(), OBLIQUE)
    (tmp_path / "predicted" / "notes.txt").write_text("")
    merged = merge(tmp_path)
    for name, image in images.items():
        np.testing.assert_array_equal(read_volume(merged.files[name.removesuffix("_0000")])[0], image)
    assert merged.notes == [f"{tmp_path / 'predicted'}: no pieces, left alone: S1.mha"]


def test_channels_are_split_alike_and_must_be_alike(tmp_path):
    image, other = volume(), volume(dtype=np.float32, seed=1)
    done = split_and_predict(tmp_path, S1_0000=image, S1_0001=other)
    assert done.cases[0].dtypes == ("uint8", "float32")
    piece = done.cases[0].pieces[2].extent
    array, _ = read_volume(tmp_path / "pieces" / "S1__2__8__17__0001.mha")
    np.testing.assert_array_equal(array, other[piece.start : piece.stop])

    write_images(tmp_path / "unlike", S2_0000=image, S2_0001=other[1:], S3_0000=image, S3_0001=other[:, 1:])
    with pytest.raises(BadCasesError, match="2 problems") as error:
        split_images(tmp_path / "unlike", tmp_path / "none", processes=1)
    assert "S2_0001.mha: shape (19, 9, 11) instead of (20, 9, 11)" in str(error.value)
    assert not (tmp_path / "none").exists()


def test_a_missing_interval_is_named_and_nothing_is_written(tmp_path):
    split_and_predict(tmp_path, S1_0000=volume(), S10_0000=volume())
    (tmp_path / "predicted" / "S1__2__3__12_.mha").unlink()
    (tmp_path / "predicted" / "S10__2__13__20_.mha").unlink()
    with pytest.raises(BadCasesError, match="2 problems") as error:
        merge(tmp_path)
    assert "S1__2__3__12_: missing, expected the prediction of case 'S1', z 5–10 (with halo 3–12)" in str(error.value)
    assert "case 'S10', z 15–20" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_piece_that_is_there_twice_is_named(tmp_path):
    split_and_predict(tmp_path)
    array, geometry = read_volume(tmp_path / "predicted" / "S1__2__3__12_.mha")
    write_volume(tmp_path / "predicted" / "S1__2__3__12_.nrrd", array, geometry)
    with pytest.raises(BadCasesError, match=r"S1__2__3__12_.mha, S1__2__3__12_.nrrd: expected one .* z 5–10"):
        merge(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_truncated_piece_is_named(tmp_path):
    split_and_predict(tmp_path)
    path = tmp_path / "predicted" / "S1__2__8__17_.mha"
    array, geometry = read_volume(path)
    write_volume(path, array[:-1], geometry, overwrite=True)
    with pytest.raises(BadCasesError, match=r"2__8__17_\.mha: shape \(8, 9, 11\) instead of \(9, 9, 11\).*z 10–15"):
        merge(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_piece_in_the_place_of_another_is_named(tmp_path):
    split_and_predict(tmp_path)
    folder = tmp_path / "predicted"
    shutil.copy(folder / "S1__2__3__12_.mha", folder / "S1__2__8__17_.mha")
    with pytest.raises(BadCasesError, match=r"2__8__17_\.mha: origin .* instead of .*z 10–15"):
        merge(tmp_path)


@pytest.mark.parametrize("name", ["S2__2__0__7_.mha", "S1__1__0__7_.mha", "S1__2__0__7__0000.mha"])
def test_a_piece_of_something_else_is_an_error(tmp_path, name):
    split_and_predict(tmp_path)
    write_volume(tmp_path / "predicted" / name, volume(), OBLIQUE)
    with pytest.raises(BadCasesError, match=f"{name}: named like a piece, but .*{MANIFEST} has none"):
        merge(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("existing", [True, False])
def test_voxels_that_end_too_early_leave_nothing_behind(tmp_path, existing):
    split_and_predict(tmp_path, A_0000=volume(), S1_0000=volume())
    path = tmp_path / "predicted" / "S1__2__8__17_.mha"
    path.write_bytes(path.read_bytes()[:-40])
    if existing:
        (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"S1__2__8__17_\.mha"):
        merge(tmp_path)
    assert (names(tmp_path / "out") == []) if existing else not (tmp_path / "out").exists()


def test_an_interrupted_merge_leaves_nothing_behind(tmp_path, monkeypatch):
    split_and_predict(tmp_path, A_0000=volume(), S1_0000=volume())
    first = merging.join_pieces

    def interrupted(case, paths, target):
        if case.name == "S1":
            raise KeyboardInterrupt
        first(case, paths, target)

    monkeypatch.setattr(merging, "join_pieces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("axis", ["z", "y"])
def test_an_interrupted_split_leaves_nothing_behind(tmp_path, axis):
    write_images(tmp_path / "images", A_0000=volume(), S1_0000=volume())
    path = tmp_path / "images" / "S1_0000.mha"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"S1_0000\.mha"):
        split_images(tmp_path / "images", tmp_path / "new" / "pieces", axis=axis, processes=1)
    assert names(tmp_path) == ["images"]


@pytest.mark.parametrize(("axis", "most"), [("z", 1), ("x", 3)])
def test_only_pieces_that_hold_the_slices_are_open(tmp_path, monkeypatch, axis, most):
    monkeypatch.setattr("nnunet_ext.imageio.volume.SLAB_BYTES", 1)
    others = []
    create = piece_files.create_volume

    def counting(path, *arguments):
        others.append(len(list(path.parent.glob(".partial-*"))))
        return create(path, *arguments)

    monkeypatch.setattr(piece_files, "create_volume", counting)
    split_and_predict(tmp_path, axis=axis)
    assert max(others) == most


def test_pieces_that_are_not_predicted_yet_are_told_from_predictions(tmp_path):
    split_and_predict(tmp_path)
    with pytest.raises(BadCasesError, match=r"1 problem .*\n.*holds the pieces themselves, expected their predictions"):
        merge_pieces(tmp_path / "pieces", tmp_path / "out", processes=1)


def test_a_gap_in_the_manifest_is_named(tmp_path):
    split_and_predict(tmp_path)
    path = tmp_path / "pieces" / MANIFEST
    content = json.loads(path.read_text())
    content["cases"]["S1"]["pieces"][1]["core"] = [6, 10]
    path.write_text(json.dumps(content))
    with pytest.raises(BadCasesError, match=r"case 'S1', z: no piece owns 5–6"):
        merge(tmp_path)
    del content["cases"]["S1"]["pieces"][2]
    path.write_text(json.dumps(content))
    with pytest.raises(BadCasesError, match=r"case 'S1', z: no piece owns 10–15"):
        merge(tmp_path)
    content["cases"]["S1"]["pieces"][0]["name"] = "S1__2__0__8_"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"not as 'nnunet_ext split' wrote it.*not named by what they hold"):
        merge(tmp_path)


@pytest.mark.parametrize("name", ["../S1", "/tmp/S1", "a/S1", "..", "a\\S1"])
def test_a_manifest_cannot_lead_out_of_the_output(tmp_path, name):
    split_and_predict(tmp_path)
    path = tmp_path / "pieces" / MANIFEST
    content = json.loads(path.read_text())
    (case,) = content["cases"].values()
    for piece in case["pieces"]:
        piece["name"] = piece["name"].replace("S1", name)
    content["cases"] = {name: case}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"case '{re.escape(name)}' is no file name"):
        merge(tmp_path)


def test_the_manifest_says_what_was_done(tmp_path):
    split_and_predict(tmp_path)
    content = json.loads((tmp_path / "pieces" / MANIFEST).read_text())
    assert content["kind"] == "split"
    assert content["version"]
    case = content["cases"]["S1"]
    assert (case["shape"], case["axis"], case["halo"], case["dtypes"]) == (list(SHAPE), "z", 2, ["uint8"])
    assert case["origin"] == [10.0, -20.0, 30.0]
    assert case["pieces"][1] == {"name": "S1__2__3__12_", "core": [5, 10], "extent": [3, 12]}


def test_a_manifest_beside_the_predictions_is_found(tmp_path):
    split_and_predict(tmp_path)
    with pytest.raises(MissingInputError, match=f"--manifest PIECES/{MANIFEST}.*--by-names"):
        merge(tmp_path, manifest=None)
    shutil.copy(tmp_path / "pieces" / MANIFEST, tmp_path / "predicted")
    assert list(merge(tmp_path, manifest=None).files) == ["S1"]


def test_pieces_of_different_types_become_the_type_that_holds_all(tmp_path):
    split_and_predict(tmp_path)
    path = tmp_path / "predicted" / "S1__2__8__17_.mha"
    array, geometry = read_volume(path)
    write_volume(path, array.astype(np.uint16) + np.uint16(1000), geometry, overwrite=True)
    found, _ = read_volume(merge(tmp_path).files["S1"])
    assert found.dtype == np.uint16
    assert found[10:15].min() >= 1000
    np.testing.assert_array_equal(found[:10], volume()[:10])


def test_dataset_and_plans_go_along(tmp_path):
    split_and_predict(tmp_path)
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        (tmp_path / "predicted" / name).write_text('{"a": 1}')
    merge(tmp_path)
    assert names(tmp_path / "out") == ["S1.mha", "dataset.json", "plans.json"]


def test_nothing_is_replaced_without_being_told(tmp_path):
    split_and_predict(tmp_path)
    model = tmp_path / "model"
    with pytest.raises(OutputExistsError, match="--overwrite"):
        split_images(tmp_path / "images", tmp_path / "pieces", model=model, pieces=2, processes=1)
    merge(tmp_path)
    with pytest.raises(OutputExistsError, match=r"S1\.mha.*--overwrite"):
        merge(tmp_path)
    merge(tmp_path, overwrite=True)
    split_images(tmp_path / "images", tmp_path / "pieces", model=model, pieces=2, processes=1, overwrite=True)
    # Pieces of the earlier call would be predicted, too.
    assert names(tmp_path / "pieces") == ["S1__2__0__12__0000.mha", "S1__2__8__20__0000.mha", MANIFEST]


def test_a_folder_with_anything_else_is_never_replaced(tmp_path):
    images = write_images(tmp_path / "images")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(OutputExistsError, match="so it stays"):
        split_images(images, tmp_path / "other", processes=1, overwrite=True)
    for output in (images, tmp_path):
        with pytest.raises(InputError, match="holds the images"):
            split_images(images, output, processes=1, overwrite=True)
    assert (tmp_path / "other" / "thesis.txt").exists()
    (tmp_path / "empty").mkdir()
    assert split_images(images, tmp_path / "empty", processes=1).manifest.is_file()


def test_predictions_are_not_merged_into_their_own_folder(tmp_path):
    split_and_predict(tmp_path)
    with pytest.raises(InputError, match="folder of the predicted pieces"):
        merge_pieces(tmp_path / "predicted", tmp_path / "predicted", manifest=tmp_path / "pieces")


def test_an_output_that_cannot_be_made_is_an_error_at_once(tmp_path):
    split_and_predict(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        split_images(tmp_path / "images", tmp_path / "file" / "pieces", processes=1)
    with pytest.raises(InputError, match="is no folder"):
        merge_pieces(tmp_path / "predicted", tmp_path / "file" / "out", manifest=tmp_path / "pieces")


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    images = write_images(tmp_path / "images")
    # Tests may run as root, who may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="may not be written"):
        split_images(images, tmp_path / "pieces", processes=1)


def test_more_pieces_than_slices_are_noted(tmp_path):
    write_images(tmp_path / "images", S1_0000=volume((10, 4, 4)))
    model = small_halo(tmp_path / "model", halo=1)
    done = split_images(tmp_path / "images", tmp_path / "pieces", model=model, pieces=8, processes=1)
    assert done.notes == [
        "case 'S1': 5 pieces instead of 8: 10 voxels along z make no more that differ, since each reaches "
        "1 voxel into its neighbours"
    ]


def test_pieces_as_long_as_the_image_are_one_piece(tmp_path):
    write_images(tmp_path / "images")
    done = split_images(tmp_path / "images", tmp_path / "pieces", pieces=4, processes=1)
    assert names(done.folder) == ["S1__2__0__20__0000.mha", MANIFEST]
    assert done.notes == [
        "case 'S1': 1 piece instead of 4: 20 voxels along z make no more that differ, since each reaches "
        "24 voxels into its neighbours"
    ]


def test_a_piece_as_long_as_the_image_is_noted(tmp_path):
    write_images(tmp_path / "images")
    model = small_halo(tmp_path / "model", halo=7)
    done = split_images(tmp_path / "images", tmp_path / "pieces", model=model, pieces=3, processes=1)
    assert done.notes == [
        "case 'S1': 1 of 3 pieces hold the whole image, 20 voxels along z, since each reaches 7 voxels into its "
        "neighbours: fewer pieces (-s) would do"
    ]


def test_pieces_of_the_published_workflow_are_merged_by_their_names(tmp_path):
    done = split_and_predict(tmp_path, pieces=3, S1_0000=volume(), a__b_0000=volume(seed=1))
    (tmp_path / "pieces" / MANIFEST).unlink()
    for path in (tmp_path / "predicted").iterdir():
        array, geometry = read_volume(path)
        if "__2__0__" not in path.name:
            # Those scripts do not count in millimetres.
            moved = Geometry(geometry.spacing, (10.0, -20.0, 37.0), geometry.direction)
            write_volume(path, array, moved, overwrite=True)
    merged = merge(tmp_path, manifest=None, by_names=True)
    assert merged.notes == [
        "no manifest: by the names of the pieces, lengths are S1 20, a__b 20; a missing last piece would not show"
    ]
    for seed, name in enumerate(("S1", "a__b")):
        found, geometry = read_volume(merged.files[name])
        np.testing.assert_array_equal(found, volume(seed=seed))
        np.testing.assert_allclose(geometry.origin, done.cases[0].geometry.origin)


def test_cores_of_pieces_without_a_manifest_meet_in_the_middle_of_the_overlap(tmp_path):
    split_and_predict(tmp_path, pieces=3, axis="x")
    for number, path in enumerate(sorted((tmp_path / "predicted").iterdir())):
        array, geometry = read_volume(path)
        write_volume(path, np.full_like(array, number), geometry, overwrite=True)
    found, _ = read_volume(merge(tmp_path, manifest=None, by_names=True).files["S1"])
    by_manifest, _ = read_volume(merge(tmp_path, overwrite=True).files["S1"])
    np.testing.assert_array_equal(found, by_manifest)
    assert len(np.unique(found)) == 3


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("S1__2__0__9_", None, "case 'S1': no piece holds 0–5"),
        ("S1__2__5__16_", None, "case 'S1': nothing between 0–9 and 12–20"),
        (None, "S1__2__6__15_", "case 'S1': 5–16 and 6–15 hold the same"),
        (None, "S1__1__0__9_", "case 'S1': pieces along z and y"),
        (None, "S1__2__9__9_", "9–9 is empty"),
    ],
)
def test_names_that_do_not_make_up_an_image_are_an_error(tmp_path, removed, added, message):
    split_and_predict(tmp_path, pieces=3)
    folder = tmp_path / "predicted"
    if removed:
        (folder / f"{removed}.mha").unlink()
    if added:
        write_volume(folder / f"{added}.mha", volume((9, 9, 11)), OBLIQUE)
    with pytest.raises(BadCasesError, match=message):
        merge(tmp_path, manifest=None, by_names=True)
    assert not (tmp_path / "out").exists()


def test_a_piece_without_manifest_that_is_not_as_long_as_its_name_says_is_named(tmp_path):
    split_and_predict(tmp_path, pieces=3)
    write_volume(tmp_path / "predicted" / "S1__2__5__16_.mha", volume((10, 9, 11)), OBLIQUE, overwrite=True)
    with pytest.raises(BadCasesError, match=r"S1__2__5__16_\.mha: shape \(10, 9, 11\) instead of \(11, 9, 11\)"):
        merge(tmp_path, manifest=None, by_names=True)


def test_names_are_for_pieces_without_a_manifest(tmp_path):
    split_and_predict(tmp_path)
    with pytest.raises(InputError, match="not with --by-names"):
        merge(tmp_path, by_names=True)
    for folder in ("images", "missing"):
        with pytest.raises(MissingInputError, match=r"no file is named like a piece|no such folder"):
            merge_pieces(tmp_path / folder, tmp_path / "out", by_names=True)


def test_normalisation_by_each_piece_and_assumed_spacings_are_noted(tmp_path):
    model = small_halo(tmp_path / "model", file_ending=".tif")
    plans = json.loads((model / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["ZScoreNormalization", "CTNormalization"]
    (model / "plans.json").write_text(json.dumps(plans))
    images = tmp_path / "images"
    images.mkdir()
    import tifffile

    tifffile.imwrite(images / "S1_0000.tif", volume(), photometric="minisblack")
    done = split_images(images, tmp_path / "pieces", model=model, pieces=2, processes=1)
    assert len(done.notes) == 2
    assert "ZScoreNormalization" in done.notes[0]
    assert "1 mm assumed" in done.notes[1]


def test_a_single_slice_is_one_piece_along_z_and_several_along_x(tmp_path):
    image = volume((1, 30, 40))
    write_images(tmp_path / "images", ".png", Geometry(), S1_0000=image)
    along_z = split_images(tmp_path / "images", tmp_path / "z", processes=1)
    assert names(along_z.folder) == ["S1__2__0__1__0000.png", MANIFEST]
    along_x = split_images(
        tmp_path / "images",
        tmp_path / "x",
        axis="x",
        pieces=4,
        processes=1,
        model=small_halo(tmp_path / "model", file_ending=".png"),
    )
    assert len(along_x.cases[0].pieces) == 4
    predict(along_x.folder, tmp_path / "predicted")
    found, _ = read_volume(merge(tmp_path, manifest=along_x.manifest).files["S1"])
    np.testing.assert_array_equal(found, image)


def test_a_single_file_and_a_folder_of_slices_are_images(tmp_path):
    image = volume()
    write_images(tmp_path / "images", S1=image)
    one = split_images(tmp_path / "images" / "S1.mha", tmp_path / "one", pieces=2, processes=1)
    assert [case.name for case in one.cases] == ["S1"]
    for number, array in enumerate(image):
        write_volume(tmp_path / "scan" / f"slice_{number:04d}.tif", array[None], Geometry())
    slices = split_images(tmp_path / "scan", tmp_path / "two", pieces=2, processes=1)
    assert [(case.name, case.shape) for case in slices.cases] == [("scan", SHAPE)]
    for name in ("a_0000", "b_0000"):
        write_volume(tmp_path / "flat" / f"{name}.tif", image[:1], Geometry())
    flat = split_images(tmp_path / "flat", tmp_path / "three", pieces=2, axis="y", processes=1)
    assert [(case.name, case.shape) for case in flat.cases] == [("a", (1, 9, 11)), ("b", (1, 9, 11))]


def test_images_with_and_without_channel_number_are_not_mixed(tmp_path):
    write_images(tmp_path / "images", S1_0000=volume(), mask=volume())
    with pytest.raises(BadCasesError, match="'mask' has no channel number"):
        split_images(tmp_path / "images", tmp_path / "pieces", processes=1)


def test_images_of_several_formats_need_a_choice(tmp_path):
    write_images(tmp_path / "images", ".mha", S1_0000=volume())
    write_images(tmp_path / "images", ".nrrd", S2_0000=volume())
    with pytest.raises(InputError, match=r"end in \.mha, \.nrrd.*--format"):
        split_images(tmp_path / "images", tmp_path / "pieces", processes=1)
    done = split_images(tmp_path / "images", tmp_path / "pieces", file_format="nii.gz", pieces=1, processes=1)
    assert names(done.folder)[0] == "S1__2__0__20__0000.nii.gz"


def test_all_images_that_a_format_cannot_hold_are_named(tmp_path):
    write_images(tmp_path / "images", S1_0000=volume(), S2_0000=volume())
    with pytest.raises(BadCasesError, match="2 problems") as error:
        split_images(tmp_path / "images", tmp_path / "pieces", file_format="tif", processes=1)
    assert "S1_0000.mha" in str(error.value)
    assert "S2_0000.mha" in str(error.value)
    split_and_predict(tmp_path / "again")
    with pytest.raises(BadCasesError, match="TIFF can hold identity only"):
        merge(tmp_path / "again", file_format="tif")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axis": "t"}, "expected one of z, y, x"),
        ({"pieces": 0}, "at least 1"),
        ({"configuration": "2d"}, "without a model"),
        ({"file_format": "jpg"}, r"written as '\.jpg'"),
    ],
)
def test_unusable_options_are_named(tmp_path, options, message):
    images = write_images(tmp_path / "images")
    with pytest.raises(InputError, match=message):
        split_images(images, tmp_path / "pieces", processes=1, **options)


def test_the_commands_split_and_merge(tmp_path, capsys):
    write_images(tmp_path / "images")
    split = ["split", "-i", str(tmp_path / "images"), "-o", str(tmp_path / "pieces"), "-s", "2", "-a", "y", "-np", "1"]
    assert main(split) == 0
    shown = capsys.readouterr()
    assert "1 images in 1 pieces" in shown.out
    assert "Note: case 'S1': 1 piece instead of 2: 9 voxels along y" in shown.err
    predict(tmp_path / "pieces", tmp_path / "predicted")
    again = ["merge", "-i", str(tmp_path / "predicted"), "-o", str(tmp_path / "out"), "-np", "1"]
    assert main(again) == 1
    assert "--manifest" in capsys.readouterr().err
    assert main([*again, "--manifest", str(tmp_path / "pieces" / MANIFEST)]) == 0
    with open_volume(tmp_path / "out" / "S1.mha") as merged:
        np.testing.assert_array_equal(merged.slab(0, 20), volume())


def test_a_manifest_of_an_unknown_kind_is_an_error(tmp_path, capsys):
    (tmp_path / MANIFEST).write_text('{"kind": "puzzle", "cases": {}}')
    assert main(["merge", "-i", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    assert "kind 'puzzle' found, expected 'split'" in capsys.readouterr().err
    with pytest.raises(InputError, match="kind 'puzzle'"):
        merge_pieces(tmp_path, tmp_path / "out")
