"""The command line of ``evaluate`` and the files it writes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import evaluation.evaluate
from evaluation.evaluate import main, parse_predictions
from nnunet_ext.errors import InputError
from tests.evaluation.label_folders import read_table, write_dataset_json, write_folder

REF = np.zeros((2, 4, 4), np.uint8)
REF[0, 0] = 1
REF[1, 0, :2] = 2
PRED = np.zeros_like(REF)
PRED[0, 0, :2] = 1
PRED[1, 1] = 1


def dataset(tmp_path):
    """Write two cases: in ``x`` label 1 half found, label 2 missed; in ``y`` nothing but background."""
    empty = np.zeros_like(REF)
    g = write_folder(tmp_path / "g", {"x": REF, "y": empty})
    p = write_folder(tmp_path / "p", {"x": PRED, "y": empty})
    write_dataset_json(p, {"background": 0, "root": 1, "stone": 2})
    return str(g), str(p), str(tmp_path / "out")


def test_tables_and_summary(tmp_path, capsys):
    g, p, out = dataset(tmp_path)
    assert main(["-p", p, "-g", g, "-o", out, "-np", "1"]) == 0
    assert "stone  Dice    1  0.0000  nan  0.0000" in capsys.readouterr().out

    rows = read_table(tmp_path / "out" / "cases.csv")
    assert list(rows[0]) == ["model", "case", "task", "class", "metric", "value", "empty"]
    assert [tuple(row.values()) for row in rows if row["metric"] == "Dice"] == [
        ("prediction", "x", "", "root", "Dice", "0.4", "none"),
        ("prediction", "x", "", "stone", "Dice", "0.0", "pred"),
        ("prediction", "y", "", "root", "Dice", "nan", "both"),
        ("prediction", "y", "", "stone", "Dice", "nan", "both"),
    ]
    summary = read_table(tmp_path / "out" / "summary.csv")
    assert [row["metric"] for row in summary] == ["Dice", "IoU", "Dice", "IoU"]
    stone = summary[2]
    assert (stone["class"], stone["n"], stone["n_empty_pred"], stone["n_empty_both"]) == (
        "stone",
        "1",
        "1",
        "1",
    )
    assert (summary[1]["mean"], summary[1]["std"], summary[1]["pooled"]) == ("0.25", "nan", "0.25")

    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["model"] == "prediction"
    assert content["pooled"]["1"]["TP"] == 2
    assert content["empty"]["2"] == {"ref": 0, "pred": 1, "both": 1}
    assert content["classes"]["2"] == {"name": "stone", "task": "", "values": [2]}


def test_manifest_names_every_input(tmp_path):
    g, p, out = dataset(tmp_path)
    assert main(["-p", p, "-g", g, "-o", out, "-np", "1"]) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    inputs = {record["path"]: record for record in manifest["inputs"]}
    files = [*Path(g).iterdir(), *Path(p).iterdir()]
    assert set(inputs) == {str(file) for file in files}
    for file in files:
        content = file.read_bytes()
        assert inputs[str(file)]["size"] == len(content)
        assert inputs[str(file)]["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["arguments"]["predictions"] == {"prediction": p}
    assert manifest["versions"]["nnunet_ext"]


def test_std_median_and_pooled_over_cases(tmp_path):
    ref = np.zeros((1, 2, 4), np.uint8)
    ref[0, 0] = 1
    cases = {"a": 4, "b": 2, "c": 1}
    preds = {case: ref * (np.arange(4) < width) for case, width in cases.items()}
    write_folder(tmp_path / "g", dict.fromkeys(cases, ref))
    write_folder(tmp_path / "p", preds)
    args = ["-p", str(tmp_path / "p"), "-g", str(tmp_path / "g"), "-o", str(tmp_path / "out"), "-np", "1"]
    assert main([*args, "--labels", "1", "--metrics", "iou"]) == 0
    (row,) = read_table(tmp_path / "out" / "summary.csv")
    values = [1, 0.5, 0.25]
    assert float(row["mean"]) == pytest.approx(np.mean(values))
    assert float(row["std"]) == pytest.approx(np.std(values, ddof=1))
    assert (float(row["median"]), float(row["min"]), float(row["max"])) == (0.5, 0.25, 1)
    assert float(row["pooled"]) == pytest.approx(7 / 12)


def test_background_is_a_class_of_its_own(tmp_path):
    g, p, out = dataset(tmp_path)
    assert main(["-p", p, "-g", g, "-o", out, "--background", "--metrics", "Dice", "-np", "1"]) == 0
    rows = read_table(tmp_path / "out" / "summary.csv")
    assert [row["class"] for row in rows] == ["background", "root", "stone"]
    assert float(rows[0]["mean"]) == pytest.approx((2 * 22 / (26 + 26) + 1) / 2)


def test_several_models_in_parallel(tmp_path):
    g, p, out = dataset(tmp_path)
    assert main(["-p", f"good={g}", p, "-g", g, "-o", out, "-np", "2"]) == 0
    models = json.loads((tmp_path / "out" / "summary.json").read_text())["models"]
    assert list(models) == ["good", "p"]
    assert models["good"]["foreground_mean"]["Dice"] == 1
    assert models["p"]["mean"]["1"]["Dice"] == pytest.approx(0.4)
    rows = read_table(tmp_path / "out" / "cases.csv")
    assert [row["model"] for row in rows].count("good") == 8


def test_one_model_is_named_as_asked(tmp_path):
    assert parse_predictions(["x=folder"]) == {"x": Path("folder")}
    assert parse_predictions(["folder"]) == {"prediction": Path("folder")}
    assert parse_predictions(["a/x=1/folder"]) == {"prediction": Path("a/x=1/folder")}
    assert parse_predictions(["x=a/y=1"]) == {"x": Path("a/y=1")}
    odd = tmp_path / "t=1"
    odd.mkdir()
    assert parse_predictions([str(odd), "r/b"]) == {"t=1": odd, "b": Path("r/b")}


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "t=1").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_predictions(["t=1"]) == {"prediction": Path("t=1")}


@pytest.mark.parametrize(
    ("values", "message"),
    [(["a/p", "b/p"], "both are model 'p'"), (["x=a", "x=b"], "'x'"), (["=a"], "name before")],
)
def test_unusable_names(values, message):
    with pytest.raises(InputError, match=message):
        parse_predictions(values)


def test_errors_end_in_status_1(tmp_path, capsys):
    assert main(["-p", str(tmp_path / "p"), "-g", str(tmp_path), "-o", str(tmp_path / "out"), "--labels", "1"]) == 1
    assert "no such folder" in capsys.readouterr().err


def test_runs_as_a_script_with_processes(tmp_path):
    g, p, out = dataset(tmp_path)
    script = evaluation.evaluate.__file__
    command = [sys.executable, script, "-p", p, "-g", g, "-o", out, "-np", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in Path(out).iterdir()) == [
        *("cases.csv", "manifest.json", "summary.csv", "summary.json")
    ]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from evaluation.evaluate import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('numpy', 'SimpleITK', 'torch', 'nnunetv2', 'tqdm') if name in sys.modules])"
    )
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - start < 5
