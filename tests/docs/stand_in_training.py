"""Stand in for ``nnUNetv2_train``: a model with random weights, where stock training would have written it.

Run as a script with the arguments of ``nnUNetv2_train``. The trainer is the real one: it is found by its name, reads
its environment variables and plans, builds its network (with four features per stage, so that predictions take seconds)
and writes its own checkpoint. What is left out is the training. A fold whose model has another fold already is a copy
of it. Labels of the fold's validation cases stand in for their predictions.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path


def main() -> None:
    """Write ``fold_X`` of a model."""
    parser = argparse.ArgumentParser()
    for name in ("dataset", "configuration", "fold"):
        parser.add_argument(name)
    parser.add_argument("-tr", default="nnUNetTrainer")
    parser.add_argument("-p", default="nnUNetPlans")
    parser.add_argument("--npz", action="store_true")
    parser.add_argument("--c", action="store_true")
    args = parser.parse_args()
    pattern = f"Dataset{int(args.dataset):03d}_*"
    (dataset,) = Path(os.environ["nnUNet_preprocessed"]).glob(pattern)  # noqa: SIM112 - nnU-Net's spelling
    results = Path(os.environ["nnUNet_results"])  # noqa: SIM112
    model = results / dataset.name / f"{args.tr}__{args.p}__{args.configuration}"
    fold = model / f"fold_{args.fold}"
    trained = sorted(model.glob("fold_*"))
    if fold in trained:
        assert args.c, f"{fold} is there already"
        return
    if trained:
        shutil.copytree(trained[0], fold, ignore=shutil.ignore_patterns("validation"))
    else:
        _write_model(dataset, model, args)
    _write_validation(dataset, fold, int(args.fold) if args.fold.isdigit() else 0)


def _write_model(dataset: Path, model: Path, args: argparse.Namespace) -> None:
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    plans_file = dataset / f"{args.p}.json"
    plans = json.loads(plans_file.read_text())
    original = plans_file.read_bytes()
    for configuration in plans["configurations"].values():
        if "architecture" in configuration:
            kwargs = configuration["architecture"]["arch_kwargs"]
            kwargs["features_per_stage"] = [4] * len(kwargs["features_per_stage"])
    try:
        plans_file.write_text(json.dumps(plans))
        fold = int(args.fold) if args.fold.isdigit() else args.fold
        device = torch.device("cpu")
        trainer = get_trainer_from_args(args.dataset, args.configuration, fold, args.tr, args.p, device=device)
        torch.manual_seed(0)
        trainer.initialize()
    finally:
        plans_file.write_bytes(original)
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(trainer.dataset_json))


def _write_validation(dataset: Path, fold: Path, number: int) -> None:
    from nnunet_ext.imageio import read_volume, write_volume

    content = json.loads((dataset / "dataset.json").read_text())
    ending, ignore = content["file_ending"], content["labels"].get("ignore")
    raw = Path(os.environ["nnUNet_raw"]) / dataset.name  # noqa: SIM112
    validation = fold / "validation"
    validation.mkdir(parents=True)
    for name in ("dataset.json", "plans.json"):
        shutil.copy(fold.parent / name, validation / name)
    for label in sorted((raw / "labelsTr").glob(f"*{ending}"))[number::5]:
        array, geometry = read_volume(label)
        array[array == ignore] = 0
        write_volume(validation / label.name, array, geometry)


if __name__ == "__main__":
    main()
