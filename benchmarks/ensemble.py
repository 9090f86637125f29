"""Time and memory of ``nnunet_ext ensemble`` beside ``nnUNetv2_ensemble``, for images of more and more slices.

Two folders of made-up, smooth probabilities of one case each, as predictions leave them. Both commands read the same
``.npz`` files with one process; ours also reads the ``.b2nd`` files that ``nnunet_ext predict`` writes. Peaks are of
the whole process tree (Pss, sampled), programs and libraries included. From ``.npz`` files, all labels have to be
equal.

The exit status is 1 if a goal is missed: held memory that grows by at most a tenth of stock's per voxel, and time at
most 1.05 of stock's for the largest image.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from process_memory import measure

if TYPE_CHECKING:
    from process_memory import Run

GROWTH, TIME = 0.1, 1.05
GIB = 2**30
WAVES = 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--slices", type=int, nargs="+", default=[100, 200, 400], help="(default: %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="pixels of a slice along y and x (default: %(default)s)")
    parser.add_argument("--heads", type=int, default=4, help="classes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two small images: does it run at all?")
    parser.add_argument("--folder", type=Path, help="where the files are written; default: the system's")
    args = parser.parse_args()
    slices, side = ([8, 16], 48) if args.quick else (args.slices, args.side)
    rows: list[tuple[int, Run, Run, Run]] = []
    print(f"{args.heads} classes, slices of {side}² voxels, two models\n")
    print(
        f"{'slices':>7}{'stock s':>9}{'ours s':>9}{'ratio':>7}{'b2nd s':>9}{'stock GB':>10}{'ours GB':>9}{'b2nd GB':>9}"
    )
    for number in slices:
        with tempfile.TemporaryDirectory(dir=args.folder, prefix="ensemble_benchmark_") as name:
            row = run(Path(name), (args.heads, number, side, side))
        rows.append((number, *row))
        stock, ours, stored = row
        seconds = f"{stock.seconds:>9.1f}{ours.seconds:>9.1f}{ours.seconds / stock.seconds:>7.2f}{stored.seconds:>9.1f}"
        print(f"{number:>7}{seconds}{stock.peak / GIB:>10.2f}{ours.peak / GIB:>9.2f}{stored.peak / GIB:>9.2f}")
    voxels = (slices[-1] - slices[0]) * side**2
    growth = [(last.peak - first.peak) / voxels for first, last in zip(rows[0][1:], rows[-1][1:], strict=True)]
    print(f"\nbytes per voxel: stock {growth[0]:.2f}, ours {growth[1]:.2f}, of .b2nd files {growth[2]:.2f}")
    time = rows[-1][2].seconds / rows[-1][1].seconds
    goals = {
        f"Goal, growth at most {GROWTH} of stock's": (max(growth[1:]) / growth[0], GROWTH),
        f"Goal, time at most {TIME} of stock's": (time, TIME),
    }
    for text, (found, most) in goals.items():
        print(f"{text}: {found:.2f}, {'met' if found <= most else 'MISSED'}")
    if args.quick:
        print("Small images say nothing about the goals.")
    return 0 if args.quick or all(found <= most for found, most in goals.values()) else 1


def run(folder: Path, shape: tuple[int, int, int, int]) -> tuple[Run, Run, Run]:
    """Write predictions of two models, let all average them, and compare the labels."""
    for kind in ("npz", "b2nd"):
        for model in range(2):
            write_prediction(folder / f"{kind}_{model}", kind, probabilities(shape, model))
    found = []
    for program, kind in (("nnUNetv2_ensemble", "npz"), ("nnunet_ext", "npz"), ("nnunet_ext", "b2nd")):
        words = [Path(sys.executable).with_name(program), *(["ensemble"] if program == "nnunet_ext" else [])]
        words += ["-i", folder / f"{kind}_0", folder / f"{kind}_1", "-o", folder / f"{program}_{kind}", "-np", 1]
        found.append(measure(words, environment(), folder))
    check_equal(folder / "nnUNetv2_ensemble_npz", folder / "nnunet_ext_npz")
    stock, ours, stored = found
    return stock, ours, stored


def probabilities(shape: tuple[int, int, int, int], model: int) -> np.ndarray:
    """Return smooth probabilities (classes, z, y, x): waves in all directions, slab by slab."""
    heads, *sizes = shape
    rng = np.random.default_rng(model)
    made = np.empty(shape, np.float32)
    waves = []
    for size in sizes:
        lengths, phases = rng.uniform(20, 90, (heads, WAVES, 1)), rng.random((heads, WAVES, 1))
        waves.append(np.sin(2 * np.pi * (np.arange(size) / lengths + phases), dtype=np.float32))
    z, y, x = waves
    for plane in range(sizes[0]):
        scores = np.exp(2 * np.einsum("hw,hwy,hwx->hyx", z[:, :, plane], y, x, optimize=True))
        made[:, plane] = scores / scores.sum(axis=0)
    return made


def write_prediction(folder: Path, kind: str, made: np.ndarray) -> None:
    """Write what a prediction with probabilities leaves of a case."""
    from nnunet_ext.imageio import write_volume
    from nnunet_ext.imageio.geometry import Geometry
    from nnunet_ext.inference.stored_probabilities import create_probabilities

    folder.mkdir()
    labels = {"background": 0} | {f"class{index}": index for index in range(1, len(made))}
    dataset = {"labels": labels, "file_ending": ".nii.gz", "channel_names": {"0": "CT"}}
    plans = {"label_manager": "LabelManager", "image_reader_writer": "SimpleITKIO"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    write_volume(folder / "case.nii.gz", made.argmax(axis=0).astype(np.uint8), Geometry())
    if kind == "b2nd":
        with create_probabilities(folder / "case.b2nd", made.shape, 16) as stored:
            stored[:] = made
        return
    np.savez_compressed(folder / "case.npz", probabilities=made)
    stuff = {"spacing": (1.0, 1.0, 1.0), "origin": (0.0, 0.0, 0.0), "direction": tuple(np.eye(3).ravel())}
    (folder / "case.pkl").write_bytes(pickle.dumps({"sitk_stuff": stuff, "spacing": [1.0, 1.0, 1.0]}))


def environment() -> dict[str, str]:
    """Return the variables of all commands: no setting of nnU-Net's."""
    return {name: value for name, value in os.environ.items() if not name.lower().startswith("nnunet")}


def check_equal(stock: Path, ours: Path) -> None:
    from nnunet_ext.imageio import read_volume

    found, expected = (read_volume(folder / "case.nii.gz")[0] for folder in (ours, stock))
    if not np.array_equal(found, expected):
        message = f"{np.count_nonzero(found != expected)} of {found.size} labels differ"
        raise RuntimeError(message)


if __name__ == "__main__":
    sys.exit(main())
