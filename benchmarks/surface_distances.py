"""Time HD, HD95 and ASSD of label volumes, and measure their memory, beside other packages.

ours       What ``nnunet_ext evaluate`` runs: the boxes of all values of both volumes, then the masks of each class in
           its box, their surface distances and the three scores.
peers      surface-distance, MONAI, SimpleITK (distance maps read at contours; its Hausdorff filter, HD alone) and
           medpy, on the mask of each class in the whole volume, as their documentation shows. Those that are not
           installed are left out: pip install monai surface-distance medpy

Volumes of 200×512×512 voxels of 2.5×1×1 mm, labels of uint8:

organ      two ellipsoids of about 562 500 voxels that overlap
far apart  two ellipsoids of about 600 voxels in opposite corners
30 classes 30 ellipsoids over the volume, together of as many voxels as the organ, but of three times its surface
30 as one  the same with a single label

Each runs in a process of its own, in turns, after one run on a small pair. Time is wall time without imports and
reading; processor time of all threads, which other work on the machine disturbs less, stands beside it. Memory is the
peak of resident memory above the process with its imports and the two volumes. A peer that is slow is stopped after
some classes, and its time is that of all classes at the same rate (≈); it has one turn. The exit status is 1 if a goal
is missed.
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
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from surface_peers import OURS, OURS_MESH, SCORES, is_installed, measures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from surface_peers import Scores

    Labels = np.ndarray
    Runner = Callable[[Labels, Labels, Sequence[int]], dict[int, Scores]]

GEOMETRIES = ("organ", "far apart", "30 classes", "30 as one")
SPACING = (2.5, 1.0, 1.0)
MIB = 2**20
SLOW = 20.0  # s, after which a peer begins no further class and has no further turn
FASTEST_GOAL, MONAI_GOAL, CLASSES_GOAL, MEMORY_GOAL = 1.0, 10.0, 2.0, 2.0
SAME_SURFACE = ("MONAI", "medpy")
"""Peers whose surface and Hausdorff distance are those of ours; SimpleITK's has the voxels at corners, too."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--turns", type=int, default=3, help="default 3; seconds and ratios are medians, peaks maxima")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=peer_names(), help="peers to run; default: all")
    parser.add_argument("--geometries", nargs="+", metavar="NAME", choices=GEOMETRIES, default=GEOMETRIES)
    parser.add_argument("--quick", action="store_true", help="small volumes, one turn, no goals: does it run at all?")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder (needs 320 MB)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(run_job(**json.loads(args.job))))
        return 0

    packages = {name: measures()[name][0] for name in args.only or peer_names()}
    missing = [name for name, package in packages.items() if not is_installed(package)]
    for name in missing:
        print(f"{name} is not installed and left out")
    names = [OURS, *(name for name in packages if name not in missing)]
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="surface_distances_benchmark_") as folder:
        geometries = write_geometries(Path(folder), args.geometries, scale=4 if args.quick else 1)
        runs = take_turns(geometries, names, 1 if args.quick else args.turns)
    for geometry in geometries:
        check_same(geometry, runs)
        print_table(geometry, names, runs)
    goals = [*goals_of(geometries, names, runs)]
    for goal, found, met in goals:
        print(f"Goal, {goal}: {found}, {'met' if met else 'MISSED'}")
    if args.quick:
        print("Small volumes say nothing about the goals.")
    return 0 if args.quick or all(met for *_, met in goals) else 1


def peer_names() -> list[str]:
    return [name for name in measures() if name not in (OURS, OURS_MESH)]


@dataclass(frozen=True)
class Geometry:
    """Two label volumes on disk."""

    name: str
    prediction: Path
    reference: Path
    values: tuple[int, ...]
    voxels: int
    mib: float


@dataclass(frozen=True)
class Run:
    """What one process measured; the times are those of all classes."""

    seconds: float
    processor: float
    peak: float
    estimated: bool
    scores: dict[str, Scores]


Runs = dict[tuple[str, str], list[Run]]


