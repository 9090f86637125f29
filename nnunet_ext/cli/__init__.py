"""The ``nnunet_ext`` command: verbs, each a small module that is imported only when asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from nnunet_ext import __version__
from nnunet_ext.command import run_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Verb:
    """A verb: the module with its ``add_arguments`` and ``run``, and one sentence about it."""

    module: str
    summary: str


VERBS: dict[str, Verb | dict[str, Verb]] = {
    "doctor": Verb("nnunet_ext.cli.doctor", "Show versions, paths, the seam to nnU-Net and all registered classes."),
    "trainer_path": Verb("nnunet_ext.cli.trainer_path", "Print the folder for nnUNet_extTrainer."),
    "demo": Verb("nnunet_ext.cli.demo", "Run the soil workflow on a generated phantom, from tif stacks to scores."),
    "convert": {
        "soil_ct": Verb("dataset_conversion.soil_ct", "Soil CT scans and sparse annotations to an nnU-Net dataset."),
        "caffe": Verb("dataset_conversion.caffe", "SAR images, calving fronts and zones to an nnU-Net dataset."),
        "slicer_nrrd": Verb("dataset_conversion.slicer_nrrd", "Segmentations of 3D Slicer to an nnU-Net dataset."),
        "nifti": Verb("dataset_conversion.nifti", "Images and label maps in any layout to an nnU-Net dataset."),
        "segthor": Verb("dataset_conversion.segthor", "SegTHOR (organs at risk in thoracic CT) to an nnU-Net dataset."),
        "brats": Verb("dataset_conversion.brats", "BraTS (gliomas in brain MR) to an nnU-Net dataset with regions."),
        "v1": Verb("dataset_conversion.v1", "A raw dataset of nnU-Net v1 to one of v2, with its folds."),
        "nii_to_niigz": Verb("dataset_conversion.nii_to_niigz", "All .nii files and .hdr/.img pairs to .nii.gz."),
    },
    "prepare": {
        "soil_ct": Verb("nnunet_ext.cli.prepare_soil_ct", "Unseen soil CT scans to the input of nnUNetv2_predict."),
    },
    "export": {
        "soil_ct": Verb("nnunet_ext.cli.export_soil_ct", "Predictions back to the annotation's ids and colours."),
        "caffe": Verb("nnunet_ext.cli.export_caffe", "Predicted calving fronts and zones back to grey pictures."),
        "slicer_nrrd": Verb("nnunet_ext.cli.export_slicer_nrrd", "Predictions to segmentations of 3D Slicer."),
    },
    "stack": Verb("nnunet_ext.cli.stack", "Several label maps per case to one dataset with joint labels."),
    "unstack": Verb("nnunet_ext.cli.unstack", "Joint labels back to one label map per task."),
    "split": Verb("nnunet_ext.cli.split", "Large images to overlapping pieces for nnUNetv2_predict."),
    "merge": Verb("nnunet_ext.cli.merge", "Predicted pieces or parts of images to whole predictions."),
    "predict": Verb("nnunet_ext.cli.predict", "Predict volumes larger than memory, as nnUNetv2_predict would."),
    "evaluate": Verb("evaluation.evaluate", "Scores of predictions against labels, per case and class, and a report."),
    "evaluate_fronts": Verb("evaluation.evaluate_fronts", "Errors of calving fronts, per image and group of images."),
    "calving_front": Verb("nnunet_ext.cli.calving_front", "Calving fronts of images by a model: pictures and lines."),
    "front_plots": Verb("evaluation.front_plots", "Pictures of calving fronts: overlays, box plots, over time, GIFs."),
    "overlay": Verb("evaluation.overlay", "Pictures of labels and predictions as outlines, worst cases first."),
    "phase_fractions": Verb("evaluation.phase_fractions", "Share of every class in every predicted scan."),
    "benchmark": Verb("nnunet_ext.cli.benchmark", "Throughput, latency and memory of a trainer or a network."),
    "curves": Verb("evaluation.curves", "Training curves of a model over its folds, as tables and figures."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``nnunet_ext VERB [SOURCE] …`` and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"nnunet_ext {__version__}")
        return 0
    return _dispatch("nnunet_ext", VERBS, words)


def _dispatch(prog: str, verbs: Mapping[str, Verb | dict[str, Verb]], words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage(prog, verbs), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] not in verbs:
        print(f"{prog}: error: unknown: '{words[0]}'\n{_usage(prog, verbs)}", file=sys.stderr)
        return 2
    chosen, name = verbs[words[0]], f"{prog} {words[0]}"
    if isinstance(chosen, dict):
        return _dispatch(name, chosen, words[1:])
    module = import_module(chosen.module)
    return run_command(name, chosen.summary, module.add_arguments, module.run, words[1:])


def _usage(prog: str, verbs: Mapping[str, Verb | dict[str, Verb]]) -> str:
    rows = [
        f"  {name:<15} {chosen.summary}"
        if isinstance(chosen, Verb)
        else f"  {name:<15} One of: {', '.join(chosen)}. '{prog} {name} --help' says more."
        for name, chosen in verbs.items()
    ]
    return "\n".join([f"usage: {prog} <one of the following> …", "", *rows])
