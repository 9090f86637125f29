"""report.html of an evaluation of fronts: one file that loads nothing, in the design of that of ``evaluate``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from evaluation.front_scores.figures import comparison_plot, group_plots
from evaluation.front_scores.published import SETTING
from evaluation.front_scores.tables import group_tables, image_table, summary_table, zone_tables
from evaluation.report.figures import PALETTE
from evaluation.report.frame import argument_text, environment_of, policy, script_text, style_text
from nnunet_ext import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.front_scores.pictures import WorstImage
    from evaluation.front_scores.results import FrontEvaluation

TEMPLATE = "fronts.html.j2"
# The pictures of the other report are slices whose pixels should be seen; these are photographs with thin lines.
_OWN_STYLE = (
    ".worst { grid-template-columns: repeat(auto-fill, minmax(min(25rem, 100%), 1fr)); }\n"
    ".worst img { image-rendering: auto; max-height: 40rem; }\n"
    ".label { background: #0000ff; } .predicted { background: #ffff00; outline: 1px solid #aab3bb; }\n"
    ".both { background: #ff00ff; } .box { background: #00ffff; outline: 1px solid #aab3bb; }\n"
)


def fronts_html(
    found: FrontEvaluation, worst: Sequence[WorstImage], *, created: str, arguments: Mapping[str, Any]
) -> str:
    """Return the text of report.html.

    Parameters
    ----------
    found
        What to show.
    worst
        The worst images in the order in which they are shown; may be empty.
    created
        When the evaluation was made.
    arguments
        What the command was asked to do; values that JSON knows.

    Returns
    -------
    str
        A complete HTML document. The same input gives the same text.
    """
    from markupsafe import Markup

    environment = environment_of("evaluation.front_scores")
    style, script = style_text() + _OWN_STYLE, script_text()
    zones, plots = zone_tables(found), group_plots(found)
    images, total = image_table(found)
    sections = {
        **{"summary": ("Summary", True), "plots": ("Distribution", plots), "groups": ("By group", True)},
        **{"zones": ("Zones", zones), "worst": ("Worst images", worst), "images": ("Images", True)},
        **{"definitions": ("Definitions", True), "arguments": ("Arguments", True)},
    }
    return environment.get_template(TEMPLATE).render(
        title="Calving fronts: " + ", ".join(found.models),
        version=__version__,
        policy=policy(style, script),
        # Ours, and the text that the checksums of the policy belong to; everything else is escaped.
        style=Markup(style),
        script=Markup(script),
        facts=_facts(found, created, arguments),
        sections=[(name, heading) for name, (heading, present) in sections.items() if present],
        n_colours=len(PALETTE),
        several=len(found.models) > 1,
        models=found.models,
        setting=SETTING,
        summary=summary_table(found),
        comparison=comparison_plot(found),
        plots=plots,
        groups=group_tables(found),
        zones=zones,
        worst=worst,
        has_boxes=arguments.get("boxes") is not None,
        images=images,
        total=total,
        min_length=arguments.get("min_length"),
        compat=arguments.get("compat"),
        arguments=[(name, argument_text(value)) for name, value in arguments.items()],
    )


def _facts(found: FrontEvaluation, created: str, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    models = found.models
    numbers = Counter(row.model for row in found.images)
    same = len(set(numbers.values())) == 1
    sources = {row.model: row.source for row in found.images}
    return [
        ("Models" if len(models) > 1 else "Model", ", ".join(models)),
        (
            "Images",
            f"{numbers[models[0]]}{' each' if len(models) > 1 else ''}"
            if same
            else ", ".join(f"{model}: {numbers[model]}" for model in models),
        ),
        ("Glaciers", ", ".join(dict.fromkeys(row.glacier for row in found.images))),
        ("Fronts from", ", ".join(f"{model}: {sources[model]}" for model in models)),
        ("Extraction", _extraction(arguments)),
        ("Created", created),
        ("Version", f"nnunet_ext {__version__}"),
    ]


def _extraction(arguments: Mapping[str, Any]) -> str:
    """Say how fronts were extracted: the lengths that count, and what differs from the defaults."""
    parts = ["as in the benchmark's code (caffe)"] if arguments.get("compat") else []
    parts.append(f"parts above {arguments['min_length']:g} m")
    for name, text in (("strait_width", "no front in straits of up to"), ("bridged_gap", "gaps bridged up to")):
        if arguments.get(name):
            parts.append(f"{text} {arguments[name]} pixels")
    return ", ".join(parts)
