"""The report in a real browser: Chromium without a window, which prints what its scripts have made of the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from evaluation.report.page import report_html
from tests.evaluation.report.examples import HOSTILE, Page, evaluation, worst_cases

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to open the report with")

PROBE = """
const table = document.getElementById("case-table");
const body = table.tBodies[0];
const header = (name) => [...table.tHead.rows[0].cells].find((cell) => cell.textContent.startsWith(name));
const column = (name) => [...body.rows].map((row) => row.cells[header(name).cellIndex].textContent);
const state = () => [...table.tHead.rows[0].cells].map((cell) => cell.getAttribute("aria-sort"));
const found = {};
header("Dice").querySelector("button").click();
found.ascending = column("Dice");
found.ties = column("Case").filter((name, row) => body.rows[row].cells[3].textContent === "0.000");
found.stateAscending = state();
header("Dice").querySelector("button").click();
found.descending = column("Dice");
found.stateDescending = state();
header("HD95").querySelector("button").click();
found.distances = column("HD95");
header("Case").querySelector("button").click();
found.cases = column("Case");
const input = document.querySelector(".filter input");
input.value = "CASE_3 cyst";
input.dispatchEvent(new Event("input"));
found.filtered = [...body.rows].filter((row) => !row.hidden).map((row) => row.cells[0].textContent);
found.counted = document.querySelector(".filter output").textContent;
found.colour = getComputedStyle(document.querySelector(".swatch.m0")).backgroundColor;
found.pictures = [...document.images].map((image) => image.complete && image.naturalWidth > 0);
found.width = document.documentElement.scrollWidth;
document.title = JSON.stringify(found);
"""


@cache
def report() -> str:
    found = evaluation(cases=(HOSTILE, *(f"case_{number}" for number in range(1, 13))), grouped=True)
    return report_html(found, worst_cases(found), title="Report", created="now", arguments={})


def chromium(folder: Path, html: str, *options: str, width: int = 1400) -> str:
    """Open a page, and return what has become of it."""
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000"),
    )
    assert CHROMIUM is not None
    command = [CHROMIUM, *flags, *(options or ("--dump-dom",)), path.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def with_script(html: str, script: str) -> str:
    """Append a script, and let the policy of the page allow it."""
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = html.replace("script-src ", f"script-src 'sha256-{checksum}' ")
    assert allowed != html
    return allowed.replace("</body>", f"<script>{script}</script></body>")


def probe(folder: Path, *, width: int = 1400) -> dict[str, object]:
    title = re.search("<title>(.*?)</title>", chromium(folder, with_script(report(), PROBE), width=width), re.DOTALL)
    assert title is not None
    return json.loads(Page(title.group(0)).text)


def test_tables_are_sorted_and_filtered_and_the_page_is_whole(tmp_path: Path):
    found = probe(tmp_path)
    values = [text for text in found["ascending"] if text != "–"]
    assert len(values) == 13 * 3 * 2 - 2
    assert values == sorted(values, key=float)
    assert values != sorted(values)[::-1]
    assert found["descending"] == [*values[::-1], "–", "–"]
    assert found["ascending"] == [*values, "–", "–"]
    assert found["ties"] == [HOSTILE, "case_1", "case_1"]
    assert found["stateAscending"] == [None, None, None, "ascending", None]
    assert found["stateDescending"] == [None, None, None, "descending", None]
    numbers = [text for text in found["distances"] if not text.startswith("–")]
    # As text, 10.00 would come before 2.00.
    assert numbers == sorted(numbers, key=float) != sorted(numbers)
    assert {text.strip("– ()") for text in found["distances"][len(numbers) :]} == {"missed", "extra"}
    assert list(dict.fromkeys(found["cases"])) == [HOSTILE, *(f"case_{number}" for number in range(1, 13))]
    assert found["filtered"] == ["case_3", "case_3"]
    assert found["counted"] == f"2 of {13 * 3 * 2} rows"
    # The style sheet is in force, and every picture could be read.
    assert found["colour"] == "rgb(0, 114, 178)"
    assert len(found["pictures"]) == 2 + 3
    assert all(found["pictures"])


def test_a_narrow_window_scrolls_tables_and_not_the_page(tmp_path: Path):
    assert probe(tmp_path, width=500)["width"] <= 500


def test_a_name_that_is_markup_is_shown_as_text(tmp_path: Path):
    shown = Page(chromium(tmp_path, report()))
    assert HOSTILE in [row[0] for row in shown.table("Case")]
    assert all(source.startswith("data:image/") for source in shown.attributes("src"))
    assert not shown.attributes("onerror")
    assert [len(table) - 1 for table in shown.tables] == [3 * 2, 2 * 3 * 2, 2 * 3, 4, 4, 13 * 3 * 2]


@pytest.mark.parametrize(("guarded", "title"), [(True, "Report"), (False, "ran")])
def test_the_policy_stops_scripts_that_are_not_the_page_s(tmp_path: Path, *, guarded: bool, title: str):
    html = report().replace("</main>", '<script>document.title = "ran"</script></main>')
    if not guarded:
        html = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    assert f"<title>{title}</title>" in chromium(tmp_path, html)


def test_scripting_adds_buttons_and_a_filter_and_nothing_else(tmp_path: Path):
    without, with_scripting = Page(report()), Page(chromium(tmp_path, report()))
    assert without.tables == with_scripting.tables
    assert "button" in {tag for tag, _ in with_scripting.tags}
    assert "button" not in {tag for tag, _ in without.tags}
    hidden = [attributes for _, attributes in without.tags if "hidden" in attributes]
    assert hidden == [{"class": "filter", "data-table": "case-table", "hidden": ""}]
    assert not with_scripting.attributes("hidden")


@pytest.mark.parametrize("scripting", [True, False])
def test_the_page_can_be_seen_with_and_without_scripting(tmp_path: Path, *, scripting: bool):
    # A headless Chromium whose scripting is off takes no picture, hence a page without its script.
    html = report() if scripting else re.sub("<script>.*?</script>", "", report(), flags=re.DOTALL)
    chromium(tmp_path, html, f"--screenshot={tmp_path / 'page.png'}")
    picture = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    assert picture.shape == (1000, 1400, 3)
    assert (picture == (0, 114, 178)).all(axis=2).any()
