"""The mean of several models' probabilities, and the labels of it."""

from __future__ import annotations

import json
import pickle
import shutil
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.ensembling import ensemble as stock

from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, OutputExistsError
from nnunet_ext.imageio import Geometry, read_volume, write_volume
from nnunet_ext.inference import ensemble as averaging
from nnunet_ext.inference.ensemble import ensemble
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task

PLAIN = {"labels": {"background": 0, "root": 1, "pore": 2}}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
JOINT = JointLabels((Task("zones", ("rock", "ice", "sea")), Task("front", ("none", "line"))))
SHAPE = (6, 5, 7)
GEOMETRY = Geometry((0.5, 0.25, 2.0), (1.0, 2.0, 3.0))


def soft(channels=3, seed=0, shape=SHAPE, dtype=np.float32):
    """Random probabilities (channels, z, y, x) that add up to 1."""
    values = np.random.default_rng(seed).random((channels, *shape)) ** 4
    return (values / values.sum(axis=0)).astype(dtype)


def everywhere(*values):
    """The same probabilities in all voxels."""
    return np.broadcast_to(np.array(values, np.float32)[:, None, None, None], (len(values), *SHAPE))


def write_model(folder, ending=".npz", dataset=PLAIN, geometry=GEOMETRY, map_ending=".mha", plans=(), **cases):
    """Write what a prediction with probabilities leaves in a folder; ``cases`` are probabilities by name."""
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"file_ending": ".mha", **dataset}))
    content = {"label_manager": "LabelManager", "image_reader_writer": "SimpleITKIO", **dict(plans)}
    (folder / "plans.json").write_text(json.dumps(content))
    for case, probabilities in cases.items():
        write_volume(folder / f"{case}{map_ending}", np.zeros(probabilities.shape[1:], np.uint8), geometry)
        if ending == ".npz":
            np.savez_compressed(folder / f"{case}.npz", probabilities=probabilities)
        else:
            blosc2.asarray(np.ascontiguousarray(probabilities), urlpath=str(folder / f"{case}.b2nd"), mode="w")
    return folder


def two_models(folder, first, second, ending=".npz", **more):
    return [write_model(folder / name, ending, **more, S1=held) for name, held in (("a", first), ("b", second))]


def average(folders, output, **more):
    return read_volume(ensemble(folders, output, processes=1, **more)["S1"])


def problems_of(folders, output):
    with pytest.raises(BadCasesError) as error:
        ensemble(folders, output, processes=1)
    assert not output.exists()
    return error.value.problems


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", [".npz", ".b2nd"])
def test_labels_are_those_of_the_mean(tmp_path, ending):
    # Means: 0.30, 0.38, 0.32; no model alone has its highest value in class 1 twice.
    folders = two_models(tmp_path, everywhere(0.5, 0.46, 0.04), everywhere(0.1, 0.3, 0.6), ending)
    found, geometry = average(folders, tmp_path / "out")
    assert found.dtype == np.uint8
    assert found.shape == SHAPE
    assert (found == 1).all()
    assert geometry == GEOMETRY
    assert names(tmp_path / "out") == ["S1.mha", "dataset.json", "plans.json"]
    for name in ("dataset.json", "plans.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_every_model_counts_the_same(tmp_path):
    # 0.9 + 0.2 + 0.2 < 0.1 + 0.8 + 0.8, though the first is the surest.
    held = [everywhere(0.9, 0.1, 0), everywhere(0.2, 0.8, 0), everywhere(0.2, 0.8, 0)]
    folders = [write_model(tmp_path / str(number), S1=values) for number, values in enumerate(held)]
    assert (average(folders, tmp_path / "out")[0] == 1).all()


def test_saved_probabilities_are_the_means(tmp_path):
    first, second = soft(seed=1), soft(seed=2)
    folders = two_models(tmp_path, first, second)
    average(folders, tmp_path / "out", save_probabilities=True)
    stored = blosc2.open(str(tmp_path / "out" / "S1.b2nd"))
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored[:], ((first + second) / 2).astype(np.float16))
    assert names(tmp_path / "out") == ["S1.b2nd", "S1.mha", "dataset.json", "plans.json"]


def test_an_ensemble_can_be_part_of_another_one(tmp_path):
    folders = two_models(tmp_path, everywhere(0.5, 0.46, 0.04), everywhere(0.1, 0.3, 0.6))
    average(folders, tmp_path / "both", save_probabilities=True)
    third = write_model(tmp_path / "third", S1=everywhere(0.3, 0.2, 0.5))
    assert (average([tmp_path / "both", third], tmp_path / "out")[0] == 2).all()


