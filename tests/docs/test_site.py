"""The site: built without a warning, with every public name in its reference, and nothing from elsewhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from nnunet_ext.cli import VERBS, Verb
from tests.builders import ROOT
from tests.docs.pages import Page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("material", reason="needs the extra docs")
pytest.importorskip("mkdocstrings", reason="needs the extra docs")
PACKAGES = ("nnunet_ext", "dataset_conversion", "evaluation")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site; a warning ends the build, as in CI."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", ROOT / "mkdocs.yml", "-d", folder]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def public_names() -> Iterator[str]:
    """Yield all public modules, and the public functions and classes that they define."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if any(part.startswith("_") for part in parts) or not (path.parent / "__init__.py").exists():
                continue
            yield ".".join(parts)
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    yield ".".join([*parts, node.name])


def test_every_public_name_is_in_the_reference(site):
    """The inventory is what the pages define, as Sphinx writes it: four lines of text, then compressed lines."""
    raw = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    listed = {line.split()[0] for line in zlib.decompress(raw).decode().splitlines()}
    names = set(public_names())
    assert len(names) > 500
    assert not names - listed, sorted(names - listed)


def test_commands_flags_and_variables_are_on_their_pages(site):
    commands = (site / "reference" / "commands" / "index.html").read_text()
    for name, verb in VERBS.items():
        for words in [name] if isinstance(verb, Verb) else [f"{name} {source}" for source in verb]:
            assert f'id="{words.replace(" ", "-")}"' in commands, words
    assert "--split-annotated" in commands
    classes = (site / "reference" / "classes" / "index.html").read_text()
    for name in ("nnUNetTrainerMTLearly", "StackedLabelPlanner", "NNUNET_EXT_EARLY_STOPPING_PATIENCE"):
        assert name in classes
    used = {
        name
        for path in (ROOT / "nnunet_ext").rglob("*.py")
        for name in re.findall(r'"(NNUNET_EXT_\w+)"', path.read_text(encoding="utf-8"))
    }
    assert used
    assert not [name for name in used if name not in classes]


def test_nothing_is_fetched_from_elsewhere(site):
    loaded = re.compile(
        r"<(?:script|img|iframe|source)[^>]+src=[\"']?(?:https?:)?//|<link[^>]+href=[\"']?(?:https?:)?//"
    )
    for path in site.rglob("*.html"):
        found = [hit for hit in loaded.findall(path.read_text(encoding="utf-8")) if 'rel="canonical"' not in hit]
        assert not found, (path, found)


def test_every_figure_is_small_and_shown_with_a_caption(site):
    shown = {
        name
        for path in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"!\[.+\]\(figures/(.+)\)", Page(path).text)
    }
    figures = {path.name for path in (ROOT / "docs" / "figures").iterdir()}
    assert shown == figures
    for path in (ROOT / "docs" / "figures").iterdir():
        assert path.stat().st_size < 150_000
    assert list((site / "figures").glob("*.png"))


@pytest.mark.parametrize(
    "row", re.findall(r"^\| `nnunet_ext (.+?)` \| (.*?) \|", Page(ROOT / "docs/reference.md").text, re.M)
)
def test_functions_of_the_commands_exist(row):
    _, cell = row
    package = ""
    for name in re.findall(r"`([\w.]+)`", cell):
        full = name if not name.startswith(".") else f"{package}{name}"
        package = full.rsplit(".", 2)[0]
        assert full in set(public_names()), full


def test_every_command_has_a_row_with_its_function():
    text = Page(ROOT / "docs" / "reference.md").text
    for name, verb in VERBS.items():
        for words in [name] if isinstance(verb, Verb) else [f"{name} {source}" for source in verb]:
            assert re.search(rf"^\| `nnunet_ext {words}\b", text, re.M), words
