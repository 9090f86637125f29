"""Read rules such as "fewer than 45 voxels of enhancing tumour are necrosis" from a JSON file.

The rule goes back to the BraTS challenge, where a case without any enhancing tumour is scored 0 or 1, so that a few
false voxels cost all of it; its winners replaced a small enhancing tumour by necrosis.

References
----------
Isensee, Jäger et al., nnU-Net for brain tumor segmentation, BrainLes 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnunet_ext.class_rules.names import ClassNames, names_of_dataset
from nnunet_ext.errors import BadCasesError, InputError
from nnunet_ext.files import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEYS = ("from", "to", "below_voxels", "below_mm3", "per_component")
EXAMPLE = '{"rules": [{"from": "enhancing", "to": "necrosis", "below_voxels": 45}]}'

ROUNDING = 1e-9
"""Part of a volume in mm³ that is rounding: ten voxels of 0.1 mm³ are not below 1 mm³."""


@dataclass(frozen=True)
class Rule:
    """Where there is less than a threshold of a class, its voxels become another.

    Parameters
    ----------
    values
        Values of the class; those of a region if there are several.
    target
        The value that its voxels get.
    below_voxels, below_mm3
        The threshold, one of the two: this many are not changed, any fewer are.
    per_component
        Whether each connected component (26 neighbours, 8 in a single slice) is compared for itself, and not all
        voxels of the case together.
    text
        The rule in words.
    """

    values: tuple[int, ...]
    target: int
    below_voxels: int | None = None
    below_mm3: float | None = None
    per_component: bool = False
    text: str = ""

    def limit(self, voxel_volume: float) -> float:
        """Return the number of voxels below which the rule applies, for voxels of so many mm³."""
        if self.below_voxels is not None:
            return self.below_voxels
        assert self.below_mm3 is not None
        return self.below_mm3 * (1 - ROUNDING) / voxel_volume


def read_rules(path: Path, declaration: Path | None) -> tuple[Rule, ...]:
    """Read a rule file.

    Parameters
    ----------
    path
        JSON file such as ``{"rules": [{"from": "enhancing", "to": "necrosis", "below_voxels": 45}]}``. The rules apply
        one after the other. ``from`` and ``to`` are names or values of classes; ``from`` may be a region. Instead of
        ``below_voxels``, ``below_mm3``; with ``"per_component": true``, each connected component for itself.
    declaration
        dataset.json (or a class file) that says what the names are; without one, classes are values.

    Returns
    -------
    tuple of Rule
        At least one.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputError
        If a file is not JSON, or the declaration has no usable labels.
    BadCasesError
        With everything that is wrong with any rule.
    """
    content = read_json(path)
    entries = content.get("rules")
    if set(content) != {"rules"} or not isinstance(entries, list) or not entries:
        message = f"{path}: expected one key 'rules' with a list of rules, such as {EXAMPLE}, found {_found(content)}"
        raise InputError(message)
    names = None if declaration is None else names_of_dataset(read_json(declaration), str(declaration))
    rules, problems = [], []
    for number, entry in enumerate(entries, 1):
        rule, wrong = _rule(entry, names)
        problems += [f"{path}: rule {number}: {text}" for text in wrong]
        if rule is not None:
            rules.append(rule)
    if problems:
        raise BadCasesError(problems)
    return tuple(rules)


def _found(content: Mapping[str, Any]) -> str:
    others = sorted(set(content) - {"rules"})
    if others:
        return f"the keys {', '.join(map(repr, content))}"
    return "no key at all" if not content else f"'rules': {content['rules']!r}"


def _rule(entry: object, names: ClassNames | None) -> tuple[Rule | None, list[str]]:
    """Return a rule, or what is wrong with it."""
    if not isinstance(entry, dict):
        return None, [f"found {entry!r}, expected an object with the keys {', '.join(KEYS)}"]
    problems = [f"unknown key {key!r}, expected some of {', '.join(KEYS)}" for key in entry if key not in KEYS]
    problems += [f"no '{key}', expected the name or value of a class" for key in ("from", "to") if key not in entry]
    values: tuple[int, ...] = ()
    target: tuple[int, ...] = ()
    if "from" in entry:
        values, wrong = _class_of(entry, "from", names)
        problems += wrong
    if "to" in entry:
        target, wrong = _class_of(entry, "to", names)
        problems += wrong
    if values and (values == target or entry.get("from") == entry.get("to")):
        problems.append(f"'from' {entry['from']!r} and 'to' {entry['to']!r} are the same class, expected two")
    below = [key for key in ("below_voxels", "below_mm3") if key in entry]
    if len(below) != 1:
        problems.append(
            f"{' and '.join(below) or 'no threshold'} given, expected one of 'below_voxels' and 'below_mm3'"
        )
    problems += [f"'{key}' is {entry[key]!r}, expected {_expected(key)}" for key in below if not _fits(key, entry[key])]
    per_component = entry.get("per_component", False)
    if not isinstance(per_component, bool):
        problems.append(f"'per_component' is {per_component!r}, expected true or false")
    if problems:
        return None, problems
    (key,) = below
    unit = "voxels" if key == "below_voxels" else "mm³"
    each = " in one piece" if per_component else ""
    text = f"{entry['from']} to {entry['to']} below {entry[key]} {unit}{each}"
    return Rule(values, target[0], entry.get("below_voxels"), entry.get("below_mm3"), per_component, text), []


def _class_of(entry: Mapping[str, Any], key: str, names: ClassNames | None) -> tuple[tuple[int, ...], list[str]]:
    """Return the values of a class, or what is wrong with it."""
    given = entry[key]
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        return (), [f"'{key}' is {given!r}, expected the name or value of a class"]
    if names is None:
        if isinstance(given, int) and given >= 0:
            return (given,), []
        return (), [f"'{key}' is {given!r}, expected a value from 0: there is no dataset.json that says what names are"]
    values = names.values_of(given, written=key == "to")
    if key == "to" and len(values) > 1:
        missing = f"{names.source} has no 'regions_class_order' that says which of {values} it is written with"
        return (), [f"'to' is the region {given!r}, expected a class: {missing}"]
    return values, [] if values else [f"'{key}' is {given!r}, expected one of {names.known} as in {names.source}"]


def _fits(key: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if key == "below_voxels" else (int, float)):
        return False
    return value >= 0 and math.isfinite(value)


def _expected(key: str) -> str:
    return "a whole number from 0" if key == "below_voxels" else "a number of mm³ from 0"
