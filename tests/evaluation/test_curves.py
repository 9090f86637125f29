"""The command ``curves`` and the files it writes."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

import evaluation.curves
from evaluation.curves import curves, main, parse_models
from evaluation.training.folders import FoldCurves, read_models
from evaluation.training.logs import LOG_VARIANCE, Curve
from evaluation.training.rows import curve_order, mean_rows
from nnunet_ext.errors import BadCasesError, InputError
from tests.evaluation.training.model_folders import (
    STAMP,
    epoch_lines,
    nnunet_logging,
    read_rows,
    write_checkpoint,
    write_classes,
    write_log,
    write_text,
)

MODEL = "nnUNetTrainer__nnUNetPlans__2d"
LOSS = Curve("train_loss")


def model_of_two_folds(tmp_path):
    write_log(tmp_path / MODEL / "fold_0", {0: 0.25, 1: 0.125, 2: 0.0})
    write_log(tmp_path / MODEL / "fold_1", {0: 0.75, 1: 0.375})
    write_classes(tmp_path / MODEL, {"background": 0, "stone": 2, "root": 1, "ignore": 3})
    return tmp_path / MODEL


def fold(losses, *, name="0", model="m"):
    return FoldCurves(model, name, {number: {Curve("train_loss"): loss} for number, loss in losses.items()}, ())


# --- the files


def test_tables_of_a_model(tmp_path, capsys):
    assert main(["-i", str(model_of_two_folds(tmp_path)), "-o", str(tmp_path / "out")]) == 0
    assert f"{MODEL}, fold 1: 2 epochs, last 1, from training_log" in capsys.readouterr().out
    table = tmp_path / "out" / "curves.csv"
    assert table.read_text().splitlines()[0] == "model,fold,epoch,curve,class_or_task,value"
    assert read_rows(table, "model", "fold", "epoch", "class_or_task", "value", curve="val_loss") == [
        (MODEL, "0", "0", "", "0.25"),
        (MODEL, "0", "1", "", "0.125"),
        (MODEL, "0", "2", "", "0.0"),
        (MODEL, "1", "0", "", "0.75"),
        (MODEL, "1", "1", "", "0.375"),
    ]
    assert read_rows(table, "class_or_task", "value", curve="pseudo_dice", fold="1", epoch="0") == [
        ("root", "0.5"),
        ("stone", "0.7"),
    ]
    assert read_rows(table, "curve", "class_or_task", "value", fold="1", epoch="1")[:2] == [
        ("train_loss", "", "0.375"),
        ("val_loss", "", "0.375"),
    ]


def test_mean_and_sample_deviation_over_the_folds_that_reach_an_epoch(tmp_path):
    assert main(["-i", str(model_of_two_folds(tmp_path)), "-o", str(tmp_path / "out")]) == 0
    table = tmp_path / "out" / "curves_mean.csv"
    assert table.read_text().splitlines()[0] == "model,epoch,curve,class_or_task,mean,std,n"
    rows = read_rows(table, "epoch", "mean", "std", "n", curve="train_loss")
    assert [(row[0], row[1], row[3]) for row in rows] == [("0", "0.5", "2"), ("1", "0.25", "2"), ("2", "0.0", "1")]
    assert float(rows[0][2]) == pytest.approx(0.5 / math.sqrt(2))
    assert float(rows[1][2]) == pytest.approx(0.25 / math.sqrt(2))
    assert rows[2][2] == "nan"


def test_nan_in_one_fold_does_not_count_and_in_all_folds_stays():
    folds = [fold({0: math.nan, 1: math.nan}), fold({0: 0.5, 1: math.nan}, name="1")]
    first, second = mean_rows(folds)
    assert (first.mean, first.n) == (0.5, 1)
    assert math.isnan(second.mean)
    assert second.n == 0


def test_an_infinite_loss_makes_an_infinite_mean():
    [row] = mean_rows([fold({0: math.inf}), fold({0: 1.0}, name="1")])
    assert row.mean == math.inf
    assert math.isnan(row.std)
    assert row.n == 2


def test_the_whole_comes_before_its_tasks_and_known_curves_before_others():
    found = [Curve("grad_norm"), Curve("val_loss", "front"), Curve("val_loss"), Curve("train_loss", "b"), LOSS]
    read = FoldCurves("m", "0", {0: dict.fromkeys(found, 1.0)}, ())
    assert curve_order([read]) == [
        LOSS,
        Curve("train_loss", "b"),
        Curve("val_loss"),
        Curve("val_loss", "front"),
        found[0],
    ]


def test_models_are_not_averaged_with_each_other():
    rows = mean_rows([fold({0: 1.0}, model="b"), fold({0: 3.0}, model="a")])
    assert [(row.model, row.mean, row.n) for row in rows] == [("b", 1.0, 1), ("a", 3.0, 1)]


def test_figures_of_every_format_without_display(tmp_path):
    out = tmp_path / "out"
    given = ["-i", str(model_of_two_folds(tmp_path)), "-o", str(out), "--format", "png", "pdf", "svg"]
    assert main(given) == 0
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert {name: (out / f"curves.{name}").read_bytes().startswith(start) for name, start in starts.items()} == {
        "png": True,
        "pdf": True,
        "svg": True,
    }


def test_only_the_asked_formats_are_written(tmp_path):
    main(["-i", str(model_of_two_folds(tmp_path)), "-o", str(tmp_path / "out"), "--format", "svg", "svg"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["curves.csv", "curves.svg", "curves_mean.csv"]


# --- which folders and folds


def test_several_models_with_names(tmp_path):
    model = model_of_two_folds(tmp_path)
    write_log(tmp_path / "other" / "fold_0", {0: 9.0})
    assert main(["-i", f"base={model}", str(tmp_path / "other"), "-o", str(tmp_path / "out")]) == 0
    rows = read_rows(tmp_path / "out" / "curves_mean.csv", "model", "mean", curve="train_loss", epoch="0")
    assert rows == [("base", "0.5"), ("other", "9.0")]


def test_folders_of_folds_make_one_model(tmp_path):
    model = model_of_two_folds(tmp_path)
    main(["-i", str(model / "fold_0"), str(model / "fold_1"), "-o", str(tmp_path / "out")])
    assert read_rows(tmp_path / "out" / "curves_mean.csv", "model", "n", curve="train_loss", epoch="0") == [
        (MODEL, "2")
    ]


def test_a_fold_in_a_folder_of_any_name(tmp_path):
    write_log(tmp_path / "m" / "second_try", {0: 1.0})
    write_classes(tmp_path / "m", {"background": 0, "a": 1, "b": 2})
    [read], _ = read_models({"m": [tmp_path / "m" / "second_try"]})
    assert read.fold == "second_try"
    assert Curve("pseudo_dice", "b") in read.epochs[0]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["-f", "1"], ["1"]),
        (["-f", "1", "fold_0"], ["1", "0"]),
        (["-f", "all", "all"], ["all"]),
        ([], ["0", "1", "2", "10"]),
    ],
)
def test_which_folds_are_read(tmp_path, given, kept):
    model = model_of_two_folds(tmp_path)
    write_log(model / "fold_10", {0: 1.0})
    write_log(model / "fold_2", {0: 1.0})
    write_log(model / "fold_all", {0: 1.0})
    (model / "fold_0_backup").mkdir()
    assert main(["-i", str(model), "-o", str(tmp_path / "out"), *given]) == 0
    rows = read_rows(tmp_path / "out" / "curves.csv", "fold", curve="train_loss", epoch="0")
    assert rows == [(name,) for name in kept]


def test_fold_all_beside_others_is_said_to_be_left_out(tmp_path, capsys):
    model = model_of_two_folds(tmp_path)
    write_log(model / "fold_all", {0: 1.0})
    main(["-i", str(model), "-o", str(tmp_path / "out")])
    assert "fold_all is left out" in capsys.readouterr().err


def test_fold_all_alone_is_read(tmp_path):
    write_log(tmp_path / "m" / "fold_all", {0: 1.0})
    [read], notes = read_models({"m": [tmp_path / "m"]})
    assert (read.fold, notes) == ("all", [])


def test_models_of_one_name_must_be_named(tmp_path):
    for dataset in ("Dataset001_A", "Dataset002_B"):
        write_log(tmp_path / dataset / MODEL / "fold_0", {0: 1.0})
    first, second = (str(tmp_path / dataset / MODEL) for dataset in ("Dataset001_A", "Dataset002_B"))
    with pytest.raises(InputError, match=f"{first} and {second} both are model '{MODEL}'"):
        parse_models([first, second])
    with pytest.raises(InputError, match="both are model"):
        parse_models([first, first])
    with pytest.raises(InputError, match="both are model"):
        parse_models([f"{first}/fold_0", f"{second}/fold_0"])
    with pytest.raises(InputError, match="both are model"):
        parse_models([f"{first}/fold_0", f"{first}/fold_0"])
    assert parse_models([first, f"B={second}"]) == {MODEL: [Path(first)], "B": [Path(second)]}
    with pytest.raises(InputError, match="expected a name before and a folder after '='"):
        parse_models(["=x"])


def test_one_fold_twice_under_one_name_is_refused(tmp_path):
    write_log(tmp_path / "a" / "fold_0", {0: 1.0})
    write_log(tmp_path / "b" / "fold_0", {0: 1.0})
    with pytest.raises(BadCasesError, match="fold 0 of model 'm' is also in"):
        read_models({"m": [tmp_path / "a", tmp_path / "b"]})


# --- names of the classes


def test_regions_have_the_order_of_the_file(tmp_path):
    write_log(tmp_path / "m" / "fold_0", {0: 1.0})
    write_classes(tmp_path / "m", {"background": 0, "whole": [1, 2], "core": [1]})
    [read], _ = read_models({"m": [tmp_path / "m"]})
    assert {c.class_or_task: v for c, v in read.epochs[0].items() if c.name == "pseudo_dice"} == {
        "whole": 0.5,
        "core": 0.7,
    }


def test_classes_of_tasks(tmp_path):
    write_log(tmp_path / "m" / "fold_0", {0: 1.0})
    write_classes(tmp_path / "m", {"background": 0, "front/front": [2, 3], "zones/ice": [1, 3]}, ["front", "zones"])
    [read], _ = read_models({"m": [tmp_path / "m"]})
    assert Curve("pseudo_dice", "zones/ice") in read.epochs[0]


def test_without_dataset_json_the_log_names_classes_of_tasks_and_numbers_others(tmp_path):
    text = epoch_lines(0, 0.5).replace(
        f"{STAMP}train_loss",
        f"{STAMP}front: log of variance -0.5000 \n{STAMP}front: pseudo Dice front 0.5000 \n"
        f"{STAMP}zones: pseudo Dice ice 0.7000 \n{STAMP}train_loss",
    )
    write_text(tmp_path / "mt" / "fold_0" / "training_log_2026_1_1_01_01_01.txt", text)
    write_log(tmp_path / "st" / "fold_0", {0: 0.5})
    tasks, plain = read_models({"mt": [tmp_path / "mt"], "st": [tmp_path / "st"]})[0]
    assert tasks.epochs[0][Curve("pseudo_dice", "zones/ice")] == 0.7
    assert tasks.epochs[0][Curve(LOG_VARIANCE, "front")] == -0.5
    assert plain.epochs[0][Curve("pseudo_dice", "2")] == 0.7


def test_classes_of_another_number_are_told_and_numbered(tmp_path):
    write_log(tmp_path / "m" / "fold_0", {0: 1.0})
    write_classes(tmp_path / "m", {"background": 0, "root": 1})
    [read], notes = read_models({"m": [tmp_path / "m"]})
    assert "2 classes have a pseudo Dice, but 1 are named (root)" in notes[0]
    assert Curve("pseudo_dice", "1") in read.epochs[0]


# --- logs and checkpoints


def test_log_and_checkpoint_together(tmp_path):
    folder = tmp_path / "m" / "fold_0"
    write_log(folder, {0: 0.1235, 1: 0.5})
    write_checkpoint(folder / "checkpoint_best.pth", nnunet_logging([0.12346]))
    [read], notes = read_models({"m": [tmp_path / "m"]})
    assert [values[Curve("train_loss")] for values in read.epochs.values()] == [0.12346, 0.5]
    assert read.epochs[0][Curve("learning_rate")] == 0.00536
    assert read.sources == ("training_log_2026_11_21_17_49_23.txt", "checkpoint_best.pth")
    assert notes == []


def test_a_checkpoint_alone(tmp_path):
    write_checkpoint(tmp_path / "m" / "fold_0" / "checkpoint_latest.pth", nnunet_logging([0.5, 0.25]))
    write_classes(tmp_path / "m", {"background": 0, "a": 1, "b": 2})
    [read], _ = read_models({"m": [tmp_path / "m"]})
    assert read.epochs[1][Curve("train_loss")] == 0.25
    assert read.epochs[1][Curve("pseudo_dice", "a")] == 0.5


def test_epochs_that_no_longer_count_are_told(tmp_path):
    folder = tmp_path / "m" / "fold_0"
    write_log(folder, dict.fromkeys(range(9), 0.5), "training_log_2026_1_1_01_01_01.txt")
    write_log(folder, {3: 0.25, 4: 0.25}, "training_log_2026_1_2_01_01_01.txt")
    write_checkpoint(folder / "checkpoint_best.pth", nnunet_logging([0.5] * 8))
    [read], notes = read_models({"m": [tmp_path / "m"]})
    assert list(read.epochs) == [0, 1, 2, 3, 4]
    assert "checkpoint_best.pth and training_log_2026_1_1_01_01_01.txt, training_log_2026_1_2_01_01_01.txt" in notes[0]
    assert "from epoch 3 on" in notes[0]
    assert "epochs 5–8 left out" in notes[1]


def test_a_broken_checkpoint_beside_a_log_is_a_warning(tmp_path, capsys):
    model = model_of_two_folds(tmp_path)
    write_text(model / "fold_0" / "checkpoint_final.pth", "cut off")
    assert main(["-i", str(model), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "checkpoint_final.pth: cannot be read as a checkpoint" in printed.err
    assert "checkpoint_final.pth" not in printed.out


def test_a_broken_checkpoint_beside_another_is_a_warning(tmp_path):
    folder = tmp_path / "m" / "fold_0"
    write_text(folder / "checkpoint_latest.pth", "cut off")
    write_checkpoint(folder / "checkpoint_best.pth", nnunet_logging([0.5]))
    [read], notes = read_models({"m": [tmp_path / "m"]})
    assert read.sources == ("checkpoint_best.pth",)
    assert "checkpoint_latest.pth: cannot be read" in notes[0]


# --- what cannot be used


def test_everything_that_is_wrong_is_named_at_once(tmp_path, capsys):
    model = model_of_two_folds(tmp_path)
    (model / "fold_2").mkdir()
    write_text(model / "fold_3" / "checkpoint_final.pth", "cut off")
    write_text(model / "fold_4" / "training_log_2026_1_1_01_01_01.txt", "nothing\n")
    (tmp_path / "results" / MODEL / "fold_0").mkdir(parents=True)
    write_log(tmp_path / "odd" / "fold_0", {0: 1.0})
    write_text(tmp_path / "odd" / "dataset.json", "{")
    folders = [str(tmp_path / name) for name in (MODEL, "results", "nowhere", "odd")]
    assert main(["-i", *folders, "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "6 problems found, nothing was written" in error
    assert f"{model / 'fold_2'}: expected training_log_*.txt or a checkpoint" in error
    assert f"{model / 'fold_3' / 'checkpoint_final.pth'}: cannot be read as a checkpoint" in error
    assert f"{model / 'fold_4'}: no epoch in training_log_2026_1_1_01_01_01.txt" in error
    assert f"found none; models are in {MODEL}" in error
    assert f"{tmp_path / 'nowhere'}: no such folder" in error
    assert "dataset.json: not a JSON file" in error
    assert not (tmp_path / "out").exists()


def test_a_fold_that_is_not_there_is_named_for_every_model(tmp_path):
    write_log(tmp_path / "a" / "fold_0", {0: 1.0})
    write_log(tmp_path / "b" / "fold_1", {0: 1.0})
    with pytest.raises(BadCasesError) as caught:
        curves({"a": tmp_path / "a", "b": tmp_path / "b"}, tmp_path / "out", folds=[0, "all"])
    assert caught.value.problems == [
        f"{tmp_path / 'a'}: no fold all, found 0",
        f"{tmp_path / 'b'}: no fold 0, found 1",
        f"{tmp_path / 'b'}: no fold all, found 1",
    ]


def test_the_output_is_replaced_only_if_asked_and_only_if_ours(tmp_path, capsys):
    given = ["-i", str(model_of_two_folds(tmp_path)), "-o", str(tmp_path / "out")]
    assert main(given) == 0
    assert main(given) == 1
    assert "give --overwrite" in capsys.readouterr().err
    assert main([*given, "--overwrite", "--format", "pdf"]) == 0
    assert not (tmp_path / "out" / "curves.png").exists()
    write_text(tmp_path / "out" / "notes.txt", "mine")
    assert main([*given, "--overwrite"]) == 1
    assert "notes.txt was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_the_output_may_not_hold_the_model(tmp_path, capsys):
    model = model_of_two_folds(tmp_path)
    assert main(["-i", str(model), "-o", str(tmp_path), "--overwrite"]) == 1
    assert "would replace the input" in capsys.readouterr().err


def test_a_failing_figure_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr("evaluation.training.figure.save_figure", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        curves({"m": model_of_two_folds(tmp_path)}, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [MODEL]


@pytest.mark.parametrize("formats", [["jpg"], []])
def test_formats_are_checked(tmp_path, formats):
    with pytest.raises(InputError, match="expected some of"):
        curves({"m": model_of_two_folds(tmp_path)}, tmp_path / "out", formats=formats)


def test_a_fold_must_be_a_number_or_all(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["-i", "x", "-o", "y", "-f", "first"])
    assert "expected the number of a fold, or all, found 'first'" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from evaluation.curves import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({'torch', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_logs_alone_are_read_without_torch_and_by_the_script(tmp_path):
    model = model_of_two_folds(tmp_path)
    script = str(Path(evaluation.curves.__file__))
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['curves.py', '-i', {str(model)!r}, '-o', {str(tmp_path / 'out')!r}]\n"
        f"sys.path[0] = {str(Path(script).parent)!r}\n"
        "try:\n"
        f"    runpy.run_path({script!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False False"
