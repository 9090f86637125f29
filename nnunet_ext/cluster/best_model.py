"""Which model, or pair of models, nnU-Net's comparison chose: frozen beside the plan, and used to predict.

Run by tasks of a pipeline: ``python -m nnunet_ext.cluster.best_model choose …``, and then for each action of
`nnunet_ext.cluster.members`: ``… best_model <action> BEST INDEX OUTPUT parts|whole [arguments of the command]``.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.cluster.members import ACTIONS, Member, Places, call_for, member_of
from nnunet_ext.command import exit_with
from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence


def choose(
    information: Path, trainer: str, plans: str, configurations: Sequence[str], folds: Sequence[str], *, most: int = 1
) -> dict[str, Any]:
    """Return what nnU-Net found best, if it compared what was asked for.

    Parameters
    ----------
    information
        inference_information.json of nnU-Net.
    trainer, plans, configurations, folds
        What was to be compared. Another comparison for the same dataset writes to the same file.
    most
        How many models the best may consist of.

    Returns
    -------
    dict
        ``members`` (a list, with the fields of `Member`), ``postprocessing``, ``plans`` (a file), ``configurations``,
        ``dice``, ``dice_postprocessed``.

    Raises
    ------
    MissingInputError, InputError
        If the file is not there, of another comparison, or names an ensemble of too many.
    """
    content = read_json(information)
    try:
        compared = {(m["trainer"], m["plans"], m["configuration"]) for m in content["considered_models"]}
        best = content["best_model_or_ensemble"]
        selected = best["selected_model_or_models"]
        found_folds = [str(fold) for fold in content["folds"]]
        expected = {(trainer, plans, configuration) for configuration in configurations}
        if compared != expected or found_folds != list(folds):
            message = (
                f"{information}: compares {sorted(compared)} with folds {found_folds}, expected {sorted(expected)} "
                f"with folds {list(folds)}; another comparison for this dataset ran in between"
            )
            raise InputError(message)
        if not 1 <= len(selected) <= most:
            expected_number = "one model" if most == 1 else f"{most} at most"
            message = f"{information}: the best is an ensemble of {len(selected)} models, expected {expected_number}"
            raise InputError(message)
        names = [model["configuration"] for model in selected]
        results = information.absolute().parent
        return {
            "members": [asdict(member_of(results / f"{trainer}__{plans}__{name}", found_folds)) for name in names],
            "configurations": names,
            "postprocessing": best["postprocessing_file"],
            "plans": best["some_plans_file"],
            "dice": best["result_on_crossval_pre_pp"],
            "dice_postprocessed": best["result_on_crossval_post_pp"],
        }
    except (KeyError, TypeError) as error:
        message = f"{information}: not what nnUNetv2_find_best_configuration writes: {error!r}"
        raise InputError(message) from error


def read_members(best: Path) -> list[Member]:
    """Return the members that were chosen.

    Raises
    ------
    MissingInputError, InputError
        If the file is not there, or not what `choose` writes.
    """
    content = read_json(best)
    try:
        return [Member(one["model"], tuple(one["folds"]), one["first_stage"]) for one in content["members"]]
    except (KeyError, TypeError) as error:
        message = f"{best}: not what the step find_best writes: {error!r}"
        raise InputError(message) from error


def _main(argv: Sequence[str]) -> int:
    if argv[:1] and argv[0] in ACTIONS:
        action, best, index, output, how, *more = argv
        places = Places(Path(output), how == "parts")
        call = call_for(action, read_members(Path(best)), int(index), places)
        if call is None:
            print(f"{action} {index}: nothing to do, the best does not need it")
            return 0
        # In place of this process, so that signals and exit status are those of the command.
        os.execvp(call[0], [*call, *more])
    parser = argparse.ArgumentParser(prog="nnunet_ext.cluster.best_model")
    parser.add_argument("choose", choices=["choose"])
    parser.add_argument("output", type=Path)
    parser.add_argument("information", type=Path)
    parser.add_argument("--most", type=int, default=1)
    for flag in ("-tr", "-p"):
        parser.add_argument(flag, required=True)
    for flag in ("-c", "-f"):
        parser.add_argument(flag, required=True, nargs="+")
    args = parser.parse_args(argv)
    found = choose(args.information, args.tr, args.p, args.c, args.f, most=args.most)
    write_json(args.output, found)
    names = " and ".join(found["configurations"])
    print(f"best: {names}, Dice {found['dice']}, after post-processing {found['dice_postprocessed']}")
    return 0


if __name__ == "__main__":
    exit_with("nnunet_ext.cluster.best_model", partial(_main, sys.argv[1:]))
