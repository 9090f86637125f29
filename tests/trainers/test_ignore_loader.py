from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from scipy.stats import chisquare
from trainer_builders import (
    ANNOTATED,
    IGNORE,
    MemoryDataset,
    dense_slice,
    empty_dataset,
    enlarged_patch_size,
    label_manager,
    loader,
    single_mark,
    sparse_case,
    without_ignore,
)

from nnunet_ext.errors import InputError
from nnunet_ext.trainers.ignore_loader import IgnoreSamplingLoader

FLAT, CUBE = (48, 224, 224), (128, 128, 128)
VOLUMES = {FLAT: (97, 500, 500), CUBE: (300, 300, 300)}


def final_corners(
    loader: IgnoreSamplingLoader, shape: tuple[int, ...], locations: dict, *, draws: int, force_fg: bool
) -> np.ndarray:
    """Corners of the central crops, computed here without the code under test: (draws, axes)."""
    np.random.seed(0)
    large, final = np.array(loader.patch_size), np.array(loader.final_patch_size)
    boxes = [loader.get_bbox(shape, force_fg, locations) for _ in range(draws)]
    for lower, upper in boxes:
        assert np.array_equal(np.subtract(upper, lower), large)
    return np.array([lower for lower, _ in boxes]) + large // 2 - final // 2


@pytest.mark.parametrize("force_fg", [False, True])
@pytest.mark.parametrize("patch_size", [FLAT, CUBE])
def test_every_patch_shows_the_dense_slice_at_any_depth_alike(patch_size: tuple[int, ...], force_fg: bool) -> None:
    shape = VOLUMES[patch_size]
    z = shape[0] // 2
    corners = final_corners(
        loader(empty_dataset(), enlarged_patch_size(patch_size), patch_size),
        shape,
        dense_slice(shape, z),
        draws=2000,
        force_fg=force_fg,
    )
    depth = z - corners[:, 0]
    shown = (depth >= 0) & (depth < patch_size[0])
    assert shown.mean() >= 0.999
    assert chisquare(np.bincount(depth, minlength=patch_size[0])).pvalue > 0.01
    assert np.all((corners >= 0) & (corners <= np.subtract(shape, patch_size)))


