r"""table.tex: the errors of all models and groups, beside the published ones, for ``\input`` in a paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluation.front_scores.names import GROUPED
from evaluation.front_scores.published import PUBLISHED
from evaluation.front_scores.results import ALL

if TYPE_CHECKING:
    from evaluation.front_scores.results import FrontEvaluation, GroupRow

MISSING = "--"

_ESCAPED = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
        # A line break would end a row of the table, or a comment.
        **dict.fromkeys("\n\r\t\f\v\0\x85\u2028\u2029", " "),
    }
)
_TITLES = {
    "glacier": "Glacier",
    "satellite": "Satellite",
    "resolution": "Resolution (m)",
    "season": "Season",
}


def latex_table(found: FrontEvaluation) -> str:
    r"""Return a table in LaTeX: for each model all images and each group, then the published numbers.

    It needs ``\usepackage{booktabs}``; ``\usepackage[T1]{fontenc}`` for names with quotation marks.
    """
    lines = [
        r"% Needs \usepackage{booktabs} and \usepackage[T1]{fontenc}. Metres; 95 % bootstrap intervals over images.",
        r"\begin{tabular}{llrrrrr}",
        r"\toprule",
        r"Model & Images & $n$ & No front & MDE & Penalised MDE & Mean of images \\",
    ]
    for model in found.models:
        lines.append(r"\midrule")
        rows = [row for row in found.groups if row.model == model]
        lines += [
            _row(row, model=row.grouping == ALL)
            for grouping in (ALL, *GROUPED)
            for row in rows
            if row.grouping == grouping
        ]
    lines += [r"\midrule", r"\multicolumn{7}{l}{Published, test set of CaFFe} \\"]
    for published in PUBLISHED:
        std = "" if math.isnan(published.std) else rf" $\pm$ {published.std:.0f}"
        # Author and year, over four columns: more would make the table wider than a page.
        name = escaped(f"{published.name} ({published.source.partition(',')[0]})")
        lines.append(rf"\multicolumn{{4}}{{l}}{{{name}}} & {published.mde:.0f}{std} & & \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return text.translate(_ESCAPED)


def _row(row: GroupRow, *, model: bool) -> str:
    group = "all" if row.grouping == ALL else f"{_TITLES[row.grouping]} {row.group}"
    cells = (
        escaped(row.model) if model else "",
        escaped(group),
        str(row.images),
        str(row.no_front),
        _with_interval(row.mde, row.mde_low, row.mde_high),
        _number(row.penalised_mde),
        _with_interval(row.mean_of_image_means, row.mean_low, row.mean_high),
    )
    return " & ".join(cells) + r" \\"


def _with_interval(value: float, low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return _number(value)
    # In braces: after a line break, LaTeX would take a bracket for an argument.
    return rf"{_number(value)} {{[{_number(low)}, {_number(high)}]}}"


def _number(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
