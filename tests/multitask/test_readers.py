"""Readers that keep nnU-Net's post-processing from wiping all tasks at once."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.reader_writer_registry import LIST_OF_IO_CLASSES, recursive_find_reader_writer_by_name
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from nnunetv2.postprocessing.remove_connected_components import (
    determine_postprocessing,
    load_postprocess_save,
    remove_all_but_largest_component_from_segmentation,
)
from skimage import io

from nnunet_ext.files import write_json
from nnunet_ext.multitask.readers import READERS
from tests.multitask.coupled_tasks import TWO

if TYPE_CHECKING:
    from pathlib import Path

ENDINGS = {
    NaturalImage2DIO: ".png",
    SimpleITKIO: ".nii.gz",
    SimpleITKIOWithReorient: ".nii.gz",
    Tiff3DIO: ".tif",
    NibabelIO: ".nii.gz",
    NibabelIOWithReorient: ".nii.gz",
}
FRONT = TWO.region(0, 1)
STOCK = pytest.mark.parametrize("stock", ENDINGS, ids=lambda stock: stock.__name__)


def two_fronts(*, flat: bool = False) -> np.ndarray:
    """Zones with two pieces of front on top of them, as a joint label (z, y, x)."""
    front, zones = np.zeros((2, 1 if flat else 4, 12, 14), int)
    zones[:, :, 7:], zones[:, 6:] = 2, 3
    front[:, 1:8, 5], front[:, 10:, 5] = 1, 1
    return TWO.encode(np.stack([front, zones]))


def protected(stock: type) -> Any:
    return READERS[stock.__name__]()


def write_label(path: Path, label: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".png"):
        io.imsave(path, label[0].astype(np.uint16), check_contrast=False)
    elif path.name.endswith(".tif"):
        tifffile.imwrite(path, label.astype(np.uint16))
    else:
        image = sitk.GetImageFromArray(label.astype(np.uint16))
        image.SetSpacing((0.5, 0.7, 2.0))
        image.SetOrigin((3.0, -4.0, 5.0))
        image.SetDirection((-1.0, 0, 0, 0, 1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(path))
    return path


def voxels(path: Path) -> np.ndarray:
    if path.name.endswith(".png"):
        return io.imread(path)[None]
    return tifffile.imread(path) if path.name.endswith(".tif") else sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def post_process(reader: Any, source: Path, target: Path) -> None:
    function, kwargs = remove_all_but_largest_component_from_segmentation, {"labels_or_regions": [FRONT]}
    load_postprocess_save(str(source), str(target), reader, [function], [kwargs])


def label_file(stock: type, folder: Path) -> Path:
    return write_label(folder / f"case{ENDINGS[stock]}", two_fronts(flat=stock is NaturalImage2DIO))


def test_every_reader_of_nnunet_has_a_protected_one() -> None:
    stock = {*LIST_OF_IO_CLASSES, SimpleITKIOWithReorient}
    assert set(ENDINGS) == stock
    assert set(READERS) == {reader.__name__ for reader in stock}
    for reader in stock:
        ours = READERS[reader.__name__]
        assert issubclass(ours, reader)
        assert ours.supported_file_endings == reader.supported_file_endings
        assert recursive_find_reader_writer_by_name(f"Stacked{reader.__name__}") is ours


@STOCK
def test_post_processing_with_a_stock_reader_wipes_the_zones_with_the_front(stock: type, tmp_path: Path) -> None:
    source = label_file(stock, tmp_path)
    post_process(stock(), source, tmp_path / f"done{ENDINGS[stock]}")
    before, after = TWO.decode(voxels(source)), TWO.decode(voxels(tmp_path / f"done{ENDINGS[stock]}"))
    assert np.any(before[0] != after[0])
    assert np.any(before[1] != after[1])


@STOCK
def test_post_processing_with_a_protected_reader_changes_no_voxel_and_warns(stock: type, tmp_path: Path) -> None:
    source, target = label_file(stock, tmp_path), tmp_path / f"done{ENDINGS[stock]}"
    with pytest.warns(UserWarning, match="post-processing is left out.*background of every task"):
        post_process(protected(stock), source, target)
    np.testing.assert_array_equal(voxels(target), voxels(source))
    if stock not in (NaturalImage2DIO, Tiff3DIO):
        np.testing.assert_allclose(nibabel.load(target).affine, nibabel.load(source).affine, atol=1e-5)


@STOCK
def test_reading_is_that_of_the_stock_reader(stock: type, tmp_path: Path) -> None:
    source = label_file(stock, tmp_path)
    (seg, properties), (seg_stock, properties_stock) = (
        protected(stock).read_seg(str(source)),
        stock().read_seg(str(source)),
    )
    np.testing.assert_array_equal(seg, seg_stock)
    assert seg.dtype == seg_stock.dtype
    assert len(properties) == len(properties_stock) + 1
    assert properties["spacing"] == properties_stock["spacing"]


@STOCK
def test_an_unchanged_segmentation_is_written_without_a_warning(stock: type, tmp_path: Path) -> None:
    source, target = label_file(stock, tmp_path), tmp_path / f"done{ENDINGS[stock]}"
    seg, properties = protected(stock).read_seg(str(source))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        protected(stock).write_seg(seg[0], str(target), properties)
    np.testing.assert_array_equal(voxels(target), voxels(source))


@STOCK
def test_a_prediction_is_written_as_it_is(stock: type, tmp_path: Path) -> None:
    image = label_file(stock, tmp_path / "images")
    _, properties = protected(stock).read_images([str(image)])
    prediction = two_fronts(flat=stock is NaturalImage2DIO)[:, ::-1, ::-1].copy()
    target, expected = (tmp_path / f"{name}{ENDINGS[stock]}" for name in ("ours", "stock"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        protected(stock).write_seg(prediction, str(target), properties)
    stock().write_seg(prediction, str(expected), properties)
    np.testing.assert_array_equal(voxels(target), voxels(expected))
    assert np.any(voxels(target) != voxels(image))


@pytest.mark.parametrize("stock", [r for r in ENDINGS if r is not SimpleITKIOWithReorient], ids=lambda r: r.__name__)
@given(seed=st.integers(0, 99), highest=st.sampled_from([1, 254, 255, 256, 32767]))
@settings(deadline=None, max_examples=10)
def test_labels_of_sixteen_bits_survive(
    stock: type, tmp_path_factory: pytest.TempPathFactory, seed: int, highest: int
) -> None:
    label = np.random.default_rng(seed).integers(0, highest + 1, (1, 3, 4))
    label[0, 0, 0] = highest
    label = label if stock is NaturalImage2DIO else np.concatenate([label, label[:, ::-1]])
    source = write_label(tmp_path_factory.mktemp("read") / f"a{ENDINGS[stock]}", label)
    seg, properties = protected(stock).read_seg(str(source))
    target = source.with_name(f"b{ENDINGS[stock]}")
    protected(stock).write_seg(seg[0], str(target), properties)
    np.testing.assert_array_equal(voxels(target), label)


@pytest.mark.parametrize(
    ("reader", "picked"), [("StackedSimpleITKIO", False), ("SimpleITKIO", True)], ids=["protected", "stock"]
)
def test_nnunet_decides_against_post_processing(
    reader: str, picked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the smaller piece of front is wrong and there is nothing but background below it, removing would pay."""
    front, zones = np.zeros((2, 3, 12, 14), int)
    zones[:, 6:] = 3
    front[:, 1:5, 5] = 1
    truth = TWO.encode(np.stack([front, zones]))
    front[:, 1:3, 11] = 1
    prediction = TWO.encode(np.stack([front, zones]))
    write_label(tmp_path / "labels" / "case.nii.gz", truth)
    predicted = write_label(tmp_path / "predicted" / "case.nii.gz", prediction)
    write_json(tmp_path / "dataset.json", {**TWO.to_dataset_json(), "file_ending": ".nii.gz"})
    names = {"image_reader_writer": reader, "label_manager": "StackedLabelManager"}
    write_json(tmp_path / "plans.json", {"dataset_name": "Dataset901_Coupled", "configurations": {}, **names})
    # starting seven pools of processes would take a minute
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=ThreadPool))
    determine_postprocessing(
        str(tmp_path / "predicted"),
        str(tmp_path / "labels"),
        str(tmp_path / "plans.json"),
        str(tmp_path / "dataset.json"),
        num_processes=1,
    )
    functions, _ = pickle.loads((tmp_path / "predicted" / "postprocessing.pkl").read_bytes())
    assert bool(functions) == picked
    unchanged = np.array_equal(voxels(tmp_path / "predicted" / "postprocessed" / "case.nii.gz"), voxels(predicted))
    assert unchanged != picked
