"""Measure prediction in bounded memory, time and labels, beside nnU-Net's own command.

ours   ``nnunet_ext predict``
stock  ``nnUNetv2_predict_from_modelfolder`` with one process to read and one to export (-npp 1 -nps 1)

Both predict the same cubes (with --slice boxes) of smooth noise (uint16, uncompressed .nii), with the same network of
random weights, windows at a step of a half, without mirroring, on all cores of the processor; each run is a process of
its own, from start to end.

Ours holds what it needs, or, with --memory, keeps to that and moves sums to scratch files where they would not fit.

Memory is the peak over the whole process tree, of the sum of what the processes hold (Pss, in which a page that several
of them share counts once; Linux). Bytes per voxel are the slope of a straight line through the peaks (least squares).
Stock is left out, and that is said, where its peak would not fit into the memory that is free: about 12 bytes per voxel
and class, and 10 more. The exit status is 1 if a goal is missed with --full.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from process_memory import Run, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GIB = 2**30
GROWTH_GOAL, PEAK_GOAL, TIME_GOAL = 0.03, 0.2, 1.05
STOCK_BYTES, STOCK_BYTES_PER_HEAD, STOCK_PROGRAM = 10, 12, GIB
MOST_FREE = 0.95
WAVES = 48
ROOT = Path(__file__).resolve().parents[1]
STOCK_COMMAND = "nnUNetv2_predict_from_modelfolder"


@dataclass(frozen=True)
class Row:
    """One volume: how often labels are equal, and how many stock gave."""

    heads: int
    shape: tuple[int, int, int]
    ours: Run
    stock: Run
    equal: float = math.nan
    labels: int = 0

    @property
    def name(self) -> str:
        """Voxels along the axes."""
        depth, height, width = self.shape
        return f"{depth}³" if depth == height == width else f"{depth}·{height}²"


@dataclass(frozen=True)
class Sizes:
    """What is run."""

    edges: list[int]
    slice: int | None
    heads: list[int]
    patch: int
    features: int
    memory: str | None = None


QUICK = Sizes([24, 32], None, [4], 16, 4)
TRIAL = Sizes([64, 96, 128, 160], None, [4, 10], 64, 4)
FULL = Sizes([128, 256, 384, 512], None, [4, 10], 96, 2, "1400M")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    preset = parser.add_mutually_exclusive_group()
    preset.add_argument(
        "--full", action="store_true", help="cubes up to 512 voxels: a quarter of an hour and 19 GB of memory"
    )
    preset.add_argument("--quick", action="store_true", help="two tiny cubes: does it run at all?")
    parser.add_argument("--sizes", type=int, nargs="+", help="edges of the cubes; default: 64 96 128 160, up to 512")
    parser.add_argument("--slice", type=int, metavar="N", help="boxes of so many slices of N×N voxels instead of cubes")
    parser.add_argument("--heads", type=int, nargs="+", help="numbers of classes; default: 4 10")
    parser.add_argument("--patch", type=int, help="edge of the window; default: 64, with --full 96")
    parser.add_argument("--features", type=int, help="channels of the network's first stage; default: 4, with --full 2")
    parser.add_argument("--memory", help="--memory of ours; default: none is given, with --full 1400M")
    parser.add_argument("--skip-stock-above", type=float, default=math.inf, metavar="GB", help="of its expected peak")
    parser.add_argument("--folder", type=Path, help="where images are written; default: the system's")
    args = parser.parse_args()
    preset_sizes = FULL if args.full else QUICK if args.quick else TRIAL
    sizes = Sizes(
        sorted(args.sizes or preset_sizes.edges),
        args.slice,
        args.heads or preset_sizes.heads,
        args.patch or preset_sizes.patch,
        args.features or preset_sizes.features,
        args.memory or preset_sizes.memory,
    )
    free = free_memory()
    limit = f"--memory {sizes.memory}" if sizes.memory else "no --memory"
    print(f"{os.cpu_count()} cores, {free / GIB:.1f} GB of memory free; patch {sizes.patch}³, ", end="")
    print(f"{sizes.features} features; ours with {limit}")
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="large_volumes_benchmark_") as name:
        rows = run_all(Path(name), sizes, min(args.skip_stock_above * GIB, MOST_FREE * free))
    goals = [goal for heads in sizes.heads for goal in goals_of([row for row in rows if row.heads == heads])]
    for goal, found, met in goals:
        print(f"Goal, {goal}: {found}, {'met' if met else 'MISSED'}")
    if not args.full:
        print("Small images say nothing about the goals.")
    return 0 if not args.full or all(met for *_, met in goals) else 1


def run_all(folder: Path, sizes: Sizes, stock_limit: float) -> list[Row]:
    """Run all cubes and print a row for each, and a line with the slopes for each number of classes."""
    print(f"\n{'heads':>5}{'voxels':>10}{'ours s':>9}{'stock s':>9}{'RATIO':>7}", end="")
    print(f"{'ours GB':>9}{'stock GB':>10}{'RATIO':>7}{'equal %':>12}{'labels':>8}", flush=True)
    rows = []
    for heads in sizes.heads:
        model = write_model(folder / f"model{heads}", heads, sizes)
        for size in sizes.edges:
            edge = sizes.slice or size
            row = Row(heads, (size, edge, edge), Run(), Run())
            rows.append(run_volume(folder / f"{heads}_{size}", model, row, sizes.memory, stock_limit))
            print_row(rows[-1])
        print_slopes([row for row in rows if row.heads == heads])
    print()
    return rows


def write_model(folder: Path, heads: int, sizes: Sizes) -> Path:
    """Write a model with random weights."""
    sys.path.insert(0, str(ROOT))
    from tests.inference.trained_model import write_trained_model

    labels = {"background": 0} | {f"class{index}": index for index in range(1, heads)}
    patch = (sizes.patch,) * 3
    return write_trained_model(folder, patch=patch, labels=labels, features=sizes.features, file_ending=".nii")


def run_volume(folder: Path, model: Path, row: Row, memory: str | None, stock_limit: float) -> Row:
    """Let both predict a volume, and compare their labels."""
    images = folder / "images"
    images.mkdir(parents=True)
    write_noise(images / "noise_0000.nii", row.shape)
    common = ["-i", str(images), "-m", str(model), "-f", "0", "-step_size", "0.5", "--disable_tta", "-device", "cpu"]
    expected = STOCK_PROGRAM + math.prod(row.shape) * (STOCK_BYTES + STOCK_BYTES_PER_HEAD * row.heads)
    stock, equal, labels = Run(), math.nan, 0
    if expected > stock_limit:
        print(f"      {row.name}: stock is left out: about {expected / GIB:.0f} GB, limit {stock_limit / GIB:.0f} GB")
    else:
        stock = measure(
            [script(STOCK_COMMAND), *common, "-o", str(folder / "stock"), "-npp", "1", "-nps", "1"], all_cores(), ROOT
        )
    words = [script("nnunet_ext"), "predict", *common, "-o", str(folder / "ours")]
    ours = measure([*words, *(["--memory", memory] if memory else [])], all_cores(), ROOT)
    if not math.isnan(stock.seconds):
        equal, labels = compare(folder / "ours" / "noise.nii", folder / "stock" / "noise.nii")
    shutil.rmtree(folder)
    return Row(row.heads, row.shape, ours, stock, equal, labels)


def script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def write_noise(path: Path, shape: tuple[int, int, int]) -> None:
    """Write smooth noise: a sum of waves in all directions, slab by slab."""
    from nnunet_ext.imageio import create_volume
    from nnunet_ext.imageio.geometry import Geometry

    rng = np.random.default_rng(shape[0])
    z, y, x = (
        np.sin(
            2 * np.pi * (np.arange(size) / rng.uniform(12, 64, (WAVES, 1)) + rng.random((WAVES, 1))), dtype=np.float32
        )
        for size in shape
    )
    plane = (y[:, :, None] * x[:, None]).reshape(WAVES, -1)
    with create_volume(path, shape, np.dtype(np.uint16), Geometry()) as writer:
        for start in range(0, shape[0], 8):
            slab = 2000 + 150 * (z.T[start : start + 8] @ plane)
            writer.write(slab.clip(0, 4000).reshape(-1, *shape[1:]).astype(np.uint16))


def all_cores() -> dict[str, str]:
    """Return the variables of both commands: no setting of nnU-Net's, and all cores."""
    variables = {name: value for name, value in os.environ.items() if not name.lower().startswith("nnunet")}
    return variables | {"OMP_NUM_THREADS": str(os.cpu_count())}


