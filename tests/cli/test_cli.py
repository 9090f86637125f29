"""The command line: verbs, help, doctor, trainer_path."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from nnunet_ext.cli import VERBS, Verb, main
from nnunet_ext.command import run_command
from tests.builders import ROOT, fake_package

COMMANDS = [
    [name] if isinstance(verb, Verb) else [name, source]
    for name, verb in VERBS.items()
    for source in ([""] if isinstance(verb, Verb) else verb)
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_of_every_verb_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom nnunet_ext.cli import main\n"
        f"try:\n    main({[*words, '--help']!r})\nexcept SystemExit as exit:\n    assert exit.code == 0\n"
        "heavy = {'numpy', 'torch', 'SimpleITK', 'nnunetv2', 'scipy', 'matplotlib', 'tifffile', 'nibabel'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage: nnunet_ext" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_no_verb_prints_usage_and_fails(capsys):
    assert main([]) == 2
    assert "convert" in capsys.readouterr().err


def test_an_unknown_verb_is_named(capsys):
    assert main(["convrt"]) == 2
    assert "error: no command 'convrt'" in capsys.readouterr().err


def test_errors_of_the_package_become_one_message_and_exit_status_1(capsys, tmp_path):
    status = main(["export", "soil_ct", "-i", str(tmp_path), "-o", str(tmp_path / "out")])
    assert status == 1
    error = capsys.readouterr().err
    assert error.startswith("nnunet_ext export soil_ct: error: ")
    assert "dataset.json" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_enough_ends_a_command_without_a_traceback(unbuffered):
    words = [str(Path(sys.executable).with_name("nnunet_ext")), "trainer_path"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    process.stdout.close()
    with process.stderr:
        error = process.stderr.read()
    assert (process.wait(timeout=120), error) == (141, "")


def test_a_broken_pipe_to_something_else_is_not_hidden():
    def run(args):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run_command("x", "y", lambda parser: None, run, [])


def test_trainer_path_is_a_folder_with_python_files(capsys):
    assert main(["trainer_path"]) == 0
    assert list(Path(capsys.readouterr().out.strip()).glob("*.py"))


def test_doctor_lists_registered_classes_and_succeeds(capsys):
    assert main(["doctor"]) == 0
    report = capsys.readouterr().out
    assert "nnUNetTrainer_betterIgnoreSampling" in report
    assert "of package nnunet_ext" in report
    assert "active  yes" in report


def test_doctor_warns_of_doubles_of_broken_plugins_and_of_names_that_are_never_reached(tmp_path, monkeypatch, capsys):
    for lab, target in (("lab_one", "collections:OrderedDict"), ("lab_two", "collections:Counter")):
        fake_package(tmp_path / lab, lab, "nnunetv2.trainers", {"nnUNetTrainerTwin": target})
        monkeypatch.syspath_prepend(tmp_path / lab)
    broken = {"nnUNetTrainerBroken": "no_such_module:X", "nnUNetTrainerDA5": "collections:Counter"}
    fake_package(tmp_path / "three", "lab_three", "nnunetv2.trainers", broken)
    monkeypatch.syspath_prepend(tmp_path / "three")
    assert main(["doctor"]) == 1
    report = capsys.readouterr().out
    assert "Warning: nnUNetTrainerTwin is registered" in report
    assert "Warning: nnUNetTrainerBroken is registered by package 'lab_three'" in report
    assert "Warning: nnUNetTrainerDA5, registered by package 'lab_three', is never found" in report


def test_doctor_fails_and_says_why_where_the_seam_is_not_active():
    code = (
        "import sys\nfrom nnunet_ext.plugins.startup import deactivate\ndeactivate()\n"
        "from nnunet_ext.cli import main\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "active  no:" in done.stdout
    assert "nnUNet_extTrainer" in done.stdout


@pytest.mark.parametrize("package", ["dataset_conversion", "evaluation"])
def test_no_module_of_a_script_folder_shadows_another_one(package):
    """A script's own folder comes first on sys.path, so its modules hide others of the same name."""
    modules = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert modules
    assert not modules & set(sys.stdlib_module_names)
    assert not modules & set(packages_distributions())


def test_the_help_is_a_table_of_contents_with_every_command_below_a_heading(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    contents = text[text.index("\n\n") :]
    chapters = {block.splitlines()[0]: block for block in contents.split("\n\n") if "\n  " in block}
    assert "More" not in chapters, "a verb stands in no section of nnunet_ext.cli.SECTIONS"
    assert "convert soil_ct" in chapters["Get data in"]
    assert "export soil_ct" in chapters["Take results out"]
    for words in COMMANDS:
        assert f"\n  {' '.join(words).strip()} " in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_help_of_a_verb_with_sources_lists_these_alone(capsys):
    assert main(["export", "--help"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["soil_ct", "caffe", "slicer_nrrd"]