def test_regions_become_labels_in_their_order(tmp_path):
    first = np.array(everywhere(0.9, 0.9))
    first[1, :3] = 0.05
    folders = two_models(tmp_path, first, everywhere(0.4, 0.2), dataset=REGIONS)
    found, _ = average(folders, tmp_path / "out")
    assert found[:, 0, 0].tolist() == [1, 1, 1, 2, 2, 2]


def test_joint_labels_of_several_tasks_are_decoded_per_task(tmp_path):
    plans = {"label_manager": "StackedLabelManager"}
    held = everywhere(0.7, 0.2, 0.1, 0.2, 0.8), everywhere(0.1, 0.1, 0.8, 0.3, 0.7)
    folders = two_models(tmp_path, *held, dataset=JOINT.to_dataset_json(), plans=plans)
    zones, front = JOINT.decode(average(folders, tmp_path / "out")[0].astype(np.int64))
    assert (zones == 2).all()
    assert (front == 1).all()


@pytest.mark.parametrize("second", [300, 2])
def test_labels_above_255_are_kept(tmp_path, second):
    labels = {"background": 0, "first": [1, second], "second": [second]}
    dataset = {"labels": labels, "regions_class_order": [1, 300]}
    folders = two_models(tmp_path, everywhere(0.9, 0.9), everywhere(0.9, 0.9), dataset=dataset)
    found, _ = average(folders, tmp_path / "out")
    assert found.dtype == np.uint16
    assert (found == 300).all()


def stock_ensemble(monkeypatch, folders, output):
    """Run nnU-Net's own ensemble in this process: its workers would take seconds to import PyTorch."""
    monkeypatch.setattr(stock.multiprocessing, "get_context", lambda kind: SimpleNamespace(Pool=ThreadPool))
    for path in folders[0].glob("*.npz"):
        x_y_z = {
            "spacing": GEOMETRY.spacing[::-1],
            "origin": GEOMETRY.origin[::-1],
            "direction": tuple(np.eye(3).ravel()),
        }
        path.with_suffix(".pkl").write_bytes(pickle.dumps({"sitk_stuff": x_y_z}))
    stock.ensemble_folders([str(folder) for folder in folders], str(output), num_processes=1)


@pytest.mark.parametrize("dtypes", [(np.float32, np.float32, np.float32), (np.float16, np.float64, np.float32)])
@pytest.mark.parametrize(
    ("dataset", "channels", "plans"),
    [
        (PLAIN, 3, {}),
        (REGIONS, 2, {}),
        (JOINT.to_dataset_json(), 5, {"label_manager": "StackedLabelManager"}),
    ],
    ids=["plain", "regions", "tasks"],
)
def test_labels_equal_those_of_nnunet(tmp_path, monkeypatch, dataset, channels, plans, dtypes):
    """Values are multiples of 1/10, so that many voxels are even: the order and type of the sum decide them."""
    folders = []
    for seed, dtype in enumerate(dtypes):
        drawn = np.random.default_rng(seed).integers(0, 11, (2, channels, *SHAPE)) / 10
        held = {f"S{number}": values.astype(dtype) for number, values in enumerate(drawn, 1)}
        folders.append(write_model(tmp_path / f"model{seed}", dataset=dataset, plans=plans, **held))
    stock_ensemble(monkeypatch, folders, tmp_path / "theirs")
    ours = ensemble(folders, tmp_path / "ours", processes=1)
    assert sorted(ours) == ["S1", "S2"]
    for path in ours.values():
        found, geometry = read_volume(path)
        expected, their_geometry = read_volume(tmp_path / "theirs" / path.name)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(geometry.spacing, their_geometry.spacing)
        assert len(np.unique(found)) > 2


@pytest.mark.parametrize("endings", [(".b2nd", ".b2nd"), (".npz", ".b2nd"), (".b2nd", ".npz")])
def test_both_kinds_of_files_give_the_same(tmp_path, endings):
    held = [soft(seed=seed, dtype=np.float16) for seed in (1, 2)]
    folders = two_models(tmp_path, *held)
    others = [
        write_model(tmp_path / f"other{number}", ending, S1=values)
        for number, (ending, values) in enumerate(zip(endings, held, strict=True))
    ]
    expected, _ = average(folders, tmp_path / "expected", save_probabilities=True)
    found, _ = average(others, tmp_path / "found", save_probabilities=True)
    np.testing.assert_array_equal(found, expected)
    one, two = (blosc2.open(str(tmp_path / name / "S1.b2nd"))[:] for name in ("expected", "found"))
    np.testing.assert_array_equal(one, two)


