"""Compare surface distances of concentric spheres with what they are, for this package and its peers.

Two spheres, voxelised by the centres of the voxels: the larger is the prediction, and every point of one is as far
from the other as the radii differ, which is HD, HD95 and ASSD at once. NSD at 1 mm is 0 where they differ by 5 mm, and
1 where they differ by 1 mm, which any rounding to voxels spoils. The spheres are put at several places between the
voxels, the first one at the corner of eight, and errors are means over these. What remains is the error of the voxel
grid and of each package's idea of a surface. Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING

import numpy as np
from surface_peers import NSD, SCORES, is_installed, measures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surface_peers import Mask, Measure, Scores

    Row = tuple[Sequence[float], tuple[float, float], dict[str, Scores]]

SPACINGS = ((1.0, 1.0, 1.0), (2.5, 1.0, 1.0), (5.0, 0.8, 0.8))
RADII = ((20.0, 25.0), (20.0, 21.0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--places", type=int, default=5, help="places of the spheres between the voxels; default 5")
    parser.add_argument("--quick", action="store_true", help="one place, one spacing: does it run at all?")
    args = parser.parse_args()
    places = 1 if args.quick else args.places

    found = {}
    for name, (package, prepare) in measures().items():
        if is_installed(package):
            found[name] = prepare(True)
        else:
            print(f"{name} is not installed and left out\n")
    print(f"Errors in mm of {' / '.join(SCORES)}, means over {places} places:\n")
    rows = [
        (spacing, radii, {name: errors(measure, radii, spacing, places) for name, measure in found.items()})
        for spacing in SPACINGS[: 1 if args.quick else None]
        for radii in RADII
    ]
    print_table(rows, list(found), SCORES, "{:+.2f}")
    print(f"\nErrors of {NSD}, which is 0 at 5 mm and 1 at 1 mm:\n")
    print_table(rows, [name for name in found if NSD in rows[0][2][name]], (NSD,), "{:+.2f}")
    return 0


def errors(measure: Measure, radii: tuple[float, float], spacing: Sequence[float], places: int) -> Scores:
    """Return what the scores of two spheres exceed the truth by, each a mean over several places."""
    apart = radii[1] - radii[0]
    truth = dict.fromkeys(SCORES, apart) | {NSD: float(apart <= 1)}
    offsets = np.random.default_rng(0).random((places, 3))
    offsets[0] = 0.5
    found = [measure(*(ball(radius, spacing, offset) for radius in radii[::-1]), spacing) for offset in offsets]
    return {score: float(np.mean([scores[score] for scores in found])) - truth[score] for score in found[0]}


def ball(radius: float, spacing: Sequence[float], offset: Sequence[float]) -> Mask:
    """Return a sphere whose centre is some part of a voxel beyond the middle voxel's, in a volume with room for all."""
    half = [math.ceil((max(RADII[0]) + 1) / step) + 1 for step in spacing]
    grid = np.ogrid[tuple(slice(-length, length + 2) for length in half)]
    squares = (((at - shift) * step) ** 2 for at, shift, step in zip(grid, offset, spacing, strict=True))
    return sum(squares) <= radius**2


def print_table(rows: Sequence[Row], names: Sequence[str], scores: Sequence[str], form: str) -> None:
    """Print a table in Markdown with a column for each package."""
    print("| spacing | apart |", " | ".join(names), "|")
    print("|---" * (len(names) + 2) + "|")
    for spacing, radii, errors_of in rows:
        cells = [
            " / ".join(form.format(errors_of[name][score]) if score in errors_of[name] else "–" for score in scores)
            for name in names
        ]
        print(f"| {' × '.join(f'{step:g}' for step in spacing)} | {radii[1] - radii[0]:g} |", " | ".join(cells), "|")


if __name__ == "__main__":
    sys.exit(main())
