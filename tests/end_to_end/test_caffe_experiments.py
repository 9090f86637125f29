"""Experiments on calving fronts, from pictures to exported predictions, on generated scenes of two glaciers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from nnunet_ext.demo.run import environment
from tests.end_to_end.commands import few_iterations, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.end_to_end

TRAIN = ["COL_2011-11-13_TDX_7_1_092", "COL_2013-06-02_TDX_7_1_092", "DBE_2009-02-01_TSX_7_1_001"]
TRAIN += ["DBE_2010-08-01_TSX_7_1_001"]
TEST = ["COL_2014-01-20_TDX_7_1_092"]
SHAPE = (64, 56)
NA, ROCK, GLACIER, OCEAN = 0, 64, 127, 254
GREY = {NA: 0, ROCK: 210, GLACIER: 140, OCEAN: 60}
"""Mean grey level of the image in each zone: a network needs no context to tell them apart."""
FRONT_WIDTH = 5


class Experiment(NamedTuple):
    """A task, and how a network is trained for it."""

    task: str
    dataset: str
    planner: str
    plans: str
    trainer: str
    pictures: tuple[str, ...]
    heads: int
    """Channels of the network's output that count for a prediction."""

    @property
    def number(self) -> str:
        return self.dataset.removeprefix("Dataset")[:3]


STOCK = ("ExperimentPlannerCPU", "nnUNetPlansCPU")
STACKED = ("StackedLabelPlannerCPU", "nnUNetStackedLabelPlansCPU")
FUSED = Experiment("fused", "Dataset500_CaFFeFused", *STOCK, "nnUNetTrainer_1epochs", ("front", "zone"), 5)
FRONT = Experiment("front", "Dataset501_CaFFeFront", *STOCK, "nnUNetTrainer_1epochs", ("front",), 2)
RECON = Experiment(
    "mtl_recon", "Dataset504_CaFFeMTLRecon", *STACKED, "nnUNetTrainerMTLrecon_1epochs", ("front", "zone"), 2 + 4
)
BOUNDARY = Experiment(
    "mtl_boundary",
    "Dataset505_CaFFeMTLBoundary",
    *STACKED,
    "nnUNetTrainerMTLearly_1epochs",
    ("front", "zone", "boundary"),
    2 + 4 + 2,
)


