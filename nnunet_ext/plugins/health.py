"""Whether the seam to nnU-Net is active in this environment, and if not, why."""

from __future__ import annotations

import site
import sys
import sysconfig
import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nnunet_ext.errors import AmbiguousPluginError, PluginImportError
from nnunet_ext.plugins.lookup import is_wrapped, names_of_nnunet
from nnunet_ext.plugins.registry import GROUPS, registration_of, registrations
from nnunet_ext.plugins.startup import LOOKUP_FUNCTION, LOOKUP_MODULE

PTH_FILE = "hatch_autorun_nnunet_ext.pth"
HOW_TO_WITHOUT_PTH = "Use:  export nnUNet_extTrainer=$(nnunet_ext trainer_path)   (finds trainers only)."


def seam_problem() -> str | None:
    """Return why nnU-Net does not find registered classes here, with the way out; None if it does.

    Imports nnU-Net's look-up module, as a stock command would.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = import_module(LOOKUP_MODULE)
    except ImportError as error:
        return f"nnU-Net's {LOOKUP_MODULE} cannot be imported: {error}. Reinstall nnunetv2 (2.8.1 or newer)."
    if is_wrapped(getattr(module, LOOKUP_FUNCTION, None)):
        return None
    own = [str(warning.message) for warning in caught if "nnunet_ext" in str(warning.message)]
    if own:
        return own[0]
    return _why_not_started()


def double_names() -> list[str]:
    """Return one message per name that more than one package registers for different objects."""
    problems = []
    for group in GROUPS:
        for name in sorted({found.name for found in registrations(group)}):
            try:
                registration_of(group, name)
            except AmbiguousPluginError as error:
                problems.append(str(error))
    return problems


def plugin_problems() -> list[str]:
    """Import everything that is registered; return one message per class that is broken or never reached."""
    problems = []
    for group in GROUPS:
        built_in = names_of_nnunet(group)
        for found in registrations(group):
            try:
                found.load()
            except PluginImportError as error:
                problems.append(str(error))
            if found.name in built_in:
                problems.append(
                    f"{found.name}, registered by package '{found.package}', is never found: "
                    "nnU-Net has a class of that name, which goes first. Choose another name."
                )
    return problems


def torchvision_problem() -> str | None:
    """Return what is wrong with torchvision, on which nnU-Net's walk through its own trainers depends, or None."""
    try:
        installed = version("torchvision")
    except PackageNotFoundError:
        return None
    try:
        import_module("torchvision")
    except Exception as error:
        return (
            f"torchvision {installed} does not import beside torch {version('torch')} "
            f"({type(error).__name__}: {error}). Registered trainers are found all the same, but of nnU-Net's own only "
            "nnUNetTrainer. Install torch and torchvision from the same index (both for CPU, or both for one CUDA)."
        )
    return None


def _why_not_started() -> str:
    folders = [Path(path) for path in {sysconfig.get_path("purelib"), *_site_folders()}]
    found = [folder / PTH_FILE for folder in folders if (folder / PTH_FILE).is_file()]
    here = Path(__file__).resolve().parents[2]
    if not found:
        return (
            f"no {PTH_FILE} in {', '.join(map(str, sorted(folders)))}: nnunet_ext runs from {here}, where Python does "
            f"not read .pth files (an install with --target, or PYTHONPATH). {HOW_TO_WITHOUT_PTH}"
        )
    if sys.flags.no_site:
        return f"Python was started with -S, which skips {found[0]}. {HOW_TO_WITHOUT_PTH}"
    return f"{found[0]} is there but did not run at this start of Python. Reinstall nnunet_ext. {HOW_TO_WITHOUT_PTH}"


def _site_folders() -> list[str]:
    return [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
