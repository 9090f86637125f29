"""table.tex, report.html and its figures."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from evaluation.evaluate_fronts import evaluate_fronts
from evaluation.front_scores.figures import comparison_plot, group_plots
from evaluation.front_scores.groups import pooled_interval
from evaluation.front_scores.latex import escaped, latex_table
from evaluation.front_scores.page import fronts_html
from evaluation.front_scores.pictures import worst_images
from evaluation.front_scores.published import PUBLISHED
from evaluation.front_scores.tables import summary_table
from tests.evaluation.fronts.builders import SHAPE, A, B, C, row, write, write_front, write_images_a_b_c

HOSTILE = '<script>alert("1")</script> & 100 % $x_1^2$ {~#\\'


def evaluation(folder, models=("m",), **options):
    predictions, labels = write_images_a_b_c(folder)
    return evaluate_fronts(dict.fromkeys(models, predictions), labels, folder / "out", min_length=0, **options)


def html(found, **more):
    return fronts_html(found, (), created="2026-01-02", arguments={"min_length": 750.0, **more})


class Tags(HTMLParser):
    """Count tags, and check that they are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        if tag not in ("meta", "img", "br", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def texts_of(plot):
    svg = ElementTree.fromstring(base64.b64decode(plot.uri.split(",")[1]))
    return ["".join(element.itertext()) for element in svg.iter() if element.tag.endswith("}text")]


# table.tex


def test_the_table_in_latex_has_rows_of_seven_cells(tmp_path):
    text = latex_table(evaluation(tmp_path))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    spanned = [sum(int(width) - 1 for width in re.findall(r"multicolumn{(\d)}", line)) for line in rows]
    cells = [1 + len(re.findall(r"(?<!\\)&", line)) for line in rows]
    assert {count + more for count, more in zip(cells, spanned, strict=True)} == {7}
    assert text.count("{") == text.count("}")
    assert (text.count(r"\toprule"), text.count(r"\bottomrule"), text.count(r"\end{tabular}")) == (1, 1, 1)
    assert r"m & all & 3 & 1 & 10.0 {[0.0, 60.0]}" in text
    assert " & Resolution (m) 20 & 1 & 0 & 60.0 & 60.0 & 60.0" in text
    assert r"\multicolumn{4}{l}{CaFFe baseline, zones (Gourmelon et al. 2022)} & 753 $\pm$ 76 & & \\" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not there")
def test_the_table_fits_on_a_page_of_latex(tmp_path):
    (tmp_path / "table.tex").write_text(latex_table(evaluation(tmp_path, models=["early branching", "100 % & more"])))
    lines = [r"\documentclass{article}\usepackage{booktabs}\usepackage[margin=2cm]{geometry}", r"\begin{document}"]
    (tmp_path / "paper.tex").write_text("\n".join([*lines, r"\noindent\small\input{table.tex}", r"\end{document}", ""]))
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout, done.stdout[-2000:]


def test_names_are_escaped_for_latex(tmp_path):
    assert escaped(HOSTILE) == (
        r"\textless{}script\textgreater{}alert(\textquotedbl{}1\textquotedbl{})\textless{}/script\textgreater{} \& 100 "
        r"\% \$x\_1\textasciicircum{}2\$ \{\textasciitilde{}\#\textbackslash{}"
    )
    assert "\n" not in escaped("two\nlines\r\u2028more")
    assert escaped(HOSTILE) in latex_table(evaluation(tmp_path, models=[HOSTILE]))


# report.html


def test_the_page_holds_what_was_found(tmp_path):
    found = evaluation(tmp_path, models=["first", "second"])
    page = Tags(html(found))
    for text in ("first", "second", A, B, C, "missed", "AMD-HookNet++", "Wu et al. 2025, arXiv 2512.14639", "10.0"):
        assert text in page.texts, text
    for grouping in ("By glacier", "By resolution", "By glacier × season"):
        assert grouping in page.texts


def test_the_page_says_how_fronts_were_extracted(tmp_path):
    found = evaluation(tmp_path)
    assert "parts above 70 m" in Tags(html(found, min_length=70.0)).texts
    more = {"compat": "caffe", "strait_width": 3, "bridged_gap": 2}
    assert (
        "as in the benchmark's code (caffe), parts above 750 m, no front in straits of up to 3 pixels, "
        "gaps bridged up to 2 pixels"
    ) in Tags(html(found, **more)).texts


def test_names_are_text_in_the_page(tmp_path):
    found = evaluation(tmp_path, models=[HOSTILE])
    page = Tags(html(found))
    assert page.names.count("script") == 1
    assert HOSTILE in page.texts


def test_the_policy_allows_the_pages_own_script_and_style_alone(tmp_path):
    text = html(evaluation(tmp_path))
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text).group(1)
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL).group(1)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"sha256-{digest}" in policy.replace("&#39;", "'").replace("&#43;", "+").replace("&#x3D;", "=")
    assert "default-src" in policy
    assert not re.search(r"https?://", text)


