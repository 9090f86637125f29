"""Names of pieces: ``<case>__<axis>__<start>__<stop>_``, which the scripts of the published soil workflow read as well.

The axis is counted as SimpleITK does: 0, 1, 2 are x, y, z. Start and stop are those of what the piece holds, with its
halo. nnU-Net sees a case of that name; its first channel is ``S1__2__101__274__0000.nii.gz``.
"""

from __future__ import annotations

import re

from nnunet_ext.inference.pieces import Interval

_NAME = re.compile(r"(.+)__([012])__(\d{1,9})__(\d{1,9})_")
_LAST_AXIS = 2


def piece_name(case: str, axis: int, extent: Interval) -> str:
    """Return the name of the piece of a case that holds ``extent`` of an axis (0, 1, 2: z, y, x)."""
    return f"{case}__{_LAST_AXIS - axis}__{extent.start}__{extent.stop}_"


def parse_piece_name(name: str) -> tuple[str, int, Interval] | None:
    """Return case, axis (0, 1, 2: z, y, x) and what is held, or None if it is no name of a piece."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    case, axis, start, stop = match.groups()
    return case, _LAST_AXIS - int(axis), Interval(int(start), int(stop))
