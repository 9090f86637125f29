from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluation.report.tables as tables
from evaluation.confusion import Confusion
from evaluation.metrics import choose_metrics
from evaluation.overlap import Counts
from evaluation.report.cells import MISSING, models_of, number
from evaluation.report.figures import box_plots, printable
from evaluation.report.page import report_html
from evaluation.report.tables import confusion_cells
from evaluation.results import CaseScores, ClassScores, Evaluation
from evaluation.summaries import comparison_rows, summary_rows
from tests.evaluation.report.examples import HOSTILE, STUDY_METRICS, Page, evaluation, label_set, worst_cases

THIN = "\u202f"


def page(found: Evaluation, worst: bool = False, **more: object) -> Page:
    return Page(html(found, worst, **more))


def html(found: Evaluation, worst: bool = False, **more: object) -> str:
    options = {"title": "Evaluation", "created": "2026-01-02", "arguments": {}} | more
    return report_html(found, worst_cases(found) if worst else (), **options)


def scored(
    values: dict[str, list[list[float]]], metric: str, counts: Counts | None = None, penalty: float | None = 100.0
) -> Evaluation:
    """Make the evaluation in which each model has these values of one metric: a list per case, one per class."""
    classes = label_set([f"class {number}" for number, _ in enumerate(next(iter(values.values()))[0])])
    metrics = choose_metrics([metric])
    cases = tuple(
        CaseScores(
            model,
            f"case {number}",
            Path("p"),
            Path("r"),
            tuple(ClassScores(counts or Counts(1, 1, 1, 1), {metric: value}) for value in row),
        )
        for model, rows in values.items()
        for number, row in enumerate(rows)
    )
    return Evaluation(
        label_set=classes,
        metrics=metrics,
        surface="voxel",
        penalty=penalty,
        cases=cases,
        summary=tuple(summary_rows(cases, classes, metrics, penalty=penalty)),
        comparisons=tuple(comparison_rows(cases, classes, metrics, penalty=penalty)),
        confusions={},
    )


def svgs(found: Evaluation) -> dict[str, ElementTree.Element]:
    plots = box_plots(found, models_of(found))
    return {plot.metric: ElementTree.fromstring(base64.b64decode(plot.uri.split(",")[1])) for plot in plots}


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in svg.iter() if element.tag.endswith("}text")]


# What is shown


def test_the_head_says_what_was_evaluated():
    shown = page(evaluation(penalty=500.0), title="Kidneys", created="2026-11-21T18:00").text
    for fact in ("Kidneys", "baseline, with_boundary_loss", "12 each", "predictions/dataset.json", "99", "voxel"):
        assert fact in shown
    assert "500 mm" in shown
    assert "2026-11-21T18:00" in shown


def test_different_numbers_of_cases_are_told_apart():
    found = evaluation()
    assert "baseline: 12, with_boundary_loss: 11" in page(dataclasses.replace(found, cases=found.cases[:-1])).text


def test_the_summary_has_a_row_per_class_and_model_and_a_column_per_metric():
    table = page(evaluation(metrics=("Dice", "volume_ref", "HD95"))).table("Class", having="Dice")
    titles = [title.split("\n")[0] for title in table[0]]
    assert titles == [
        *("Class", "Model", "Dice", "Dice pooled", "volume_ref", "HD95", "Empty masks"),
    ]
    names = [tuple(row[:2]) for row in table[1:]]
    assert names == [
        (name, model) for name in ("kidney", "tumour", "cyst") for model in ("baseline", "with_boundary_loss")
    ]


def test_a_mean_stands_with_spread_interval_and_number_of_cases():
    found = scored({"m": [[0.5], [0.7], [0.9], [math.nan]]}, "Dice")
    mean, interval = page(found).table("Class", having="Dice")[1][2].split("\n")
    assert mean == "0.700 ± 0.200"
    assert re.fullmatch(r"\[0\.\d{3}, 0\.\d{3}\] · n 3", interval)


def test_the_summary_says_how_many_cases_are_penalised_and_what_the_mean_is_without_them():
    cell = page(scored({"m": [[2.0], [4.0], [math.nan]]}, "HD95")).table("Class", having="HD95")[1][2].split("\n")
    assert cell[0].startswith("35.33 ± ")
    assert cell[1].endswith("n 3")
    assert cell[2] == "1 penalised, without 3.00"


def test_the_summary_counts_empty_masks_of_each_kind():
    table = page(evaluation()).table("Class", having="Dice")
    assert {(row[0], row[1]): row[-1] for row in table[1:]}["cyst", "baseline"] == "1 / 1 / 1"


