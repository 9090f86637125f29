"""Fixtures of the tests that run commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.slurm import Slurm, slurm_here

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Run a Slurm of four cores for the whole session."""
    with slurm_here(cpus=4) as running:
        yield running
