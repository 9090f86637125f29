"""Where a volume lies in space: spacing, origin and direction in z, y, x order."""

from __future__ import annotations

from dataclasses import dataclass

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Geometry:
    """Position of a voxel grid in space, all of it in z, y, x order.

    Parameters
    ----------
    spacing
        Distance of voxel centres in mm along z, y, x.
    origin
        Position of the first voxel's centre in mm, as (z, y, x).
    direction
        ``direction[i][j]``: component along space axis i (z, y, x) of the unit vector of array axis j
        (z, y, x). It is SimpleITK's direction matrix with rows and columns reversed; axes follow ITK's LPS
        convention.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[tuple[float, float, float], ...] = IDENTITY

    @property
    def is_straight(self) -> bool:
        """Whether the direction is the identity, the only one that TIFF can hold."""
        return all(
            abs(value - expected) <= 1e-6
            for row, unit in zip(self.direction, IDENTITY, strict=True)
            for value, expected in zip(row, unit, strict=True)
        )

    def shifted(self, voxels: tuple[int, int, int]) -> Geometry:
        """Return the geometry of a crop whose first voxel is ``voxels`` (z, y, x) of this grid."""
        steps = [count * size for count, size in zip(voxels, self.spacing, strict=True)]
        z, y, x = (
            start + sum(component * step for component, step in zip(row, steps, strict=True))
            for start, row in zip(self.origin, self.direction, strict=True)
        )
        return Geometry(self.spacing, (z, y, x), self.direction)

    def to_itk(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """Return spacing, origin and the nine direction numbers in SimpleITK's x, y, z order."""
        direction = tuple(value for row in reversed(self.direction) for value in reversed(row))
        return tuple(reversed(self.spacing)), tuple(reversed(self.origin)), direction

    @classmethod
    def from_itk(cls, spacing: tuple[float, ...], origin: tuple[float, ...], direction: tuple[float, ...]) -> Geometry:
        """Build a geometry from SimpleITK's spacing, origin (x, y, z) and direction (9 numbers by row)."""
        rows = [direction[3 * i : 3 * i + 3] for i in range(3)]
        z, y, x = (tuple(float(value) for value in reversed(row)) for row in reversed(rows))
        sz, sy, sx = (float(value) for value in reversed(spacing))
        oz, oy, ox = (float(value) for value in reversed(origin))
        return cls((sz, sy, sx), (oz, oy, ox), (_triple(z), _triple(y), _triple(x)))


def _triple(values: tuple[float, ...]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third