def write_geometries(folder: Path, names: Sequence[str], scale: int) -> list[Geometry]:
    """Make the pairs of volumes, in each axis smaller by ``scale``."""
    shape = tuple(length // scale for length in (200, 512, 512))

    def volume(ellipsoids: Iterable[tuple[Sequence[float], Sequence[float]]]) -> Labels:
        labels = np.zeros(shape, dtype=np.uint8)
        for value, (centre, radii) in enumerate(ellipsoids, 1):
            box = tuple(
                slice(max(0, int((at - radius) / scale)), int((at + radius) / scale) + 2)
                for at, radius in zip(centre, radii, strict=True)
            )
            grid = np.ogrid[box]
            part = labels[box]
            distances = (((g * scale - at) / r) ** 2 for g, at, r in zip(grid, centre, radii, strict=True))
            part[(sum(distances) <= 1)[tuple(slice(0, length) for length in part.shape)]] = value
        return labels

    organ, small, many = (28, 75, 64), (4, 6, 6), (9, 24, 20.7)
    centres = [(60 + 20 * (at % 5), 50 + 100 * (at // 6), 43 + 85 * (at % 6)) for at in range(30)]
    pairs = {
        "organ": ([((100, 250, 250), organ)], [((102, 255, 246), organ)]),
        "far apart": ([((20, 40, 40), small)], [((180, 470, 470), small)]),
        "30 classes": ([(at, many) for at in centres], [((z + 1, y + 2, x - 2), many) for z, y, x in centres]),
    }
    pairs["30 as one"] = pairs["30 classes"]
    found = []
    for name in names:
        pair = pairs[name]
        paths = [folder / f"{name} {role}.npy" for role in ("reference", "prediction")]
        for path, ellipsoids in zip(paths, pair, strict=True):
            labels = volume(ellipsoids)
            if name == "30 as one":
                np.minimum(labels, 1, out=labels)
            np.save(path, labels)
        values = tuple(range(1, int(labels.max()) + 1))
        found.append(Geometry(name, paths[1], paths[0], values, np.count_nonzero(labels), 2 * labels.nbytes / MIB))
    return found


def take_turns(geometries: Sequence[Geometry], names: Sequence[str], turns: int) -> Runs:
    """Run everything in processes of their own, one after another, again and again."""
    runs: Runs = {(geometry.name, name): [] for geometry in geometries for name in names}
    for turn in range(turns):
        for geometry in geometries:
            for name in names:
                before = runs[geometry.name, name]
                if not (before and before[0].seconds > SLOW):
                    print(f"\rturn {turn + 1} of {turns}: {geometry.name}, {name:<24}", end="", file=sys.stderr)
                    before.append(in_process(name, geometry))
    print(file=sys.stderr)
    return runs


def check_same(geometry: Geometry, runs: Runs) -> None:
    """Compare Hausdorff distances; a benchmark of different work would say nothing."""
    ours = runs[geometry.name, OURS][0].scores
    for (where, name), measured in runs.items():
        tolerance = 1e-3 if name in SAME_SURFACE else math.hypot(*SPACING) * 4
        if where == geometry.name:
            for value, scores in measured[0].scores.items():
                if abs(scores["HD"] - ours[value]["HD"]) > tolerance:
                    message = f"{where}, class {value}: HD is {ours[value]['HD']} of ours and {scores['HD']} of {name}"
                    raise RuntimeError(message)


def print_table(geometry: Geometry, names: Sequence[str], runs: Runs) -> None:
    count = len(geometry.values)
    print(f"\n{geometry.name}: {count} class{'es' if count > 1 else ''}, {geometry.voxels} voxels")
    row = "{:<22}{:>9}{:>8}{:>9}{:>8}{:>9}{:>15}{:>26}"
    print(row.format("", "wall s", "ratio", "CPU s", "ratio", "peak MB", "of the labels", "HD / HD95 / ASSD"))
    for name in names:
        measured = runs[geometry.name, name]
        about = "≈ " if measured[0].estimated else ""
        peak = max(run.peak for run in measured)
        first = measured[0].scores["1"]
        print(
            row.format(
                name,
                f"{about}{statistics.median(run.seconds for run in measured):.2f}",
                f"{ratio(runs[geometry.name, name], runs[geometry.name, OURS]):.1f}",
                f"{about}{statistics.median(run.processor for run in measured):.2f}",
                f"{ratio(runs[geometry.name, name], runs[geometry.name, OURS], 'processor'):.1f}",
                f"{peak:.0f}",
                f"{peak / geometry.mib:.2f}",
                " / ".join(f"{first[score]:.2f}" for score in SCORES if score in first),
            )
        )


def ratio(some: Sequence[Run], others: Sequence[Run], time: str = "seconds") -> float:
    """Return the median ratio of the times of two within a turn."""
    pairs = zip(some, others, strict=False)  # a slow peer has fewer turns
    return statistics.median(getattr(one, time) / getattr(other, time) for one, other in pairs)


def goals_of(geometries: Sequence[Geometry], names: Sequence[str], runs: Runs) -> Iterable[tuple[str, str, bool]]:
    """Return each goal, what was found and whether it is met."""
    for geometry in geometries:
        # A peer that does not give all the scores is no peer in speed.
        peers = {
            name: ratio(runs[geometry.name, name], runs[geometry.name, OURS])
            for name in names[1:]
            if all(score in runs[geometry.name, name][0].scores["1"] for score in SCORES)
        }
        if peers:
            name, found = min(peers.items(), key=lambda item: item[1])
            goal = f"{geometry.name}: at least {FASTEST_GOAL}× the speed of the fastest peer"
            yield goal, f"{found:.1f}× {name}", found >= FASTEST_GOAL
        if "MONAI" in peers:
            goal = f"{geometry.name}: at least {MONAI_GOAL:g}× the speed of MONAI"
            yield goal, f"{peers['MONAI']:.1f}×", peers["MONAI"] >= MONAI_GOAL
    for name, same in (("organ", "as many voxels"), ("30 as one", "the same voxels")):
        if (name, OURS) in runs and ("30 classes", OURS) in runs:
            found = ratio(runs["30 classes", OURS], runs[name, OURS])
            goal = f"30 classes at most {CLASSES_GOAL:g} times the cost of one class of {same}"
            yield goal, f"{found:.2f} times", found <= CLASSES_GOAL
    found = max(run.peak / geometry.mib for geometry in geometries for run in runs[geometry.name, OURS])
    goal = f"peak memory at most {MEMORY_GOAL:g} times the two label volumes"
    yield goal, f"{found:.2f} times", found <= MEMORY_GOAL


def in_process(name: str, geometry: Geometry) -> Run:
    """Run one job in a process of its own."""
    job = {
        "name": name,
        "prediction": str(geometry.prediction),
        "reference": str(geometry.reference),
        "values": geometry.values,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--job", json.dumps(job)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def run_job(name: str, prediction: str, reference: str, values: Sequence[int]) -> dict[str, object]:
    """Do what ``in_process`` asked for: import, read, warm up, then measure."""
    runner = class_by_class() if name == OURS else whole_masks(name)
    small = np.pad(np.ones((4, 4, 4), dtype=np.uint8), 3)
    runner(small, np.roll(small, 1, axis=1), [1])
    labels = [np.load(path) for path in (prediction, reference)]
    forget_peak()
    before, start, start_processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    scores = runner(*labels, values)
    seconds, processor, peak = (
        time.perf_counter() - start,
        time.process_time() - start_processor,
        memory("VmHWM") - before,
    )
    done = {str(value): {key: float(score) for key, score in found.items()} for value, found in scores.items()}
    return {
        "seconds": seconds * len(values) / len(done),
        "processor": processor * len(values) / len(done),
        "peak": peak,
        "estimated": len(done) < len(values),
        "scores": done,
    }


def class_by_class() -> Runner:
    """Return what ``nnunet_ext evaluate`` does with two label volumes."""
    from evaluation.boxes import class_box, value_boxes
    from evaluation.surface import surface_distances
    from evaluation.surface_scores import assd, hd, hd95

    def run(prediction: Labels, reference: Labels, values: Sequence[int]) -> dict[int, Scores]:
        boxes = value_boxes(prediction), value_boxes(reference)
        scores = {}
        for value in values:
            box = class_box([value], *boxes)
            found = surface_distances(prediction[box] == value, reference[box] == value, SPACING, planar=False)
            scores[value] = {"HD": hd(found), "HD95": hd95(found), "ASSD": assd(found)}
        return scores

    return run


def whole_masks(name: str) -> Runner:
    """Return a peer that is given the mask of each class in the whole volume, until it has taken too long."""
    measure = measures()[name][1](False)

    def run(prediction: Labels, reference: Labels, values: Sequence[int]) -> dict[int, Scores]:
        start, scores = time.perf_counter(), {}
        for value in values:
            scores[value] = measure(prediction == value, reference == value, SPACING)
            if time.perf_counter() - start > SLOW:
                break
        return scores

    return run


def memory(field: str) -> float:
    """Return the resident memory of this process, now (VmRSS) or at its highest (VmHWM), in MiB; NaN but on Linux."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """Give back free memory and let the peak begin anew, since imports may have needed more than what is measured."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    sys.exit(main())
