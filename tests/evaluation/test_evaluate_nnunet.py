"""summary.json holds what nnU-Net's own evaluation computes."""

from __future__ import annotations

import json
import math
import multiprocessing.dummy
import warnings
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from evaluation.evaluate import evaluate
from nnunet_ext.imageio import read_volume
from tests.builders import SHARED_DATA
from tests.evaluation.label_folders import random_labels, write_folder, write_label

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ("foreground_mean", "mean", "metric_per_case")


def nnunet_summary(labels: Path, predictions: Path, regions_or_labels, ignore, output: Path):
    """Run nnU-Net's evaluation, with threads in place of its processes."""
    from nnunetv2.evaluation import evaluate_predictions
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = SimpleNamespace(get_context=lambda _: multiprocessing.dummy)
        patch.setattr(evaluate_predictions, "multiprocessing", threads)
        evaluate_predictions.compute_metrics_on_folder(
            *(str(labels), str(predictions), str(output), SimpleITKIO(), ".nii.gz"),
            regions_or_labels,
            ignore,
            num_processes=1,
        )
    return json.loads(output.read_text())


def assert_equal(found, expected):
    """Compare nested results; what nnU-Net does not have may be there as well."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_equal(ours, theirs)
    elif isinstance(expected, str):
        assert found == expected
    else:
        assert found == pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("labels", "regions_or_labels", "ignore"),
    [
        ({"background": 0, "a": 1, "b": 2, "never": 3}, [1, 2, 3], None),
        ({"background": 0, "a": 1, "b": 2, "ignore": 3}, [1, 2], 3),
        ({"background": 0, "whole": [1, 2], "core": [2], "single": 1}, [(1, 2), (2,), 1], None),
        ({"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}, [(1, 2), 2], 3),
        (
            {"background": 0, "front/front": [3, 4, 5], "zones/rock": [1, 4], "zones/ice": [2, 5], "ignore": 6},
            [(3, 4, 5), (1, 4), (2, 5)],
            6,
        ),
    ],
    ids=["plain", "ignore", "regions", "regions-ignore", "tasks"],
)
def test_values_are_those_of_nnunet(tmp_path, labels, regions_or_labels, ignore):
    tasks = {name.split("/")[0]: {} for name in labels if "/" in name}
    known = sorted({0}.union(*(np.atleast_1d(value).tolist() for value in labels.values())) - {ignore})
    values = known if ignore is None else [*known, ignore]
    references = {f"case{i}": random_labels(i, values) for i in range(3)}
    predictions = {f"case{i}": random_labels(10 + i, known) for i in range(3)}
    references["empty"] = np.zeros_like(references["case0"])
    predictions["empty"] = np.zeros_like(references["case0"])
    references["missed"] = references["case0"]
    predictions["missed"] = np.zeros_like(references["case0"])
    g, p = write_folder(tmp_path / "g", references), write_folder(tmp_path / "p", predictions)
    classes = tmp_path / "classes.json"
    classes.write_text(json.dumps({"labels": labels, "tasks": tasks}))

    evaluate({"prediction": p}, g, tmp_path / "out", classes=classes)
    written = {path.name for path in (tmp_path / "out").iterdir() if path.stat().st_size}
    assert written == {"cases.csv", "summary.csv", "summary.json", "report.html", "manifest.json"}
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    expected = nnunet_summary(g, p, regions_or_labels, ignore, tmp_path / "nnunet.json")
    assert set(expected) == set(PARTS)
    assert_equal(found, expected)
    assert list(found["mean"]) == [str(r) for r in regions_or_labels]

    evaluate({"prediction": p}, g, tmp_path / "out0", classes=classes, background=True, metrics=["Dice"])
    with_background = json.loads((tmp_path / "out0" / "summary.json").read_text())
    assert_equal(with_background, expected)
    of_zero = nnunet_summary(g, p, [0, *regions_or_labels], ignore, tmp_path / "nnunet0.json")
    assert_equal(with_background, of_zero)


def test_hippocampus_labels_against_themselves_shifted(tmp_path):
    source = SHARED_DATA / "hippocampus" / "labels"
    if not source.is_dir():
        pytest.skip(f"no test data in {source}")
    (tmp_path / "g").mkdir()
    for path in sorted(source.iterdir())[:3]:
        array, _ = read_volume(path)
        write_label(tmp_path / "g" / path.name, array)
        write_label(tmp_path / "p" / path.name, np.roll(array, 2, axis=1))
    evaluate({"prediction": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", label_values=[1, 2])
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    expected = nnunet_summary(tmp_path / "g", tmp_path / "p", [1, 2], None, tmp_path / "nnunet.json")
    assert_equal(found, expected)
    assert 0.5 < found["foreground_mean"]["Dice"] < 0.95
    assert not math.isnan(found["pooled"]["1"]["Dice"])