@pytest.mark.parametrize("experiment", [FUSED, FRONT, BOUNDARY, RECON], ids=lambda experiment: experiment.task)
def test_an_experiment_goes_from_pictures_to_exported_predictions(experiment: Experiment, tmp_path: Path) -> None:
    variables = environment(tmp_path) | {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1"}
    variables |= few_iterations(100)
    raw = tmp_path / "data_raw"
    write_scenes(raw)
    dataset = tmp_path / "nnUNet_raw" / experiment.dataset
    words = ["nnunet_ext", "convert", "caffe", "--root", raw, "--task", experiment.task, "--folds-by", "glacier"]
    run_command([*words, "-np", 1], variables)
    assert {path.name for path in (dataset / "imagesTs").iterdir()} == {f"{stem}_0000.png" for stem in TEST}
    labels_come_back_as_the_pictures_that_they_were_made_of(experiment, raw, dataset, tmp_path / "truth")

    words = ["nnUNetv2_plan_and_preprocess", "-d", experiment.number, "-pl", experiment.planner, "-c", "2d"]
    run_command([*words, "--verify_dataset_integrity", "-npfp", 1, "-np", 1], variables)
    model = ["-tr", experiment.trainer, "-p", experiment.plans, "-device", "cpu"]
    run_command(["nnUNetv2_train", experiment.number, "2d", 0, *model], variables)
    trained = tmp_path / "nnUNet_results" / experiment.dataset / f"{experiment.trainer}__{experiment.plans}__2d"
    validated = {path.stem for path in (trained / "fold_0" / "validation").glob("*.png")}
    assert validated == {stem for stem in TRAIN if stem.startswith("COL")}, "a fold validates on one glacier"

    predicted, pictures = tmp_path / "predicted", tmp_path / "pictures"
    words = ["nnUNetv2_predict", "-i", dataset / "imagesTs", "-o", predicted, "-d", experiment.number, "-c", "2d"]
    run_command([*words, *model, "-f", 0, "-npp", 1, "-nps", 1, "--save_probabilities"], variables)
    for stem in TEST:
        with np.load(predicted / f"{stem}.npz") as file:
            assert file["probabilities"].shape == (experiment.heads, 1, *SHAPE)
    run_command(["nnunet_ext", "export", "caffe", "-i", predicted, "-o", pictures, "-np", 1])
    predictions_are_pictures_of_the_benchmark(experiment, raw, pictures)


def labels_come_back_as_the_pictures_that_they_were_made_of(
    experiment: Experiment, raw: Path, dataset: Path, output: Path
) -> None:
    run_command(["nnunet_ext", "export", "caffe", "-i", dataset / "labelsTs", "-o", output, "-np", 1])
    assert {path.name for path in output.iterdir()} == names_of(experiment)
    for stem in TEST:
        zones = pixels_of(raw / "zones" / "test" / f"{stem}_zones.png")
        front = widened(pixels_of(raw / "fronts" / "test" / f"{stem}_front.png") == 255)
        np.testing.assert_array_equal(pixels_of(output / f"{stem}_front.png"), np.where(front, 255, 0))
        if "zone" in experiment.pictures:
            # What the front was painted over is lost in a fused label only.
            compared = ~front if experiment.task == "fused" else np.ones(SHAPE, bool)
            np.testing.assert_array_equal(pixels_of(output / f"{stem}_zone.png")[compared], zones[compared])
        if "boundary" in experiment.pictures:
            expected = np.where(widened(boundary_of(zones)), 255, 0)
            np.testing.assert_array_equal(pixels_of(output / f"{stem}_boundary.png"), expected)


def predictions_are_pictures_of_the_benchmark(experiment: Experiment, raw: Path, pictures: Path) -> None:
    assert {path.name for path in pictures.iterdir()} == names_of(experiment)
    for path in pictures.iterdir():
        levels = {NA, ROCK, GLACIER, OCEAN} if path.stem.endswith("_zone") else {0, 255}
        found = pixels_of(path)
        assert found.shape == SHAPE
        assert set(np.unique(found)) <= levels
    if "zone" in experiment.pictures:
        for stem in TEST:
            zones = pixels_of(raw / "zones" / "test" / f"{stem}_zones.png")
            # Half of the image is glacier. Swapped or shifted classes stay below that however long the training is.
            assert np.mean(pixels_of(pictures / f"{stem}_zone.png") == zones) > 0.6


def write_scenes(root: Path) -> None:
    """Two images of each of two glaciers for the training, and a later one of the first glacier for the test."""
    for split, stems in (("train", TRAIN), ("test", TEST)):
        for stem in stems:
            rng = np.random.default_rng(sum(stem.encode()))
            for kind, suffix, picture in zip(
                ("sar_images", "fronts", "zones"), ("", "_front", "_zones"), scene(rng), strict=True
            ):
                path = root / kind / split / f"{stem}{suffix}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)


def scene(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return image, front and zones: rock above, a glacier that flows to the right, the ocean, and a dark corner."""
    height, width = SHAPE
    y, x = np.indices(SHAPE)
    phase, middle = rng.uniform(0, 6), rng.uniform(0.6, 0.7) * width
    end = middle + 4 * np.sin(y / 6 + phase)
    zones = np.where(x < end, GLACIER, OCEAN)
    zones[y < 9 + 3 * np.sin(x / 8 + phase)] = ROCK
    zones[(height - y) + x < 11] = NA
    front = (zones == OCEAN) & ndimage.binary_dilation(zones == GLACIER)
    grey = np.choose(np.searchsorted(sorted(GREY), zones), [GREY[zone] for zone in sorted(GREY)])
    image = np.where(zones == NA, 0, np.clip(rng.normal(grey, 15), 1, 255))
    return image.astype(np.uint8), np.where(front, 255, 0).astype(np.uint8), zones.astype(np.uint8)


def widened(line: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a line that is five pixels wide, as the network learns it."""
    wide: NDArray[np.bool_] = ndimage.binary_dilation(line, np.ones((FRONT_WIDTH, FRONT_WIDTH), bool))
    return wide


def boundary_of(zones: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the glacier pixels beside another zone; the outside of the image is none."""
    inner: NDArray[np.bool_] = ndimage.binary_erosion(zones == GLACIER, border_value=1)
    return (zones == GLACIER) & ~inner


def names_of(experiment: Experiment) -> set[str]:
    return {f"{stem}_{kind}.png" for stem in TEST for kind in experiment.pictures}


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.array(picture)