def test_with_both_files_in_a_folder_the_one_that_needs_no_unpacking_is_read(tmp_path):
    folders = two_models(tmp_path, everywhere(0, 1, 0), everywhere(0, 1, 0), ".b2nd")
    for folder in folders:
        np.savez_compressed(folder / "S1.npz", probabilities=everywhere(0, 0, 1))
    assert (average(folders, tmp_path / "out")[0] == 1).all()


@settings(max_examples=15)
@given(slab_bytes=st.integers(1, 4 * 3 * 35 * 8), depth=st.integers(1, 9), ending=st.sampled_from([".npz", ".b2nd"]))
def test_the_size_of_slabs_does_not_matter(tmp_path_factory, slab_bytes, depth, ending):
    folder = tmp_path_factory.mktemp("slabs")
    held = [soft(seed=seed, shape=(depth, 5, 7)) for seed in (1, 2)]
    folders = two_models(folder, *held, ending)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnunet_ext.inference.piece_files.SLAB_BYTES", slab_bytes)
        found, _ = average(folders, folder / "out", save_probabilities=True)
    mean = (held[0] + held[1]) / 2
    np.testing.assert_array_equal(found, mean.argmax(axis=0))
    np.testing.assert_array_equal(blosc2.open(str(folder / "out" / "S1.b2nd"))[:], mean.astype(np.float16))


def test_no_more_than_a_slab_is_read_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_ext.inference.piece_files.SLAB_BYTES", 2 * 3 * 35 * 4)
    folders = [write_model(tmp_path / name, ending, S1=soft()) for name, ending in (("a", ".npz"), ("b", ".b2nd"))]
    read = []
    slab = averaging._slab

    def noting(*args):
        read.append(slab(*args))
        return read[-1]

    monkeypatch.setattr(averaging, "_slab", noting)
    average(folders, tmp_path / "out")
    assert [values.shape for values in read] == [(3, 2, 5, 7)] * 6