@pytest.mark.parametrize(("metric", "best"), [("Dice", "0.900"), ("HD95", "0.100")])
def test_the_best_mean_of_a_class_is_bold(metric: str, best: str):
    found = scored({"one": [[0.9], [0.9]], "two": [[0.1], [0.1]]}, metric)
    assert [text for text in page(found).strong if "±" in text] == [f"{best} ± 0.000"]


@pytest.mark.parametrize(("models", "metric"), [(("one",), "Dice"), (("one", "two"), "volume_ref")])
def test_nothing_is_bold_where_there_is_no_best(models: tuple[str, ...], metric: str):
    found = scored({model: [[place + 0.5], [0.5]] for place, model in enumerate(models)}, metric)
    assert not page(found).strong


def test_many_metrics_make_a_table_per_family_and_those_that_apply_to_no_class_none():
    text = page(evaluation(models=("m",), cases=("c",), metrics=("all",))).text
    assert "Summary, overlap" in text
    assert "Summary, components" in text
    assert "Summary, front" not in text


def test_each_grouping_has_a_table_with_a_row_per_group_class_and_model():
    table = page(evaluation(grouped=True)).table("centre")
    assert len(table) == 1 + 2 * 3 * 2
    assert [row[0] for row in table[1:]] == ["centre A"] * 6 + ["centre B"] * 6


def test_tasks_have_a_column():
    shown = page(evaluation(tasks=("zones", "front")))
    assert [row[:2] for row in shown.table("Task")[1::2]] == [
        [task, name] for task in ("zones", "front") for name in ("kidney", "tumour", "cyst")
    ]
    assert "baseline, zones" in shown.text


def test_the_comparison_shows_its_numbers_and_says_what_holm_is_over():
    one = [[0.2 + step / 100] for step in range(12)]
    two = [[0.1 + step / 200] for step in range(12)]
    shown = page(scored({"one": one, "two": two}, "Dice"))
    assert "family of all classes and pairs of models of one metric" in shown.text
    row = shown.table("Metric")[1]
    assert row == ["Dice", "class 0", "one", "two", "12", "+0.128", "< 0.001", "< 0.001", "+1.00", "12", "0", "0"]


def test_the_effect_is_positive_where_the_first_model_is_better_as_the_page_says():
    nearer, farther = [[1.0 + step / 10] for step in range(12)], [[3.0 + step / 5] for step in range(12)]
    shown = page(scored({"nearer": nearer, "farther": farther}, "HD95"))
    assert "positive where the first model is better" in shown.text
    row = shown.table("Metric")[1]
    assert row[0] == "HD95 (mm)"
    assert (row[5], row[8], row[9:]) == ("−2.55", "+1.00", ["12", "0", "0"])


def test_sections_without_content_are_left_out_and_links_lead_to_the_others():
    for found, worst, absent in (
        (evaluation(grouped=True), True, set()),
        (dataclasses.replace(evaluation(models=("m",)), confusions={}), False, {"worst", "comparison", "confusion"}),
    ):
        shown = page(found, worst)
        ids = set(shown.attributes("id")) - {"case-table", "arguments"}
        assert {f"#{name}" for name in ids} == set(shown.attributes("href"))
        assert absent.isdisjoint(ids)


def test_definitions_of_the_metrics_are_those_of_the_registry():
    found = evaluation(models=("m",), cases=("c",), metrics=("all",), summarised=False)
    shown = page(found)
    for metric in found.metrics:
        assert metric.definition in shown.text


def test_arguments_are_shown():
    shown = page(evaluation(), arguments={"predictions": {"m": "a/b"}, "metrics": ["Dice"], "overwrite": False}).text
    assert "m: a/b" in shown
    assert '["Dice"]' in shown
    assert "false" in shown


# Cases


def test_missed_and_extra_structures_are_told_apart_in_the_table_of_cases():
    table = page(evaluation()).table("Case")
    distance = table[0].index("HD95\nmm, lower is better")
    cysts = {row[0]: row for row in table[1:] if row[1:3] == ["cyst", "baseline"]}
    assert cysts[HOSTILE][distance] == "– (missed)"
    assert cysts["case_001"][distance] == "– (extra)"
    assert cysts["case_002"][3] == MISSING
    assert cysts["case_002"][distance] == "0.00"


def test_numbers_carry_their_value_for_sorting_and_missing_ones_none():
    text = html(scored({"m": [[0.123456789], [math.nan]]}, "Dice"))
    rows = re.search('id="case-table">(.*?)</table>', text, re.DOTALL).group(1)
    assert re.findall(r"<td[^>]*>[^<]*</td>", rows) == ['<td data-value="0.123457">0.123</td>', "<td>–</td>"]