def test_the_same_evaluation_gives_the_same_page(tmp_path):
    found = evaluation(tmp_path)
    assert html(found) == html(found)


def test_the_report_shows_the_worst_images_over_the_image(tmp_path):
    for stem in (A, B, C):
        write(tmp_path / "images" / f"{stem}.png", np.full(SHAPE, 90))
    evaluation(tmp_path, images=tmp_path / "images", worst=2)
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("data:image/jpeg") == 2
    assert f'alt="Fronts of {C}, m: no predicted front of more than 0 m"' in text
    assert f"Fronts of {A}, m: mean 60 m" in text


def test_the_worst_images_are_those_with_the_largest_penalised_errors(tmp_path):
    found = evaluation(tmp_path)
    assert [image.case for image in worst_images(found.images, 5)] == [C, A, B]
    assert [image.case for image in worst_images(found.images, 1)] == [C]
    assert worst_images(found.images, 0) == []
    empty = [replace(image, n_pred=0, n_label=0, no_front=1) for image in found.images]
    assert worst_images(empty, 5) == []


def test_a_picture_shows_label_prediction_overlap_and_box(tmp_path):
    from evaluation.front_scores.inputs import find_cases
    from evaluation.front_scores.measure import Extraction
    from evaluation.front_scores.pictures import draw_worst_images

    shape = (300, 300)
    write_front(tmp_path / "p", B, row(100, range(50, 250), shape=shape) | row(200, range(50, 250), shape=shape))
    write_front(tmp_path / "g", B, row(100, range(50, 250), shape=shape) | row(150, range(50, 250), shape=shape))
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / f"{B}.txt").write_text("x, y\n20, 280\n20, 20\n280, 20\n280, 280\n")
    found = evaluate_fronts({"m": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", min_length=0)
    cases, _ = find_cases({"m": tmp_path / "p"}, tmp_path / "g", boxes=tmp_path / "boxes")
    (picture,) = draw_worst_images(found.images, cases, Extraction(min_length=0), 1)
    import io

    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(picture.uri.split(",")[1]))) as opened:
        pixels = np.asarray(opened).astype(int)
    for place, colour in (((100, 150), (255, 0, 255)), ((150, 150), (0, 0, 255)), ((200, 150), (255, 255, 0))):
        assert np.abs(pixels[place] - colour).max() < 80, (place, pixels[place])
    assert np.abs(pixels[21, 150] - (0, 255, 255)).max() < 80


def test_published_numbers_are_rows_and_points(tmp_path):
    found = evaluation(tmp_path)
    table = summary_table(found)
    assert len(table.rows) == 1 + len(PUBLISHED)
    assert {cells[3].value for cells in table.rows[1:]} == {published.mde for published in PUBLISHED}
    drawn = texts_of(comparison_plot(found))
    assert all(published.name in drawn for published in PUBLISHED)
    assert "m" in drawn


def test_figures_name_the_groups(tmp_path):
    plots = group_plots(evaluation(tmp_path, models=["first", "second"]))
    drawn = [texts_of(plot) for plot in plots]
    assert {"COL", "Mapple", "baseline 753", "best published 184"} <= set(drawn[0])
    assert any({"7 m", "20 m"} <= set(texts) for texts in drawn)


def test_nothing_but_missing_fronts_still_gives_a_page(tmp_path):
    write_front(tmp_path / "p", B, row(5, []))
    write_front(tmp_path / "g", B, row(5))
    found = evaluate_fronts({"m": tmp_path / "p"}, tmp_path / "g", tmp_path / "out")
    assert group_plots(found) == []
    assert math.isnan(found.groups[0].mde)
    Tags((tmp_path / "out" / "report.html").read_text())
    assert "m & all & 1 & 1 & -- & " in (tmp_path / "out" / "table.tex").read_text()


# Intervals of pooled errors


def test_the_interval_is_over_images_and_weighs_them_by_their_pixels():
    sums, pixels = np.array([10.0, 2000.0, 30.0, 40.0]), np.array([10, 1000, 10, 10])
    interval = pooled_interval(sums, pixels)
    assert interval.low <= sums.sum() / pixels.sum() <= interval.high
    assert 1 <= interval.low <= interval.high <= 4
    assert pooled_interval(sums, pixels) == interval


@pytest.mark.parametrize(("sums", "pixels", "expected"), [([5.0], [1], math.nan), ([5.0, 50.0], [1, 10], 5.0)])
def test_few_or_equal_images_have_no_spread(sums, pixels, expected):
    interval = pooled_interval(np.array(sums), np.array(pixels))
    assert interval.low == pytest.approx(expected, nan_ok=True)
    assert interval.high == pytest.approx(expected, nan_ok=True)
