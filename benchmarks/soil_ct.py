"""Time the soil CT converter, and measure its memory, beside the usual loop of tifffile and SimpleITK.

ours       `convert_soil_ct` and `prepare_soil_ct` on one scan with one densely annotated slice, nothing cropped.
peer       What people write: the whole TIFF into an array, float32 and normalisation in numpy, SimpleITK's
           compressed ``.nii.gz``; the same for the label.

Each runs in a process of its own, in turns, on the same files. Memory is the peak of resident memory above that of
the process once it has imported what it needs; time is without that import. The exit status is 1 if our peak is above
the goal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

SIDE = 512
MIB = 2**20
PEAK_GOAL = 1024  # MiB, whatever the normalisation
CLASSES = ("Matrix", "Stone", "Root", "Pore", "Wall")
ROWS = {
    "noNorm": ("convert", "noNorm"),
    "zscore": ("convert", "zscore"),
    "rescale_to_0_1": ("convert", "rescale_to_0_1"),
    "rgb_to_0_1": ("convert", "rgb_to_0_1"),
    "zscore, prepare": ("prepare", "zscore"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size-mb", type=int, help="MiB of uint8 voxels in the scan; default 1024")
    parser.add_argument("--compressed", action="store_true", help="zlib-compressed TIFF files as input")
    parser.add_argument("--repeats", type=int, default=1, help="turns; speeds are medians, peaks maxima")
    parser.add_argument("--quick", action="store_true", help="64 MiB: does it run at all?")
    parser.add_argument("--no-peer", action="store_true", help="ours alone; the peer needs 13 times the scan in memory")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder (needs about 6 times the scan)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        print(json.dumps(run_job(**json.loads(args.job))))
        return 0
    size = args.size_mb or (64 if args.quick else 1024)

    with tempfile.TemporaryDirectory(dir=args.folder, prefix="soil_ct_benchmark_") as name:
        folder = Path(name)
        in_process("generate", folder, slices=max(2, size * MIB // SIDE**2), compressed=args.compressed)
        kind = "zlib-compressed" if args.compressed else "uncompressed"
        on_disk = sum(file.stat().st_size for file in folder.rglob("*.tif")) // MIB
        print(f"{size} MiB scan and its annotation as {kind} TIFF, {on_disk} MiB on disk; MB are MiB")
        row = "{:<17}{:>10}{:>11}{:>8}{:>14}{:>14}"
        print(row.format("normalisation", "ours MB/s", "peer MB/s", "ratio", "ours peak MB", "peer peak MB"))
        highest = 0.0
        for title, (verb, scheme) in ROWS.items():
            ours, peer = measure(folder, verb, scheme, repeats=args.repeats, with_peer=not args.no_peer)
            highest = max(highest, *(peak for _, peak in ours))
            speed = [size / statistics.median(seconds for seconds, _ in runs) for runs in (ours, peer) if runs]
            peaks = [f"{max(peak for _, peak in runs):.0f}" for runs in (ours, peer) if runs]
            compared = [f"{speed[1]:.1f}", f"{speed[0] / speed[1]:.1f}"] if peer else ["-", "-"]
            print(row.format(title, f"{speed[0]:.1f}", *compared, *peaks, *([] if peer else ["-"])), flush=True)

    met = highest <= PEAK_GOAL
    print(f"Goal, our peak at most {PEAK_GOAL} MB: {'met' if met else 'MISSED'}, highest {highest:.0f} MB")
    return 0 if met else 1


Runs = list[tuple[float, float]]


def measure(folder: Path, verb: str, scheme: str, *, repeats: int, with_peer: bool) -> tuple[Runs, Runs]:
    """Return (seconds, MiB) of each run of ours and of the peer, after checking that both wrote the same."""
    ours: Runs = []
    peer: Runs = []
    for _ in range(repeats):
        ours.append(in_process(verb, folder, scheme=scheme))
        if with_peer:
            peer.append(in_process("peer", folder, scheme=scheme, with_label=verb == "convert"))
            check_same(folder, with_label=verb == "convert")
        for file in folder.glob("written/**/*.nii.gz"):
            file.unlink()  # dataset.json stays: prepare needs it
    return ours, peer


def check_same(folder: Path, *, with_label: bool) -> None:
    """Compare the first slices of what both wrote; a benchmark of different work would say nothing."""
    import numpy as np

    from nnunet_ext.imageio import open_volume

    pairs = {"**/scan_0000.nii.gz": "image.nii.gz"}
    if with_label:
        pairs["**/labelsTr/scan.nii.gz"] = "label.nii.gz"
    for pattern, name in pairs.items():
        (path,) = (folder / "written").glob(pattern)
        with open_volume(path) as ours, open_volume(folder / "written" / name) as theirs:
            first, second = ours.slab(0, 2), theirs.slab(0, 2)
            if ours.shape != theirs.shape or not np.allclose(first, second, rtol=0, atol=1e-3):
                message = f"{path.name}: ours and the peer's differ"
                raise RuntimeError(message)


def in_process(verb: str, folder: Path, **more: object) -> tuple[float, float]:
    """Run one job in a process of its own; return its seconds and its MiB above the interpreter."""
    job = json.dumps({"verb": verb, "folder": str(folder), **more})
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--job", job], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(peak)


def run_job(verb: str, folder: str, **more: object) -> tuple[float, float]:
    """Do what ``in_process`` asked for: import, then measure."""
    jobs: dict[str, Callable[..., Callable[[], object]]] = {
        "generate": generate,
        "convert": convert,
        "prepare": prepare,
        "peer": peer,
    }
    work = jobs[verb](Path(folder), **more)
    before, start = peak_memory(), time.perf_counter()
    work()
    return time.perf_counter() - start, peak_memory() - before


def peak_memory() -> float:
    """Return the highest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux a new process begins with the peak of the one that started it.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def generate(folder: Path, *, slices: int, compressed: bool) -> Callable[[], object]:
    """Write scan, annotation and class file."""
    import tifffile

    options = {"compression": "zlib", "compressionargs": {"level": 1}} if compressed else {}

    def write(path: Path, pages: Iterator[np.ndarray]) -> None:
        path.parent.mkdir()
        tifffile.imwrite(
            path, pages, shape=(slices, SIDE, SIDE), dtype="uint8", photometric="minisblack", metadata=None, **options
        )

    def work() -> None:
        grains, labels = soil()
        write(folder / "images" / "scan.tif", (scan_slice(grains, z) for z in range(slices)))
        write(
            folder / "annotations" / "scan.tif",
            (labels[z % len(labels)] * (z == slices // 2) for z in range(slices)),
        )
        names = {"0": "ToPredict", **{str(value): name for value, name in enumerate(CLASSES, 1)}}
        content = {"TaskID": 1, "DatasetName": "Soil", "labels": names}
        (folder / "classes.json").write_text(json.dumps(content))

    return work


def soil(depth: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Return grey values (float32) and class ids of soil that repeats along z: grains and pores of many sizes."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    field = np.zeros((depth, SIDE, SIDE), np.float32)
    for size in (2, 5, 12):
        grains = gaussian_filter(rng.standard_normal(field.shape, np.float32), size, mode="wrap")
        field += grains / grains.std()
    labels = np.digitize(field, [-2.2, -1.2, 1.2, 2.2]).astype(np.uint8) + 1
    grey = np.array([0, 25, 70, 110, 150, 205], np.float32)[labels] + 6 * field
    return gaussian_filter(grey, 1, mode="wrap"), labels


def scan_slice(grains: np.ndarray, z: int) -> np.ndarray:
    """Return slice z with the detector's noise, which repeats nowhere."""
    import numpy as np

    noise = np.random.default_rng(z).standard_normal((SIDE, SIDE), np.float32)
    return np.clip(grains[z % len(grains)] + 7 * noise, 0, 255).astype(np.uint8)


def convert(folder: Path, *, scheme: str) -> Callable[[], object]:
    """Convert with this package."""
    import nnunet_ext.imageio.nifti_writer
    import nnunet_ext.imageio.tiff  # noqa: F401 - what a file of these formats imports
    from dataset_conversion.sparse_dataset import convert_soil_ct

    return lambda: convert_soil_ct(
        folder / "images",
        folder / "annotations",
        folder / "classes.json",
        output=folder / "written",
        normalization=scheme,
        context=None,
        allow_few_cases=True,
        processes=1,
        overwrite=True,
    )


def prepare(folder: Path, *, scheme: str) -> Callable[[], object]:
    """Prepare the scan for inference with this package; a dataset that was converted must be there."""
    import nnunet_ext.imageio.nifti_writer
    import nnunet_ext.imageio.tiff  # noqa: F401 - what a file of these formats imports
    from dataset_conversion.prepare_scans import prepare_soil_ct

    dataset = folder / "written" / "Dataset001_Soil"
    description = json.loads((dataset / "dataset.json").read_text())
    description["conversion"]["normalization"] = scheme
    (dataset / "dataset.json").write_text(json.dumps(description))
    return lambda: prepare_soil_ct(
        folder / "images", folder / "written" / "prepared", dataset, processes=1, overwrite=True
    )


def peer(folder: Path, *, scheme: str, with_label: bool) -> Callable[[], object]:
    """Convert as scripts do that one finds in laboratories."""
    import numpy as np
    import SimpleITK as sitk
    import tifffile

    def work() -> None:
        image = tifffile.imread(folder / "images" / "scan.tif")
        if scheme != "noNorm":
            image = image.astype(np.float32)
        if scheme == "zscore":
            image = (image - image.mean()) / image.std()
        elif scheme == "rescale_to_0_1":
            image = (image - image.min()) / (image.max() - image.min())
        elif scheme == "rgb_to_0_1":
            image = image / 255
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "written" / "image.nii.gz"), useCompression=True)
        if with_label:
            del image
            label = tifffile.imread(folder / "annotations" / "scan.tif")
            label = np.where(label == 0, len(CLASSES), label - 1).astype(np.uint8)
            sitk.WriteImage(
                sitk.GetImageFromArray(label), str(folder / "written" / "label.nii.gz"), useCompression=True
            )

    return work


if __name__ == "__main__":
    sys.exit(main())
