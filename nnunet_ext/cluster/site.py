"""The site file: what a cluster wants to know of every job, in TOML."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster import site_values as values
from nnunet_ext.cluster.graph import KINDS
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nnunet_ext.cluster.graph import Step
    from nnunet_ext.cluster.site_values import Gpus

SCHEDULERS = ("slurm", "pbs", "local")
DIALECTS = ("torque", "openpbs")
_STEP = re.compile(rf"(?:{'|'.join(KINDS)})|train_[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Resources:
    """What one job of a step asks for; None leaves it to the scheduler.

    Parameters
    ----------
    account
        Who pays.
    partition
        Partition of Slurm or queue of PBS.
    cpus
        CPU cores.
    gpus
        Number and kind.
    memory
        Memory of the job in MiB.
    memory_per_cpu
        Memory in MiB by core, in place of ``memory``.
    time
        Time limit in minutes.
    max_parallel
        How many tasks of the step may run side by side.
    extra
        Further options of the scheduler.
    """

    account: str | None = None
    partition: str | None = None
    cpus: int | None = None
    gpus: Gpus | None = None
    memory: int | None = None
    memory_per_cpu: int | None = None
    time: int | None = None
    max_parallel: int | None = None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """A cluster.

    Parameters
    ----------
    scheduler
        One of `SCHEDULERS`.
    dialect
        Which PBS: one of `DIALECTS`.
    python
        Interpreter that has this package, where the jobs run.
    container
        Words before the interpreter.
    modules
        Environment modules to load.
    lines
        Lines of shell code to run after that: the only place where a site file holds code.
    parallel
        With the scheduler ``local``: how many tasks run side by side.
    environment
        Variables to set.
    defaults
        What every job asks for.
    steps
        What jobs of a step ask for, by kind or name of the step; already merged with ``defaults``.
    """

    scheduler: str = "local"
    dialect: str = "torque"
    python: str = sys.executable
    container: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    parallel: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    defaults: Resources = Resources()
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def resources(self, step: Step) -> Resources:
        """Return what jobs of a step ask for: the defaults, then what its kind says, then what its name says."""
        found = self.defaults
        for table in (step.kind, step.name):
            given = self.steps.get(table, {})
            # The two ways to ask for memory replace each other.
            if "memory" in given:
                found = replace(found, memory_per_cpu=None)
            if "memory_per_cpu" in given:
                found = replace(found, memory=None)
            found = replace(found, **given)
        return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If it is not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if not path.is_file():
        message = f"{path}: no such site file"
        raise MissingInputError(message)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path}: not a TOML file: {error}"
        raise InputError(message) from error


def parse_site(content: Mapping[str, Any], name: object) -> Site:
    """Return the site that the content of a site file describes.

    Parameters
    ----------
    content
        As `read_toml` returns it.
    name
        Name of the file, for messages.

    Raises
    ------
    BadCasesError
        If a key is unknown or a value is not of its form; names file, key, value and what is expected, for all.
    """
    problems: list[str] = []
    pbs = content.get("scheduler") == "pbs"
    top = _read(content, {**_TOP, "environment": None, "defaults": None, "step": None}, "", problems)
    keys = _resource_keys(pbs=pbs)
    defaults = _read(_table(content, "defaults", problems), keys, "defaults.", problems)
    steps: dict[str, Mapping[str, Any]] = {}
    for step, table in _table(content, "step", problems).items():
        if not _STEP.fullmatch(step):
            problems.append(f"step.{step}: unknown step, expected one of {', '.join(KINDS)}, or train_<configuration>")
        elif not isinstance(table, dict):
            problems.append(f"step.{step}: expected a table [step.{step}], found {table!r}")
        else:
            steps[step] = _read(table, keys, f"step.{step}.", problems)
    environment: dict[str, str] = {}
    for variable, value in _table(content, "environment", problems).items():
        try:
            text = str(value) if isinstance(value, int) and not isinstance(value, bool) else values.text(value)
            environment[values.variable_name(variable)] = text
        except ValueError as error:
            problems.append(f"environment.{variable} = {value!r}: expected {error}")
    for where, table in {"defaults": defaults, **{f"step.{step}": table for step, table in steps.items()}}.items():
        if "memory" in table and "memory_per_cpu" in table:
            problems.append(f"{where}: memory and memory_per_cpu, expected one of them")
    if mistake := _shell_mistake(top.get("lines", ())):
        problems.append(f"lines: not POSIX shell: {mistake}")
    if problems:
        raise BadCasesError([f"{name}: {problem}" for problem in problems])
    return Site(**top, environment=environment, defaults=Resources(**defaults), steps=steps)


_TOP: dict[str, Callable[[object], Any]] = {
    "scheduler": values.one_of(*SCHEDULERS),
    "dialect": values.one_of(*DIALECTS),
    "python": values.text,
    "container": values.list_of(values.text),
    "modules": values.list_of(values.module_name),
    "lines": values.list_of(values.line),
    "parallel": values.count,
}

_RESOURCES: dict[str, Callable[[object], Any]] = {
    "account": values.word,
    "cpus": values.count,
    "gpus": values.gpus,
    "memory": values.memory,
    "memory_per_cpu": values.memory,
    "time": values.minutes,
    "max_parallel": values.count,
    "extra": values.list_of(values.option),
}


def _resource_keys(*, pbs: bool) -> dict[str, Callable[[object], Any]]:
    return {**_RESOURCES, "queue" if pbs else "partition": values.word}


def _read(
    table: Mapping[str, Any], keys: Mapping[str, Callable[[object], Any] | None], where: str, problems: list[str]
) -> dict[str, Any]:
    """Return the values that could be read, and note what is wrong with the others."""
    found = {}
    for key, value in table.items():
        if key not in keys:
            problems.append(f"{where}{key}: unknown, expected one of {', '.join(keys)}")
            continue
        read = keys[key]
        if read is None:
            continue
        try:
            found["partition" if key == "queue" else key] = read(value)
        except ValueError as error:
            problems.append(f"{where}{key} = {value!r}: expected {error}")
    return found


def _shell_mistake(lines: tuple[str, ...]) -> str:
    """Return what the shell says of lines that it cannot read; an open quote would swallow the rest of a script."""
    if not lines:
        return ""
    argv = ["/bin/sh", "-n"]
    done = subprocess.run(argv, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def _table(content: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, Any]:
    table = content.get(key, {})
    if isinstance(table, dict):
        return table
    problems.append(f"{key}: expected a table [{key}], found {table!r}")
    return {}