def compare(ours: Path, stock: Path) -> tuple[float, int]:
    """Return the share of equal voxels in per cent, and how many labels there are."""
    from nnunet_ext.imageio import open_volume

    equal, labels = 0, set()
    with open_volume(ours) as first, open_volume(stock) as second:
        for start, slab in second.slabs():
            equal += int((first.slab(start, start + len(slab)) == slab).sum())
            labels |= set(np.unique(slab).tolist())
        return 100 * equal / math.prod(second.shape), len(labels)


def free_memory() -> float:
    """Return the free bytes; NaN but on Linux."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), math.nan)


def print_row(row: Row) -> None:
    ours, stock = row.ours, row.stock
    print(f"{row.heads:>5}{row.name:>10}{ours.seconds:>9.1f}{stock.seconds:>9.1f}", end="")
    print(f"{ours.seconds / stock.seconds:>7.2f}{ours.peak / GIB:>9.2f}{stock.peak / GIB:>10.2f}", end="")
    print(f"{ours.peak / stock.peak:>7.2f}{row.equal:>12.5f}{row.labels:>8}", flush=True)


def print_slopes(rows: Sequence[Row]) -> None:
    first, second = slope(rows, lambda row: row.ours), slope(both(rows), lambda row: row.stock)
    print(f"{rows[0].heads:>5} heads: ours {first:.2f}, stock {second:.2f} bytes per voxel, RATIO {first / second:.3f}")


def both(rows: Sequence[Row]) -> list[Row]:
    """Return the volumes that both predicted."""
    return [row for row in rows if not math.isnan(row.stock.peak)]


def slope(rows: Sequence[Row], of: Callable[[Row], Run]) -> float:
    """Return the bytes per voxel of a line through the peaks; NaN of less than two."""
    if len(rows) < 2:
        return math.nan
    return float(np.polyfit([math.prod(row.shape) for row in rows], [of(row).peak for row in rows], 1)[0])


def goals_of(rows: Sequence[Row]) -> list[tuple[str, str, bool]]:
    """Return each goal of a number of classes, what was found and whether it is met."""
    compared = both(rows)
    if not compared:
        return []
    heads, last = rows[0].heads, compared[-1]
    growth = slope(compared, lambda row: row.ours) / slope(compared, lambda row: row.stock)
    peak, seconds = last.ours.peak / last.stock.peak, last.ours.seconds / last.stock.seconds
    return [
        (f"{heads} heads: growth per voxel at most {GROWTH_GOAL:g} of stock's", f"{growth:.3f}", growth <= GROWTH_GOAL),
        (f"{heads} heads: peak at {last.name} at most {PEAK_GOAL:g} of stock's", f"{peak:.3f}", peak <= PEAK_GOAL),
        (
            f"{heads} heads: time at {last.name} at most {TIME_GOAL:g} of stock's",
            f"{seconds:.3f}",
            seconds <= TIME_GOAL,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