def test_a_long_table_keeps_the_worst_rows_and_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "MAX_CASE_ROWS", 3)
    shown = page(scored({"m": [[0.5], [math.nan], [0.1], [0.9], [0.3]]}, "Dice"))
    assert [row[-1] for row in shown.table("Case")[1:]] == ["0.100", "0.300", "0.500"]
    assert "The 3 worst of 5 rows by Dice; all are in cases.csv." in shown.text


def test_missed_structures_are_among_the_worst_rows_by_distance(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tables, "MAX_CASE_ROWS", 2)
    found = scored({"m": [[5.0], [math.nan], [9.0]]}, "HD95", Counts(0, 0, 5, 5))
    assert [row[-1] for row in page(found).table("Case")[1:]] == ["– (missed)", "9.00"]


def test_a_short_table_keeps_the_order_of_the_cases():
    shown = page(scored({"m": [[0.5], [0.1], [0.9]]}, "Dice"))
    assert [row[0] for row in shown.table("Case")[1:]] == ["case 0", "case 1", "case 2"]
    assert "cases.csv" not in shown.text


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.12345, 3, "0.123"),
        (12345.6, 0, f"12{THIN}346"),
        (-0.00001, 3, "0.000"),
        (-1.5, 1, "−1.5"),
        (math.nan, 3, MISSING),
        (math.inf, 1, "∞"),
    ],
)
def test_numbers_are_written_with_fixed_decimals(value: float, decimals: int, text: str):
    assert number(value, decimals) == text


@pytest.mark.parametrize(
    ("metric", "values", "shown"),
    [
        ("HD95", [0.0, 0.0, 0.0123, 1.0, 0.01], ["0.0000", "0.0000", "0.0123", "1.0000", "0.0100"]),
        ("HD95", [2.0, 12.34, 200.0], ["2.0", "12.3", "200.0"]),
        ("volume_ref", [900.0, 12345.6, 99999.0], ["900", f"12{THIN}346", f"99{THIN}999"]),
        ("Dice", [0.0, 0.5, 1.0], ["0.000", "0.500", "1.000"]),
    ],
)
def test_a_column_has_three_digits_at_its_median_and_shares_three_decimals(
    metric: str, values: list[float], shown: list[str]
):
    table = page(scored({"m": [[value] for value in values]}, metric)).table("Case")
    assert [row[-1] for row in table[1:]] == shown


# Confusion matrices and worst cases


def test_a_confusion_matrix_shows_percent_of_the_row_and_counts():
    cells = confusion_cells(Confusion("", ("background", "a", "b"), np.array([[999999, 1, 0], [1, 2, 1], [0] * 3])))
    assert [[cell.percent for cell in row] for row in cells] == [
        ["100.0", "< 0.1", "0"],
        ["25.0", "50.0", "25.0"],
        [MISSING] * 3,
    ]
    assert cells[0][0].count == f"999{THIN}999"
    assert confusion_cells(Confusion("", ("background", "a"), np.array([[996, 4], [0, 1]])))[0][1].percent == "0.4"
    assert cells[1][0].level > 0
    assert cells[0][2].level == 0


def test_thirty_classes_are_counted_in_thousands_and_millions():
    names = tuple(map(str, range(30)))
    row = [1_234_567, 999, 45_600] + [0] * 27
    cells = confusion_cells(Confusion("", names, np.array([row] * 30)))
    assert [cell.count for cell in cells[0][:4]] == [f"1.23{THIN}M", "999", f"45.6{THIN}k", ""]


def test_worst_cases_are_shown_with_picture_and_words():
    found = evaluation()
    shown = page(found, worst=True)
    pictures = [attributes for tag, attributes in shown.tags if tag == "img" and "png" in attributes["src"]]
    assert [picture["alt"].split(":")[0] for picture in pictures] == [
        f"Case {name}, model baseline" for name in (HOSTILE, "case_001", "case_002")
    ]
    assert base64.b64decode(pictures[0]["src"].split(",")[1]).startswith(b"\x89PNG")


# Names and safety


def assert_harmless(shown: Page, name: str) -> None:
    assert {tag for tag, _ in shown.tags}.isdisjoint({"b", "iframe", "object", "link"})
    assert [tag for tag, _ in shown.tags].count("script") == 1
    assert not [key for _, attributes in shown.tags for key in attributes if key.startswith("on")]
    assert all(source.startswith("data:image/") for source in shown.attributes("src"))
    assert all(target.startswith("#") for target in shown.attributes("href"))
    assert name in shown.text


