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
from evaluation.arguments import parse_predictions
from evaluation.evaluate import main
from evaluation.metrics import choose_metrics
from nnunet_ext.errors import InputError
from tests.evaluation.label_folders import read_table, write_dataset_json, write_folder

METRIC_NAMES = [metric.name for metric in choose_metrics(["all"])]
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
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split()[:4] == ["model", "class", "Dice", "IoU"]
    assert printed[3].split()[:4] == ["prediction", "stone", "0.0000", "0.0000"]
    assert printed[3].split()[-2:] == ["1", "0"]

    rows = read_table(tmp_path / "out" / "cases.csv")
    assert list(rows[0]) == ["model", "case", "task", "class", "metric", "value", "empty"]
    assert [tuple(row.values()) for row in rows if row["metric"] == "Dice"] == [
        ("prediction", "x", "", "root", "Dice", "0.4", "none"),
        ("prediction", "x", "", "stone", "Dice", "0.0", "pred"),
        ("prediction", "y", "", "root", "Dice", "nan", "both"),
        ("prediction", "y", "", "stone", "Dice", "nan", "both"),
    ]
    summary = read_table(tmp_path / "out" / "summary.csv")
    metrics = [row["metric"] for row in summary]
    assert metrics == 2 * [name for name in METRIC_NAMES if name != "front_error"]
    stone = summary[len(metrics) // 2]
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
    assert [row["model"] for row in rows if row["metric"] == "Dice"] == 4 * ["good"] + 4 * ["p"]
    compared = read_table(tmp_path / "out" / "comparison.csv")
    assert {(row["first"], row["second"]) for row in compared} == {("good", "p")}


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
        *("cases.csv", "manifest.json", "report.html", "summary.csv", "summary.json")
    ]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from evaluation.evaluate import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('numpy', 'scipy', 'SimpleITK', 'torch', 'nnunetv2', 'tqdm', 'jinja2', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - start < 5


def options(tmp_path, *more):
    g, p, out = dataset(tmp_path)
    return ["-p", p, "-g", g, "-o", out, "-np", "1", *more]


def values(tmp_path, metric, class_name="stone"):
    rows = read_table(tmp_path / "out" / "summary.csv")
    return [row for row in rows if row["metric"] == metric and row["class"] == class_name]


def test_a_missed_class_counts_the_diagonal_unless_told_otherwise(tmp_path):
    assert main(options(tmp_path, "--metrics", "HD")) == 0
    (row,) = values(tmp_path, "HD")
    # Spacing 3, 2, 1 mm along z, y, x; case y has no stone at all, which counts 0.
    assert float(row["mean"]) == pytest.approx(np.hypot(np.hypot(2 * 3, 4 * 2), 4 * 1) / 2)
    assert (row["n"], row["n_raw"], row["mean_raw"]) == ("2", "1", "0.0")
    assert main(options(tmp_path / "second", "--metrics", "HD", "--penalty", "9")) == 0
    assert values(tmp_path / "second", "HD")[0]["mean"] == "4.5"
    raw = [row["value"] for row in read_table(tmp_path / "out" / "cases.csv") if row["class"] == "stone"]
    assert raw == ["nan", "0.0"]


def test_groups_come_from_tables_and_names(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,site\nx,north\ny,south\n")
    assert main(options(tmp_path, "--group-by", f"{table}:site", "letter=^.", "--metrics", "Dice")) == 0
    rows = values(tmp_path, "Dice", "root")
    assert [(row["grouping"], row["group"], row["mean"]) for row in rows] == [
        ("all", "all", "0.4"),
        ("site", "north", "0.4"),
        ("site", "south", "nan"),
        ("letter", "x", "0.4"),
        ("letter", "y", "nan"),
    ]
    inputs = json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"]
    assert str(table) in {record["path"] for record in inputs}
    table.write_text("case,site\nx,north\n")
    before = (tmp_path / "out" / "summary.csv").read_bytes()
    assert main([*options(tmp_path / "b"), "--group-by", f"{table}:site"]) == 1
    assert not (tmp_path / "b" / "out").exists()
    assert (tmp_path / "out" / "summary.csv").read_bytes() == before


def test_a_trained_model_is_scored_by_fold(tmp_path):
    model = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    cases = {str(number): REF for number in range(4)}
    g = write_folder(tmp_path / "g", cases | {"not_yet": REF})
    for fold, members in (("0", "01"), ("10", "2"), ("2", "3"), ("all", "0123")):
        write_folder(model / f"fold_{fold}" / "validation", dict.fromkeys(members, REF if fold == "0" else PRED))
    write_dataset_json(model, {"background": 0, "root": 1, "stone": 2})
    assert main(["-p", str(model), "-g", str(g), "-o", str(tmp_path / "out"), "--metrics", "Dice", "-np", "1"]) == 0
    assert [(row["grouping"], row["group"], row["n"], row["mean"]) for row in values(tmp_path, "Dice", "root")] == [
        ("all", "all", "4", "0.7"),
        ("fold", "0", "2", "1.0"),
        ("fold", "2", "1", "0.4"),
        ("fold", "10", "1", "0.4"),
    ]
    write_folder(model / "fold_2" / "validation", {"0": PRED})
    again = ["-p", str(model), "-g", str(g), "-o", str(tmp_path / "again"), "-np", "1"]
    assert main(again) == 1
    assert not (tmp_path / "again").exists()


def test_tolerances_surfaces_and_boundaries_reach_the_files(tmp_path):
    more = ["--tolerances", "0.5", "3", "--surface", "mesh", "--boundary-distance", "2.5", "--worst", "0"]
    assert main(options(tmp_path, *more)) == 0
    metrics = {row["metric"] for row in read_table(tmp_path / "out" / "cases.csv")}
    assert {"NSD_0.5mm", "NSD_3mm"} < metrics
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["surface"] == "mesh"
    arguments = json.loads((tmp_path / "out" / "manifest.json").read_text())["arguments"]
    assert arguments["tolerances"] == [0.5, 3.0]
    assert arguments["boundary_distance"] == 2.5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--penalty", "-1"], "--penalty -1: expected a number of mm from 0"),
        (["--boundary-distance", "nan"], "--boundary-distance nan: expected"),
        (["--tolerances", "-2"], "tolerances"),
        (["--worst", "-1"], "--worst -1: expected"),
        (["--lines", "river"], "--lines: ['river']"),
        (["--group-by", "("], "("),
    ],
)
def test_unusable_options_write_nothing(tmp_path, capsys, more, message):
    assert main(options(tmp_path, *more)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_confusion_matrix_counts_every_annotated_voxel(tmp_path):
    assert main(options(tmp_path, "--metrics", "Dice")) == 0
    (matrix,) = json.loads((tmp_path / "out" / "summary.json").read_text())["confusion"]
    assert matrix["names"] == ["background", "root", "stone"]
    assert matrix["counts"] == [[22 + 32, 4, 0], [2, 2, 0], [2, 0, 0]]


def test_the_report_shows_the_worst_case_with_its_image(tmp_path):
    g, p, out = dataset(tmp_path)
    write_folder(tmp_path / "i", {"x_0000": REF * 40, "y_0000": REF})
    assert main(["-p", p, "-g", g, "-o", out, "-np", "1", "--images", str(tmp_path / "i"), "--worst", "1"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "mean Dice 0.200" in page
    (tmp_path / "i" / "x_0000.nii.gz").unlink()
    assert main(["-p", p, "-g", g, "-o", f"{out}2", "-np", "1", "--images", str(tmp_path / "i")]) == 1
    assert not Path(f"{out}2").exists()
