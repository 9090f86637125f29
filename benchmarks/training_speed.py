"""Compare what `nnunet_ext benchmark` says of a trainer with a training by nnU-Net's own command, side by side.

A generated dataset is planned and preprocessed. `nnunet_ext benchmark train` measures single steps and says how long an
epoch takes by them; then `nnUNetv2_train` trains a few whole epochs, whose fastest one its log tells, as nnU-Net's own
five-epoch benchmark trainer does (on a GPU it is that trainer, `nnUNetTrainerBenchmark_5epochs`; it refuses to run
without one). The ratio is ours by theirs. The exit status is 1 if they are further apart than a quarter.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import ndimage

from nnunet_ext.imageio import write_volume
from nnunet_ext.imageio.geometry import Geometry

DATASET = "Dataset903_Speed"
PLANS = "nnUNetPlansCPU"
CASES = 5
WITHIN = 0.25
_EPOCH = re.compile(r"Epoch time: ([0-9.]+) s")


def main() -> int:
    """Measure both, print both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to train")
    parser.add_argument("--configuration", default="2d", help="2d or 3d_fullres")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of nnU-Net's training on a processor")
    parser.add_argument("--batches", type=int, default=100, help="steps that ours measures")
    parser.add_argument("--size", type=int, default=64, help="voxels along each axis of an image")
    parser.add_argument("--quick", action="store_true", help="small and few, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.batches, args.size = 1, 20, 24
    with tempfile.TemporaryDirectory(prefix="training_speed_") as name:
        folder = Path(name)
        variables = {
            **os.environ,
            **{key: str(folder / key) for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")},
            "nnUNet_compile": "f",
            "nnUNet_n_proc_DA": "1",
        }
        write_dataset(folder / "nnUNet_raw" / DATASET, args.size)
        run(
            ["nnUNetv2_plan_and_preprocess", "-d", "903", "-pl", "ExperimentPlannerCPU", "-c", args.configuration,
             "-npfp", "1", "-np", "1"],
            variables,
        )  # fmt: skip
        trainer = f"nnUNetTrainer_{args.epochs}epochs" if args.device == "cpu" else "nnUNetTrainerBenchmark_5epochs"
        common = ["-tr", trainer, "-p", PLANS, "-device", args.device]
        run(
            ["nnunet_ext", "benchmark", "train", "-d", "903", "-c", args.configuration, *common, "--batches",
             str(args.batches), "-o", str(folder / "ours")],
            variables,
        )  # fmt: skip
        ours = json.loads((folder / "ours" / "benchmark.json").read_text())
        run(["nnUNetv2_train", "903", args.configuration, "0", *common], variables)
        (log,) = (folder / "nnUNet_results").rglob("training_log_*.txt")
        epochs = [float(found) for found in _EPOCH.findall(log.read_text())]
    fastest = min(epochs)
    ratio = ours["epoch_seconds"] / fastest
    rate = ours["train"]["patches_per_second"]
    print(f"{trainer}, {args.configuration}, patch {ours['patch_size']}, batch {ours['batch_size']}, {args.device}")
    print(f"nnunet_ext benchmark  epoch by {ours['train']['steps']} steps  {ours['epoch_seconds']:8.2f} s")
    print(f"nnU-Net's training    fastest of {len(epochs)} epochs     {fastest:8.2f} s")
    share = ours["train"]["loading_share"]
    print(f"ratio ours / nnU-Net's  {ratio:.2f}  ({rate['mean']:.1f} patches/s, loading {share:.0%})")
    met = abs(ratio - 1) <= WITHIN
    print(f"Goal: within {WITHIN:.0%}: {'met' if met else 'missed'}")
    return 0 if met else 1


def write_dataset(folder: Path, size: int) -> None:
    """Write images of blobs, and the blobs as labels."""
    rng = np.random.default_rng(0)
    for case in range(CASES):
        field = ndimage.gaussian_filter(rng.normal(size=(size, size, size)), size / 16)
        labels = (field > np.quantile(field, 0.8)).astype(np.uint8)
        image = (100 * labels + rng.normal(size=labels.shape) * 20).astype(np.float32)
        write_volume(folder / "imagesTr" / f"c{case}_0000.nii.gz", image, Geometry())
        write_volume(folder / "labelsTr" / f"c{case}.nii.gz", labels, Geometry())
    content = {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "blob": 1},
        "numTraining": CASES,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))


def run(words: list[str], variables: dict[str, str]) -> None:
    """Run a command of this environment; its output is shown if it fails."""
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
        message = f"{' '.join(words)} exited with {done.returncode}"
        raise SystemExit(message)


if __name__ == "__main__":
    sys.exit(main())