@pytest.mark.parametrize("force_fg", [False, True])
@pytest.mark.parametrize("patch_size", [FLAT, CUBE])
def test_every_patch_shows_the_single_mark_at_any_place_alike(patch_size: tuple[int, ...], force_fg: bool) -> None:
    shape = VOLUMES[patch_size]
    mark = tuple(size // 2 for size in shape)
    corners = final_corners(
        loader(empty_dataset(), enlarged_patch_size(patch_size), patch_size),
        shape,
        single_mark(mark),
        draws=3000,
        force_fg=force_fg,
    )
    places = np.array(mark) - corners
    assert np.all((places >= 0) & (places < patch_size), axis=1).mean() >= 0.999
    for axis, length in enumerate(patch_size):
        assert chisquare(np.bincount(places[:, axis], minlength=length)).pvalue > 0.01


def test_two_dimensional_patches_lie_in_the_slice_of_the_voxel() -> None:
    shape, patch_size, mark = (20, 90, 80), (32, 28), (7, 45, 40)
    corners = final_corners(
        loader(empty_dataset(), enlarged_patch_size(patch_size), patch_size),
        shape,
        single_mark(mark),
        draws=2000,
        force_fg=False,
    )
    places = np.array(mark) - corners
    assert np.all(places[:, 0] == 0)
    for axis, length in ((1, 32), (2, 28)):
        assert chisquare(np.bincount(places[:, axis], minlength=length)).pvalue > 0.01


@pytest.mark.parametrize(
    ("patch_size", "final"),
    [((12, 15, 13), (8, 9, 12)), ((11, 12, 16), (8, 9, 9)), ((12, 13), (9, 10)), ((11, 12), (8, 8))],
)
def test_the_loaded_central_crop_is_the_patch_that_was_chosen(
    patch_size: tuple[int, ...], final: tuple[int, ...]
) -> None:
    shape = (30, 31, 32)
    data = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(1, *shape)
    seg = np.full((1, *shape), IGNORE, np.int16)
    seg[0, 15, 16, 17] = 1
    crop = ComposeTransforms([SpatialTransform(final, 0, False, border_mode_seg="constant")])
    batches = loader(MemoryDataset({"case": (data, seg, None)}, label_manager()), patch_size, final, transforms=crop)
    np.random.seed(0)
    for _ in range(50):
        batch = next(batches)
        values = batch["data"][0, 0].numpy()
        assert data[0, 15, 16, 17] in values
        assert values.min() > 0  # nothing of the patch lies outside of the volume
        assert (batch["target"] == 1).sum() == 1


def test_small_volumes_are_contained_whole() -> None:
    batches = loader(empty_dataset(), (40, 40, 40), (32, 32, 32))
    corners = final_corners(batches, (10, 32, 50), single_mark((9, 0, 49)), draws=500, force_fg=False)
    assert set(corners[:, 0]) == set(range(-22, 1))
    assert set(corners[:, 1]) == {0}
    assert set(corners[:, 2]) == {18}


def test_forced_patches_show_a_class_and_not_just_annotation() -> None:
    locations = single_mark((10, 10, 10)) | {ANNOTATED: np.array([[0, 80, 80, 80]])}
    batches = loader(empty_dataset(), (20, 20, 20), (16, 16, 16))
    assert final_corners(batches, (96, 96, 96), locations, draws=50, force_fg=True).max() <= 10
    assert final_corners(batches, (96, 96, 96), locations, draws=50, force_fg=False).min() > 60


def test_forced_patches_show_annotated_background_where_there_is_no_class() -> None:
    batches = loader(empty_dataset(), (20, 20, 20), (16, 16, 16))
    locations = single_mark((10, 10, 10), label=0)
    assert final_corners(batches, (96, 96, 96), locations, draws=50, force_fg=True).max() <= 10


def test_the_class_to_show_can_be_chosen() -> None:
    locations = {1: np.array([[0, 5, 5, 5]]), 2: np.array([[0, 90, 90, 90]]), (1, 2): [], ANNOTATED: []}
    batches = loader(empty_dataset(), (20, 20, 20), (16, 16, 16))
    np.random.seed(0)
    corners = [batches.get_bbox((96, 96, 96), True, locations, overwrite_class=2)[0] for _ in range(20)]
    assert np.min(corners) > 60
    fallback = [batches.get_bbox((96, 96, 96), True, locations, overwrite_class=(1, 2))[0] for _ in range(20)]
    assert np.min(fallback) < 20
    with pytest.raises(InputError, match="must be one of"):
        batches.get_bbox((96, 96, 96), True, locations, overwrite_class=7)


def test_class_numbers_of_numpy_are_compared_with_the_annotated_key() -> None:
    locations = {np.int64(1): np.array([[0, 5, 5, 5]]), ANNOTATED: np.array([[0, 90, 90, 90]])}
    batches = loader(empty_dataset(), (20, 20, 20), (16, 16, 16))
    assert final_corners(batches, (96, 96, 96), locations, draws=20, force_fg=True).max() <= 10


def test_without_ignore_label_random_patches_are_stock_and_forced_ones_are_ours() -> None:
    args = (empty_dataset(), 1, (20, 20, 20), (16, 16, 16), without_ignore())
    ours, stock = IgnoreSamplingLoader(*args), nnUNetDataLoader(*args)
    locations = {1: np.array([[0, 48, 48, 48]]), 2: []}
    np.random.seed(1)
    expected = [stock.get_bbox((96, 96, 96), False, locations) for _ in range(20)]
    np.random.seed(1)
    assert [ours.get_bbox((96, 96, 96), False, locations) for _ in range(20)] == expected
    corners = final_corners(ours, (96, 96, 96), locations, draws=200, force_fg=True)
    assert set(corners[:, 0]) == set(range(33, 49))


def test_draws_depend_on_the_global_seed_alone() -> None:
    batches = loader(empty_dataset(), (20, 20, 20), (16, 16, 16))
    locations = single_mark((48, 48, 48))
    first, second = (final_corners(batches, (96, 96, 96), locations, draws=10, force_fg=False) for _ in range(2))
    assert np.array_equal(first, second)
    assert len(np.unique(first, axis=0)) > 5


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_cases_without_annotation_are_named_once_and_cropped_at_random(foreground: float) -> None:
    empty = np.full((1, 12, 12, 12), IGNORE, np.int16)
    image = np.arange(1, 1 + 12**3, dtype=np.float32).reshape(1, 12, 12, 12)
    annotated = sparse_case((12, 12, 12), 0)
    cases = {"a": (image, empty, None), "b": (*annotated, None), "c": (image, empty, None)}
    batches = loader(MemoryDataset(cases, label_manager()), (8, 8, 8), (8, 8, 8), batch_size=4, foreground=foreground)
    np.random.seed(0)
    with pytest.warns(UserWarning, match="2 of 3 cases have no annotated voxel: a, c. Random") as caught:
        data = torch.cat([next(batches)["data"] for _ in range(20)])
    assert len(caught) == 1
    first_voxels = data[data[:, 0, 0, 0, 0] >= 1][:, 0, 0, 0, 0]
    assert len(first_voxels.unique()) > 10


def test_only_the_first_worker_warns() -> None:
    empty = np.full((1, 12, 12, 12), IGNORE, np.int16)
    dataset = MemoryDataset({"a": (np.ones((1, 12, 12, 12), np.float32), empty, None)}, label_manager())
    batches = loader(dataset, (8, 8, 8), (8, 8, 8))
    batches.set_thread_id(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(batches)


def test_a_case_preprocessed_without_ignore_label_is_refused() -> None:
    batches = loader(empty_dataset(), (8, 8, 8), (8, 8, 8))
    with pytest.raises(InputError, match="nnUNetv2_preprocess again"):
        batches.get_bbox((12, 12, 12), False, {1: np.array([[0, 1, 1, 1]])})
    with pytest.raises(InputError, match="need class locations: run nnUNetv2_preprocess"):
        batches.get_bbox((12, 12, 12), True, None)


def test_a_pickled_loader_still_knows_its_margins() -> None:
    data, seg = np.ones((1, 4, 4, 4), np.float32), np.ones((1, 4, 4, 4), np.int16)
    dataset = MemoryDataset({"a": (data, seg, None)}, label_manager())
    batches = pickle.loads(pickle.dumps(loader(dataset, (8, 8, 8), (8, 8, 8))))
    np.random.seed(0)
    for _ in range(5):
        batch = next(batches)
        assert torch.equal(batch["target"] == IGNORE, batch["data"] == 0)
