"""Messages that "What goes wrong" quotes are those that the code gives."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.builders import ROOT
from tests.docs.pages import Page

QUOTED = [
    line
    for block in Page(ROOT / "docs" / "what_goes_wrong.md").blocks("text")
    for line in block.splitlines()
    if line.strip()
]


@cache
def texts_in_code() -> str:
    """Return all strings of our code, with "…" for what is filled in."""
    found = []
    for package in ("nnunet_ext", "dataset_conversion", "evaluation"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("message", QUOTED)
def test_quoted_messages_are_in_the_code(message):
    fragments = [fragment.strip(" .:'()") for fragment in message.split("…")]
    known = [fragment for fragment in fragments if len(fragment) <= 4 or fragment in texts_in_code()]
    assert known == fragments or made_of_a_text_in_code(message)


def made_of_a_text_in_code(message: str) -> bool:
    """Whether what is fixed in a text of the code stands in the message, in the same order, and is most of it."""
    for text in texts_in_code().split("\n"):
        fixed = [part for part in re.split("…+", text) if part.strip(" .,'")]
        pattern = ".*".join(map(re.escape, fixed))
        if len("".join(fixed)) > 15 and len(fixed) > 1 and re.search(pattern, message):
            return True
    return False


@pytest.mark.parametrize("message", ["… must be …, but was '…'", "no trainer called '…': neither nnU-Net (…) nor …"])
def test_other_messages_are_noticed(message):
    fragments = [fragment.strip(" .:'()") for fragment in message.split("…")]
    assert not all(len(part) <= 4 or part in texts_in_code() for part in fragments)
    assert not made_of_a_text_in_code(message)


def test_messages_are_quoted():
    assert len(QUOTED) > 15
    assert re.search(r"colou?rs", " ".join(QUOTED))
