"""Which model nnU-Net's comparison of configurations chose: frozen beside the plan, and used to predict.

Run by tasks of a pipeline: ``python -m nnunet_ext.cluster.best_model choose|predict …``.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.command import exit_with
from nnunet_ext.errors import InputError
from nnunet_ext.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence


def choose(
    information: Path, trainer: str, plans: str, configurations: Sequence[str], folds: Sequence[str]
) -> dict[str, Any]:
    """Return what nnU-Net found best, if it compared what was asked for.

    Parameters
    ----------
    information
        inference_information.json of nnU-Net.
    trainer, plans, configurations, folds
        What was to be compared. Another comparison for the same dataset writes to the same file.

    Returns
    -------
    dict
        ``model``, ``folds``, ``postprocessing``, ``plans`` (a file), ``configuration``, ``dice``.

    Raises
    ------
    MissingInputError, InputError
        If the file is not there, of another comparison, or names an ensemble.
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
        if len(selected) != 1:
            message = f"{information}: the best is an ensemble of {len(selected)} models, expected one model"
            raise InputError(message)
        configuration = selected[0]["configuration"]
        return {
            "model": str(information.absolute().parent / f"{trainer}__{plans}__{configuration}"),
            "configuration": configuration,
            "folds": found_folds,
            "postprocessing": best["postprocessing_file"],
            "plans": best["some_plans_file"],
            "dice": best["result_on_crossval_pre_pp"],
            "dice_postprocessed": best["result_on_crossval_post_pp"],
        }
    except (KeyError, TypeError) as error:
        message = f"{information}: not what nnUNetv2_find_best_configuration writes: {error!r}"
        raise InputError(message) from error


def _main(argv: Sequence[str]) -> int:
    if argv[:1] == ["predict"]:
        best = read_json(Path(argv[1]))
        # In place of this process, so that signals and exit status are those of the command.
        os.execvp("nnunet_ext", ["nnunet_ext", "predict", "-m", best["model"], "-f", *best["folds"], *argv[2:]])
    parser = argparse.ArgumentParser(prog="nnunet_ext.cluster.best_model")
    parser.add_argument("choose", choices=["choose"])
    parser.add_argument("output", type=Path)
    parser.add_argument("information", type=Path)
    for flag in ("-tr", "-p"):
        parser.add_argument(flag, required=True)
    for flag in ("-c", "-f"):
        parser.add_argument(flag, required=True, nargs="+")
    args = parser.parse_args(argv)
    best = choose(args.information, args.tr, args.p, args.c, args.f)
    write_json(args.output, best)
    print(f"best: {best['configuration']}, Dice {best['dice']}, after post-processing {best['dice_postprocessed']}")
    return 0


if __name__ == "__main__":
    exit_with("nnunet_ext.cluster.best_model", partial(_main, sys.argv[1:]))
