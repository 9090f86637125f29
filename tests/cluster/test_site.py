"""Site files: what may stand in them, and what comes of it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from nnunet_ext.cluster.graph import Step
from nnunet_ext.cluster.pbs import Pbs
from nnunet_ext.cluster.site import Site, parse_site, read_toml
from nnunet_ext.cluster.site_values import Gpus
from nnunet_ext.cluster.slurm import Slurm
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError

TRAIN = Step("train_2d", "train", ())


def published(name: str) -> Site:
    path = Path(str(files("nnunet_ext.cluster") / "sites" / f"{name}.toml"))
    return parse_site(read_toml(path), path)


def problems(**content: object) -> str:
    with pytest.raises(BadCasesError) as error:
        parse_site(content, "site.toml")
    return str(error.value)


def test_a_step_takes_the_defaults_then_what_its_kind_says_then_what_its_name_says():
    site = parse_site(
        {
            "scheduler": "slurm",
            "defaults": {"cpus": 4, "time": 60, "memory": "8G"},
            "step": {"train": {"gpus": 1, "time": "18:00:00"}, "train_3d_fullres": {"time": "2-00:00:30"}},
        },
        "site.toml",
    )
    train = site.resources(TRAIN)
    assert (train.cpus, train.time, train.memory, train.gpus) == (4, 18 * 60, 8 * 1024, Gpus(1))
    assert site.resources(Step("train_3d_fullres", "train", ())).time == 48 * 60 + 1
    merge = site.resources(Step("merge", "merge", ()))
    assert (merge.time, merge.gpus) == (60, None)


def test_memory_per_cpu_of_a_step_replaces_the_memory_of_the_defaults():
    content = {"defaults": {"memory": "8G"}, "step": {"train": {"memory_per_cpu": "60G"}}}
    resources = parse_site(content, "site.toml").resources(TRAIN)
    assert (resources.memory, resources.memory_per_cpu) == (None, 60 * 1024)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"cpus": "4"}, "cpus"),
        ({"cpus": True}, "cpus"),
        ({"cpus": 0}, "cpus"),
        ({"gpus": "a100"}, "gpus"),
        ({"gpus": "a100:1; rm -rf ~"}, "gpus"),
        ({"memory": 64}, "memory"),
        ({"memory": "64"}, "memory"),
        ({"memory": "0G"}, "memory"),
        ({"time": "18h"}, "time"),
        ({"time": 0}, "time"),
        ({"account": "x; rm -rf ~"}, "account"),
        ({"account": "a\n#SBATCH --time=1"}, "account"),
        ({"partition": "--wrap=x"}, "partition"),
        ({"extra": ["--constraint=a\nrm -rf ~"]}, "extra"),
        ({"extra": ["rm -rf ~"]}, "extra"),
        ({"extra": "--constraint=a"}, "extra"),
        ({"ram": "64G"}, "ram"),
        ({"queue": "gpu"}, "queue"),
    ],
)
def test_a_value_of_another_form_is_refused_with_file_and_key(table, key):
    message = problems(scheduler="slurm", defaults=table)
    assert f"site.toml: defaults.{key}" in message
    assert "expected" in message


def test_all_problems_are_named_at_once():
    message = problems(
        scheduler="sge", modules=["cuda; rm"], environment={"A-B": "x", "C": ["y"]}, step={"training": {}, "train": 3}
    )
    for part in ("scheduler = 'sge'", "modules", "environment.A-B", "environment.C", "step.training", "step.train:"):
        assert part in message
    assert message.startswith("6 problems")


def test_memory_in_two_ways_is_refused():
    assert "expected one of them" in problems(defaults={"memory": "1G", "memory_per_cpu": "1G"})


@pytest.mark.parametrize("line", ["echo 'open", "if true; then", "(", "x=$("])
def test_lines_that_are_no_shell_are_refused(line):
    assert "lines: not POSIX shell" in problems(lines=["umask 022", line])


def test_values_of_the_environment_may_hold_anything():
    site = parse_site({"environment": {"A": "$(x)\n'", "N": 12}}, "site.toml")
    assert site.environment == {"A": "$(x)\n'", "N": "12"}


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"none\.toml"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(InputError, match=r"bad\.toml"):
        read_toml(tmp_path / "bad.toml")


def test_the_published_slurm_cluster_gets_what_it_was_asked_for():
    site = published("slurm_segthor")
    directives = Slurm().directives(TRAIN, "x", site.resources(TRAIN))
    assert "#SBATCH --time=18:00:00" in directives
    assert "#SBATCH --cpus-per-task=7" in directives
    assert "#SBATCH --mem-per-cpu=60G" in directives
    assert "#SBATCH --gres=gpu:nvidia-a100:1" in directives


def test_the_published_pbs_cluster_gets_what_it_was_asked_for():
    site = published("pbs")
    directives = Pbs(site.dialect).directives(TRAIN, "x", site.resources(TRAIN))
    wanted = ("-l walltime=05:00:00", "-l nodes=1:ppn=4:gpus=2", "-q gpu", "-l mem=64gb")
    assert {f"#PBS {option}" for option in wanted} <= set(directives)


def test_openpbs_asks_for_one_chunk():
    content = {
        "scheduler": "pbs",
        "dialect": "openpbs",
        "defaults": {"cpus": 4, "gpus": 2, "memory_per_cpu": "16G", "extra": ["-l place=excl"]},
    }
    directives = Pbs("openpbs").directives(TRAIN, "x", parse_site(content, "s").resources(TRAIN))
    assert "#PBS -l select=1:ncpus=4:ngpus=2:mem=64gb" in directives
    assert directives[-1] == "#PBS -l place=excl"


def test_the_general_example_can_be_read():
    assert published("slurm").resources(TRAIN).gpus == Gpus(1)
