"""report.html: all that an evaluation found, in one file that needs no network and no scripting.

The page may run its own script and nothing else: the policy in its head names the script's and the style sheet's
checksums, and names of files and classes are escaped wherever they are printed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from evaluation.metrics import SURFACE
from evaluation.report.cells import models_of
from evaluation.report.figures import PALETTE, box_plots, png_uri, printable
from evaluation.report.tables import (
    EXACT_COUNTS,
    case_table,
    comparison_table,
    confusion_cells,
    group_tables,
    summary_tables,
)
from nnunet_ext import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import jinja2
    import numpy as np
    import numpy.typing as npt
    from markupsafe import Markup

    from evaluation.results import Evaluation

TEMPLATE = "report.html.j2"
_RIGHT, _WRONG = (0, 114, 178), (213, 94, 0)


@dataclass(frozen=True, eq=False)
class WorstCase:
    """A case that deserves a look.

    Parameters
    ----------
    model, case
        Whose prediction of which case.
    score
        What it was chosen by, as ``caption`` says in words.
    caption
        Its scores, and what the picture shows.
    picture
        RGB picture (height, width, 3), such as a slice with the outlines of reference and prediction.
    """

    model: str
    case: str
    score: float
    caption: str
    picture: npt.NDArray[np.uint8]


def report_html(
    found: Evaluation, worst: Sequence[WorstCase], *, title: str, created: str, arguments: Mapping[str, Any]
) -> str:
    """Return the text of report.html.

    Parameters
    ----------
    found
        What to show.
    worst
        The worst cases in the order in which they are shown; may be empty.
    title
        Title of the page.
    created
        When the evaluation was made.
    arguments
        What the command was asked to do; values that JSON knows.

    Returns
    -------
    str
        A complete HTML document that loads nothing. The same input gives the same text.
    """
    from markupsafe import Markup

    environment = _environment()
    style, script = _style(environment), _source(environment, "report.js")
    models, comparison, groups = models_of(found), comparison_table(found), group_tables(found)
    cases, total, judged = case_table(found)
    plots, matrices = box_plots(found, models), _matrices(found, models)
    sections = {
        **{"summary": ("Summary", True), "groups": ("By group", groups), "comparison": ("Comparison", comparison)},
        **{"plots": ("Distribution", plots), "confusion": ("Confusion matrices", matrices)},
        **{"worst": ("Worst cases", worst), "cases": ("Cases", True), "definitions": ("Definitions", True)},
    }
    return environment.get_template(TEMPLATE).render(
        title=title,
        version=__version__,
        policy=_policy(style, script),
        # Ours, and the text that the checksums of the policy belong to; everything else is escaped.
        style=Markup(style),
        script=Markup(script),
        facts=_facts(found, models, created),
        sections=[(name, heading) for name, (heading, present) in sections.items() if present],
        n_colours=len(PALETTE),
        several=len(models) > 1,
        models=models,
        penalised=any(metric.penalised for metric in found.metrics),
        penalty=_penalty(found),
        summaries=summary_tables(found),
        groups=groups,
        comparison=comparison,
        plots=plots,
        matrices=matrices,
        worst=[_worst(case) for case in worst],
        cases=cases,
        total=total,
        judged=judged,
        metrics=found.metrics,
        arguments=[(name, _argument(value)) for name, value in arguments.items()],
    )


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evaluation.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def _finalized(value: object) -> object:
    """Clean every text that is printed; what is markup already has been cleaned, or is ours."""
    return printable(value) if type(value) is str else value


def _breakable(name: str) -> Markup:
    """Let a long name of a metric continue on the next line after an underscore."""
    from markupsafe import Markup

    return Markup("_<wbr>").join(printable(name).split("_"))


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    # Browsers take every end of a line for a line feed before they compare checksums.
    return environment.loader.get_source(environment, name)[0].replace("\r\n", "\n")


def _style(environment: jinja2.Environment) -> str:
    """Return the style sheet with the colours that are known to the program alone."""
    rules = [f".m{index} {{ background: {colour}; }}" for index, colour in enumerate(PALETTE)]
    for letter, colour in (("r", _RIGHT), ("w", _WRONG)):
        for level in range(21):
            # Even the smallest error is tinted, or five percent of it could not be seen.
            strength = (0.08 + 0.77 * level / 20) if level else 0.0
            mixed = [round(255 + (part - 255) * strength) for part in colour]
            ink = " color: #fff;" if strength > 0.6 else ""
            rules.append(f".{letter}{level} {{ background: #{bytes(mixed).hex()};{ink} }}")
    return _source(environment, "report.css") + "\n".join(rules) + "\n"


def _policy(style: str, script: str) -> str:
    style_sum, script_sum = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
        for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src {style_sum}; script-src {script_sum}; "
        "base-uri 'none'; form-action 'none'"
    )


def _facts(found: Evaluation, models: Sequence[str], created: str) -> list[tuple[str, str]]:
    numbers = Counter(case.model for case in found.cases)
    same = len(set(numbers.values())) == 1
    classes = len(found.label_set.classes)
    tasks = list(dict.fromkeys(scored.task for scored in found.label_set.classes if scored.task))
    facts = [
        ("Models" if len(models) > 1 else "Model", ", ".join(models)),
        (
            "Cases",
            f"{numbers[models[0]]}{' each' if len(models) > 1 else ''}"
            if same
            else ", ".join(f"{model}: {numbers[model]}" for model in models),
        ),
        ("Classes", f"{classes}" + (f" of {len(tasks)} tasks ({', '.join(tasks)})" if tasks else "")),
        ("Labels from", found.label_set.source),
        ("Ignore label", "none" if found.label_set.ignore is None else str(found.label_set.ignore)),
    ]
    if any(metric.family == SURFACE for metric in found.metrics):
        facts.append(("Surface", found.surface))
    if any(metric.penalised for metric in found.metrics):
        facts.append(("Penalty", _penalty(found)))
    return [*facts, ("Created", created), ("Version", f"nnunet_ext {__version__}")]


def _penalty(found: Evaluation) -> str:
    return "the diagonal of the image" if found.penalty is None else f"{found.penalty:g} mm"


def _matrices(found: Evaluation, models: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "title": ", ".join(part for part in (model if len(models) > 1 else "", confusion.task) if part) or model,
            "names": confusion.names,
            "dense": len(confusion.names) > EXACT_COUNTS,
            "rows": confusion_cells(confusion),
        }
        for model in models
        for confusion in found.confusions.get(model, ())
    ]


def _worst(case: WorstCase) -> dict[str, str]:
    return {
        "model": case.model,
        "case": case.case,
        "caption": case.caption,
        "alt": f"Case {case.case}, model {case.model}: {case.caption}",
        "uri": png_uri(case.picture),
    }


def _argument(value: object) -> str:
    """Write an argument as text as it is, a mapping as ``name: value``, and anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_argument(item)}" for name, item in value.items())
    return json.dumps(value, ensure_ascii=False, default=str)
