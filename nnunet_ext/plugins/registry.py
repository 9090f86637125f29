"""Classes that packages declare as entry points for nnU-Net, found by group and name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from nnunet_ext.errors import AmbiguousPluginError, PluginImportError

TRAINERS = "nnunetv2.trainers"
GROUPS = (
    TRAINERS,
    "nnunetv2.planners",
    "nnunetv2.preprocessors",
    "nnunetv2.label_managers",
    "nnunetv2.normalizations",
    "nnunetv2.resamplers",
    "nnunetv2.readers",
)


@dataclass(frozen=True)
class Registration:
    """One entry point: ``name`` in ``group`` stands for ``value`` (``module:object``) of ``package``."""

    group: str
    name: str
    value: str
    package: str

    def load(self) -> object:
        """Import the object.

        Raises
        ------
        PluginImportError
            If its module cannot be imported or has no such object; names the entry point, and carries the
            plugin's own error as its cause.
        """
        try:
            return EntryPoint(self.name, self.value, self.group).load()
        except Exception as error:
            message = (
                f"{self.name} is registered by package '{self.package}' (entry point '{self.name} = {self.value}' "
                f"in group '{self.group}') but cannot be imported: {type(error).__name__}: {error}"
            )
            raise PluginImportError(message) from error


def registrations(group: str) -> list[Registration]:
    """Return all entry points of ``group`` in the order of their names; doubles are kept."""
    found = {
        Registration(group, point.name, point.value, point.dist.name if point.dist else "unknown")
        for point in entry_points(group=group)
    }
    return sorted(found, key=lambda registration: (registration.name, registration.package))


def registration_of(group: str, name: str) -> Registration | None:
    """Return the entry point ``name`` of ``group``, or None.

    Raises
    ------
    AmbiguousPluginError
        If two packages register the name for different objects; names both.
    """
    found = [registration for registration in registrations(group) if registration.name == name]
    if len({registration.value for registration in found}) > 1:
        listed = " and ".join(f"'{r.package}' ({r.value})" for r in found)
        message = f"{name} is registered in group '{group}' by more than one package: {listed}. Uninstall one of them."
        raise AmbiguousPluginError(message)
    return found[0] if found else None


def closest_names(name: str, known: list[str], limit: int = 3) -> list[str]:
    """Return up to ``limit`` of the ``known`` names that look most like ``name``, best first."""
    by_folded = {candidate.lower(): candidate for candidate in known}
    return [by_folded[match] for match in difflib.get_close_matches(name.lower(), by_folded, limit, cutoff=0.5)]
