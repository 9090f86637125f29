"""Rendered scripts: POSIX shell in which nothing that a user gave is code."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from nnunet_ext.cluster.folder import log_path, read_state
from nnunet_ext.cluster.submit import create_submission
from nnunet_ext.errors import InputError, OutputExistsError
from tests.cluster.builders import HOSTILE, SITES, chain, step

FULL = {
    "modules": ["cuda/12.1", "python/3.11"],
    "lines": ["umask 022", "export FROM_LINE=1"],
    "environment": {"NAME": HOSTILE, "TWO_LINES": "a\n#SBATCH --time=1"},
    "container": ["env", "A B=$(touch pwned)"],
}


@pytest.fixture
def made(tmp_path, monkeypatch, request):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / HOSTILE))
    site = {**SITES[request.param], **FULL, "defaults": {"cpus": 2, "gpus": "a100:1", "memory": "8G", "time": 60}}
    return create_submission(chain(), name="x", scheduler=site["scheduler"], site=site, arguments={})


@pytest.mark.parametrize("made", SITES, indirect=True)
def test_scripts_pass_sh_and_shellcheck_and_have_lf(made):
    scripts = sorted((made / "scripts").glob("*.sh"))
    assert [script.name for script in scripts] == ["find_best.sh", "predict.sh", "train_2d.sh"]
    for script in scripts:
        assert b"\r" not in script.read_bytes()
        subprocess.run(["sh", "-n", script], check=True)
        if shutil.which("shellcheck"):
            done = subprocess.run(["shellcheck", "--shell=sh", script], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("made", SITES, indirect=True)
def test_directives_stand_at_the_top_and_nowhere_else(made):
    lines = (made / "scripts" / "train_2d.sh").read_text().split("\n")
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line for line in lines[:first_command] if line.startswith(("#SBATCH ", "#PBS "))]
    assert len(directives) > 3
    assert all(
        set(line) <= set("#-=:_.,/% ") | set(map(chr, range(48, 123))) - set(";<>?@[\\]^`") for line in directives
    )


def test_a_script_runs_in_a_folder_with_a_hostile_name_and_hands_values_over_as_they_are(tmp_path):
    folder = tmp_path / HOSTILE
    code = "import os, sys; print(os.environ['NAME']); print(os.environ['TWO_LINES']); print(os.environ['FROM_LINE'])"
    site = {key: value for key, value in FULL.items() if key != "modules"}
    create_submission([step("train_2d", code)], name="x", scheduler="local", site=site, arguments={}, folder=folder)
    subprocess.run(["sh", folder / "scripts" / "train_2d.sh", "0"], check=True, cwd=tmp_path)
    assert read_state(folder, "train_2d", 0)["state"] == "done"
    assert f"{HOSTILE}\na\n#SBATCH --time=1\n1\n" in log_path(folder, "train_2d", 0).read_text()
    assert not list(tmp_path.rglob("pwned"))


def test_a_module_that_cannot_be_loaded_ends_the_script(tmp_path):
    site = {"modules": ["no/such-module"]}
    folder = create_submission(
        [step("train_2d", "pass")], name="x", scheduler="local", site=site, arguments={}, folder=tmp_path / "s"
    )
    done = subprocess.run(["sh", folder / "scripts" / "train_2d.sh", "0"], check=False)
    assert done.returncode == 1
    assert read_state(folder, "train_2d", 0) == {}
    assert "module" in (folder / "logs" / "scheduler" / "train_2d.0.out").read_text()


def test_modules_are_found_where_a_batch_job_has_no_function_for_them(tmp_path, monkeypatch):
    (tmp_path / "init").mkdir()
    (tmp_path / "init" / "sh").write_text('module() { LOADED="${LOADED:-}$*,"; export LOADED; }\n')
    monkeypatch.setenv("MODULESHOME", str(tmp_path))
    folder = create_submission(
        [step("train_2d", "import os; print(os.environ['LOADED'])")],
        name="x",
        scheduler="local",
        site={"modules": ["cuda/12.1", "gcc"]},
        arguments={},
        folder=tmp_path / "s",
    )
    subprocess.run(["sh", folder / "scripts" / "train_2d.sh", "0"], check=True)
    assert "load cuda/12.1,load gcc,\n" in log_path(folder, "train_2d", 0).read_text()


def test_a_line_break_in_the_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="line break"):
        create_submission(chain(), name="x", scheduler="local", site={}, arguments={}, folder=tmp_path / "a\nb")


def test_a_folder_that_is_there_is_refused(tmp_path):
    with pytest.raises(OutputExistsError, match="submit --resume"):
        create_submission(chain(), name="x", scheduler="local", site={}, arguments={}, folder=tmp_path)


def test_submissions_of_one_name_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    names = [create_submission(chain(), name="x", scheduler="local", site={}, arguments={}).name for _ in range(3)]
    assert names == ["x_1", "x_2", "x_3"]


def test_training_loads_data_with_the_cores_it_has_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_n_proc_DA", raising=False)
    site = {"defaults": {"cpus": 7}}
    folder = create_submission(chain(), name="x", scheduler="local", site=site, arguments={}, folder=tmp_path / "a")
    assert "export nnUNet_n_proc_DA=7\n" in (folder / "scripts" / "train_2d.sh").read_text()
    assert "n_proc_DA" not in (folder / "scripts" / "predict.sh").read_text()
    site["environment"] = {"nnUNet_n_proc_DA": "3"}
    folder = create_submission(chain(), name="x", scheduler="local", site=site, arguments={}, folder=tmp_path / "b")
    assert "export nnUNet_n_proc_DA=3\n" in (folder / "scripts" / "train_2d.sh").read_text()
