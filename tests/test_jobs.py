"""Jobs in parallel, and what becomes of their failures."""

from __future__ import annotations

import os
import pickle
import signal

import pytest

from nnunet_ext.errors import BadCasesError, InputError, WorkerEndedError
from nnunet_ext.jobs import run_jobs


def double(number):
    return 2 * number


def refuse(number):
    message = f"{number} is refused"
    raise InputError(message)


def be_killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_stand_under_the_name_of_their_job_in_its_order(processes):
    assert list(run_jobs({"b": (2,), "a": (1,)}, double, processes, "Doubling").items()) == [("b", 4), ("a", 2)]


@pytest.mark.parametrize("processes", [1, 2])
def test_the_error_of_a_job_reaches_the_caller(processes):
    with pytest.raises(InputError, match="is refused"):
        run_jobs({"a": (1,), "b": (2,)}, refuse, processes, "Refusing")


def test_a_worker_that_the_system_kills_is_explained():
    with pytest.raises(WorkerEndedError, match="memory ran out"):
        run_jobs({"a": (1,), "b": (2,)}, be_killed, 2, "Dying")


def test_a_list_of_bad_cases_survives_pickling():
    error = pickle.loads(pickle.dumps(BadCasesError(["one", "two"])))
    assert error.problems == ["one", "two"]
    assert str(error) == str(BadCasesError(["one", "two"]))


def test_no_job_needs_no_process():
    assert run_jobs({}, abs, 2, "Nothing") == {}
