"""The pages of the documentation: their code blocks, inline code, links and anchors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.builders import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.M | re.S)


@dataclass(frozen=True)
class Page:
    """A Markdown file of the project."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        """Return the code blocks in a language, in order."""
        return [found["text"] for found in FENCE.finditer(self.text) if found["language"] == language]

    @property
    def prose(self) -> str:
        """The text without code blocks."""
        return FENCE.sub("", self.text)

    def inline_code(self) -> list[str]:
        return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", self.prose)]

    def links(self) -> list[str]:
        """Return the targets of all links and pictures that are not on the web."""
        bare = re.sub(r"(?<!`)`[^`]+`(?!`)", "", self.prose)
        found = re.findall(r"\]\(([^)\s]+)\)", bare)
        return [link for link in found if not re.match(r"[a-z]+:", link)]

    def anchors(self) -> set[str]:
        """Return the anchors of all headings, as GitHub and this project's site make them."""
        titles = re.findall(r"^#+ +(.+?)\s*$", self.prose, re.M)
        return {slug(title) for title in titles}


def slug(title: str) -> str:
    """Return the anchor of a heading."""
    plain = re.sub(r"[`*]", "", title).lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def pages() -> list[Page]:
    """Return README.md and all pages of docs/."""
    return [Page(ROOT / "README.md"), *(Page(path) for path in sorted((ROOT / "docs").rglob("*.md")))]
