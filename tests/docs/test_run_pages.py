"""All commands of a page run in order, in one shell, in a folder with inputs under the names that the page uses.

What is replaced (the functions in PREAMBLE):

* ``nnUNetv2_train`` is `stand_in_training`: the real trainer and its network with random weights, without the training.
  tests/end_to_end trains for real: soil CT in test_soil_ct.py and test_demo.py, calving fronts in test_caffe.py and
  test_caffe_experiments.py, 3D Slicer and NIfTI in test_clinical.py, several label maps in test_multitask.py,
  trainers of recipes.md in test_recipes.py.
* Predictions get ``-device cpu --disable_tta``, those of nnU-Net ``-npp 1 -nps 1`` as well, and that with a folder of a
  model ``-f 0``, the only fold that the model has here; planning gets one process.
* ``nnunet_ext annotate`` opens a window and is left out; tests/annotation opens it under Xvfb.
* A job script for an array runs once for each index that it asks for.

What is not run stands, with its reason, in SKIPPED and SKIPPED_BLOCKS; anything else that fails, or that is not found,
fails the test.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.builders import ROOT
from tests.docs import folders
from tests.docs.pages import Page, pages
from tests.docs.recorded import recorded_commands

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Commands that no page runs.
SKIPPED = {
    "pip": "changes the environment; test_install.py in tests/end_to_end installs wheel and sdist",
    "pytest": "this is it",
}
# Commands that one page does not run.
SKIPPED_ON_PAGE = {
    ("docs/slicer.md", "nnUNetv2_find_best_configuration"): "needs probabilities of a real training; test_clinical.py",
    ("docs/clinical.md", "nnUNetv2_train"): "plans stand in the page's table; test_clinical.py trains and ensembles",
}
PREAMBLE = """
set -eu -o pipefail
nnUNetv2_train() { PYTHONPATH="$root" "$python" "$root/tests/docs/stand_in_training.py" "$@"; }
nnUNetv2_plan_and_preprocess() { command nnUNetv2_plan_and_preprocess "$@" -npfp 1 -np 1; }
nnUNetv2_predict() { command nnUNetv2_predict "$@" -device cpu -npp 1 -nps 1 --disable_tta; }
nnUNetv2_predict_from_modelfolder() {
    command nnUNetv2_predict_from_modelfolder "$@" -f 0 -device cpu -npp 1 -nps 1 --disable_tta
}
nnunet_ext() {
    case "$1" in
        annotate) ;;
        predict|calving_front) command nnunet_ext "$@" -device cpu --disable_tta ;;
        *) command nnunet_ext "$@" ;;
    esac
}
"""


@dataclass(frozen=True)
class Run:
    """How a page is run.

    Parameters
    ----------
    build
        Writes the inputs.
    alternatives
        Lines (by words in them) that are another way to what an earlier line made; that is removed first.
    made
        What has to be there in the end.
    """

    build: Callable[[Path], None]
    made: tuple[str, ...]
    alternatives: Mapping[str, str] = field(default_factory=dict)


RUNS = {
    "docs/soil_ct.md": Run(
        folders.soil,
        ("segmented/S6.tif", "scores/report.html"),
        {"nnunet_ext predict -i input": "predictions"},
    ),
    "docs/calving_fronts.md": Run(
        folders.calving_fronts,
        ("pictures/early", "scores_both/zones.csv", "plots/boxes.png", "OUT/fronts.csv"),
        {"evaluate_fronts -p early=EARLY": "scores"},
    ),
    "docs/multitask.md": Run(folders.multitask, ("label_maps/front/a.png", "scores/report.html")),
    "docs/slicer.md": Run(folders.slicer, ("segmentations_predicted/P7.seg.nrrd",)),
    "docs/clinical.md": Run(
        folders.clinical,
        (
            *(f"nnUNet_raw/Dataset{name}" for name in ("042_Organ", "055_SegTHOR", "060_Organs", "137_BraTS")),
            "DATA_GZ/survey.nii.gz",
        ),
    ),
    "docs/evaluation.md": Run(folders.evaluation, ("comparison/comparison.csv", "fractions", "curves/curves.csv")),
    "docs/large_volumes.md": Run(
        folders.large_volumes,
        ("predictions/S1.nii.gz", "pieces/split_manifest.json", "ensembled/S1.nii.gz"),
        {
            "merge -i parts": "predictions",
            "--save-probabilities": "predictions",
            "nnunet_ext split": "predictions",
            "--blend": "predictions",
        },
    ),
    "docs/recipes.md": Run(folders.recipes, ("nnUNet_results/Dataset001_BrainTumour",)),
    "docs/developers.md": Run(folders.nothing, ()),
    "docs/annotation.md": Run(
        folders.annotation,
        ("annotations/S7.tif", "merged/agreement.csv"),
        {"-id S1 S7": "annotations", "--on-conflict first": "merged"},
    ),
    "docs/what_goes_wrong.md": Run(folders.nothing, ()),
}
# Pages of which nothing runs here: where each of their commands runs instead.
RUN_ELSEWHERE = {
    "docs/clusters.md": {
        "nnunet_ext submit": "needs a scheduler; tests/end_to_end/test_cluster.py has a Slurm of its own",
        "nnunet_ext jobs": "needs a submission; the same test",
        "python -c": "prints a folder of the installed package",
        "bash tests/system_packages": "installs packages of the system; .ci/run calls it",
        "pytest": SKIPPED["pytest"],
    },
}
# Pages whose commands all run on another page, and what of them does not.
COPIES = {
    "README.md": ("soil_ct", "multitask", "calving_fronts", "large_volumes", "evaluation", "developers"),
    "docs/slicer.fr.md": ("slicer",),
    "docs/index.md": ("soil_ct", "multitask"),
}
NOT_ON_OTHER_PAGES = {
    "pip": SKIPPED["pip"],
    "pytest": SKIPPED["pytest"],
    "nnunet_ext --help": "tests/cli/test_cli.py",
    "nnunet_ext demo": "tests/end_to_end/test_demo.py runs it",
    "nnunet_ext submit": RUN_ELSEWHERE["docs/clusters.md"]["nnunet_ext submit"],
    "nnunet_ext jobs": RUN_ELSEWHERE["docs/clusters.md"]["nnunet_ext jobs"],
    "nnUNetv2_train 777 3d_fullres 0 -tr nnUNetTrainerMine_100epochs": "test_third_party.py trains such a trainer",
}


@pytest.mark.parametrize("name", sorted({page.name for page in pages() if page.blocks("bash")}))
def test_a_page_with_commands_is_run_or_a_copy(name):
    assert [name in table for table in (RUNS, COPIES, RUN_ELSEWHERE)].count(True) == 1, f"{name}: add it to RUNS"
    for words in commands_of(name) if name in RUN_ELSEWHERE else []:
        line = shlex.join(words)
        assert any(line.startswith(start) for start in RUN_ELSEWHERE[name]), f"{line}: not in RUN_ELSEWHERE"


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", [name for name in RUNS if (ROOT / name).exists()])
def test_all_commands_of_a_page_run(name, tmp_path):
    page, run = Page(ROOT / name), RUNS[name]
    blocks = page.blocks("bash")
    for words in run.alternatives:
        assert any(words in block for block in blocks), f"no block has {words!r} any more"
    work = tmp_path / "work"
    work.mkdir()
    run.build(work)
    skipped = [*SKIPPED, *(command for page_name, command in SKIPPED_ON_PAGE if page_name == name)]
    script = [PREAMBLE, *(f"{command}() {{ :; }}" for command in skipped)]
    script += [for_every_index(with_room(block, run.alternatives)) for block in blocks]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=work,
        env=environment(work),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    missing = [path for path in run.made if not (work / path).exists()]
    assert not missing, f"not made: {missing}\n{done.stdout[-3000:]}"


def with_room(block: str, alternatives: Mapping[str, str]) -> str:
    """Return a block in which what an alternative would find there already is removed before its line."""
    lines = []
    for line in block.splitlines():
        lines += [f"rm -rf {path}" for words, path in alternatives.items() if words in line]
        lines.append(line)
    return "\n".join(lines)


def for_every_index(block: str) -> str:
    """Return a job script for an array as a loop, each job in a shell of its own; other blocks as they are."""
    found = re.search(r"^#(?:SBATCH .*--array=|PBS -J )(\d+)-(\d+)", block, re.M)
    if not found:
        return block
    variable = "SLURM_ARRAY_TASK_ID" if "SBATCH" in block else "PBS_ARRAY_INDEX"
    return f"for {variable} in $(seq {found[1]} {found[2]}); do\n(\n{block}\n)\ndone"


def environment(work: Path) -> dict[str, str]:
    """Return the variables that the pages take for given."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().startswith("nnunet")}
    folder = Path(sys.executable).parent
    ours = {name: str(work / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    for path in ours.values():
        Path(path).mkdir(exist_ok=True)
    small = {"nnUNet_compile": "f", "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "OMP_NUM_THREADS": "1"}
    shell = {"HOME": str(work), "PBS_O_WORKDIR": str(work), "root": str(ROOT), "python": sys.executable}
    return {**kept, **ours, **small, **shell, "PATH": f"{folder}{os.pathsep}{kept.get('PATH', '')}"}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_has_commands_of_pages_that_run(name):
    """The command, and every flag that it is given, are run on one of the pages; names of folders may differ."""
    flags_run: dict[str, set[str]] = {}
    for other in COPIES[name]:
        for words in commands_of(f"docs/{other}.md"):
            command, flags = command_and_flags(words)
            flags_run.setdefault(command, set()).update(flags)
    unknown = []
    for words in commands_of(name):
        command, flags = command_and_flags(words)
        known = any(shlex.join(words).startswith(start) for start in NOT_ON_OTHER_PAGES)
        if not known and (command not in flags_run or not flags <= flags_run[command]):
            unknown.append(shlex.join(words))
    assert not unknown, "\n".join(unknown)


def command_and_flags(words: list[str]) -> tuple[str, set[str]]:
    """Return a command with its verbs (words without dots or slashes before the first flag), and its flags."""
    flags = {word for word in words if re.match(r"--?[a-zA-Z]", word)}
    start = next((index for index, word in enumerate(words) if word in flags), len(words))
    verbs = words[:start] if words[0] == "nnunet_ext" else words[:1]
    return " ".join(verbs), flags


def test_every_exception_is_still_needed():
    for name, command in SKIPPED_ON_PAGE:
        assert command in [words[0] for words in commands_of(name)]


def commands_of(name: str) -> list[list[str]]:
    return recorded_commands(Page(ROOT / name).blocks("bash"))


def test_an_array_becomes_a_loop():
    loop = for_every_index("#!/bin/sh\n#SBATCH --mem=1 --array=0-2\necho $SLURM_ARRAY_TASK_ID\n")
    done = subprocess.run(["bash", "-c", loop], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "2"]
    assert for_every_index("ls\n") == "ls\n"
