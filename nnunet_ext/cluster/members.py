"""The models that a prediction is made with, and what to call for each: first stages, members, the mean of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnunet_ext.cluster.dataset import previous_stage, read_plans
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ACTIONS = ("first_stage", "merge_first_stage", "predict", "merge", "ensemble")
"""What can be called: predict and merge labels of the first stage, predict and merge a member, take the mean."""


@dataclass(frozen=True)
class Member:
    """A model that takes part.

    Parameters
    ----------
    model
        Its folder ``<trainer>__<plans>__<configuration>``.
    folds
        Its folds; empty for all that are there.
    first_stage
        Folder of the model whose labels it needs, if it is the second stage of a cascade.
    """

    model: str
    folds: tuple[str, ...] = ()
    first_stage: str | None = None


@dataclass(frozen=True)
class Places:
    """Where predictions lie.

    Parameters
    ----------
    output
        Folder for all of them.
    in_parts
        Whether images are predicted in parts, which are merged.
    """

    output: Path
    in_parts: bool

    def first_stage(self, *, merged: bool) -> Path:
        """Return the folder for labels of the first stage, as they are predicted or merged."""
        return self.output / ("first_stage" if merged or not self.in_parts else "first_stage_parts")

    def member(self, index: int, count: int, *, merged: bool) -> Path:
        """Return the folder of one of ``count`` members, as it is predicted or merged."""
        of_member = "" if count == 1 else f"_{index + 1}"
        whole = self.output / ("predictions" if count == 1 else f"model{of_member}")
        return whole if merged or not self.in_parts else self.output / f"parts{of_member}"

    def all(self, most: int) -> list[Path]:
        """Return every folder that may be made with up to ``most`` members."""
        found = [self.output / name for name in ("first_stage_parts", "first_stage", "parts", "predictions")]
        return found + [self.output / f"{name}_{index + 1}" for index in range(most) for name in ("parts", "model")]


def member_of(model: Path, folds: Sequence[str]) -> Member:
    """Return the member for a model; the first stage of a cascade is looked for beside it.

    Raises
    ------
    InputError
        If plans.json is there and no plans.
    """
    where = model.absolute()
    names, plans = where.name.split("__"), where / "plans.json"
    stage = previous_stage(names[-1], read_plans(plans)) if len(names) == 3 and plans.is_file() else None
    beside = None if stage is None else str(where.with_name("__".join([*names[:2], stage])))
    return Member(str(where), tuple(folds), beside)


def first_stage_of(members: Sequence[Member]) -> Member | None:
    """Return the model of the first stage that members need, if one does.

    Raises
    ------
    InputError
        If they need different ones.
    """
    needed = {Member(member.first_stage, member.folds): None for member in members if member.first_stage}
    if len(needed) > 1:
        message = f"cascades with different first stages: {', '.join(found.model for found in needed)}; predict singly"
        raise InputError(message)
    return next(iter(needed), None)


def call_for(action: str, members: Sequence[Member], index: int, places: Places) -> list[str] | None:
    """Return what to call, without the images and how to predict them; None where there is nothing to do.

    Parameters
    ----------
    action
        One of `ACTIONS`.
    members
        All members.
    index
        Which of them, where it is about one.
    places
        Where everything lies.
    """
    count = len(members)
    if action in ("first_stage", "merge_first_stage"):
        stage = first_stage_of(members)
        found, merged = places.first_stage(merged=False), places.first_stage(merged=True)
        if stage is None:
            return None
        return _predict(stage, found) if action == "first_stage" else _merge(found, merged)
    if action == "ensemble":
        if count == 1:
            return None
        folders = [str(places.member(each, count, merged=True)) for each in range(count)]
        return ["nnunet_ext", "ensemble", "-i", *folders, "-o", str(places.output / "predictions")]
    if index >= count:
        return None
    found, merged = places.member(index, count, merged=False), places.member(index, count, merged=True)
    if action == "merge":
        return _merge(found, merged)
    words = _predict(members[index], found)
    if members[index].first_stage:
        words += ["-prev_stage_predictions", str(places.first_stage(merged=True))]
    return [*words, "--save-probabilities"] if count > 1 else words


def _predict(member: Member, output: Path) -> list[str]:
    folds = ["-f", *member.folds] if member.folds else []
    return ["nnunet_ext", "predict", "-m", member.model, *folds, "-o", str(output)]


def _merge(parts: Path, output: Path) -> list[str]:
    return ["nnunet_ext", "merge", "-i", str(parts), "-o", str(output)]
