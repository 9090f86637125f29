"""Names of the images of the CaFFe benchmark: glacier, date, satellite, pixel size, quality and orbit."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from nnunet_ext.errors import InputError

EXPECTED = "<glacier>_<YYYY-MM-DD>_<satellite>_<metres per pixel>_<quality>_<orbit>, such as COL_2011-11-13_TDX_7_1_092"

NORTHERN = frozenset({"COL", "JAC"})
SOUTHERN = frozenset({"Mapple", "Crane", "Jorum", "DBE", "SI"})
COLD_MONTHS_NORTH = frozenset({9, 10, 11, 12, 1, 2, 3})

_NAME = re.compile(
    r"(?P<glacier>[^_\s]+)_(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})_(?P<satellite>[^_\s]+)"
    r"_(?P<resolution>[0-9]+(?:\.[0-9]+)?)_(?P<quality>[0-9]+)_(?P<orbit>[^_.\s]+)"
)


@dataclass(frozen=True)
class CaffeName:
    """What the name of an image says.

    Parameters
    ----------
    glacier
        Abbreviation, such as ``COL``.
    date
        Day of the acquisition.
    satellite
        Abbreviation, such as ``TDX``.
    resolution
        Pixel size in metres.
    quality
        Quality factor, 1 is best.
    orbit
        Text, so that ``092`` keeps its zero.
    """

    glacier: str
    date: datetime.date
    satellite: str
    resolution: float
    quality: int
    orbit: str

    @property
    def season(self) -> str:
        """``winter`` or ``summer`` as the benchmark divides the year; ``unknown`` for a glacier not in it.

        In the north winter is September to March; in the south these months are summer.
        """
        if self.glacier in NORTHERN:
            return "winter" if self.date.month in COLD_MONTHS_NORTH else "summer"
        if self.glacier in SOUTHERN:
            return "summer" if self.date.month in COLD_MONTHS_NORTH else "winter"
        return "unknown"


SUFFIXES = ("_front", "_zones", "_zone", "_boundary")
"""What the names of label maps end with, behind the stem that they share with the image."""


def stem_of(name: str) -> str:
    """Return a name without file ending, and without that which makes it one of a label map."""
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def parse_caffe_name(stem: str) -> CaffeName:
    """Read the name of an image, of its front or of its zones.

    Parameters
    ----------
    stem
        Name without file ending; ``_front``, ``_zone``, ``_zones`` and ``_boundary`` at its end do not matter.

    Returns
    -------
    CaffeName
        The parts of the name.

    Raises
    ------
    InputError
        If the name has another form, the date is no day, or the pixel size is 0.

    References
    ----------
    Gourmelon et al., Calving fronts and where to find them, Earth Syst. Sci. Data 14, 2022.
    """
    match = _NAME.fullmatch(stem_of(stem))
    if match is None:
        message = f"{stem!r} is no name of a CaFFe image; expected {EXPECTED}"
        raise InputError(message)
    try:
        date = datetime.date.fromisoformat(match["date"])
    except ValueError as error:
        message = f"{stem!r}: {match['date']} is no date ({error}); expected {EXPECTED}"
        raise InputError(message) from error
    resolution = float(match["resolution"])
    if resolution == 0:
        message = f"{stem!r}: {match['resolution']} metres per pixel; expected {EXPECTED}"
        raise InputError(message)
    return CaffeName(match["glacier"], date, match["satellite"], resolution, int(match["quality"]), match["orbit"])
