"""From the pictures of the CaFFe benchmark to front errors, with stock nnU-Net commands in between."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from nnunet_ext.demo.run import environment
from tests.builders import SHARED_DATA
from tests.end_to_end.commands import few_iterations, run_command
from tests.evaluation.label_folders import read_table

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.end_to_end

PLANS = "nnUNetStackedLabelPlansCPU"
KINDS = {"sar_images": "", "fronts": "_front", "zones": "_zones"}
TURNS = {"0": (), "1": (1,), "2": (0,)}
"""Axes along which the three pictures are flipped, by the first digit of the orbit."""


@pytest.mark.skipif(not (SHARED_DATA / "caffe").is_dir(), reason="real data are not there")
def test_pictures_of_three_glaciers_go_all_the_way_to_front_errors(tmp_path: Path) -> None:
    variables = environment(tmp_path) | {"nnUNet_def_n_proc": "1"} | few_iterations(25)
    raw = tmp_path / "data_raw"
    stems = write_flipped_pictures(raw)
    run_command(["nnunet_ext", "convert", "caffe", "--root", raw, "--task", "mtl", "-np", 1], variables)
    dataset = tmp_path / "nnUNet_raw" / "Dataset503_CaFFeMTL"
    assert len(list((dataset / "imagesTr").iterdir())) == 6
    plan = [
        "nnUNetv2_plan_and_preprocess",
        "-d",
        503,
        "-pl",
        "StackedLabelPlannerCPU",
        "-c",
        "2d",
        "-npfp",
        1,
        "-np",
        1,
    ]
    run_command([*plan, "--verify_dataset_integrity"], variables)

    exported = []
    for name in ("early", "late"):
        trainer = ["-tr", f"nnUNetTrainerMTL{name}_1epochs", "-p", PLANS, "-device", "cpu"]
        run_command(["nnUNetv2_train", 503, "2d", 0, *trainer], variables)
        predicted = tmp_path / f"predicted_{name}"
        model = ["-d", 503, "-c", "2d", "-f", 0, "-npp", 1, "-nps", 1]
        run_command(["nnUNetv2_predict", "-i", dataset / "imagesTs", "-o", predicted, *model, *trainer], variables)
        pictures = tmp_path / name
        run_command(["nnunet_ext", "export", "caffe", "-i", predicted, "-o", pictures, "-np", 1])
        assert {path.name for path in pictures.glob("*.png")} == {
            f"{stem}_{kind}.png" for stem in stems["test"] for kind in ("front", "zone")
        }
        for path in pictures.glob("*_zone.png"):
            assert set(np.unique(Image.open(path))) <= {0, 64, 127, 254}
        exported.append(f"{name}={pictures}")

    one_command_goes_from_images_to_fronts(tmp_path, raw / "sar_images" / "test", stems["test"])
    truth = tmp_path / "truth"
    run_command(["nnunet_ext", "export", "caffe", "-i", dataset / "labelsTs", "-o", truth, "-np", 1])
    for stem in stems["test"]:
        np.testing.assert_array_equal(
            np.asarray(Image.open(truth / f"{stem}_zone.png")),
            np.asarray(Image.open(raw / "zones" / "test" / f"{stem}_zones.png")),
        )
    references = ["-g", raw / "fronts" / "test", "--zones", raw / "zones" / "test"]
    scores = tmp_path / "scores"
    # At the 7 m that their names say, the fronts of these small pictures are shorter than the 750 m of the benchmark.
    words = ["nnunet_ext", "evaluate_fronts", "-p", *exported, f"truth={truth}", *references, "--min-length", 70]
    run_command([*words, "-o", scores, "-np", 1])
    rows = read_table(scores / "images.csv")
    assert {(row["model"], row["case"]) for row in rows} == {
        (model, stem) for model in ("early", "late", "truth") for stem in stems["test"]
    }
    summary = json.loads((scores / "summary.json").read_text())
    assert summary["truth"]["all"]["no_front"] == 0
    # The dilated front, thinned, lies where the line was; its ends may be two pixels of 7 m shorter.
    assert summary["truth"]["all"]["mde"] < 7
    for model in ("early", "late"):
        assert summary[model]["all"]["images"] == 3
    pictures = ["--images", raw / "sar_images" / "test", "-p", f"truth={truth}", "-g", raw / "fronts" / "test"]
    run_command(
        ["nnunet_ext", "front_plots", "-t", scores / "images.csv", *pictures, "-o", tmp_path / "plots", "-np", 1]
    )
    assert len(list((tmp_path / "plots" / "overlay").rglob("*.png"))) == 3


def one_command_goes_from_images_to_fronts(folder: Path, images: Path, stems: list[str]) -> None:
    """The zones are those of nnU-Net's own command; what is there is not predicted again."""
    model = folder / "nnUNet_results" / "Dataset503_CaFFeMTL" / f"nnUNetTrainerMTLearly_1epochs__{PLANS}__2d"
    words = [
        "nnunet_ext",
        "calving_front",
        "-i",
        images,
        "-m",
        model,
        "-o",
        folder / "fronts",
        "-device",
        "cpu",
        "-np",
        1,
    ]
    run_command([*words, "--min-length", 70], {"OMP_NUM_THREADS": "1"})
    kinds = ("_zone.png", "_front.png", "_overlay.png", ".geojson")
    files = {f"{stem}{kind}": folder / "fronts" / f"{stem}{kind}" for stem in stems for kind in kinds}
    written = {name: path.stat().st_mtime_ns for name, path in files.items()}
    for stem in stems:
        ours, stock = (Image.open(place / f"{stem}_zone.png") for place in (folder / "fronts", folder / "early"))
        assert np.mean(np.asarray(ours) == np.asarray(stock)) > 0.999
    assert {row["stem"] for row in read_table(folder / "fronts" / "fronts.csv")} == set(stems)
    run_command([*words, "--min-length", 70], {"OMP_NUM_THREADS": "1"})
    assert {name: path.stat().st_mtime_ns for name, path in files.items()} == written


