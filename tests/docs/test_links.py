"""Links lead somewhere, in the files as they lie in the project."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import Page, pages, slug

# Pages that exist on the site only; building it checks links to them.
GENERATED = {"reference/commands.md", "reference/classes.md"}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_link_and_anchor_resolves(page: Page):
    problems = []
    for link in page.links():
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        if target in GENERATED:
            continue
        if not path.exists():
            problems.append(f"{link}: no such file")
        elif anchor and path.suffix == ".md" and anchor not in Page(path).anchors():
            problems.append(f"{link}: no such heading")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_no_heading_is_there_twice_on_a_page(page: Page):
    titles = [slug(title) for title in re.findall(r"^#+ +(.+?)\s*$", page.prose, re.M)]
    assert len(titles) == len(set(titles)), titles
