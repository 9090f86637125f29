"""What is known about an image: the fields of its name in the CaFFe benchmark, or its pixel size alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from evaluation.groups import Grouping
from nnunet_ext.caffe.names import parse_caffe_name
from nnunet_ext.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNKNOWN = "unknown"
GROUPED = ("glacier", "satellite", "resolution", "season")


@dataclass(frozen=True)
class ImageName:
    """The fields of the name of an image, as text for tables.

    Parameters
    ----------
    glacier, satellite, season
        ``unknown`` where the name does not say it.
    date, quality, orbit
        Empty where the name does not say it.
    metres
        Pixel size.
    """

    glacier: str
    date: str
    satellite: str
    season: str
    quality: str
    orbit: str
    metres: float

    @property
    def resolution(self) -> str:
        """Pixel size in metres without superfluous digits, such as ``7`` or ``12.5``."""
        return f"{self.metres:g}"


def read_image_name(stem: str, resolution: float | None = None) -> ImageName:
    """Read the name of an image.

    Parameters
    ----------
    stem
        Name without file ending.
    resolution
        Metres per pixel of images whose names do not follow the benchmark; those that do keep their own.

    Raises
    ------
    InputError
        If the name does not follow the benchmark and no resolution is given.
    """
    try:
        name = parse_caffe_name(stem)
    except InputError as error:
        if resolution is None:
            message = f"{error}; or give --resolution METRES for images with other names"
            raise InputError(message) from error
        return ImageName(UNKNOWN, "", UNKNOWN, UNKNOWN, "", "", resolution)
    return ImageName(
        name.glacier,
        name.date.isoformat(),
        name.satellite,
        name.season,
        str(name.quality),
        name.orbit,
        name.resolution,
    )


def groupings_of(names: Mapping[str, ImageName]) -> list[Grouping]:
    """Return the groupings of images: by glacier, satellite, resolution, season, and by each two of these.

    A grouping by two is another one than those by each, so that the group of a glacier never is that of one of its
    seasons.
    """
    single = [Grouping(field, {case: getattr(name, field) for case, name in names.items()}) for field in GROUPED]
    return single + [_product(first, second) for first, second in combinations(single, 2)]


def groups_in_order(groups: Iterable[str]) -> list[str]:
    """Return the names of groups, numbers in them in their order: 7 before 20."""
    from nnunet_ext.imageio import natural_key

    return sorted(set(groups), key=natural_key)


def _product(first: Grouping, second: Grouping) -> Grouping:
    of_case = {case: f"{group} × {second.of_case[case]}" for case, group in first.of_case.items()}
    return Grouping(f"{first.name} × {second.name}", of_case)
