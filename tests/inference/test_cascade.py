"""The second stage of a cascade is predicted as nnU-Net does it, from the labels of the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from scipy.ndimage import gaussian_filter

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputError
from nnunet_ext.imageio import open_volume, write_volume
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.inference import case_prediction
from nnunet_ext.inference.cascade import CascadePlanes, StagePlanes
from nnunet_ext.inference.intensities import IntensityRule
from nnunet_ext.inference.merge_parts import merge_parts
from nnunet_ext.inference.planes import ImagePlanes
from nnunet_ext.inference.predict import predict
from nnunet_ext.inference.resampling import plan_resampling, supported_resampling
from tests.inference.predict_runs import edit, force_scratch
from tests.inference.trained_model import write_trained_model

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (24, 26, 19)
SMALL: dict[str, Any] = {"patch": (10, 12, 10), "features": 4, "previous_stage": "3d_lowres"}
SEPARATE = Geometry((4.0, 1.0, 1.0))
MODELS: dict[str, tuple[dict[str, Any], Geometry]] = {
    "as it is": ({}, Geometry()),
    "resampled": ({"spacing": (1.3, 0.9, 1.1)}, Geometry()),
    "finer": ({"spacing": (0.5, 0.5, 0.5)}, Geometry()),
    "anisotropic": ({"spacing": (3.0, 0.9, 1.1)}, SEPARATE),
    "turned": ({"transpose": (2, 0, 1), "spacing": (0.9, 1.2, 1.1)}, Geometry()),
    "two folds": ({"folds": 2}, Geometry()),
    "two channels": ({"channels": ("a", "b"), "schemes": ("CTNormalization", "CTNormalization")}, Geometry()),
    "regions": (
        {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "more": {"regions_class_order": [1, 2]}},
        Geometry(),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_labels_are_those_of_nnunet(name: str, tmp_path: Path) -> None:
    settings_, geometry = MODELS[name]
    model = write_trained_model(tmp_path / "model", **SMALL, **settings_)
    write_inputs(tmp_path, geometry, channels=len(settings_.get("channels", "a")))
    found = read(run(tmp_path, model))
    stock = predict_by_nnunet(tmp_path, model)
    assert len(np.unique(stock)) > 2
    assert np.mean(found == stock) >= 0.9999


def test_the_labels_of_the_first_stage_make_a_difference(tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL)
    write_inputs(tmp_path)
    first = read(run(tmp_path, model))
    write_volume(tmp_path / "low" / "case.nii.gz", np.zeros(SHAPE, np.uint8), Geometry(), overwrite=True)
    second = read(run(tmp_path, model, output="second"))
    assert np.mean(first != second) > 0.05


def test_neither_scratch_files_nor_parts_change_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL, spacing=(1.3, 0.9, 1.1), transpose=(1, 0, 2))
    write_inputs(tmp_path)
    whole = run(tmp_path, model).read_bytes()
    for part in (1, 0):
        run(tmp_path, model, output="parts", part=part, parts=2)
    (merged,) = merge_parts(tmp_path / "parts", tmp_path / "merged")
    assert merged.read_bytes() == whole
    force_scratch(monkeypatch)
    assert run(tmp_path, model, output="disk").read_bytes() == whole


def test_parts_of_two_first_stages_are_not_merged(tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL)
    write_inputs(tmp_path)
    run(tmp_path, model, output="parts", part=0, parts=2)
    write_volume(tmp_path / "low" / "case.nii.gz", np.ones(SHAPE, np.uint8), Geometry(), overwrite=True)
    run(tmp_path, model, output="parts", part=1, parts=2)
    with pytest.raises(BadCasesError, match="identity"):
        merge_parts(tmp_path / "parts", tmp_path / "merged")


def test_a_case_under_way_is_not_gone_on_with_from_another_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL)
    write_inputs(tmp_path)
    options: dict[str, Any] = {"device": "cpu", "prev_stage_predictions": tmp_path / "low"}

    def full_disk(*_: object, **__: object) -> None:
        message = "disk full"
        raise OutputError(message)

    with monkeypatch.context() as patched:
        patched.setattr(case_prediction, "write_labels", full_disk)
        assert predict(tmp_path / "images", tmp_path / "ours", model, **options).failed
    write_volume(tmp_path / "low" / "case.nii.gz", np.ones(SHAPE, np.uint8), Geometry(), overwrite=True)
    again = predict(tmp_path / "images", tmp_path / "ours", model, **options, resume=True)
    assert "first stage was" in again.failed["case"]


def test_without_labels_of_the_first_stage_it_says_what_to_give(tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL)
    write_inputs(tmp_path)
    with pytest.raises(InputError, match=r"second stage of a cascade.*3d_lowres.*-prev_stage_predictions"):
        run(tmp_path, model, stage=None)
    with pytest.raises(MissingInputError, match="nowhere"):
        run(tmp_path, model, stage="nowhere")
    (tmp_path / "low" / "case.nii.gz").rename(tmp_path / "low" / "other.nii.gz")
    with pytest.raises(BadCasesError, match=r"case 'case' has no label map of 3d_lowres.*other"):
        run(tmp_path, model)
    assert not (tmp_path / "ours").exists()


def test_for_another_model_they_are_refused(tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", **(SMALL | {"previous_stage": None}))
    write_inputs(tmp_path)
    with pytest.raises(InputError, match="no second stage of a cascade"):
        run(tmp_path, model)


def test_a_first_stage_of_another_image_is_named(tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL)
    write_inputs(tmp_path)
    write_volume(tmp_path / "low" / "case.nii.gz", np.zeros((24, 26, 20), np.uint8), Geometry(), overwrite=True)
    with pytest.raises(BadCasesError, match=r"case\.nii\.gz: .*\(24, 26, 20\)"):
        run(tmp_path, model)


def test_a_value_that_is_no_label_is_named(tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL)
    write_inputs(tmp_path)
    write_volume(tmp_path / "low" / "case.nii.gz", np.full(SHAPE, 7, np.uint8), Geometry(), overwrite=True)
    found = predict(
        tmp_path / "images", tmp_path / "ours", model, device="cpu", prev_stage_predictions=tmp_path / "low"
    )
    assert "value 7, expected labels of the model: 0, 1, 2" in found.failed["case"]


def test_another_resampling_of_labels_is_refused(tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", **SMALL)
    write_inputs(tmp_path)
    edit(
        model / "plans.json",
        lambda plans: plans["configurations"]["3d_fullres"]["resampling_fn_seg_kwargs"].update(order=3),
    )
    with pytest.raises(InputError, match=r"order=3 \(only 0, 1\)"):
        run(tmp_path, model)


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"is_seg": False, "order": 1}, r"is_seg=False \(only True\)"),
        ({"is_seg": True, "order": 1, "order_z": 1}, r"order_z=1 \(only 0\)"),
        ({"order": 1}, r"is_seg=False \(only True\)"),
        # nnU-Net's default is a cubic spline.
        ({"is_seg": True}, r"order=3 \(only 0, 1\)"),
    ],
)
def test_keywords_for_label_maps_are_checked(keywords: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        supported_resampling("resample_data_or_seg_to_shape", keywords, labels=True)


@settings(max_examples=40)
@given(
    before=st.tuples(*[st.integers(1, 14)] * 3),
    after=st.tuples(*[st.integers(1, 14)] * 3),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (5.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 5.0)]),
    seed=st.integers(0, 1000),
    piece=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_resampled_labels_are_those_of_nnunet(
    before: tuple[int, int, int],
    after: tuple[int, int, int],
    spacing: tuple[float, float, float],
    seed: int,
    piece: tuple[float, float],
) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, before).astype(np.uint8)
    first = int(piece[0] * (after[0] - 1))
    last = first + 1 + int(piece[1] * (after[0] - first - 1))
    plan = plan_resampling(before, after, spacing, (1.0, 1.0, 1.0), order=1, order_z=0, force_separate_z=None)
    stage = StagePlanes(Held(labels), planes_of(labels), (1, 2, 3), plan)  # type: ignore[arg-type]
    found = np.concatenate(list(stage.blocks(first, last)), axis=1)[0]
    expected = resampled(labels[None], after, spacing, is_seg=True)[0, first:last]
    assert found.shape == expected.shape
    # Scores that are equal but for rounding may go either way.
    scores = resampled(np.stack([labels == label for label in range(4)]), after, spacing, is_seg=False)[:, first:last]
    ours, theirs = (np.take_along_axis(scores, which[None].astype(int), axis=0) for which in (found, expected))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    assert np.mean(found == expected) >= 0.99 or np.sum(found != expected) <= 3


def resampled(
    volume: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, float, float], *, is_seg: bool
) -> np.ndarray:
    """Resample with nnU-Net."""
    return resample_data_or_seg_to_shape(
        volume.astype(float), shape, spacing, (1.0, 1.0, 1.0), is_seg=is_seg, order=1, order_z=0, force_separate_z=None
    )


def test_a_tie_goes_to_the_nearest_voxel() -> None:
    labels = np.array([1, 1, 3, 3], np.uint8).reshape(4, 1, 1)
    plan = plan_resampling((4, 1, 1), (3, 1, 1), (1, 1, 1), (1, 1, 1), order=1, order_z=0, force_separate_z=None)
    stage = StagePlanes(Held(labels), planes_of(labels), (1, 3), plan)  # type: ignore[arg-type]
    # The middle of three lies between the second and the third of four; scipy takes the latter.
    assert np.concatenate(list(stage.blocks(0, 3)), axis=1).ravel().tolist() == [1, 2, 2]


def test_the_network_gets_a_channel_per_label(tmp_path: Path) -> None:
    image = np.arange(24, dtype=np.float32).reshape(6, 2, 2)
    labels = np.array([0, 2, 5, 0, 5, 2], np.uint8).reshape(6, 1, 1).repeat(2, 1).repeat(2, 2)
    stage = StagePlanes(Held(labels), planes_of(labels), (2, 5), None)  # type: ignore[arg-type]
    planes = CascadePlanes(planes_of(image), None, stage)
    (held,) = planes.blocks(1, 6)
    assert (planes.channels, held.shape) == (2, (2, 5, 2, 2))
    seen = planes.network_input(held)
    assert seen.shape == (3, 5, 2, 2)
    np.testing.assert_array_equal(seen[0], image[1:])
    assert seen[1, :, 0, 0].tolist() == [1, 0, 0, 0, 1]
    assert seen[2, :, 1, 1].tolist() == [0, 1, 0, 1, 0]


class Held:
    """A volume in memory."""

    path = "labels"

    def __init__(self, voxels: np.ndarray) -> None:
        self.voxels, self.shape, self.dtype = voxels, voxels.shape, voxels.dtype

    def slab(self, start: int, stop: int) -> np.ndarray:
        return self.voxels[start:stop]


def planes_of(voxels: np.ndarray) -> ImagePlanes:
    crop = tuple((0, size) for size in voxels.shape)
    return ImagePlanes([Held(voxels)], crop, (0, 1, 2), [IntensityRule()], None)  # type: ignore[arg-type,list-item]


def write_inputs(folder: Path, geometry: Geometry | None = None, *, channels: int = 1) -> None:
    """Write an image with a border of zeros, and labels of a first stage."""
    rng = np.random.default_rng(0)
    for channel in range(channels):
        image = (gaussian_filter(rng.normal(size=SHAPE), 1.5) * 600 + 110).astype(np.float32)
        image[:2] = 0
        image[:, :, -3:] = 0
        (folder / "images").mkdir(exist_ok=True)
        write_volume(folder / "images" / f"case_{channel:04d}.nii.gz", image, geometry or Geometry())
    noise = gaussian_filter(rng.normal(size=SHAPE), 2)
    labels = np.digitize(noise, np.quantile(noise, (0.5, 0.8))).astype(np.uint8)
    # nnU-Net has voxels outside of the image's non-zero region compete with labels beside them.
    labels[:3] = 0
    labels[:, :, -4:] = 0
    (folder / "low").mkdir()
    write_volume(folder / "low" / "case.nii.gz", labels, geometry or Geometry())


def run(folder: Path, model: Path, *, output: str = "ours", stage: str | None = "low", **more: Any) -> Path:
    found = predict(
        folder / "images",
        folder / output,
        model,
        device="cpu",
        prev_stage_predictions=folder / stage if stage else None,
        **more,
    )
    assert not found.failed
    return found.files["case"]


def predict_by_nnunet(folder: Path, model: Path) -> Any:
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), None)
    (folder / "stock").mkdir()
    predictor.predict_from_files_sequential(
        str(folder / "images"), str(folder / "stock"), folder_with_segs_from_prev_stage=str(folder / "low")
    )
    return read(folder / "stock" / "case.nii.gz")


def read(path: Path) -> Any:
    with open_volume(path) as volume:
        return volume.slab(0, volume.shape[0])
