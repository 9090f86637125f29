"""Means with penalties, pooled values, groups and comparisons, from scores of cases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.comparison import holm
from evaluation.components import ComponentCounts
from evaluation.fronts import FrontDistances
from evaluation.groups import Grouping
from evaluation.intervals import bootstrap_interval
from evaluation.labels import LabelSet, ScoredClass
from evaluation.metrics import choose_metrics
from evaluation.overlap import Counts
from evaluation.results import CaseScores, ClassScores, Evaluation
from evaluation.summaries import case_rows, comparison_rows, pooled_value, summary_rows
from evaluation.summary_json import summary_json

CLASSES = LabelSet((ScoredClass("x", (1,)),), None, None, "test")
METRICS = choose_metrics(["Dice", "HD", "NSD"], (2.0,))
FOUND, MISSED, INVENTED, ABSENT = Counts(2, 2, 2, 9), Counts(fn=4, tn=9), Counts(fp=4, tn=9), Counts(tn=9)


def case(name, counts=FOUND, model="m", *, hd=math.nan, diagonal=100.0, **values):
    scores = ClassScores(counts, {"HD": hd, **values})
    return CaseScores(model, name, Path(f"p/{name}"), Path(f"g/{name}"), (scores,), diagonal)


def rows_of(cases, *, penalty=None, groupings=(), metrics=METRICS):
    return list(summary_rows(cases, CLASSES, metrics, penalty=penalty, groupings=groupings))


def test_a_missed_structure_counts_the_diagonal_of_its_image():
    cases = [case("a", hd=2.0), case("b", MISSED), case("c", INVENTED, diagonal=50.0), case("d", ABSENT, hd=0.0)]
    (row,) = rows_of(cases)
    assert (row.metric, row.n, row.n_raw) == ("HD", 4, 2)
    assert row.mean == pytest.approx((2 + 100 + 50 + 0) / 4)
    assert row.mean_raw == 1
    assert (row.n_empty_pred, row.n_empty_ref, row.n_empty_both) == (1, 1, 1)
    assert (row.min, row.q1, row.median, row.q3, row.max) == (0, 1.5, 26, 62.5, 100)
    assert row.std == pytest.approx(np.std([2, 100, 50, 0], ddof=1))
    interval = bootstrap_interval([2, 100, 50, 0])
    assert (row.ci_low, row.ci_high) == (interval.low, interval.high)
    assert math.isnan(row.pooled)


def test_a_penalty_in_mm_replaces_the_diagonal():
    (row,) = rows_of([case("a", hd=2.0), case("b", MISSED)], penalty=30.0)
    assert row.mean == 16


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.integers(0, 5))
def test_missing_a_structure_never_improves_a_mean(distances, missed):
    cases = [case(str(number), hd=distance) for number, distance in enumerate(distances)]
    (before,) = rows_of(cases)
    missed %= len(cases)
    (after,) = rows_of([*cases[:missed], case("z", MISSED), *cases[missed + 1 :]])
    assert after.mean >= before.mean - 1e-9


def test_scores_without_value_are_left_out_of_means_and_not_penalised():
    cases = [case("a", Dice=0.5), case("b", ABSENT, Dice=math.nan), case("c", MISSED, Dice=0.0)]
    row = next(row for row in rows_of(cases) if row.metric == "Dice")
    assert (row.n, row.mean, row.n_raw, row.mean_raw) == (2, 0.25, 2, 0.25)


def test_metrics_that_do_not_apply_have_no_rows():
    assert {row.metric for row in rows_of([case("a", hd=1.0)])} == {"HD"}
    assert [row.metric for row in case_rows([case("a", hd=1.0, Dice=0.5)], CLASSES, METRICS)] == ["Dice", "HD"]


def test_a_single_case_has_neither_deviation_nor_interval():
    (row,) = rows_of([case("a", hd=1.0)])
    assert all(math.isnan(value) for value in (row.std, row.ci_low, row.ci_high))


def test_pooled_values_come_from_summed_counts():
    scores = [
        ClassScores(
            counts,
            {},
            ComponentCounts(n_ref=n, n_pred=1, detected=1, correct=1),
            FrontDistances(np.array(there, float), np.array(back, float)),
        )
        for counts, n, there, back in (
            (Counts(8, 0, 0, 1), 1, [60], [60]),
            (Counts(1, 3, 4, 1), 3, [0] * 5, [0] * 5),
        )
    ]
    pooled = {m.name: pooled_value(m, scores) for m in choose_metrics(["all"])}
    assert pooled["Dice"] == pytest.approx(18 / (18 + 7))
    assert pooled["recall"] == pytest.approx(9 / 13)
    assert pooled["relative_volume_difference"] == pytest.approx(-1 / 13)
    assert pooled["component_recall"] == 0.5
    assert pooled["front_error"] == pytest.approx(10.0)
    assert all(math.isnan(pooled[name]) for name in ("HD", "ASSD", "NSD_1mm", "boundary_IoU", "volume_ref"))


def test_groups_follow_the_whole_in_order_of_their_names():
    grouping = Grouping("site", {"a": "N", "b": "S", "c": "N"})
    rows = rows_of([case(name, hd=hd) for name, hd in (("a", 1.0), ("b", 5.0), ("c", 3.0))], groupings=[grouping])
    found = [(row.grouping, row.group, row.n, row.mean) for row in rows]
    assert found == [("all", "all", 3, 3.0), ("site", "N", 2, 2.0), ("site", "S", 1, 5.0)]


def test_models_are_compared_on_shared_cases_with_penalties():
    first = [case(name, model="a", hd=hd) for name, hd in (("1", 1.0), ("2", 2.0), ("3", 3.0))]
    second = [case("1", model="b", hd=4.0), case("2", MISSED, model="b"), case("9", model="b", hd=0.0)]
    (row,) = comparison_rows([*first, *second], CLASSES, METRICS, penalty=10.0)
    assert (row.first, row.second, row.metric, row.class_name, row.n) == ("a", "b", "HD", "x", 2)
    assert row.mean_difference == pytest.approx(((1 - 4) + (2 - 10)) / 2)
    assert (row.wins, row.ties, row.losses, row.effect_size) == (2, 0, 0, 1.0)


def test_holm_corrects_over_all_pairs_of_models_of_a_metric_and_not_over_metrics():
    generator = np.random.default_rng(0)
    cases = [
        case(str(n), model=model, hd=float(shift + generator.normal()), Dice=float(generator.uniform()))
        for model, shift in (("a", 20), ("b", 20.8), ("c", 21.5))
        for n in range(12)
    ]
    rows = comparison_rows(cases, CLASSES, METRICS, penalty=None)
    assert [(row.metric, row.first, row.second) for row in rows] == [
        (metric, *pair) for metric in ("Dice", "HD") for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    for metric in ("Dice", "HD"):
        of_metric = [row for row in rows if row.metric == metric]
        assert [row.p_holm for row in of_metric] == holm([row.p for row in of_metric])
    assert rows[4].p_holm > rows[4].p


def test_volumes_are_not_compared():
    cases = [case("1", model=model, volume_ref=5.0) for model in "ab"]
    assert comparison_rows(cases, CLASSES, choose_metrics(["volume"]), penalty=None) == []


def evaluation_of(cases, *, groupings=()):
    rows = tuple(rows_of(cases, groupings=groupings))
    compared = tuple(comparison_rows(cases, CLASSES, METRICS, penalty=None))
    return Evaluation(CLASSES, METRICS, "voxel", None, tuple(cases), rows, compared, {})


def test_summary_json_holds_raw_values_per_case_and_penalties_in_means():
    grouping = Grouping("site", {"a": "N", "b": "S"})
    content = summary_json(evaluation_of([case("a", hd=2.0), case("b", MISSED)], groupings=[grouping]))
    values = [entry["metrics"]["1"]["HD"] for entry in content["metric_per_case"]]
    assert values == pytest.approx([2.0, math.nan], nan_ok=True)
    assert content["mean"]["1"]["HD"] == content["foreground_mean"]["HD"] == 51
    assert content["groups"]["site"]["S"]["1"]["HD"]["mean"] == 100
    assert content["metrics"]["HD"]["unit"] == "mm"
    assert content["penalty"] == "diagonal"
    assert json.loads(json.dumps(content))["pooled"]["1"]["TP"] == 2
    assert "HD" not in content["pooled"]["1"]


def test_summary_json_of_several_models_compares_them():
    content = summary_json(evaluation_of([case("a", model=model, hd=hd) for model, hd in (("a", 1.0), ("b", 2.0))]))
    assert {model: summary["mean"]["1"]["HD"] for model, summary in content["models"].items()} == {"a": 1.0, "b": 2.0}
    assert [(row["metric"], row["mean_difference"]) for row in content["comparisons"]] == [("HD", -1.0)]
