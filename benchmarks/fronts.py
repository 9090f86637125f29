"""Time the evaluation of calving fronts and measure its memory, beside full matrices of distances.

command    ``nnunet_ext evaluate_fronts`` as a whole process, from start to report, on 2 processes: fronts of predicted
           masks, and fronts of predicted zones with scores of zones.
distances  On the fronts that were extracted, all distances of both directions alone: ours, a distance transform of
           the image (what is read at the other line), and a full matrix of distances (scipy's cdist), of which the
           minimum is taken along both axes. Each in a process of its own, in turns, after one small image.

122 images of 1200×1200 pixels, 7 m each: zones with a ragged front from edge to edge; the prediction is another such
front nearby, as a mask of 5 pixels width with blobs elsewhere, and as zones with islands and lakes. Memory is the peak
of resident memory: of the largest process of a command; above the imports and the image for distances. The exit status
is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Mask = np.ndarray
    Method = Callable[[Mask, Mask], tuple[np.ndarray, np.ndarray]]

METRES = 7
SECONDS_GOAL = 60.0
MIB = 2**20
METHODS = ("ours", "transform", "matrix")


@dataclass(frozen=True)
class Run:
    """Wall time in s and peak memory in MiB."""

    seconds: float
    peak: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=122, help="number of images (default: %(default)s)")
    parser.add_argument("--size", type=int, default=1200, help="rows and columns (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of the distances (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="4 images of 300×300 in one turn: does it run at all?")
    parser.add_argument("--folder", type=Path, help="where the images are written; default: the system's")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(run_job(**json.loads(args.job))))
        return 0

    images, size, turns = (4, 300, 1) if args.quick else (args.images, args.size, args.turns)
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="fronts_benchmark_") as name:
        folder = Path(name)
        pixels = write_images(folder, images, size)
        commands = {
            "fronts of masks": run_command(folder, "front", []),
            "fronts of zones, zones": run_command(folder, "zone", ["--zones", str(folder / "zones")]),
        }
        distances: dict[str, list[Run]] = {method: [] for method in METHODS}
        totals = {}
        for _ in range(turns):
            for method in METHODS:
                found = in_process(method, folder)
                totals[method] = found["total"]
                distances[method].append(Run(found["seconds"], found["peak"]))
    if any(not math.isclose(total, totals["ours"], rel_tol=1e-9) for total in totals.values()):
        message = f"the sums of all distances differ: {totals}"
        raise RuntimeError(message)
    print_tables(images, size, pixels, commands, distances)
    goals = list(goals_of(commands, distances, images))
    for goal, found, met in goals:
        print(f"Goal, {goal}: {found}, {'met' if met else 'MISSED'}")
    if args.quick:
        print("Small images say nothing about the goals.")
    return 0 if args.quick or all(met for *_, met in goals) else 1


def write_images(folder: Path, images: int, size: int) -> int:
    """Write labels and predictions; return the median number of pixels of a front."""
    from PIL import Image

    for name in ("fronts", "zones", "predictions", "lines"):
        (folder / name).mkdir()
    pixels = []
    for index in range(images):
        rng = np.random.default_rng(index)
        glacier = ("COL", "Mapple")[index % 2]
        stem = f"{glacier}_{2000 + index // 12}-{1 + index % 12:02d}-01_TDX_{METRES}_1_{index:03d}"
        label = ragged(rng, size)
        zones, front = zones_of(label, size)
        predicted, predicted_front = zones_of(label + ragged(rng, size) / 5 - size / 12, size)
        mask = widened(predicted_front)
        for _ in range(12):
            row, column, radius = *rng.integers(10, size - 10, 2), int(rng.integers(3, 9))
            blob = (slice(row - radius, row + radius), slice(column - radius, column + radius))
            mask[blob] = True
            predicted[blob] = rng.choice([127, 254])
        for name, suffix, content in (
            ("fronts", "front", front * np.uint8(255)),
            ("zones", "zones", zones),
            ("predictions", "front", mask * np.uint8(255)),
            ("predictions", "zone", predicted),
        ):
            Image.fromarray(content).save(folder / name / f"{stem}_{suffix}.png", compress_level=1)
        np.savez(folder / "lines" / f"{stem}.npz", label=front, prediction=predicted_front)
        pixels.append(int(front.sum()))
    return round(statistics.median(pixels))


def ragged(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the column of a front in each row: waves and a random walk."""
    rows = np.arange(size)
    waves = sum(size / 20 / k * np.sin(2 * np.pi * (k * rows / size + rng.random())) for k in (1, 2, 5, 11))
    return size * 5 / 12 + waves + np.cumsum(rng.integers(-1, 2, size))


