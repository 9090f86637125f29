"""nnU-Net's post-processing of predictions, with dataset.json and plans.json carried along.

Run by a task: ``python -m nnunet_ext.cluster.postprocess -i IN -o OUT --best FILE | --pkl FILE -np N``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

from nnunet_ext.command import exit_with
from nnunet_ext.files import read_json, write_json


def _main() -> int:
    parser = argparse.ArgumentParser(prog="nnunet_ext.cluster.postprocess")
    add = parser.add_argument
    add("-i", type=Path, required=True)
    add("-o", type=Path, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--best", type=Path)
    source.add_argument("--pkl", type=Path)
    add("-np", required=True)
    args = parser.parse_args()
    pkl = read_json(args.best)["postprocessing"] if args.best else str(args.pkl)
    program = shutil.which("nnUNetv2_apply_postprocessing") or "nnUNetv2_apply_postprocessing"
    words = [program, "-i", str(args.i), "-o", str(args.o), "-pp_pkl_file", pkl, "-np", args.np]
    status = subprocess.run(words, check=False).returncode
    if status == 0:
        for name in ("dataset.json", "plans.json"):
            write_json(args.o / name, read_json(args.i / name))
    return status


if __name__ == "__main__":
    exit_with("nnunet_ext.cluster.postprocess", _main)
