"""Evaluations made up for the tests of the report."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluation.confusion import Confusion
from evaluation.groups import Grouping
from evaluation.labels import LabelSet, ScoredClass
from evaluation.metrics import choose_metrics
from evaluation.overlap import Counts, dice, iou
from evaluation.report.page import WorstCase
from evaluation.results import CaseScores, ClassScores, Evaluation
from evaluation.summaries import comparison_rows, summary_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTILE = "<img src=x onerror=alert(1)>"
STUDY_METRICS = ("Dice", "IoU", "volume_ref", "HD95", "ASSD", "NSD")


def label_set(classes: Sequence[str], tasks: Sequence[str] = ("",)) -> LabelSet:
    """Make classes, of one task or of each of several."""
    names = [(task, name) for task in tasks for name in classes]
    scored = tuple(ScoredClass(name, (value,), False, task) for value, (task, name) in enumerate(names, start=1))
    return LabelSet(scored, 99, None, "predictions/dataset.json")


def evaluation(
    *,
    classes: Sequence[str] = ("kidney", "tumour", "cyst"),
    tasks: Sequence[str] = ("",),
    models: Sequence[str] = ("baseline", "with_boundary_loss"),
    cases: Sequence[str] = (HOSTILE, *(f"case_{number:03d}" for number in range(1, 12))),
    metrics: Sequence[str] = ("Dice", "HD95"),
    penalty: float | None = None,
    grouped: bool = False,
    summarised: bool = True,
) -> Evaluation:
    """Make up an evaluation: the last class is empty in one or both masks of the first cases."""
    random = np.random.default_rng(7)
    scored, chosen = label_set(classes, tasks), choose_metrics(metrics)
    found = tuple(
        _case(model, case, scored, {metric.name for metric in chosen}, random, skill=0.2 * index, number=number)
        for index, model in enumerate(models)
        for number, case in enumerate(cases)
    )
    centre = Grouping("centre", {case: f"centre {'AB'[number % 2]}" for number, case in enumerate(cases)})
    summary = summary_rows(found, scored, chosen, penalty=penalty, groupings=[centre] if grouped else [])
    compared = comparison_rows(found, scored, chosen, penalty=penalty) if summarised else []
    confusions = {
        model: tuple(_confusion(task, ["background", *classes], random, 0.05 / (index + 1)) for task in tasks)
        for index, model in enumerate(models)
    }
    return Evaluation(
        label_set=scored,
        metrics=chosen,
        surface="voxel",
        penalty=penalty,
        cases=found,
        summary=tuple(summary) if summarised else (),
        comparisons=tuple(compared),
        confusions=confusions,
    )


def worst_cases(found: Evaluation, number: int = 3, size: int = 160) -> list[WorstCase]:
    """Make up overlays: a grey disc on noise, with two outlines."""
    random = np.random.default_rng(5)
    worst = []
    for case in found.cases[:number]:
        y, x = np.mgrid[:size, :size] - size / 2
        radius = np.hypot(y, x * 1.3)
        grey = np.where(radius < size / 3, 150, 60) + random.normal(0, 9, (size, size))
        picture = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        picture[np.abs(radius - size / 3) < 1] = (0, 114, 178)
        picture[np.abs(np.hypot(y - 6, x * 1.3) - size / 3.4) < 1] = (230, 159, 0)
        caption = "Dice: kidney 0.91, tumour 0.12; slice 31; reference blue, prediction orange"
        worst.append(WorstCase(case.model, case.case, 0.12, caption, picture))
    return worst


def _case(
    model: str, case: str, scored: LabelSet, names: set[str], random: np.random.Generator, *, skill: float, number: int
) -> CaseScores:
    empties = ["none"] * len(scored.classes)
    if number < 4:
        empties[-1] = ("pred" if skill == 0 else "none", "ref", "both", "none")[number]
    scores = tuple(_scores(names, random, empty, skill) for empty in empties)
    return CaseScores(model, case, Path(model, case), Path("labels", case), scores, diagonal=312.5)


def _scores(names: set[str], random: np.random.Generator, empty: str, skill: float) -> ClassScores:
    size = int(random.lognormal(9, 0.6))
    wrong = int(size * random.beta(1.5, 8 + 20 * skill))
    counts = {
        "none": Counts(size - wrong, wrong // 2, wrong, 10**6),
        "pred": Counts(0, 0, size, 10**6),
        "ref": Counts(0, size, 0, 10**6),
        "both": Counts(0, 0, 0, 10**6),
    }[empty]
    distance = {"none": random.lognormal(0.6 - skill, 0.7), "both": 0.0}.get(empty, math.nan)
    share = {"none": random.beta(9, 2), "both": math.nan}.get(empty, 0.0)
    values = {"Dice": dice(counts), "IoU": iou(counts), "volume_ref": float(counts.n_ref) * 2.5}
    values |= {"HD95": distance * 3, "ASSD": distance}
    values |= {"HD": distance * 7, "HD95_pooled": distance * 2.8, "MASD": distance * 1.1, "volume_pred": 7.0}
    values |= {name: share for name in names - set(values) if name != "front_error"}
    return ClassScores(counts, {name: value for name, value in values.items() if name in names})


def _confusion(task: str, names: Sequence[str], random: np.random.Generator, wrong: float) -> Confusion:
    counts = random.integers(0, 10**4, (len(names),) * 2) * random.binomial(1, 0.6, (len(names),) * 2)
    counts = (counts * wrong).astype(np.int64) + np.diag(random.integers(10**4, 10**5, len(names)))
    counts[0, 0] = 14_180_522
    return Confusion(task, tuple(names), counts)


class Page(HTMLParser):
    """What a browser makes of a report: its tags with attributes, its text, and the rows of each table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.strong: list[str] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img", "br", "input", "wbr"):
            self._inside.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag == "strong":
            self.strong.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"}.isdisjoint(self._inside):
            return
        self.text += data
        if "strong" in self._inside:
            self.strong[-1] += data
        if not {"th", "td"}.isdisjoint(self._inside):
            # Small print is set apart, as on the page.
            self.tables[-1][-1][-1] += ("\n" if "small" in self._inside else "") + data

    def attributes(self, *names: str) -> list[str]:
        """Return the values of these attributes of all tags."""
        return [attributes[name] for _, attributes in self.tags for name in names if name in attributes]

    def table(self, first: str, *, having: str = "") -> list[list[str]]:
        """Return the first table whose first column is headed so, and which has another column headed so."""
        return next(
            table
            for table in self.tables
            if table[0][0].split("\n")[0] == first
            and (not having or having in [title.split("\n")[0] for title in table[0]])
        )