@pytest.mark.parametrize(
    "name", [HOSTILE, "</script><script>alert(1)</script>", '"><b>&lt;', "' onload='x", "{{ 7 * 7 }}"]
)
def test_every_name_is_shown_as_text(name: str):
    found = evaluation(
        classes=(name,), tasks=(name, "t"), models=(name, "m"), cases=(name, "c"), metrics=("Dice",), grouped=True
    )
    source = dataclasses.replace(found.label_set, source=name)
    summary = tuple(dataclasses.replace(row, group=name, grouping=name) for row in found.summary)
    found = dataclasses.replace(found, label_set=source, summary=(*found.summary, *summary))
    worst = [dataclasses.replace(case, caption=name) for case in worst_cases(found)]
    shown = Page(report_html(found, worst, title=name, created=name, arguments={name: [name], "x": {name: name}}))
    assert_harmless(shown, name)
    assert len(shown.table(name)) == 1 + 4


@settings(max_examples=12, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(str.strip))
def test_any_name_is_shown_as_it_is_but_for_control_characters(name: str):
    found = evaluation(classes=(name,), models=(name,), cases=(name,), metrics=("Dice",), summarised=False)
    shown = page(found, worst=True)
    assert_harmless(shown, printable(name))
    assert shown.table("Case")[1][:3] == [printable(name)] * 3


def test_names_that_no_file_can_hold_are_replaced():
    name = "a\x1b\udcffb\u202ec"
    found = evaluation(classes=(name,), models=(name,), cases=(name,), metrics=("Dice",))
    html(found, worst=True).encode("utf-8")
    assert texts(svgs(found)["Dice"])[0] == "a\ufffd\ufffdb\ufffdc"


def test_the_policy_allows_the_one_style_sheet_and_the_one_script_alone():
    text = html(evaluation(summarised=False))
    policy = next(content for content in Page(text).attributes("content") if "default-src" in content)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        content = re.search(f"<{tag}>(.*)</{tag}>", text, re.DOTALL).group(1)
        checksum = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{checksum}'" in policy
    assert not [key for _, attributes in Page(text).tags for key in attributes if key == "style"]


def test_the_same_evaluation_gives_the_same_report():
    assert html(evaluation(cases=("c",)), worst=True) == html(evaluation(cases=("c",)), worst=True)


# Figures


def test_names_in_figures_are_the_text_they_are():
    names = ("$x_1^2$", "a < b & c", "名前", "\\frac")
    found = evaluation(classes=names, metrics=("Dice",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = svgs(found)["Dice"]
    assert set(names) <= set(texts(svg))


def test_numbers_in_names_keep_their_digits_in_figures():
    assert "v0.123456 1.98765" in texts(svgs(evaluation(classes=("v0.123456 1.98765",), metrics=("Dice",)))["Dice"])


def test_figures_draw_a_point_per_case_and_a_cross_per_penalty():
    found = scored({"m": [[2.0], [4.0], [5.0], [math.nan]]}, "HD95", penalty=9.0)
    svg = svgs(found)["HD95"]
    marks = [use.attrib for use in svg.iter() if use.tag.endswith("}use") and "opacity" in use.attrib.get("style", "")]
    shapes = [mark["{http://www.w3.org/1999/xlink}href"] for mark in marks]
    assert sorted(shapes.count(shape) for shape in set(shapes)) == [1, 3]


def test_wide_distances_are_drawn_on_a_logarithmic_axis_and_shares_never():
    for metric, values, logarithmic in (
        ("HD95", (0.5, 100.0), True),
        ("HD95", (0.0, 0.5, 100.0), True),
        ("HD95", (2.0, 30.0), False),
        ("Dice", (0.001, 1.0), False),
    ):
        shown = texts(svgs(scored({"m": [[value] for value in values]}, metric))[metric])
        assert any("log scale" in text for text in shown) == logarithmic


def test_many_cases_are_drawn_by_their_outliers():
    found = scored({"m": [[0.5 + (place % 10) / 100] for place in range(200)] + [[0.0]]}, "Dice")
    uses = [use for use in svgs(found)["Dice"].iter() if use.tag.endswith("}use")]
    assert len([use for use in uses if "opacity" in use.attrib.get("style", "")]) == 1
    assert "only the points beyond the whiskers" in page(found).text


def test_a_metric_without_values_and_a_class_without_values_have_no_box():
    assert not box_plots(scored({"m": [[math.nan]]}, "Dice"), ["m"])
    (plot,) = box_plots(scored({"m": [[math.nan, 0.5]]}, "Dice"), ["m"])
    assert plot.notes == ("1 class without a value left out.",)
    svg = svgs(scored({"m": [[math.nan, 0.5]]}, "Dice"))["Dice"]
    assert "class 1" in texts(svg)
    assert "class 0" not in texts(svg)


def test_the_report_of_a_small_study_is_small():
    assert len(html(evaluation(metrics=STUDY_METRICS), worst=True)) < 500_000
