"""Memory of this process, and the limits that containers and schedulers set."""

from __future__ import annotations

import pytest

from nnunet_ext import machine_memory
from nnunet_ext.machine_memory import free_memory, memory_limits, peak_memory, resident_memory

GIB = 2**30


@pytest.fixture(autouse=True)
def no_job(monkeypatch):
    """Whatever this test runs in."""
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups of a generated system: call with the membership and the limits."""

    def write(membership, limits):
        (tmp_path / "cgroup").write_text(membership)
        for name, limit in limits.items():
            file = tmp_path / "fs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(limit)

    monkeypatch.setattr(machine_memory, "_MEMBERSHIP", tmp_path / "cgroup")
    monkeypatch.setattr(machine_memory, "_CGROUPS", tmp_path / "fs")
    return write


def test_memory_of_this_process_is_known():
    assert 2**20 < resident_memory() <= 1.1 * peak_memory()
    assert free_memory() > 2**20


def test_a_job_has_the_limits_of_its_group_and_of_all_above(groups):
    limits = {"job_7/step/memory.max": "max\n", "job_7/memory.max": f"{16 * GIB}\n", "memory.max": f"{64 * GIB}\n"}
    groups("0::/job_7/step\n", {**limits, "job_8/memory.max": f"{GIB}\n"})
    assert sorted(memory_limits()) == [16 * GIB, 64 * GIB]


def test_groups_of_the_first_version_count_as_well(groups):
    membership = "5:devices:/a\n4:hugetlb,memory:/slurm/job_7\n0::/\n"
    groups(membership, {"memory/slurm/job_7/memory.limit_in_bytes": f"{3 * GIB}\n"})
    assert memory_limits() == [3 * GIB]


def test_a_container_shows_its_limit_at_the_root_whatever_the_group_is_called_outside(groups):
    groups("0::/../../docker/abc\n", {"memory.max": f"{2 * GIB}\n"})
    assert memory_limits() == [2 * GIB]


def test_without_groups_there_is_no_limit(groups):
    assert memory_limits() == []


@pytest.mark.parametrize(
    ("variables", "limits"),
    [
        ({"SLURM_MEM_PER_NODE": "16384"}, [16 * GIB]),
        ({"SLURM_MEM_PER_CPU": "4096", "SLURM_CPUS_ON_NODE": "3"}, [12 * GIB]),
        ({"SLURM_MEM_PER_NODE": "0"}, []),
        ({"SLURM_MEM_PER_CPU": "4096"}, []),
    ],
)
def test_what_slurm_granted_is_a_limit(groups, monkeypatch, variables, limits):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert memory_limits() == limits