def write_flipped_pictures(root: Path) -> dict[str, list[str]]:
    """Write the pictures as they are and flipped to the side as training cases, and upside down as test cases."""
    stems: dict[str, list[str]] = {"train": [], "test": []}
    source = SHARED_DATA / "caffe" / "data_raw"
    for path in sorted((source / "sar_images" / "train").glob("*.png")):
        for digit, axes in TURNS.items():
            part = "test" if digit == "2" else "train"
            stem = f"{path.stem[:-3]}{digit}{path.stem[-2:]}"
            stems[part].append(stem)
            for kind, suffix in KINDS.items():
                picture = np.asarray(Image.open(source / kind / "train" / f"{path.stem}{suffix}.png"))
                target = root / kind / part / f"{stem}{suffix}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.flip(picture, axes)).save(target)
    return stems


@pytest.mark.skipif(not (SHARED_DATA / "caffe_predictions").is_dir(), reason="real data are not there")
def test_front_errors_between_two_stages_of_a_published_training(tmp_path: Path) -> None:
    """Predictions stacked in NIfTI become pictures, and the earlier ones are measured against the later ones."""
    for stage in ("1", "7"):
        stacked = tmp_path / f"stacked{stage}" / "COL_2011-11-13_TDX_7_1_092.nii.gz"
        stacked.parent.mkdir()
        shutil.copy(SHARED_DATA / "caffe_predictions" / f"COl_{stage}.nii.gz", stacked)
        run_command(["nnunet_ext", "export", "caffe", "-i", stacked.parent, "-o", tmp_path / stage, "-np", 1])
        for kind in ("front", "zone", "boundary"):
            ours = np.asarray(Image.open(tmp_path / stage / f"COL_2011-11-13_TDX_7_1_092_{kind}.png"))
            theirs = Image.open(SHARED_DATA / "caffe_predictions" / f"COl_{stage}_{kind}.png")
            np.testing.assert_array_equal(ours, np.asarray(theirs.convert("L")))
    later = tmp_path / "labels"
    for source in ("front", "zone"):
        # The early stage has found pieces of a front alone, all of them shorter than 750 m.
        more = ["--from", source, "--min-length", 0, "-np", 1]
        run_command(
            ["nnunet_ext", "evaluate_fronts", "-p", tmp_path / "1", "-g", tmp_path / "7", *more, "-o", later / source]
        )
        (row,) = read_table(later / source / "images.csv")
        assert (row["glacier"], row["season"], row["resolution"]) == ("COL", "winter", "7")
        total = float(row["sum_pred_to_label"]) + float(row["sum_label_to_pred"])
        assert float(row["mean"]) == pytest.approx(total / (int(row["n_pred"]) + int(row["n_label"])))
        summary = json.loads((later / source / "summary.json").read_text())["prediction"]
        assert summary["all"]["mde"] == pytest.approx(float(row["mean"]))
        assert 500 < summary["all"]["mde"] < 900
        assert summary["glacier"]["COL"]["mde"] == summary["all"]["mde"]
