"""The script of a step: POSIX shell that sets up the environment and starts one task."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from nnunet_ext import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.site import Resources, Site

_WORKERS = "nnUNet_n_proc_DA"

# Batch jobs on many clusters start without the function that interactive shells have.
_FIND_MODULE = """\
if ! command -v module >/dev/null 2>&1; then
    for init in "${MODULESHOME:-}/init/sh" "${LMOD_PKG:-}/init/sh" /usr/share/lmod/lmod/init/sh \\
        /usr/share/modules/init/sh /etc/profile.d/modules.sh /etc/profile.d/lmod.sh /etc/profile.d/z00_lmod.sh; do
        if [ -r "$init" ]; then
            # shellcheck disable=SC1090
            . "$init"
            break
        fi
    done
fi
"""


def render_script(
    folder: Path,
    step: Step,
    site: Site,
    resources: Resources,
    environment: Mapping[str, str],
    directives: Sequence[str],
    index: str,
) -> str:
    """Return the text of a script.

    Everything that a user or a site file gave stands in it as one quoted word, but for the site's ``lines``.

    Parameters
    ----------
    folder
        Folder of the submission.
    step
        What is to run.
    site, resources
        Where it runs, and what it asks for.
    environment
        Variables to set.
    directives
        Comment lines for the scheduler.
    index
        Shell expression for the index of the task where the script is given none; of this package's making.
    """
    variables = dict(environment)
    if step.kind == "train" and resources.cpus:
        # nnU-Net would count the cores of the whole machine.
        variables.setdefault(_WORKERS, str(resources.cpus))
    start = [*site.container, site.python, "-m", "nnunet_ext.cluster.task"]
    log = f'"$folder"/logs/scheduler/{step.name}."$index".out'
    lines = [
        "#!/bin/sh",
        *directives,
        f"# Step {step.name}, rendered by nnunet_ext {__version__}. By hand: sh {step.name}.sh INDEX",
        "# Dollar signs in names are meant as they stand.",
        "# shellcheck disable=SC2016",
        "",
        f"folder={shlex.quote(str(folder))}",
        f'index="${{1:-{index}}}"',
        'cd -- "$folder" || exit 1',
        f"exec >>{log} 2>&1",
        "",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
    ]
    if site.modules:
        lines += ["", *_FIND_MODULE.splitlines()]
        lines += [f"module load {shlex.quote(module)} || exit 1" for module in site.modules]
    if site.lines:
        lines += ["", "# Lines of the site file.", *site.lines]
    lines += ["", f'exec {" ".join(map(shlex.quote, start))} "$folder" {step.name} "$index"']
    return "\n".join(lines) + "\n"
