"""The labels of `predict` are those of nnU-Net's own prediction, whatever the plans ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from scipy.ndimage import gaussian_filter

from nnunet_ext.imageio import open_volume, write_volume
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.inference import case_prediction
from nnunet_ext.inference.case_prediction import choose_layout
from nnunet_ext.inference.merge_parts import merge_parts
from nnunet_ext.inference.predict import predict
from nnunet_ext.inference.sliding import Layout
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task
from tests.inference.trained_model import write_trained_model

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (21, 26, 19)
OBLIQUE = Geometry((1.0, 1.0, 1.0), (5.0, -7.5, 11.0), ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)))


@dataclass(frozen=True)
class Case:
    """A model, an image for it, and how to predict."""

    model: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, int, int] = SHAPE
    geometry: Geometry = field(default_factory=Geometry)
    mirroring: bool = True
    step_size: float = 0.5
    border: int = 2
    dtype: str = "float32"


def multi_task_labels() -> dict[str, Any]:
    joint = JointLabels((Task("line", ("background", "line")), Task("zones", ("none", "ice", "sea"))))
    labels = joint.to_labels()
    return {"labels": labels, "more": {"regions_class_order": list(range(1, len(labels)))}}


CASES = {
    "one fold": Case(),
    "two folds": Case({"folds": 2}),
    "without mirroring": Case(mirroring=False),
    "other step": Case(step_size=0.7),
    "smaller than the window": Case({"folds": 2}, shape=(7, 26, 9)),
    "nothing to crop, turned": Case({"transpose": (1, 0, 2)}, geometry=OBLIQUE, border=0),
    "x first": Case({"transpose": (2, 1, 0)}),
    "turned in the plane": Case({"transpose": (0, 2, 1)}),
    "2D": Case({"patch": (12, 10)}),
    "2D, turned and resampled": Case({"patch": (12, 10), "spacing": (1.2, 0.8), "transpose": (2, 0, 1)}),
    "resampled": Case({"spacing": (1.3, 0.9, 1.1)}),
    "coarser": Case({"spacing": (2.0, 2.0, 2.0), "folds": 2}),
    "anisotropic": Case({"spacing": (3.0, 0.9, 1.1)}, geometry=Geometry((4.0, 1.0, 1.0))),
    "anisotropic along x, turned": Case(
        {"spacing": (3.0, 0.9, 1.1), "transpose": (2, 1, 0)}, geometry=Geometry((1.0, 1.0, 4.0))
    ),
    "CT": Case({"schemes": ("CTNormalization",)}),
    "no normalisation": Case({"schemes": ("NoNormalization",)}),
    "rescaled": Case({"schemes": ("RescaleTo01Normalization",)}),
    "two channels": Case({"channels": ("a", "b"), "schemes": ("ZScoreNormalization", "CTNormalization")}),
    "stored as integers": Case({"folds": 2}, dtype="uint16"),
    "stored as integers, normalised by the image": Case({"schemes": ("RescaleTo01Normalization",)}, dtype="uint8"),
    "stored as integers, two channels, turned": Case(
        {"channels": ("a", "b"), "schemes": ("CTNormalization", "CTNormalization"), "transpose": (2, 0, 1)},
        dtype="int16",
    ),
    "stored as integers, smaller than the window": Case(shape=(7, 26, 19), dtype="uint16"),
    "stored as integers, resampled": Case({"spacing": (1.3, 0.9, 1.1)}, dtype="uint16"),
    "regions": Case({"labels": {"background": 0, "whole": [1, 2], "core": 2}, "more": {"regions_class_order": [1, 2]}}),
    "ignore label": Case({"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}}),
    "300 classes": Case({"labels": {"background": 0, **{f"c{n}": n for n in range(1, 300)}}}),
}


@pytest.mark.parametrize("name", CASES)
def test_labels_are_those_of_nnunet(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = write_trained_model(tmp_path / "model", **({"patch": (10, 12, 10), "features": 4} | case.model))
    write_image(tmp_path / "images", case, channels=len(case.model.get("channels", ("image",))))
    ours = predict(
        tmp_path / "images",
        tmp_path / "ours",
        model,
        device="cpu",
        step_size=case.step_size,
        disable_tta=not case.mirroring,
    )
    assert not ours.failed
    stock = predict_by_nnunet(tmp_path, model, case)
    with open_volume(ours.files["case"]) as found, open_volume(stock) as expected:
        assert found.geometry.spacing == pytest.approx(expected.geometry.spacing)
        assert found.geometry.origin == pytest.approx(expected.geometry.origin)
        assert np.allclose(found.geometry.direction, expected.geometry.direction)
        assert found.dtype == expected.dtype
        labels, theirs = found.slab(0, found.shape[0]), expected.slab(0, expected.shape[0])
    assert len(np.unique(theirs)) > 2
    assert np.mean(labels == theirs) >= 0.9999
    if case.model.get("schemes") in (("CTNormalization",), ("NoNormalization",)):
        # Where no number of the whole image comes in, every sum is the same.
        np.testing.assert_array_equal(labels, theirs)
    assert not (tmp_path / "ours" / "predict_state").exists()


def test_labels_of_several_tasks_are_those_of_nnunet(tmp_path: Path) -> None:
    case = Case(multi_task_labels() | {"plans": {"label_manager": "StackedLabelManager"}})
    configuration = {"preprocessor_name": "StackedLabelPreprocessor"}
    model = write_trained_model(
        tmp_path / "model", patch=(10, 12, 10), features=4, configuration=configuration, **case.model
    )
    write_image(tmp_path / "images", case)
    ours = predict(tmp_path / "images", tmp_path / "ours", model, device="cpu", save_probabilities=True)
    stock = predict_by_nnunet(tmp_path, model, case)
    labels = read(ours.files["case"])
    assert set(np.unique(labels)) == set(range(6))
    assert np.mean(labels == read(stock)) >= 0.9999


@pytest.mark.parametrize("model", [{"folds": 2}, {"spacing": (1.3, 0.9, 1.1), "transpose": (1, 0, 2)}], ids=str)
def test_neither_scratch_files_nor_parts_change_a_byte(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = write_trained_model(tmp_path / "model", patch=(10, 12, 10), features=4, **model)
    images = write_image(tmp_path / "images", Case(shape=(34, 26, 40)))
    whole = predict(images, tmp_path / "whole", trained, device="cpu").files["case"].read_bytes()

    for part in (2, 0, 1):
        predict(images, tmp_path / "parts", trained, device="cpu", part=part, parts=3)
    (merged,) = merge_parts(tmp_path / "parts", tmp_path / "merged")
    assert merged.read_bytes() == whole
    assert (tmp_path / "merged" / "dataset.json").exists()

    used = []

    def on_disk(grid: Any, **more: Any) -> Any:
        used.append(Layout(grid.patch[0] + 3, 4, more["scratch"]))
        return used[-1], choose_layout(grid, **more)[1]

    monkeypatch.setattr(case_prediction, "choose_layout", on_disk)
    assert predict(images, tmp_path / "disk", trained, device="cpu").files["case"].read_bytes() == whole
    assert used
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["case.nii.gz", "dataset.json", "plans.json"]


@pytest.mark.parametrize("regions", [False, True])
def test_probabilities_are_those_of_nnunet(regions: bool, tmp_path: Path) -> None:
    import blosc2

    more = CASES["regions"].model if regions else {}
    model = write_trained_model(
        tmp_path / "model", patch=(10, 12, 10), features=4, transpose=(1, 2, 0), spacing=(1.2, 1.0, 0.9), **more
    )
    images = write_image(tmp_path / "images", Case())
    predict(images, tmp_path / "ours", model, device="cpu", save_probabilities=True)
    predict_by_nnunet(tmp_path, model, Case(), save_probabilities=True)
    theirs = np.load(tmp_path / "stock" / "case.npz")["probabilities"]
    ours = blosc2.open(str(tmp_path / "ours" / "case.b2nd"))[:]
    assert ours.dtype == np.float16
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_probabilities_of_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    import blosc2

    model = write_trained_model(
        tmp_path / "model", patch=(10, 12, 10), features=4, transpose=(1, 2, 0), spacing=(1.2, 1.0, 0.9)
    )
    images = write_image(tmp_path / "images", Case(shape=(21, 40, 19)))
    predict(images, tmp_path / "whole", model, device="cpu", save_probabilities=True)
    for part in (2, 0, 1):
        predict(images, tmp_path / "parts", model, device="cpu", save_probabilities=True, part=part, parts=3)
    merge_parts(tmp_path / "parts", tmp_path / "merged")
    whole, merged = (blosc2.open(str(tmp_path / folder / "case.b2nd"))[:] for folder in ("whole", "merged"))
    np.testing.assert_array_equal(merged, whole)
    np.testing.assert_array_equal(read(tmp_path / "merged" / "case.nii.gz"), read(tmp_path / "whole" / "case.nii.gz"))


@pytest.mark.parametrize("ending", [".tif", ".mha", ".nii.gz"])
def test_any_format_in_and_out_gives_the_same_labels(ending: str, tmp_path: Path) -> None:
    model = write_trained_model(tmp_path / "model", patch=(10, 12, 10), features=4, spacing=(1.0, 1.0, 1.0))
    reference = predict(write_image(tmp_path / "images", Case()), tmp_path / "whole", model, device="cpu")
    other = write_image(tmp_path / "other", Case(), ending=ending)
    out = predict(other, tmp_path / "out", model, device="cpu", file_ending=ending).files["case"]
    assert out.name == f"case{ending}"
    np.testing.assert_array_equal(read(out), read(reference.files["case"]))
    if ending == ".tif":
        assert (tmp_path / "out" / "case.json").exists()


def write_image(folder: Path, case: Case, *, channels: int = 1, ending: str = ".nii.gz") -> Path:
    """Write smooth noise with a border of zeros on some sides; return the folder."""
    rng = np.random.default_rng(0)
    for channel in range(channels):
        image = (gaussian_filter(rng.normal(size=case.shape), 1.5) * 600 + 110).astype(np.float32)
        if case.dtype != "float32":
            image = image.round().clip(0, 255).astype(case.dtype)
        if case.border:
            image[: case.border] = 0
            image[:, :, -case.border - 1 :] = 0
        write_volume(folder / f"case_{channel:04d}{ending}", image, case.geometry)
    return folder


def predict_by_nnunet(folder: Path, model: Path, case: Case, *, save_probabilities: bool = False) -> Path:
    """Predict with nnU-Net's own class, and return the label map."""
    predictor = nnUNetPredictor(
        tile_step_size=case.step_size, use_mirroring=case.mirroring, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), None)
    (folder / "stock").mkdir()
    predictor.predict_from_files_sequential(
        str(folder / "images"), str(folder / "stock"), save_probabilities=save_probabilities
    )
    return folder / "stock" / "case.nii.gz"


def read(path: Path) -> Any:
    with open_volume(path) as volume:
        return volume.slab(0, volume.shape[0])
