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
    "doctor": Verb(
        "nnunet_ext.cli.doctor", "Show versions, paths, all registered classes and whether nnU-Net finds them."
    ),
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
    "prelabel": Verb("nnunet_ext.cli.prelabel", "First annotations of soil scans: a threshold on the middle slice."),
    "annotate": Verb("nnunet_ext.cli.annotate", "The napari window for the annotation of one sample."),
    "merge_annotations": Verb("nnunet_ext.cli.merge_annotations", "Two annotators' work to one, and their agreement."),
    "split": Verb("nnunet_ext.cli.split", "Large images to overlapping pieces for nnUNetv2_predict."),
    "merge": Verb("nnunet_ext.cli.merge", "Predicted pieces or parts of images to whole predictions."),
    "ensemble": Verb(
        "nnunet_ext.cli.ensemble", "The mean of several models' probabilities to labels, in bounded memory."
    ),
    "predict": Verb("nnunet_ext.cli.predict", "Predict volumes larger than memory, as nnUNetv2_predict would."),
    "postprocess": Verb(
        "nnunet_ext.cli.postprocess", "Change predictions by rules: a class with few voxels becomes another."
    ),
    "evaluate": Verb("evaluation.evaluate", "Scores of predictions against labels, per case and class, and a report."),
    "evaluate_fronts": Verb("evaluation.evaluate_fronts", "Errors of calving fronts, per image and group of images."),
    "calving_front": Verb("nnunet_ext.cli.calving_front", "Calving fronts of images by a model: pictures and lines."),
    "front_plots": Verb("evaluation.front_plots", "Pictures of calving fronts: overlays, box plots, over time, GIFs."),
    "overlay": Verb("evaluation.overlay", "Pictures of labels and predictions as outlines, worst cases first."),
    "phase_fractions": Verb("evaluation.phase_fractions", "Share of every class in every predicted scan."),
    "submit": Verb("nnunet_ext.cli.submit", "Trainings, predictions, pipelines as jobs of Slurm or PBS, or here."),
    "jobs": Verb("nnunet_ext.cli.jobs", "State, runtime, memory and logs of submitted jobs."),
    "benchmark": Verb("nnunet_ext.cli.benchmark", "Throughput, latency and memory of a trainer or a network."),
    "curves": Verb("evaluation.curves", "Training curves of a model over its folds, as tables and figures."),
    "completion": Verb("nnunet_ext.cli.completion", "Print what lets a shell complete this command's words."),
}

# The order of the help, which is also that of the pages of the documentation.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Annotate": ("prelabel", "annotate", "merge_annotations"),
    "Get data in": ("convert",),
    "Several label maps per image": ("stack", "unstack"),
    "Train (with nnUNetv2_train) and benchmark": ("curves", "benchmark"),
    "Predict": ("prepare", "predict", "split", "merge", "ensemble", "postprocess", "calving_front"),
    "Take results out": ("export",),
    "Evaluate": ("evaluate", "overlay", "phase_fractions", "evaluate_fronts", "front_plots"),
    "Clusters": ("submit", "jobs"),
    "About the installation": ("doctor", "demo", "trainer_path", "completion"),
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
        print(
            f"{prog}: error: no command '{words[0]}', expected one of those below\n{_usage(prog, verbs)}",
            file=sys.stderr,
        )
        return 2
    chosen, name = verbs[words[0]], f"{prog} {words[0]}"
    if isinstance(chosen, dict):
        return _dispatch(name, chosen, words[1:])
    module = import_module(chosen.module)
    return run_command(name, chosen.summary, module.add_arguments, module.run, words[1:])


def _usage(prog: str, verbs: Mapping[str, Verb | dict[str, Verb]]) -> str:
    """Return a table of contents: one line per command, below headings where there are any."""
    if verbs is not VERBS:
        return "\n".join([f"usage: {prog} <one of the following> …", "", *_rows(_commands(verbs))])
    lines = [
        f"usage: {prog} COMMAND …",
        "",
        f"'{prog} COMMAND --help' explains the flags of a command, '{prog} --version' prints the version.",
    ]
    placed = {name for names in SECTIONS.values() for name in names}
    sections = {**SECTIONS, "More": tuple(name for name in verbs if name not in placed)}
    width = max(len(words) for words, _ in _commands(verbs))
    for title, names in sections.items():
        commands = _commands({name: verbs[name] for name in names if name in verbs})
        if commands:
            lines += ["", title, *_rows(commands, width)]
    return "\n".join(lines)


def _commands(verbs: Mapping[str, Verb | dict[str, Verb]]) -> list[tuple[str, str]]:
    """Return the words and the summary of every command."""
    found: list[tuple[str, str]] = []
    for name, chosen in verbs.items():
        if isinstance(chosen, Verb):
            found.append((name, chosen.summary))
        else:
            found += [(f"{name} {source}", verb.summary) for source, verb in chosen.items()]
    return found


def _rows(commands: list[tuple[str, str]], width: int = 0) -> list[str]:
    width = width or max(len(words) for words, _ in commands)
    return [f"  {words:<{width}}  {summary}" for words, summary in commands]
