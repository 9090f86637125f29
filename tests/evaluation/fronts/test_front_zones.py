"""Scores of zones: the example of the specification, absent zones, means and pooled scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.front_scores.zones import zone_rows
from evaluation.histogram import joint_histogram
from nnunet_ext.errors import BadCasesError
from tests.evaluation.fronts.builders import B, C, evaluated, read_rows, read_summary, row, write, write_front

LEVELS = np.array([0, 64, 127, 254])


def scores(label, prediction):
    rows = zone_rows("m", "c", joint_histogram(np.array(label), np.array(prediction)))
    return {entry.zone: (entry.precision, entry.recall, entry.f1, entry.iou) for entry in rows}


def write_zones(folder, stem, label, prediction):
    write(folder / "zones" / f"{stem}_zones.png", LEVELS[np.array(label)])
    write(folder / "p" / f"{stem}_zone.png", LEVELS[np.array(prediction)])
    write_front(folder / "g", stem, row(0, [0], shape=np.shape(label)))


def test_the_example_of_the_specification():
    found = scores([[0, 1], [2, 3]], [[0, 1], [2, 2]])
    assert found["macro"] == pytest.approx((0.625, 0.75, 0.6667, 0.625), abs=5e-5)
    assert found["ocean"] == (0, 0, 0, 0)
    assert found["glacier"] == pytest.approx((0.5, 1, 2 / 3, 0.5))


def test_a_zone_absent_from_both_has_no_value_and_is_skipped():
    found = scores([[1, 2], [2, 2]], [[1, 2], [2, 1]])
    assert all(math.isnan(value) for zone in ("na", "ocean") for value in found[zone])
    assert found["macro"] == pytest.approx(tuple(np.mean([found["rock"], found["glacier"]], axis=0)))


def test_the_mean_without_na_leaves_it_out():
    found = scores([[0, 1], [2, 3]], [[0, 1], [2, 2]])
    assert found["macro_without_na"][3] == pytest.approx((1 + 0.5 + 0) / 3)


def test_images_without_any_zone_but_na_have_no_mean_without_it():
    assert all(math.isnan(value) for value in scores([[0]], [[0]])["macro_without_na"])


def test_the_command_writes_scores_per_image_their_mean_and_pooled(tmp_path):
    write_zones(tmp_path, B, [[0, 1], [2, 3]], [[0, 1], [2, 2]])
    write_zones(tmp_path, C, [[1, 1], [2, 2]], [[1, 1], [2, 2]])
    evaluated(tmp_path / "out", "-p", tmp_path / "p", "-g", tmp_path / "g", "--zones", tmp_path / "zones")
    images = {(entry["case"], entry["zone"]): entry for entry in read_rows(tmp_path / "out" / "zones.csv")}
    assert float(images[B, "macro"]["iou"]) == 0.625
    assert images[C, "na"]["iou"] == "nan"
    found = read_summary(tmp_path / "out")["prediction"]["zones"]
    # Ocean is in the first image alone; glacier has an IoU of 1/2 and 1, and of 3/4 pooled.
    assert found["mean"]["ocean"] == {"precision": 0, "recall": 0, "f1": 0, "iou": 0, "images": 1}
    assert (found["mean"]["glacier"]["iou"], found["mean"]["glacier"]["images"]) == (0.75, 2)
    assert found["mean"]["macro"]["iou"] == pytest.approx((0.625 + 1) / 2)
    assert found["pooled"]["glacier"]["iou"] == pytest.approx(3 / 4)
    assert found["pooled"]["rock"]["iou"] == 1
    assert len(read_rows(tmp_path / "out" / "zones_summary.csv")) == 12


def test_zones_are_compared_beside_fronts_of_masks(tmp_path):
    write_zones(tmp_path, B, [[0, 1], [2, 3]], [[0, 1], [2, 2]])
    write_front(tmp_path / "p", B, row(0, [0], shape=(2, 2)))
    evaluated(tmp_path / "out", "-p", tmp_path / "p", "-g", tmp_path / "g", "--zones", tmp_path / "zones")
    found = read_summary(tmp_path / "out")["prediction"]
    assert found["all"]["mde"] == 0
    assert found["zones"]["pooled"]["macro"]["iou"] == 0.625


def test_a_model_of_the_front_alone_may_stand_beside_one_with_zones(tmp_path):
    write_zones(tmp_path, B, [[0, 1], [2, 3]], [[0, 1], [2, 2]])
    for model in ("p", "alone"):
        write_front(tmp_path / model, B, row(0, [0], shape=(2, 2)))
    models = (f"both={tmp_path / 'p'}", f"alone={tmp_path / 'alone'}")
    evaluated(tmp_path / "out", "-p", *models, "-g", tmp_path / "g", "--zones", tmp_path / "zones")
    assert {entry["model"] for entry in read_rows(tmp_path / "out" / "images.csv")} == {"both", "alone"}
    assert {entry["model"] for entry in read_rows(tmp_path / "out" / "zones.csv")} == {"both"}
    found = read_summary(tmp_path / "out")
    assert found["both"]["zones"]["pooled"]["macro"]["iou"] == 0.625
    assert not found["alone"].get("zones")


def test_missing_zones_are_named(tmp_path):
    from evaluation.evaluate_fronts import evaluate_fronts

    write_zones(tmp_path, B, [[0, 1], [2, 3]], [[0, 1], [2, 2]])
    write_front(tmp_path / "fronts_alone", B, row(0, [0], shape=(2, 2)))
    # A mask of a front without suffix is no map of zones either.
    write(tmp_path / "label_maps" / f"{B}.png", row(0, [0], shape=(2, 2)))
    for folder in ("fronts_alone", "label_maps"):
        with pytest.raises(BadCasesError, match=f"image '{B}' has no predicted zones"):
            evaluate_fronts(
                {"m": tmp_path / folder}, tmp_path / "g", tmp_path / "out", zones=tmp_path / "zones", min_length=0
            )
