"""Every command that a page shows is one that its parser accepts, and every flag and variable exists."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.builders import ROOT
from tests.docs.pages import Page, pages
from tests.docs.parsers import all_own_parsers, complaint, flags_of, nnunet_parser, parser_and_rest
from tests.docs.recorded import recorded_commands

OURS = ("nnunet_ext",)
# Shell commands that pages use around ours; anything else has to be explained here.
AROUND = {
    "pip", "mkdir", "cp", "basename", "cd", ".", "source", "qsub", "sbatch", "pytest", "cat", "tail", "ls", "squeue",
    "mkdocs", "git", "export", "python", "bash",
}  # fmt: skip
# Flags that pages mention although neither our commands nor nnU-Net's have them, and whose they are.
SBATCH = ("account", "array", "cpus-per-task", "gres", "mem", "mem-per-cpu", "partition", "time")
OTHERS_FLAGS = {"--target": "pip", "--depth": "NVIDIA's nnU-Net", **{f"--{name}": "sbatch" for name in SBATCH}}


def is_checked(words: list[str]) -> bool:
    if words[0].startswith("python"):
        return len(words) > 1 and words[1].endswith(".py")
    return words[0] in OURS or words[0].startswith("nnUNetv2_")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_command_in_a_block_is_accepted_by_its_parser(page: Page):
    problems = []
    for words in recorded_commands(page.blocks("bash")):
        if is_checked(words):
            wrong = complaint(words)
            if wrong:
                problems.append(f"{shlex.join(words)}\n  {wrong}")
        elif words[0] not in AROUND:
            problems.append(f"{shlex.join(words)}\n  neither ours, nnU-Net's, nor listed in AROUND")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_command_in_a_sentence_exists_with_its_flags(page: Page):
    problems = []
    for code in page.inline_code():
        words = code.replace("\\|", "|").split()
        if not is_checked([*words, ""]) or len(words) < 2:
            continue
        parser, rest = parser_and_rest(words)
        flags = [word.strip("[]()…,") for word in rest if re.match(r"[\[(]?--?[a-zA-Z]", word)]
        if parser is None and any(isinstance(entry, dict) for entry in [_verbs(words)]):
            continue
        if parser is None:
            problems.append(f"{code}: no such command")
        else:
            known = flags_of(parser) | {"--help", "--version"}
            problems += [f"{code}: no flag {flag}" for flag in flags if flag not in known]
    assert not problems, "\n".join(problems)


def _verbs(words: list[str]) -> object:
    from nnunet_ext.cli import VERBS

    return VERBS.get(words[1]) if words[0] == "nnunet_ext" and len(words) == 2 else None


@cache
def known_flags() -> frozenset[str]:
    commands = [entry.name for entry in entry_points(group="console_scripts") if entry.name.startswith("nnUNetv2_")]
    parsers = [*all_own_parsers(), *filter(None, (nnunet_parser(name) for name in commands if "download" not in name))]
    return frozenset(flag for parser in parsers for flag in flags_of(parser))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_flag_in_a_sentence_exists(page: Page):
    flags = set()
    for code in inline_code_of_ours(page):
        words = code.split()
        if words and words[0].startswith("--"):
            flags |= {word.strip("[](),…").split("=")[0] for word in words if word.startswith("--")}
    unknown = {flag for flag in flags if flag not in known_flags() | OTHERS_FLAGS.keys() | {"--help", "--version"}}
    assert not unknown, sorted(unknown)


def inline_code_of_ours(page: Page) -> list[str]:
    """Return inline code, without the first column of tables that begin with "there", which is another program's."""
    text = page.prose
    if page.path.name == "recipes.md":
        text = re.sub(r"^\| [^|]* \|", "|", text, flags=re.M)
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_variable_is_one_that_code_reads(page: Page):
    named = set(re.findall(r"\b(?:nnUNet_[a-z]\w*|NNUNET_EXT_\w+)\b", page.text))
    assert not named - variables_in_code() - OTHER_WORDS, sorted(named - variables_in_code() - OTHER_WORDS)


# nnU-Net v1: its commands, and the folder of its datasets; and a variable of our tests.
OTHER_WORDS = {
    "nnUNet_plan_and_preprocess", "nnUNet_train", "nnUNet_predict", "nnUNet_ensemble", "nnUNet_evaluate_folder",
    "nnUNet_find_best_configuration", "nnUNet_raw_data", "NNUNET_EXT_TEST_SLURM",
}  # fmt: skip


@cache
def variables_in_code() -> frozenset[str]:
    """Return all names of variables in strings of our code and of nnU-Net's."""
    folders = [ROOT / "nnunet_ext", ROOT / "dataset_conversion", Path(find_spec("nnunetv2").origin).parent]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    pattern = re.compile(r"""["'](nnUNet_[a-z]\w*|NNUNET_EXT_\w+)["']""", re.I)
    return frozenset(name for path in files for name in pattern.findall(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nnunet_ext convert caffe --root r --task mtl", None),
        ("nnunet_ext convert caffe --root r --task mtL", "invalid choice"),
        ("nnunet_ext convert caffe --task mtl", "--root"),
        ("nnunet_ext convert caff --root r", "no such command"),
        ("nnunet_ext evaluate -p a -g b -o c --colour", "unrecognized"),
        ("python dataset_conversion/caffe.py --root r --task mtl", None),
        ("nnUNetv2_train 1 2d 0 -tr nnUNetTrainer", None),
        ("nnUNetv2_train 1 2d 0 --trainer nnUNetTrainer", "unrecognized"),
        ("nnUNetv2_trian 1 2d 0", "no such command"),
    ],
)
def test_wrong_commands_are_noticed(line: str, problem: str | None):
    found = complaint(line.split())
    assert (found is None) == (problem is None)
    assert problem is None or problem in found


def test_blocks_are_read_as_bash_reads_them():
    blocks = [
        "model=a/b\nfor fold in 0 1; do\n  nnUNetv2_train 1 2d $fold \\\n    -tr 'x y'   # why\ndone",
        "ls $model > out",
    ]
    expected = [["nnUNetv2_train", "1", "2d", fold, "-tr", "x y"] for fold in "01"]
    assert recorded_commands(blocks) == [*expected, ["ls", "a/b"]]
    with pytest.raises(AssertionError, match="unbound"):
        recorded_commands(["ls $mdoel"])