def test_slices_that_are_written_together_are_compressed_together(tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_ext.inference.piece_files.SLAB_BYTES", 4 * 3 * 35 * 4)
    average(two_models(tmp_path, soft(), soft()), tmp_path / "out", save_probabilities=True)
    assert blosc2.open(str(tmp_path / "out" / "S1.b2nd")).chunks == (1, 4, 5, 7)


def test_archives_are_unpacked_in_the_output_folder_and_removed(tmp_path, monkeypatch):
    folders = two_models(tmp_path, soft(), soft())
    seen = []
    slab = averaging._slab

    def looking(*args):
        seen.append(sorted(path.stat().st_size for path in (tmp_path / "out").glob(".partial-*/*.npy")))
        return slab(*args)

    monkeypatch.setattr(averaging, "_slab", looking)
    average(folders, tmp_path / "out")
    assert seen == [[3 * 210 * 4 + 128] * 2] * 2
    assert names(tmp_path / "out") == ["S1.mha", "dataset.json", "plans.json"]


@pytest.mark.parametrize("ending", [".nii.gz", "nrrd", ".tif"])
def test_label_maps_have_the_format_that_is_asked_for(tmp_path, ending):
    folders = two_models(tmp_path, everywhere(0, 1, 0), everywhere(0, 1, 0))
    path = ensemble(folders, tmp_path / "out", file_format=ending, processes=1)["S1"]
    assert path.name == f"S1.{ending.removeprefix('.')}"
    assert (read_volume(path)[0] == 1).all()
    sidecar = tmp_path / "out" / "S1.json"
    assert sidecar.is_file() == (ending == ".tif")
    if sidecar.is_file():
        assert json.loads(sidecar.read_text())["spacing"] == list(GEOMETRY.spacing)


def test_label_maps_of_another_format_than_the_dataset_are_found(tmp_path):
    folders = two_models(tmp_path, everywhere(0, 1, 0), everywhere(0, 1, 0), map_ending=".nrrd")
    assert average(folders, tmp_path / "out")[1] == GEOMETRY


def test_pictures_and_unfinished_files_beside_predictions_are_left_alone(tmp_path):
    folders = two_models(tmp_path, everywhere(0, 1, 0), everywhere(0, 1, 0))
    write_volume(folders[0] / "S1.png", np.zeros((1, 5, 7), np.uint8), Geometry())
    shutil.copy(folders[0] / "S1.npz", folders[0] / ".partial-1-S1.npz")
    assert list(ensemble(folders, tmp_path / "out", processes=1)) == ["S1"]


def test_the_command_averages_several_cases_at_a_time(tmp_path, capsys):
    held = {"S1": everywhere(0, 1, 0), "S2": everywhere(0, 0, 1)}
    folders = [write_model(tmp_path / name, ending, **held) for name, ending in (("a", ".npz"), ("b", ".b2nd"))]
    words = ["ensemble", "-i", *map(str, folders), "-o", str(tmp_path / "out"), "--format", ".nrrd", "-np", "2"]
    assert main([*words, "--save-probabilities"]) == 0
    assert "2 predictions by 2 models" in capsys.readouterr().out
    assert [read_volume(tmp_path / "out" / f"{case}.nrrd")[0].max() for case in ("S1", "S2")] == [1, 2]
    assert (tmp_path / "out" / "S2.b2nd").is_file()
    assert main(words) == 1
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["S1.mha", "S1.b2nd", "dataset.json", "plans.json"])
def test_nothing_is_replaced_unless_asked_for(tmp_path, name):
    folders = two_models(tmp_path, everywhere(0, 1, 0), everywhere(0, 1, 0))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(OutputExistsError, match=name):
        ensemble(folders, tmp_path / "out", processes=1)
    assert names(tmp_path / "out") == [name]
    ensemble(folders, tmp_path / "out", save_probabilities=True, overwrite=True, processes=1)
    assert names(tmp_path / "out") == ["S1.b2nd", "S1.mha", "dataset.json", "plans.json"]
    assert (tmp_path / "out" / name).read_bytes() != b"mine"


