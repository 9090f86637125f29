"""What all HTML pages share: their frame, escaping, style sheet and script, and the policy that allows these two alone.

A page names the checksums of its script and style sheet in its head, so that it runs nothing else and loads nothing;
names of files and classes are escaped wherever they are printed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING

from evaluation.report.figures import PALETTE, printable

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

SHARED = "evaluation.report"
_RIGHT, _WRONG = (0, 114, 178), (213, 94, 0)


@cache
def environment_of(package: str) -> jinja2.Environment:
    """Return the environment that renders the templates of a package and those that all pages share.

    Parameters
    ----------
    package
        Name of the package with a folder ``templates``.

    Returns
    -------
    jinja2.Environment
        It escapes everything that is printed and refuses names that are not given.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in dict.fromkeys((package, SHARED))]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalized,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def script_text() -> str:
    """Return the script that sorts and filters tables; pages work without it."""
    return _source("report.js")


def style_text() -> str:
    """Return the style sheet with the colours that are known to the program alone."""
    rules = [f".m{index} {{ background: {colour}; }}" for index, colour in enumerate(PALETTE)]
    for letter, colour in (("r", _RIGHT), ("w", _WRONG)):
        for level in range(21):
            # Even the smallest error is tinted, or five percent of it could not be seen.
            strength = (0.08 + 0.77 * level / 20) if level else 0.0
            mixed = [round(255 + (part - 255) * strength) for part in colour]
            ink = " color: #fff;" if strength > 0.6 else ""
            rules.append(f".{letter}{level} {{ background: #{bytes(mixed).hex()};{ink} }}")
    return _source("report.css") + "\n".join(rules) + "\n"


def policy(style: str, script: str) -> str:
    """Return the content security policy that allows a page this style sheet and this script, and no network."""
    style_sum, script_sum = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
        for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src {style_sum}; script-src {script_sum}; "
        "base-uri 'none'; form-action 'none'"
    )


def argument_text(value: object) -> str:
    """Write an argument as text as it is, a mapping as ``name: value``, and anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "; ".join(f"{name}: {argument_text(item)}" for name, item in value.items())
    return json.dumps(value, ensure_ascii=False, default=str)


def _finalized(value: object) -> object:
    """Clean every text that is printed; what is markup already has been cleaned, or is ours."""
    return printable(value) if type(value) is str else value


def _breakable(name: str) -> Markup:
    """Let a long name of a metric continue on the next line after an underscore."""
    from markupsafe import Markup

    return Markup("_<wbr>").join(printable(name).split("_"))


def _source(name: str) -> str:
    environment = environment_of(SHARED)
    assert environment.loader is not None
    # Browsers take every end of a line for a line feed before they compare checksums.
    return environment.loader.get_source(environment, name)[0].replace("\r\n", "\n")
