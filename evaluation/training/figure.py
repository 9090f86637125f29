"""Draw training curves: a column for each model, a row for each kind of curve, legends beside the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from evaluation.training.logs import (
    EPOCH_TIME,
    LEARNING_RATE,
    LOG_VARIANCE,
    MEAN_PSEUDO_DICE,
    PSEUDO_DICE,
    TRAIN_LOSS,
    VAL_LOSS,
    Curve,
)
from evaluation.training.rows import KNOWN_CURVES, curve_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evaluation.training.folders import FoldCurves
    from evaluation.training.rows import MeanRow

COLUMN_WIDTH, HEIGHT, PLAIN_HEIGHT = 4.2, 2.2, 1.4
"""Size of a panel in inches."""

MANY_CLASSES = 20
"""With more classes than this, their lines are thin and grey, with one entry in the legend."""

MOST_TIMES_LONGER = 4
"""Models whose trainings differ more than this in length have a scale of epochs each."""

FEW_EPOCHS, MANY_EPOCHS = 30, 300
"""Up to the first number, every epoch has a marker, since a single one is no line; from the second on, lines are
thinner, since noise makes bands of them."""


@dataclass(frozen=True)
class Series:
    """How one curve is drawn.

    Parameters
    ----------
    curve
        Which one.
    label
        Its entry in the legend.
    color
        A colour of matplotlib.
    dashed
        Whether its line is dashed.
    faint
        Whether it is one of many that are not told apart: its mean is thin, and folds are not drawn.
    """

    curve: Curve
    label: str
    color: str
    dashed: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Panel:
    """A row of the figure.

    Parameters
    ----------
    title
        Label of its axis.
    series
        What it shows.
    from_zero
        Whether the axis begins at zero.
    """

    title: str
    series: tuple[Series, ...]
    from_zero: bool = False

    @property
    def plain(self) -> bool:
        """Whether it shows one curve, which its title names; such a panel is low and has no legend."""
        return self.series[0].curve.name in (LEARNING_RATE, EPOCH_TIME)


def save_figure(folds: Sequence[FoldCurves], mean: Sequence[MeanRow], paths: Sequence[Path]) -> None:
    """Draw the curves and save the figure, without a display.

    Parameters
    ----------
    folds
        Curves of every fold.
    mean
        Their mean and standard deviation.
    paths
        Files to write; the endings say in which format.
    """
    figure = draw(folds, mean)
    for path in paths:
        figure.savefig(path, dpi=150)


def draw(folds: Sequence[FoldCurves], mean: Sequence[MeanRow]) -> Any:
    """Draw the figure.

    Parameters
    ----------
    folds, mean
        See `save_figure`.

    Returns
    -------
    matplotlib.figure.Figure
        With the panels of `panels` as rows and the models as columns.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    rows, models = panels(curve_order(folds)), _by_model(folds)
    heights = [PLAIN_HEIGHT if panel.plain else HEIGHT for panel in rows]
    size = (COLUMN_WIDTH * len(models) + 2.2, sum(heights) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        len(rows),
        len(models),
        sharex=_shared_epochs(models),
        sharey="row",
        squeeze=False,
        height_ratios=heights,
    )
    for column, of_model in enumerate(models):
        model = of_model[0].model
        means = _by_curve([row for row in mean if row.model == model])
        for row, panel in enumerate(rows):
            _draw_panel(axes[row, column], panel, of_model, means)
        axes[0, column].set_title(_literal(_title(model, of_model)), fontsize=9)
        for row in range(len(rows)):
            _mark_ends(axes[row, column], of_model)
        axes[-1, column].set_xlabel("epoch")
        axes[-1, column].xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for row, panel in enumerate(rows):
        axes[row, 0].set_ylabel(_literal(panel.title))
        if panel.from_zero:
            axes[row, 0].set_ylim(bottom=0)
        _legend(axes[row], panel)
    figure.align_ylabels(axes[:, 0])
    if len(folds) > len(models):
        ends = " · dotted: a fold ends before the others" if any(map(_early_ends, models)) else ""
        figure.supxlabel(f"bold: mean over folds · band: ± standard deviation · thin: each fold{ends}", fontsize=8)
    return figure


def panels(curves: Sequence[Curve]) -> list[Panel]:
    """Sort curves into the rows of the figure.

    Parameters
    ----------
    curves
        All that there are.

    Returns
    -------
    list of Panel
        Losses, losses of tasks, pseudo Dice of classes, of tasks, learning rate, time, then one for every other
        kind of curve; those without curves are left out.
    """
    parts: dict[str, list[str]] = {}
    for curve in curves:
        parts.setdefault(curve.name, []).append(curve.class_or_task)
    names = _without_total(parts, TRAIN_LOSS) or _without_total(parts, VAL_LOSS)
    task_losses = [
        Series(Curve(name, task), f"{task}, {what}", _color(number, len(names)), dashed=name == VAL_LOSS)
        for number, task in enumerate(names)
        for name, what in ((TRAIN_LOSS, "training"), (VAL_LOSS, "validation"))
    ]
    rows = [
        Panel(
            "loss",
            (
                Series(Curve(TRAIN_LOSS), "training", "tab:blue"),
                Series(Curve(VAL_LOSS), "validation", "tab:orange"),
            ),
        ),
        Panel("loss per task", tuple(task_losses)),
        Panel("pseudo Dice", tuple(_dice_series(parts))),
        Panel("pseudo Dice\nper task", tuple(_parts_series(parts, MEAN_PSEUDO_DICE))),
        Panel("learning rate", (Series(Curve(LEARNING_RATE), "learning rate", "tab:blue"),)),
        Panel("time per\nepoch [s]", (Series(Curve(EPOCH_TIME), "time per epoch", "tab:blue"),), from_zero=True),
    ]
    for name in parts:
        if name not in KNOWN_CURVES:
            title = "log of variance" if name == LOG_VARIANCE else name
            total = [Series(Curve(name), title, "black")] if "" in parts[name] else []
            rows.append(Panel(title, (*total, *_parts_series(parts, name))))
    there = set(curves)
    known = [
        Panel(row.title, tuple(s for s in row.series if s.curve in there), from_zero=row.from_zero) for row in rows
    ]
    return [row for row in known if row.series]


