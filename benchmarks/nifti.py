"""Time ``nnunet_ext convert nifti`` on many small volumes, beside the loop that people write.

ours   The command as a whole process: every file is read to its end and checked, then copied, since it is ``.nii.gz``
       already.
peer   A process pool in which SimpleITK reads image and label map of a case and writes them compressed under nnU-Net's
       names; nothing is checked.

Both are whole processes with the same number of workers, in turns, on the same files: cases with an image of int16
noise and a label map of three classes. What both wrote is compared. The exit status is 1 if the goal is missed: at
least 0.8 times the speed of the peer.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

GOAL = 0.8
DATASET = "Dataset001_Small"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=int, default=1000, help="image and label map each (default: %(default)s)")
    parser.add_argument("--size", type=int, default=40, help="voxels along each axis (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("-np", dest="processes", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="20 cases in one turn: does it run at all?")
    parser.add_argument("--folder", type=Path, help="where the files are written; default: the system's")
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        convert_by_loop(Path(args.peer[0]), Path(args.peer[1]), int(args.peer[2]))
        return 0
    cases, turns = (20, 1) if args.quick else (args.cases, args.turns)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="nifti_benchmark_") as name:
        folder = Path(name)
        write_cases(folder / "source", cases, args.size)
        for turn in range(turns):
            for method in seconds:
                out = folder / f"{method}_{turn}"
                seconds[method].append(timed(words_of(method, folder / "source", out, args.processes)))
        compare(folder / "ours_0" / DATASET, folder / "peer_0" / DATASET, min(cases, 20))
    print(f"{cases} cases of {args.size}³ voxels, {args.processes} processes, median of {turns}\n")
    print(f"{'method':<10}{'wall s':>9}{'cases/s':>10}")
    medians = {method: statistics.median(found) for method, found in seconds.items()}
    for method, median in medians.items():
        print(f"{method:<10}{median:>9.2f}{cases / median:>10.0f}")
    ratio = medians["peer"] / medians["ours"]
    print(f"\nGoal, at least {GOAL} times the speed of the peer: {ratio:.2f}, {'met' if ratio >= GOAL else 'MISSED'}")
    if args.quick:
        print("Few cases say nothing about the goal.")
    return 0 if args.quick or ratio >= GOAL else 1


def write_cases(folder: Path, cases: int, size: int) -> None:
    """Write one folder per case with ``image.nii.gz`` and ``label.nii.gz``."""
    import numpy as np
    import SimpleITK

    for number in range(cases):
        rng = np.random.default_rng(number)
        image = rng.normal(100, 30, (size,) * 3).astype(np.int16)
        label = np.zeros((size,) * 3, np.uint8)
        for value in (1, 2):
            start = rng.integers(0, size // 2, 3)
            label[tuple(slice(first, first + size // 3) for first in start)] = value
        where = folder / f"case_{number:04d}"
        where.mkdir(parents=True)
        for title, array in (("image", image), ("label", label)):
            SimpleITK.WriteImage(
                SimpleITK.GetImageFromArray(array), str(where / f"{title}.nii.gz"), useCompression=True
            )


def words_of(method: str, source: Path, out: Path, processes: int) -> list[str]:
    if method == "peer":
        return [sys.executable, str(Path(__file__).resolve()), "--peer", str(source), str(out), str(processes)]
    words = [sys.executable, "-m", "dataset_conversion.nifti", "-i", str(source), "-o", str(out), "-np", str(processes)]
    words += ["--image", "{case}/image.nii.gz", "--label", "{case}/label.nii.gz"]
    return [*words, "--classes", "a", "b", "--channels", "MRI", "-d", "1", "-n", "Small"]


def timed(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, check=True, cwd=Path(__file__).resolve().parents[1], stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def convert_by_loop(source: Path, out: Path, processes: int) -> None:
    """Do the peer's work."""
    folder = out / DATASET
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for done in [pool.submit(write_by_sitk, case, folder) for case in sorted(source.iterdir())]:
            done.result()


def write_by_sitk(case: Path, folder: Path) -> None:
    import SimpleITK

    for title, target in (("image", f"imagesTr/{case.name}_0000.nii.gz"), ("label", f"labelsTr/{case.name}.nii.gz")):
        image = SimpleITK.ReadImage(str(case / f"{title}.nii.gz"))
        SimpleITK.WriteImage(image, str(folder / target), useCompression=True)


def compare(ours: Path, peer: Path, cases: int) -> None:
    """See that the first cases hold the same voxels."""
    import numpy as np
    import SimpleITK

    for path in sorted(ours.glob("*Tr/*.nii.gz"))[: 2 * cases]:
        found, expected = (
            SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / path.relative_to(ours))))
            for folder in (ours, peer)
        )
        if not np.array_equal(found, expected):
            message = f"{path.name}: the voxels differ"
            raise RuntimeError(message)


if __name__ == "__main__":
    sys.exit(main())
