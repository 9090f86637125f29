"""report.html: all that an evaluation found, in one file that needs no network and no scripting.

The page may run its own script and nothing else: the policy in its head names the script's and the style sheet's
checksums, and names of files and classes are escaped wherever they are printed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evaluation.metrics import SURFACE
from evaluation.report.cells import models_of
from evaluation.report.figures import PALETTE, box_plots, png_uri
from evaluation.report.frame import argument_text, environment_of, policy, script_text, style_text
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

    import numpy as np
    import numpy.typing as npt

    from evaluation.results import Evaluation

TEMPLATE = "report.html.j2"


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

    environment = environment_of("evaluation.report")
    style, script = style_text(), script_text()
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
        policy=policy(style, script),
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
        arguments=[(name, argument_text(value)) for name, value in arguments.items()],
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
