"""What the figure of training curves shows."""

from __future__ import annotations

import math

import pytest

from evaluation.training.figure import draw, panels
from evaluation.training.folders import FoldCurves
from evaluation.training.logs import Curve
from evaluation.training.rows import mean_rows

LOSSES = [Curve("train_loss"), Curve("val_loss")]


def fold(curves, epochs=3, *, name="0", model="m"):
    return FoldCurves(model, name, {n: dict.fromkeys(curves, n / 8) for n in range(epochs)}, ())


def drawn(*folds):
    figure = draw(folds, mean_rows(folds))
    figure.canvas.draw()
    return figure


def dice(*names):
    return [*(Curve("pseudo_dice", name) for name in names), Curve("mean_pseudo_dice")]


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_panels_of_one_task():
    rows = panels([*LOSSES, *dice("root", "stone"), Curve("learning_rate"), Curve("epoch_time")])
    assert [row.title for row in rows] == ["loss", "pseudo Dice", "learning rate", "time per\nepoch [s]"]
    assert [series.label for series in rows[1].series] == ["root", "stone", "mean of classes"]


def test_panels_of_tasks():
    curves = [*LOSSES, Curve("train_loss", "front"), Curve("val_loss", "front"), Curve("train_loss", "reconstruction")]
    curves += [*dice("front/front"), Curve("mean_pseudo_dice", "front"), Curve("log_variance", "front"), Curve("norm")]
    rows = {row.title: [series.label for series in row.series] for row in panels(curves)}
    assert rows == {
        "loss": ["training", "validation"],
        "loss per task": ["front, training", "front, validation", "reconstruction, training"],
        "pseudo Dice": ["front/front"],
        "pseudo Dice\nper task": ["front"],
        "log of variance": ["front"],
        "norm": ["norm"],
    }


def test_every_curve_is_shown_once():
    curves = [Curve(name, part) for name in ("train_loss", "val_loss", "mean_pseudo_dice", "x") for part in ("", "a")]
    curves += [*dice("1", "2")[:2], Curve("learning_rate"), Curve("epoch_time")]
    assert sorted(series.curve for row in panels(curves) for series in row.series) == sorted(curves)


def test_many_classes_share_an_entry_of_the_legend():
    names = [f"organ {number}" for number in range(30)]
    figure = drawn(fold(dice(*names)))
    assert texts(figure.axes[0].get_legend()) == ["each of 30 classes", "mean of classes"]


def test_models_stand_side_by_side_with_the_union_of_their_classes_beside_them():
    figure = drawn(fold(dice("a", "b"), model="one"), fold(dice("b", "c"), model="two"))
    left, right = figure.axes
    assert left.get_legend() is None
    assert sorted(texts(right.get_legend())) == ["a", "b", "c", "mean of classes"]
    assert left.get_title().startswith("one")
    box, data = (item.get_window_extent() for item in (right.get_legend(), right))
    assert box.x0 > data.x1
    assert box.x1 <= figure.bbox.x1


def test_folds_are_thin_and_the_mean_is_bold():
    figure = drawn(fold(LOSSES[:1], name="0"), fold(LOSSES[:1], name="1"))
    widths = [line.get_linewidth() for line in figure.axes[0].lines]
    assert len(widths) == 3
    assert widths[0] == widths[1] < widths[2]
    assert "mean over folds" in figure.get_supxlabel()


def test_a_single_fold_has_one_line_per_curve():
    figure = drawn(fold(LOSSES))
    assert len(figure.axes[0].lines) == 2
    assert not figure.axes[0].collections
    assert figure.get_supxlabel() == ""


def test_the_band_is_one_standard_deviation_and_none_where_one_fold_is_left():
    first = FoldCurves("m", "0", {0: {LOSSES[0]: 1.0}, 1: {LOSSES[0]: 1.0}}, ())
    second = FoldCurves("m", "1", {0: {LOSSES[0]: 3.0}}, ())
    figure = drawn(first, second)
    [band] = figure.axes[0].collections
    vertices = band.get_paths()[0].vertices
    assert {round(y, 6) for x, y in vertices if x == 0} == {round(2 - math.sqrt(2), 6), round(2 + math.sqrt(2), 6)}
    assert {y for x, y in vertices if x == 1} == {1.0}


def test_the_end_of_a_shorter_fold_is_marked():
    figure = drawn(fold(LOSSES, 10, name="0"), fold(LOSSES, 4, name="1"))
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"] == [3]
    assert "dotted" in figure.get_supxlabel()


@pytest.mark.parametrize(("lengths", "shared"), [((8, 2), True), ((9, 2), False)])
def test_models_share_the_scale_of_epochs_unless_one_is_far_longer(lengths, shared):
    figure = drawn(*(fold(LOSSES, length, model=str(length)) for length in lengths))
    left, right = figure.axes
    assert (left.get_xlim() == right.get_xlim()) is shared


def test_nan_infinity_and_dollar_signs_can_be_drawn():
    values = {0: math.nan, 1: math.inf, 2: 0.5}
    curve = Curve("pseudo_dice", "$\\nope$")
    folds = [FoldCurves("a$b$", name, {n: {curve: v} for n, v in values.items()}, ()) for name in "01"]
    figure = drawn(*folds)
    assert figure.axes[0].get_ylim()[1] < 1