def test_all_that_would_be_replaced_is_named(tmp_path):
    folders = two_models(tmp_path, everywhere(0, 1, 0), everywhere(0, 1, 0))
    (tmp_path / "out").mkdir()
    there = ("S1.tif", "S1.json", "dataset.json", "plans.json")
    for name in there:
        (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(OutputExistsError) as error:
        ensemble(folders, tmp_path / "out", file_format=".tif", processes=1)
    assert all(str(tmp_path / "out" / name) in str(error.value) for name in there)


def test_old_probabilities_are_not_left_beside_new_labels(tmp_path):
    folders = two_models(tmp_path, everywhere(0, 1, 0), everywhere(0, 1, 0))
    average(folders, tmp_path / "out", save_probabilities=True)
    with pytest.raises(InputError, match=r"S1\.b2nd: would stay.*--save-probabilities"):
        average(folders, tmp_path / "out", overwrite=True)


def test_the_output_may_not_be_one_of_the_folders(tmp_path):
    folders = two_models(tmp_path, soft(), soft())
    with pytest.raises(InputError, match="choose another output"):
        ensemble(folders, tmp_path / "a" / ".." / "b", overwrite=True, processes=1)


def test_one_model_is_no_ensemble(tmp_path):
    (problem,) = problems_of([write_model(tmp_path / "a", S1=soft())], tmp_path / "out")
    assert "two models or more" in problem


def test_a_folder_that_is_given_twice_is_named(tmp_path):
    folder = write_model(tmp_path / "a", S1=soft())
    other = write_model(tmp_path / "b", S1=soft())
    for again in (folder, tmp_path / "b" / ".." / "a"):
        (problem,) = problems_of([folder, other, again], tmp_path / "out")
        assert f"{again} is given twice" in problem


def test_missing_cases_are_named_per_folder(tmp_path):
    first = write_model(tmp_path / "a", S1=soft(), S2=soft())
    second = write_model(tmp_path / "b", S2=soft(), S3=soft(), S10=soft())
    one, two = problems_of([first, second], tmp_path / "out")
    assert str(first) in one
    assert "no probabilities of S3, S10, " in one
    assert str(second) in two
    assert "no probabilities of S1, " in two


def test_folders_without_probabilities_say_how_to_make_them(tmp_path):
    folders = two_models(tmp_path, soft(), soft())
    (folders[1] / "S1.npz").unlink()
    (problem,) = problems_of(folders, tmp_path / "out")
    assert str(folders[1]) in problem
    assert "nnunet_ext predict --save-probabilities" in problem
    assert "nnUNetv2_predict --save_probabilities" in problem


@pytest.mark.parametrize("ending", [".npz", ".b2nd"])
@pytest.mark.parametrize(
    ("held", "shape"),
    [
        (np.zeros((3, 6, 5, 8), np.float32), "float32 of shape (3, 6, 5, 8)"),
        (np.zeros((2, *SHAPE), np.float32), "float32 of shape (2, 6, 5, 7)"),
        (np.zeros((3, *SHAPE), np.uint8), "uint8 of shape (3, 6, 5, 7)"),
        (np.zeros(SHAPE, np.float32), "float32 of shape (6, 5, 7)"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, ending, held, shape):
    folders = two_models(tmp_path, soft(), soft())
    (folders[1] / "S1.npz").unlink()
    if ending == ".npz":
        np.savez_compressed(folders[1] / "S1.npz", probabilities=held)
    else:
        blosc2.asarray(held, urlpath=str(folders[1] / "S1.b2nd"), mode="w")
    (problem,) = problems_of(folders, tmp_path / "out")
    assert f"{folders[1] / 'S1'}{ending}: {shape}, expected numbers of shape (3, 6, 5, 7)" in problem


def test_predictions_of_different_images_are_named(tmp_path):
    first = write_model(tmp_path / "a", S1=soft(), S2=soft())
    second = write_model(tmp_path / "b", S1=soft(shape=(6, 5, 8)), S2=soft(), geometry=Geometry((0.5, 0.25, 1.0)))
    text = "\n".join(problems_of([first, second], tmp_path / "out"))
    for part in ("S1.mha: shape (6, 5, 8) instead of (6, 5, 7)", "S2.mha: spacing", "S2.mha: origin (0, 0, 0) instead"):
        assert part in text


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (PLAIN, {"labels": {"background": 0, "pore": 1, "root": 2}}, "labels {"),
        (REGIONS, {**REGIONS, "regions_class_order": [2, 1]}, "regions_class_order [2, 1], expected [1, 2]"),
        # The channels of regions stand in the order of the labels.
        (REGIONS, {**REGIONS, "labels": {"background": 0, "core": [2], "whole": [1, 2]}}, "labels {"),
        (
            {**PLAIN, "tasks": {"a": {"labels": {"x": 0}}, "b": {"labels": {}}}},
            {**PLAIN, "tasks": {"b": {"labels": {}}, "a": {"labels": {"x": 0}}}},
            "tasks {",
        ),
    ],
)
def test_models_of_other_labels_are_named(tmp_path, first, second, named):
    channels = 2 if first is REGIONS else 3
    folders = [
        write_model(tmp_path / "a", dataset=first, S1=soft(channels)),
        write_model(tmp_path / "b", dataset=second, S1=soft(channels)),
    ]
    (problem,) = problems_of(folders, tmp_path / "out")
    assert f"{folders[1] / 'dataset.json'}: {named}" in problem
    assert str(folders[0] / "dataset.json") in problem


def test_what_does_not_change_the_channels_may_differ(tmp_path):
    turned = {"labels": {"background": 0, "pore": 2, "root": 1}, "tasks": {"a": {"labels": {"x": 0}, "weight": 2.0}}}
    folders = [
        write_model(tmp_path / "a", dataset={**PLAIN, "tasks": {"a": {"labels": {"x": 0}}}}, S1=everywhere(0, 1, 0)),
        write_model(tmp_path / "b", dataset={**turned, "channel_names": {"0": "CT"}}, S1=everywhere(0, 1, 0)),
    ]
    assert (average(folders, tmp_path / "out")[0] == 1).all()


def test_archives_in_turned_axes_are_refused_but_arrays_of_predict_are_not(tmp_path):
    plans = {"image_reader_writer": "SimpleITKIOWithReorient"}
    stored = write_model(tmp_path / "stored", ".b2nd", plans=plans, S1=everywhere(0, 1, 0))
    archived = write_model(tmp_path / "archived", plans=plans, S1=everywhere(0, 1, 0))
    (problem,) = problems_of([stored, archived], tmp_path / "out")
    assert f"{archived / 'plans.json'}: SimpleITKIOWithReorient turns images" in problem
    assert "nnunet_ext predict --save-probabilities" in problem
    archived.rename(tmp_path / "gone")
    other = write_model(tmp_path / "other", S1=everywhere(0, 1, 0))
    assert (average([stored, other], tmp_path / "out")[0] == 1).all()


def test_label_maps_that_are_missing_or_there_twice_are_named(tmp_path):
    folders = [write_model(tmp_path / name, S1=soft(), S2=soft(), map_ending=".nrrd") for name in ("a", "b")]
    (folders[0] / "S1.nrrd").unlink()
    shutil.copy(folders[1] / "S2.nrrd", folders[1] / "S2.copy.nrrd")
    write_volume(folders[1] / "S2.tif", np.zeros(SHAPE, np.uint8), Geometry())
    one, two = problems_of(folders, tmp_path / "out")
    assert f"{folders[0] / 'S1.npz'}: expected one label map S1<ending> beside it, found none" in one
    assert f"{folders[1] / 'S2.npz'}: expected one label map S2<ending> beside it, found S2.nrrd, S2.tif" in two


@pytest.mark.parametrize("ending", [".npz", ".b2nd"])
def test_truncated_files_are_named_before_anything_is_written(tmp_path, ending):
    folders = two_models(tmp_path, soft(), soft(), ending)
    path = folders[1] / f"S1{ending}"
    path.write_bytes(path.read_bytes()[:-200])
    (problem,) = problems_of(folders, tmp_path / "out")
    assert f"{path}: cannot be read" in problem


def test_an_archive_of_something_else_is_named(tmp_path):
    folders = two_models(tmp_path, soft(), soft())
    np.savez_compressed(folders[0] / "S1.npz", softmax=np.zeros(3))
    (problem,) = problems_of(folders, tmp_path / "out")
    assert f"{folders[0] / 'S1.npz'}: cannot be read" in problem


@pytest.mark.parametrize("ending", [".npz", ".b2nd"])
def test_damage_inside_leaves_nothing_behind(tmp_path, ending):
    folders = two_models(tmp_path, soft(), soft(), ending)
    path = folders[1] / f"S1{ending}"
    content = bytearray(path.read_bytes())
    for start in range(300, len(content) - 400, 40):
        content[start : start + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"S1\{ending}: cannot be read"):
        ensemble(folders, tmp_path / "out", processes=1, save_probabilities=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["dataset.json", "plans.json"])
def test_dataset_and_plans_are_needed_in_every_folder(tmp_path, name):
    folders = two_models(tmp_path, soft(), soft())
    for folder in folders:
        (folder / name).unlink()
    one, two = problems_of(folders, tmp_path / "out")
    assert str(folders[0] / name) in one
    assert str(folders[1] / name) in two


def test_labels_that_nnunet_does_not_understand_are_named(tmp_path):
    folders = two_models(tmp_path, soft(), soft(), dataset={"labels": {"root": 1}})
    one, _ = problems_of(folders, tmp_path / "out")
    assert f"{folders[0] / 'dataset.json'}: no labels that nnU-Net understands" in one


def test_formats_that_cannot_be_written_are_named(tmp_path):
    folders = two_models(tmp_path, soft(), soft(), dataset={**PLAIN, "file_ending": ".gipl"})
    (problem,) = problems_of(folders, tmp_path / "out")
    assert "'.gipl' cannot be written, expected --format" in problem
    with pytest.raises(BadCasesError, match=r"--format: '\.jpg'"):
        ensemble(folders, tmp_path / "out", file_format="jpg", processes=1)
    with pytest.raises(BadCasesError, match="PNG holds one slice"):
        ensemble(folders, tmp_path / "out", file_format=".png", processes=1)


def test_all_problems_are_named_at_once(tmp_path):
    folders = [write_model(tmp_path / "a", S1=soft(), S2=soft()), write_model(tmp_path / "b", S2=soft(4), S3=soft())]
    text = "\n".join(problems_of([*folders, tmp_path / "c", folders[0]], tmp_path / "out"))
    for part in (
        "c: no such folder",
        "given twice",
        "no probabilities of S3",
        "no probabilities of S1",
        "(4, 6, 5, 7)",
    ):
        assert part in text


def test_an_output_that_cannot_be_made_is_named(tmp_path):
    folders = two_models(tmp_path, soft(), soft())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder"):
        ensemble(folders, tmp_path / "file" / "out", processes=1)
