"""Probabilities of overlapping pieces, blended across the halo."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError
from nnunet_ext.imageio import Geometry, read_volume, write_volume
from nnunet_ext.inference import blend_pieces as blending
from nnunet_ext.inference.merge_pieces import merge_pieces
from nnunet_ext.inference.pieces import Interval, Piece, cut
from nnunet_ext.inference.split_manifest import MANIFEST, SplitCase, manifest_content
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task

PLAIN = {"labels": {"background": 0, "root": 1, "pore": 2}}
REGIONS = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
GEOMETRY = Geometry((0.5, 0.25, 2.0), (1.0, 2.0, 3.0))


def soft(shape, channels, seed=0):
    """Random probabilities (channels, z, y, x) that add up to 1."""
    values = np.random.default_rng(seed).random((channels, *shape)) ** 4
    return (values / values.sum(axis=0)).astype(np.float32)


def write_predictions(folder, probabilities, axis, halo=2, count=3, dataset=None, **plans):
    """Write what nnUNetv2_predict --save_probabilities leaves of a case; ``probabilities`` gives those of a piece."""
    folder.mkdir()
    shape = (10, 7, 8)
    pieces = tuple(cut(shape[axis], count, halo))
    case = SplitCase("S1", ("S1_0000.mha",), ("uint8",), shape, GEOMETRY, axis, halo, pieces)
    (folder / MANIFEST).write_text(json.dumps(manifest_content([case], {})))
    (folder / "dataset.json").write_text(json.dumps({"file_ending": ".mha", **(dataset or PLAIN)}))
    managers = {"label_manager": "LabelManager", "image_reader_writer": "SimpleITKIO"}
    (folder / "plans.json").write_text(json.dumps(managers | plans))
    for index, (name, piece) in enumerate(zip(case.piece_names, pieces, strict=True)):
        held = probabilities(index, case, piece)
        np.savez_compressed(folder / f"{name}.npz", probabilities=held)
        labels = np.zeros(case.piece_shape(piece), np.uint8)
        write_volume(folder / f"{name}.mha", labels, case.piece_geometry(piece))
    return folder


def cut_out_of(whole):
    def part(index, case, piece):
        where = [slice(None)] * 4
        where[case.axis + 1] = slice(piece.extent.start, piece.extent.stop)
        return whole[tuple(where)]

    return part


def constant(*values):
    """Probabilities of each piece, the same in all its voxels."""

    def full(index, case, piece):
        held = np.empty((len(values[index]), *case.piece_shape(piece)), np.float32)
        held[:] = np.array(values[index], np.float32)[:, None, None, None]
        return held

    return full


def blend(folder, output):
    return read_volume(merge_pieces(folder, output, blend=True, processes=1).files["S1"])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("halo", [1, 3, 9])
def test_pieces_that_agree_give_what_the_whole_would(tmp_path, axis, halo, monkeypatch):
    # Slabs of one slice, so that pieces come and go.
    monkeypatch.setattr("nnunet_ext.inference.piece_files.SLAB_BYTES", 1)
    whole = soft((10, 7, 8), 3)
    found, geometry = blend(write_predictions(tmp_path / "in", cut_out_of(whole), axis, halo, 4), tmp_path / "out")
    np.testing.assert_array_equal(found, whole.argmax(axis=0))
    assert geometry == GEOMETRY
    assert found.dtype == np.uint8
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["S1.mha", "dataset.json", "plans.json"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_labels_change_where_the_weighted_mean_does(tmp_path, axis):
    # Cores 0–5 and 5–10 (or as long as the axis is), halo 2: the second counts 1/8, 3/8, 5/8, 7/8 in the overlap.
    # Root leads where 0.9 (1 - w) > 0.4 + 0.1 … : (0.9, 0.1) against (0.3, 0.7) is even at w = 2/3.
    given = constant((0.0, 0.9, 0.1), (0.0, 0.3, 0.7))
    found, _ = blend(write_predictions(tmp_path / "in", given, axis, count=2), tmp_path / "out")
    line = np.moveaxis(found, axis, 0)[:, 0, 0]
    border = -(-len(line) // 2)
    expected = [1] * (border + 1) + [2] * (len(line) - border - 1)
    assert line.tolist() == expected
    assert (np.moveaxis(found, axis, 0) == line[:, None, None]).all()


def test_regions_become_labels_in_their_order(tmp_path):
    given = constant((0.9, 0.1), (0.9, 0.9))
    folder = write_predictions(tmp_path / "in", given, 0, count=2, dataset=REGIONS)
    found, _ = blend(folder, tmp_path / "out")
    # core: 0.1 + 0.8 w > 0.5 from w = 5/8 on, which is the first voxel behind the border.
    assert found[:, 0, 0].tolist() == [1] * 5 + [2] * 5


def test_joint_labels_of_several_tasks_are_decoded_per_task(tmp_path):
    joint = JointLabels((Task("zones", ("rock", "ice", "sea")), Task("front", ("none", "line"))))
    given = constant((0.7, 0.2, 0.1, 0.2, 0.8), (0.1, 0.1, 0.8, 0.9, 0.1))
    dataset = joint.to_dataset_json()
    folder = write_predictions(tmp_path / "in", given, 0, count=2, dataset=dataset, label_manager="StackedLabelManager")
    found, _ = blend(folder, tmp_path / "out")
    zones, front = joint.decode(found[:, 0, 0].astype(np.int64))
    # rock 0.7 - 0.6 w against sea 0.1 + 0.7 w: even at 0.46; line 0.8 - 0.7 w against 0.2 + 0.7 w: even at 0.43.
    assert zones.tolist() == [0] * 5 + [2] * 5
    assert front.tolist() == [1] * 5 + [0] * 5


def test_labels_above_255_are_kept(tmp_path):
    labels = {"background": 0, "first": [1, 300], "second": [300]}
    dataset = {"labels": labels, "regions_class_order": [1, 300]}
    folder = write_predictions(tmp_path / "in", constant((0.9, 0.1), (0.9, 0.9)), 0, count=2, dataset=dataset)
    found, _ = blend(folder, tmp_path / "out")
    assert found[:, 0, 0].tolist() == [1] * 5 + [300] * 5


def test_only_pieces_that_hold_the_slice_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_ext.inference.piece_files.SLAB_BYTES", 1)
    folder = write_predictions(tmp_path / "in", cut_out_of(soft((10, 7, 8), 3)), 0, halo=1, count=5)
    most = []
    add = blending._add

    def counting(*args):
        most.append(len(list((tmp_path / "out").glob(".partial-*/*.npy"))))
        add(*args)

    monkeypatch.setattr(blending, "_add", counting)
    blend(folder, tmp_path / "out")
    assert max(most) == 2


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (np.zeros((3, 5, 7, 8), np.float32), r"\(3, 5, 7, 8\), expected numbers of shape \(3, 7, 7, 8\)"),
        (np.zeros((2, 7, 7, 8), np.float32), r"\(2, 7, 7, 8\), expected"),
        (np.zeros((3, 7, 7, 8), np.uint8), r"uint8 of shape"),
        (None, "missing, expected the probabilities of case 'S1', z 0–5 .*--save_probabilities"),
    ],
)
def test_probabilities_that_do_not_fit_are_named_before_anything_is_written(tmp_path, held, message):
    folder = write_predictions(tmp_path / "in", cut_out_of(soft((10, 7, 8), 3)), 0, count=2)
    path = folder / "S1__2__0__7_.npz"
    path.unlink()
    if held is not None:
        np.savez_compressed(path, probabilities=held)
    with pytest.raises(BadCasesError, match=message) as error:
        blend(folder, tmp_path / "out")
    assert str(path) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_archive_without_probabilities_is_named(tmp_path):
    folder = write_predictions(tmp_path / "in", cut_out_of(soft((10, 7, 8), 3)), 0, count=2)
    np.savez_compressed(folder / "S1__2__3__10_.npz", softmax=np.zeros(3))
    with pytest.raises(BadCasesError, match=r"S1__2__3__10_\.npz: cannot be read.*z 5–10"):
        blend(folder, tmp_path / "out")


def test_damaged_probabilities_leave_nothing_behind(tmp_path):
    folder = write_predictions(tmp_path / "in", cut_out_of(soft((10, 7, 8), 3)), 0, count=2)
    path = folder / "S1__2__3__10_.npz"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as members:
        middle = members.infolist()[0].compress_size // 2
    content[middle : middle + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"S1__2__3__10_\.npz"):
        blend(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_that_promises_more_than_it_holds_is_named(tmp_path):
    folder = write_predictions(tmp_path / "in", cut_out_of(soft((10, 7, 8), 3)), 0, count=2)
    path = folder / "S1__2__3__10_.npz"
    with zipfile.ZipFile(path) as members:
        content = members.read("probabilities.npy")
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("probabilities.npy", content[:-100])
    with pytest.raises(InputError, match=r"S1__2__3__10_\.npz: cannot be read"):
        blend(folder, tmp_path / "out")


def test_probabilities_in_turned_axes_are_not_blended(tmp_path):
    given = cut_out_of(soft((10, 7, 8), 3))
    folder = write_predictions(tmp_path / "in", given, 0, image_reader_writer="SimpleITKIOWithReorient")
    with pytest.raises(InputError, match="merge without --blend"):
        blend(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["dataset.json", "plans.json"])
def test_blending_needs_dataset_and_plans(tmp_path, name):
    folder = write_predictions(tmp_path / "in", cut_out_of(soft((10, 7, 8), 3)), 0)
    (folder / name).unlink()
    with pytest.raises(MissingInputError, match=name):
        blend(folder, tmp_path / "out")


def test_arrays_in_fortran_order_are_read_as_well(tmp_path):
    whole = soft((10, 7, 8), 3)
    part = cut_out_of(whole)
    folder = write_predictions(tmp_path / "in", lambda *args: np.asfortranarray(part(*args)), 2)
    np.testing.assert_array_equal(blend(folder, tmp_path / "out")[0], whole.argmax(axis=0))


def test_a_piece_of_the_middle_counts_alone_in_the_middle_of_its_core():
    weights = blending.blending_weights(
        [Piece(Interval(0, 4), Interval(0, 5)), Piece(Interval(4, 8), Interval(3, 8))], 8
    )
    assert weights[0, :3].tolist() == [1, 1, 1]
    assert weights[1, 5:].tolist() == [1, 1, 1]
