"""Cores, halos and weights of pieces, and the patch that the halo is half of."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.errors import InputError, MissingInputError
from nnunet_ext.imageio import Geometry
from nnunet_ext.inference.pieces import Interval, Piece, blending_weights, cover_problems, cut, halo_width
from nnunet_ext.inference.plan_patch import PlanPatch, read_plan_patch

LENGTHS, COUNTS, HALOS = st.integers(1, 300), st.integers(1, 40), st.integers(0, 120)


def piece(start, stop, first=None, last=None):
    return Piece(Interval(start, stop), Interval(start if first is None else first, stop if last is None else last))


def write_plans(folder, order=(0, 1, 2), **configurations):
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"file_ending": ".nii.gz"}))
    plans = {
        "transpose_forward": list(order),
        "image_reader_writer": "SimpleITKIO",
        "configurations": configurations
        or {"3d_fullres": {"patch_size": [48, 224, 220], "spacing": [2.0, 1.0, 0.5], "normalization_schemes": []}},
    }
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


def test_1000_slices_in_8_pieces_with_a_patch_of_48():
    found = cut(1000, 8, halo_width(48, 1.0, 1.0))
    assert [str(one.extent) for one in found] == [
        "0–149",
        "101–274",
        "226–399",
        "351–524",
        "476–649",
        "601–774",
        "726–899",
        "851–1000",
    ]
    assert [one.core for one in found] == [Interval(125 * i, 125 * (i + 1)) for i in range(8)]


def test_100_slices_in_8_pieces_are_100_slices():
    found = cut(100, 8, 24)
    assert sum(len(one.core) for one in found) == 100
    assert found[-1] == Piece(Interval(91, 100), Interval(67, 100))


@given(LENGTHS, COUNTS, HALOS)
def test_each_voxel_is_owned_once_and_has_its_context(length, count, halo):
    found = cut(length, count, halo)
    assert 1 <= len(found) <= count
    owned = [voxel for one in found for voxel in range(one.core.start, one.core.stop)]
    assert owned == list(range(length))
    for one in found:
        assert one.extent.start == max(0, one.core.start - halo)
        assert one.extent.stop == min(length, one.core.stop + halo)
    assert len({one.extent for one in found}) == len(found)
    step = -(-length // count)
    assert {one.core.start for one in found} <= set(range(0, length, step))
    assert cover_problems(found, length) == []


def test_pieces_that_would_be_empty_are_left_out():
    assert [one.core for one in cut(10, 8, 0)] == [Interval(2 * i, 2 * i + 2) for i in range(5)]
    assert len(cut(4, 8, 1)) == 4
    assert cut(1, 8, 24) == [piece(0, 1)]
    assert cut(7, 1, 24) == [piece(0, 7)]


def test_pieces_that_hold_the_same_are_one():
    assert cut(6, 3, 9) == [piece(0, 6)]
    assert cut(9, 3, 5) == [
        Piece(Interval(0, 3), Interval(0, 8)),
        piece(3, 6, 0, 9),
        Piece(Interval(6, 9), Interval(1, 9)),
    ]


@pytest.mark.parametrize(("length", "count", "halo"), [(0, 1, 0), (5, 0, 0), (5, 1, -1)])
def test_too_small_numbers_are_refused(length, count, halo):
    with pytest.raises(InputError, match="expected at least"):
        cut(length, count, halo)


@pytest.mark.parametrize(
    ("patch", "patch_spacing", "spacing", "expected"),
    [
        (48, 1.0, 1.0, 24),
        (49, 1.0, 1.0, 25),
        (48, 1.0, 0.5, 48),
        (48, 1.0, 3.0, 8),
        (40, 1.0, 3.0, 7),
        # Single precision in a header makes no voxel of its own.
        (48, 0.019, float(np.float32(0.019)), 24),
        (48, float(np.float32(0.019)), 0.019, 24),
        (1, 1.0, 1.0, 1),
    ],
)
def test_the_halo_is_half_a_patch_in_voxels_of_the_image(patch, patch_spacing, spacing, expected):
    assert halo_width(patch, patch_spacing, spacing) == expected


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([piece(0, 4), piece(4, 10)], []),
        ([piece(0, 4), piece(5, 10)], ["no piece owns 4–5"]),
        ([piece(2, 10)], ["no piece owns 0–2"]),
        ([piece(0, 4)], ["no piece owns 4–10"]),
        ([], ["no piece owns 0–10"]),
        ([piece(0, 6), piece(4, 10)], ["two pieces own 4–6"]),
        ([piece(0, 10), piece(2, 4)], ["two pieces own 2–4"]),
        ([piece(0, 10, 1, 10)], ["a piece holds 1–10, expected at least its core 0–10"]),
        ([piece(0, 10, 0, 11)], ["a piece holds 0–11, expected a part of 0–10"]),
    ],
)
def test_gaps_and_doubles_of_the_cover_are_named(pieces, expected):
    assert cover_problems(pieces, 10) == expected


def test_weights_change_linearly_over_the_voxels_that_two_pieces_hold():
    weights = blending_weights(cut(8, 2, 2), 8)
    np.testing.assert_allclose(weights[0], [1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0])
    np.testing.assert_allclose(weights[1], 1 - weights[0])


def test_the_ends_of_the_image_are_no_border_of_a_piece():
    # Every piece holds all of the image, and sees all that there is to see.
    np.testing.assert_allclose(blending_weights([piece(start, start + 2, 0, 6) for start in (0, 2, 4)], 6), 1 / 3)


@given(LENGTHS, COUNTS, HALOS)
def test_weights_are_1_in_all_and_0_outside_of_a_piece(length, count, halo):
    found = cut(length, count, halo)
    weights = blending_weights(found, length)
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=1e-5)
    for one, row in zip(found, weights, strict=True):
        assert (row[one.extent.start : one.extent.stop] > 0).all()
        assert not row[: one.extent.start].any()
        assert not row[one.extent.stop :].any()


@pytest.mark.parametrize(
    ("order", "patches", "halos"),
    [
        ((0, 1, 2), (48, 224, 220), [48, 112, 55]),
        # Entry 0 of the plans is the image's x, entry 1 its z, entry 2 its y.
        ((2, 0, 1), (224, 220, 48), [112, 55, 48]),
    ],
)
def test_each_axis_of_the_image_gets_its_own_entry_of_transposed_plans(tmp_path, order, patches, halos):
    patch = read_plan_patch(write_plans(tmp_path / "model", order))
    assert patch.patch == patches
    assert [patch.halo(axis, Geometry((1.0, 1.0, 1.0))) for axis in range(3)] == halos


def test_a_2d_network_needs_no_more_than_a_slice_beside_its_own(tmp_path):
    model = write_plans(tmp_path / "model", (1, 0, 2), **{"2d": {"patch_size": [64, 32], "spacing": [0.5, 1.0]}})
    patch = read_plan_patch(model, "2d")
    geometry = Geometry(spacing=(0.25, 3.0, 1.0))
    # Slices lie along y; entries 1 and 2 of the plans are z and x.
    assert [patch.halo(axis, geometry) for axis in range(3)] == [64, 1, 16]


def test_the_configuration_is_that_of_the_folder_and_may_inherit(tmp_path):
    configurations = {
        "3d_fullres": {"patch_size": [48, 48, 48], "spacing": [1, 1, 1]},
        "3d_big": {"inherits_from": "3d_fullres", "patch_size": [96, 48, 48]},
    }
    model = write_plans(tmp_path / "trainer__plans__3d_big", **configurations)
    assert read_plan_patch(model).patch == (96, 48, 48)
    assert read_plan_patch(model, "3d_fullres").patch == (48, 48, 48)
    assert read_plan_patch(write_plans(tmp_path / "model", **configurations)).patch == (48, 48, 48)
    with pytest.raises(InputError, match="'3d_lowres', expected one of 3d_fullres, 3d_big"):
        read_plan_patch(model, "3d_lowres")


def test_a_reader_that_turns_images_is_followed():
    sagittal = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    turned = Geometry((1.0, 1.0, 1.0), direction=sagittal)
    # The first axis of the array runs along x of space, the second along z, the third along y.
    patch = PlanPatch((10, 20, 30), (1.0, 1.0, 1.0), reorients=True)
    assert [patch.halo(axis, turned) for axis in range(3)] == [15, 5, 10]
    as_it_is = PlanPatch((10, 20, 30), (1.0, 1.0, 1.0))
    assert [as_it_is.halo(axis, turned) for axis in range(3)] == [5, 10, 15]


def test_without_a_model_the_patch_is_in_voxels_of_the_image():
    assert [PlanPatch().halo(axis, Geometry((0.019, 0.019, 0.019))) for axis in range(3)] == [24, 112, 112]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transpose_forward": [0, 1]}, "transpose_forward"),
        ({"configurations": {"3d_fullres": {"patch_size": [0, 1, 1], "spacing": [1, 1, 1]}}}, "patch_size"),
        ({"configurations": {"3d_fullres": {"patch_size": [8, 8], "spacing": [1, 1, 1]}}}, "patch_size"),
        ({"configurations": {"3d_fullres": {"inherits_from": "3d_fullres"}}}, "no usable configuration"),
        ({"configurations": None}, "no configurations"),
    ],
)
def test_unusable_plans_are_named(tmp_path, change, message):
    model = write_plans(tmp_path / "model")
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps(plans | change))
    with pytest.raises(InputError, match=message) as error:
        read_plan_patch(model)
    assert str(model / "plans.json") in str(error.value)


def test_a_folder_without_plans_is_no_model(tmp_path):
    with pytest.raises(MissingInputError, match=r"plans\.json"):
        read_plan_patch(tmp_path)
