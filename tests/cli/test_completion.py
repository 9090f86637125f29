"""Completion of the command's words, as bash does it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from nnunet_ext.cli import VERBS, main
from nnunet_ext.cli.completion import command_parser, completion

pytest.importorskip("shtab")
bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def completed(*words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    script = (
        "source <(cat)\n"
        "function=$(complete -p nnunet_ext); function=${function#*-F }; function=${function%% *}\n"
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
        '"$function" nnunet_ext "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", "nnunet_ext", *words],
        input=completion("bash"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


@bash
def test_all_verbs_are_offered():
    assert set(completed("")) >= set(VERBS)


@bash
def test_a_verb_and_a_source_are_completed():
    assert completed("phase") == ["phase_fractions"]
    assert completed("export", "") == ["soil_ct", "caffe", "slicer_nrrd"]


@bash
def test_flags_are_those_of_the_command():
    assert completed("convert", "caffe", "--pix") == ["--pixel-size-as-spacing"]
    assert completed("convert", "soil_ct", "--pix") == []


@bash
def test_flags_are_offered_after_an_option_that_takes_several_words():
    assert completed("evaluate", "-p", "predictions", "--toler") == ["--tolerances"]


@bash
def test_choices_of_a_flag_are_offered():
    assert completed("convert", "caffe", "--task", "mtl_") == ["mtl_recon", "mtl_boundary"]


@bash
def test_files_are_left_to_bash():
    assert completed("evaluate", "-p", "") == []
    assert completion("bash").rstrip().endswith("-o bashdefault -o default -F _shtab_nnunet_ext nnunet_ext")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_the_script_without_error(shell, tmp_path):
    script = tmp_path / f"completion.{shell}"
    script.write_text(completion(shell))
    assert "phase_fractions" in script.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", script], check=True, timeout=60)


def test_the_verb_prints_the_script(capsys):
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out.strip() == completion("bash").strip()


def test_one_parser_knows_all_commands():
    args = command_parser().parse_args(["convert", "caffe", "--root", "data_raw", "--task", "mtl"])
    assert args.task == "mtl"


def test_without_shtab_the_message_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert "pip install shtab" in capsys.readouterr().err