def _dice_series(parts: Mapping[str, Sequence[str]]) -> list[Series]:
    classes = parts.get(PSEUDO_DICE, [])
    many = len(classes) > MANY_CLASSES
    series = [
        Series(
            Curve(PSEUDO_DICE, name),
            f"each of {len(classes)} classes" if many else (f"class {name}" if name.isdecimal() else name),
            "tab:gray" if many else _color(number, len(classes)),
            faint=many,
        )
        for number, name in enumerate(classes)
    ]
    # of a single class, the mean is that class
    return series if len(classes) == 1 else [*series, Series(Curve(MEAN_PSEUDO_DICE), "mean of classes", "black")]


def _parts_series(parts: Mapping[str, Sequence[str]], name: str) -> list[Series]:
    tasks = _without_total(parts, name)
    return [Series(Curve(name, task), task, _color(number, len(tasks))) for number, task in enumerate(tasks)]


def _without_total(parts: Mapping[str, Sequence[str]], name: str) -> list[str]:
    return [part for part in parts.get(name, []) if part]


def _color(number: int, count: int) -> str:
    if count <= 10:
        return f"C{number}"
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["tab20"](number % 20))


def _by_model(folds: Sequence[FoldCurves]) -> list[list[FoldCurves]]:
    names = dict.fromkeys(fold.model for fold in folds)
    return [[fold for fold in folds if fold.model == name] for name in names]


def _shared_epochs(models: Sequence[Sequence[FoldCurves]]) -> Literal["all", "col"]:
    """Give the models one scale of epochs, unless the shortest would be lost on that of the longest."""
    lengths = [1 + max(max(fold.epochs) for fold in folds) for folds in models]
    return "all" if max(lengths) <= MOST_TIMES_LONGER * min(lengths) else "col"


def _by_curve(rows: Sequence[MeanRow]) -> dict[Curve, list[MeanRow]]:
    by_curve: dict[Curve, list[MeanRow]] = {}
    for row in rows:
        by_curve.setdefault(Curve(row.curve, row.class_or_task), []).append(row)
    return by_curve


def _draw_panel(axes: Any, panel: Panel, folds: Sequence[FoldCurves], means: Mapping[Curve, Sequence[MeanRow]]) -> None:
    for number, series in enumerate(panel.series):
        rows = means.get(series.curve, [])
        epochs, values = [row.epoch for row in rows], [row.mean for row in rows]
        style = {"color": series.color, "linestyle": "--" if series.dashed else "-"}
        if len(folds) > 1 and not series.faint:
            for fold in folds:
                own = {n: found[series.curve] for n, found in fold.epochs.items() if series.curve in found}
                axes.plot(list(own), list(own.values()), linewidth=0.5, alpha=0.3, **style)
            spread = [0.0 if math.isnan(row.std) else row.std for row in rows]
            low, high = ([v + sign * s for v, s in zip(values, spread, strict=True)] for sign in (-1, 1))
            axes.fill_between(epochs, low, high, color=series.color, alpha=0.15, linewidth=0)
        marker = "." if len(epochs) <= FEW_EPOCHS and not series.faint else ""
        width = 0.6 if series.faint else (1.4 if len(epochs) < MANY_EPOCHS else 0.9)
        # those that come first are on top: the classes, not their mean
        axes.plot(
            epochs,
            values,
            label=_literal(series.label),
            linewidth=width,
            marker=marker,
            zorder=4 - 0.01 * number,
            **style,
        )
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)


def _mark_ends(axes: Any, folds: Sequence[FoldCurves]) -> None:
    """Mark where the mean goes on over fewer folds."""
    for epoch in _early_ends(folds):
        axes.axvline(epoch, color="0.4", linestyle=":", linewidth=0.8)


def _early_ends(folds: Sequence[FoldCurves]) -> list[int]:
    ends = sorted({max(fold.epochs) for fold in folds})
    return ends[:-1]


def _legend(row: Sequence[Any], panel: Panel) -> None:
    """Put the legend of a row to the right of its last column."""
    handles = {label: handle for axes in row for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if not panel.plain:
        row[-1].legend(
            handles.values(),
            handles.keys(),
            loc="upper left",
            bbox_to_anchor=(1.02, 1.0),
            borderaxespad=0.0,
            frameon=False,
            fontsize=8,
            ncols=math.ceil(len(handles) / 10),
        )


def _literal(text: str) -> str:
    """Keep matplotlib from reading what stands between dollar signs as a formula."""
    return text.replace("$", r"\$")


def _title(model: str, folds: Sequence[FoldCurves]) -> str:
    names = ", ".join(fold.fold for fold in folds)
    return "\n".join([*_wrapped(model), f"fold{'s' if len(folds) > 1 else ''} {names}"])


def _wrapped(model: str, width: int = 42) -> list[str]:
    """Break a long name between trainer, plans and configuration, or where it must be."""
    parts = model.split("__") if len(model) > width else [model]
    return [part[start : start + width] for part in parts for start in range(0, max(len(part), 1), width)]
