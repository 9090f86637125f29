"""Say whether this environment is in order: versions, variables, the connection to nnU-Net, registered classes, GPU."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from nnunet_ext.variables import NNUNET_VARIABLES

if TYPE_CHECKING:
    import argparse

PACKAGES = (
    "nnunet_ext",
    "nnunetv2",
    "torch",
    "torchvision",
    "dynamic_network_architectures",
    "batchgenerators",
    "batchgeneratorsv2",
    "acvl_utils",
    "numpy",
    "SimpleITK",
    "tifffile",
    "imagecodecs",
    "isal",
    "nibabel",
    "pillow",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no flags."""


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit status is 1 if the connection is not active or a registered name is double."""
    from nnunet_ext.plugins.health import double_names, plugin_problems, seam_problem, torchvision_problem
    from nnunet_ext.plugins.registry import GROUPS, registrations

    print(f"Python {platform.python_version()} on {platform.platform()}")
    _section("Packages", [(name, _version(name)) for name in PACKAGES])
    _section("Environment variables", [(name, os.environ.get(name, "not set")) for name in NNUNET_VARIABLES])
    _section("GPU", [("torch sees", _accelerator())])
    for group in GROUPS:
        rows = [(found.name, f"{found.value} of package {found.package}") for found in registrations(group)]
        if rows:
            _section(f"Registered in {group}", rows)
    problem = seam_problem()
    _section("Connection to nnU-Net", [("active", "yes" if problem is None else f"no: {problem}")])
    doubles = double_names()
    for trouble in [*doubles, *plugin_problems(), *filter(None, [torchvision_problem()])]:
        print(f"\nWarning: {trouble}")
    return 1 if problem or doubles else 0


def _section(title: str, rows: list[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _accelerator() -> str:
    try:
        import torch
    except Exception as error:  # a torch that does not import is just what a doctor has to tell
        return f"nothing: torch does not import ({type(error).__name__}: {error})"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"{', '.join(names)} (CUDA {torch.version.cuda})"
    if torch.backends.mps.is_available():
        return "Apple GPU (use -device mps)"
    return "no GPU (use -device cpu)"
