"""nnU-Net's class look-up, extended by entry points.

nnU-Net finds every class by name with one function, which is given the folder to search. Here that folder says which
group of entry points belongs to it. A name that nnU-Net defines itself is never shadowed.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.errors import PluginImportError, PluginNotFoundError
from nnunet_ext.plugins.lengths import split_length, with_length
from nnunet_ext.plugins.registry import TRAINERS, closest_names, registration_of, registrations

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_ext.plugins.registry import Registration

GROUP_OF_FOLDER = {
    "training/nnUNetTrainer": TRAINERS,
    "experiment_planning": "nnunetv2.planners",
    "preprocessing": "nnunetv2.preprocessors",
    "utilities/label_handling": "nnunetv2.label_managers",
    "preprocessing/normalization": "nnunetv2.normalizations",
    "preprocessing/resampling": "nnunetv2.resamplers",
    "imageio": "nnunetv2.readers",
}
EXTERNAL_TRAINERS = "nnUNet_extTrainer"


def wrap(find: Callable[..., Any]) -> Callable[..., Any]:
    """Return nnU-Net's ``recursive_find_python_class``, extended by entry points.

    Parameters
    ----------
    find
        nnU-Net's function: ``find(folder, class_name, current_module, …)`` returns the class or None.
    """

    @functools.wraps(find)
    def find_class(folder: str, class_name: str, *args: Any, **kwargs: Any) -> Any:
        def find_in_nnunet(name: str) -> Any:
            return find(folder, name, *args, **kwargs)

        group = group_of(folder)
        if group is None:
            found = find_in_nnunet(class_name)
            if found is None and _is_last_external_folder(folder):
                raise PluginNotFoundError(_not_found(TRAINERS, class_name, Path(folder)))
            return found
        return _find_in_group(group, Path(folder), class_name, find_in_nnunet)

    find_class.is_nnunet_ext = True  # type: ignore[attr-defined]
    return find_class


def is_wrapped(function: object) -> bool:
    """Whether ``function`` is nnU-Net's look-up as extended here."""
    return getattr(function, "is_nnunet_ext", False) is True


def group_of(folder: str) -> str | None:
    """Return the group of entry points that belongs to a folder of nnU-Net, or None for any other folder."""
    nnunet = sys.modules.get("nnunetv2")
    if nnunet is None:
        return None
    try:
        inside = Path(folder).resolve().relative_to(Path(nnunet.__path__[0]).resolve())
    except ValueError:
        return None
    return GROUP_OF_FOLDER.get(inside.as_posix())


def names_of_nnunet(group: str) -> set[str]:
    """Return the names that nnU-Net itself has for a group of entry points."""
    import nnunetv2

    folder = next(folder for folder, of_folder in GROUP_OF_FOLDER.items() if of_folder == group)
    return defined_names(Path(nnunetv2.__path__[0]) / folder)


def defined_names(folder: Path) -> set[str]:
    """Return the names that the Python files below ``folder`` define at module level, without importing them.

    Reading them as text takes milliseconds, where importing all of nnU-Net's trainers takes seconds, and fails
    altogether where one optional dependency of theirs is broken.
    """
    names: set[str] = set()
    for file in folder.rglob("*.py"):
        text = file.read_text(encoding="utf-8", errors="replace")
        names.update(re.findall(r"^(?:class|def)\s+(\w+)", text, re.MULTILINE))
        names.update(re.findall(r"^(\w+)\s*(?::[^=\n]+)?=[^=]", text, re.MULTILINE))
        for imported in re.findall(r"^from\s+\S+\s+import\s+(\([^)]*\)|[^\n]*)", text, re.MULTILINE):
            names.update(re.findall(r"\w+", imported))
    return names


def _find_in_group(group: str, folder: Path, name: str, find_in_nnunet: Callable[[str], Any]) -> Any:
    """Find ``name`` among nnU-Net's own names, the entry points of ``group``, and trainers of a given length."""
    length = split_length(name) if group == TRAINERS else None
    if name not in defined_names(folder):
        registration = registration_of(group, name)
        if registration is not None:
            return registration.load()
        base = registration_of(group, length[0]) if length else None
        if base is not None:
            return with_length(_trainer(base), name)
    found = find_in_nnunet(name)
    if found is not None:
        return found
    external = _external_folders() if group == TRAINERS else []
    if any(name in defined_names(outside) for outside in external):
        return None  # nnU-Net searches those folders next
    built_in = find_in_nnunet(length[0]) if length else None
    if built_in is not None:
        return with_length(built_in, name)
    if external:
        return None
    raise PluginNotFoundError(_not_found(group, name, folder))


def _trainer(registration: Registration) -> type:
    trainer = registration.load()
    if not isinstance(trainer, type):
        message = f"{registration.value} of package '{registration.package}' is registered as a trainer but is no class"
        raise PluginImportError(message)
    return trainer


def _external_folders() -> list[Path]:
    """Return the existing folders that nnU-Net's environment variable for outside trainers names."""
    value = os.environ.get(EXTERNAL_TRAINERS, "")
    return [Path(entry) for entry in value.split(os.pathsep) if entry.strip() and Path(entry).exists()]


def _is_last_external_folder(folder: str) -> bool:
    external = _external_folders()
    return bool(external) and Path(folder).resolve() == external[-1].resolve()


def _not_found(group: str, name: str, folder: Path) -> str:
    registered = [registration.name for registration in registrations(group)]
    kind = group.removeprefix("nnunetv2.").removesuffix("s").replace("_", " ")
    known = registered + sorted(defined_names(folder))
    length = split_length(name) if group == TRAINERS else None
    if length:
        base, epochs = length
        known = [other for other in known if split_length(other) is None]
        near = [f"{other}_{epochs}epochs" for other in closest_names(base, known)]
    else:
        near = closest_names(name, known)
    hint = f" Closest names: {', '.join(near)}." if near else ""
    return (
        f"no {kind} named '{name}': neither nnU-Net ({folder}) nor an installed package "
        f"(entry points '{group}') has it.{hint} 'nnunet_ext doctor' lists what is registered."
    )