def zones_of(front: np.ndarray, size: int) -> tuple[np.ndarray, Mask]:
    """Return a map of zones with rock along two edges, and its front."""
    zones = np.where(np.arange(size) < front[:, None], 127, 254).astype(np.uint8)
    zones[: size // 12] = 64
    zones[-size // 24 :] = 0
    ocean, glacier = zones == 254, zones == 127
    beside = np.zeros_like(ocean)
    beside[1:] |= glacier[:-1]
    beside[:-1] |= glacier[1:]
    beside[:, 1:] |= glacier[:, :-1]
    return zones, ocean & beside


def widened(line: Mask) -> Mask:
    from scipy.ndimage import binary_dilation

    return binary_dilation(line, np.ones((5, 5)))


def run_command(folder: Path, source: str, more: Sequence[str]) -> Run:
    """Run the command with two processes; the peak is that of its largest process."""
    out = folder / f"scores_{source}"
    words = [sys.executable, "-m", "evaluation.evaluate_fronts", "-p", str(folder / "predictions"), "-np", "2"]
    words += ["-g", str(folder / "fronts"), "-o", str(out), "--from", source, *more]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=Path(__file__).resolve().parents[1])
    peaks = [0.0]
    watcher = threading.Thread(target=watch, args=(process, peaks))
    watcher.start()
    status = process.wait()
    seconds = time.perf_counter() - start
    watcher.join()
    if status:
        message = f"evaluate_fronts ended with status {status}"
        raise RuntimeError(message)
    return Run(seconds, max(peaks) or math.nan)


def watch(process: subprocess.Popen, peaks: list[float]) -> None:
    """Note the peak memory of a process and its children while it runs; on Linux alone."""
    while process.poll() is None:
        for pid in [process.pid, *children(process.pid)]:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            peaks += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]
        time.sleep(0.1)


def children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def in_process(method: str, folder: Path) -> dict[str, float]:
    """Measure a method in a process of its own."""
    job = json.dumps({"method": method, "folder": str(folder / "lines")})
    words = [sys.executable, str(Path(__file__).resolve()), "--job", job]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_job(method: str, folder: str) -> dict[str, float]:
    """Do what ``in_process`` asked for: import, warm up, then measure."""
    measure = {"ours": ours, "transform": transform, "matrix": matrix}[method]
    measure(np.eye(5, dtype=bool), np.eye(5, dtype=bool))
    seconds, peak, total = 0.0, 0.0, 0.0
    for path in sorted(Path(folder).glob("*.npz")):
        with np.load(path) as lines:
            label, prediction = lines["label"], lines["prediction"]
        forget_peak()
        before, start = memory("VmRSS"), time.perf_counter()
        found = measure(prediction, label)
        seconds += time.perf_counter() - start
        peak = max(peak, memory("VmHWM") - before)
        total += sum(float(distances.sum()) for distances in found)
    return {"seconds": seconds, "peak": peak, "total": total}


def ours(prediction: Mask, label: Mask) -> tuple[np.ndarray, np.ndarray]:
    from evaluation.fronts import front_distances

    found = front_distances(prediction[None], label[None], (METRES,) * 3)
    return found.to_label, found.to_prediction


def transform(prediction: Mask, label: Mask) -> tuple[np.ndarray, np.ndarray]:
    from scipy.ndimage import distance_transform_edt

    to_label = distance_transform_edt(~label, sampling=METRES)[prediction]
    return to_label, distance_transform_edt(~prediction, sampling=METRES)[label]


def matrix(prediction: Mask, label: Mask) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial.distance import cdist

    distances = cdist(np.argwhere(prediction) * float(METRES), np.argwhere(label) * float(METRES))
    return distances.min(axis=1), distances.min(axis=0)


def memory(field: str) -> float:
    """Return the resident memory of this process, now (VmRSS) or at its highest (VmHWM), in MiB; NaN but on Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Give back free memory and let the peak begin anew."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def print_tables(
    images: int, size: int, pixels: int, commands: dict[str, Run], distances: dict[str, list[Run]]
) -> None:
    print(f"{images} images of {size}×{size}, fronts of {pixels} pixels (median)\n")
    print(f"{'command':<26}{'wall s':>9}{'per image ms':>15}{'peak MB':>10}")
    for name, run in commands.items():
        print(f"{name:<26}{run.seconds:>9.1f}{1000 * run.seconds / images:>15.0f}{run.peak:>10.0f}")
    print(f"\n{'distances alone':<26}{'wall s':>9}{'per image ms':>15}{'peak MB':>10}{'time':>9}")
    first = statistics.median(run.seconds for run in distances["ours"])
    for name, runs in distances.items():
        seconds, peak = statistics.median(run.seconds for run in runs), max(run.peak for run in runs)
        print(f"{name:<26}{seconds:>9.3f}{1000 * seconds / images:>15.2f}{peak:>10.1f}{seconds / first:>8.1f}×")
    print()


def goals_of(commands: dict[str, Run], distances: dict[str, list[Run]], images: int) -> list[tuple[str, str, bool]]:
    """Return each goal, what was found and whether it is met."""
    goals = [
        (f"{name}: {images} images in less than {SECONDS_GOAL:g} s", f"{run.seconds:.1f} s", run.seconds < SECONDS_GOAL)
        for name, run in commands.items()
    ]
    seconds = {name: statistics.median(run.seconds for run in runs) for name, runs in distances.items()}
    faster = seconds["matrix"] / seconds["ours"]
    goals.append(("distances faster than by the matrix", f"{faster:.1f} times", faster > 1))
    peaks = {name: max(run.peak for run in runs) for name, runs in distances.items()}
    found = f"{peaks['ours']:.1f} and {peaks['matrix']:.1f} MB"
    # Where memory cannot be measured, it misses no goal.
    return [*goals, ("distances in less memory than the matrix", found, not peaks["ours"] >= peaks["matrix"])]


if __name__ == "__main__":
    sys.exit(main())
