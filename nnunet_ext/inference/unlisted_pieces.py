"""How images were cut, by the names of their pieces alone: for pieces that another tool cut, without a manifest."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, MissingInputError
from nnunet_ext.imageio import is_supported, volume_name
from nnunet_ext.imageio.sidecar import open_with_sidecar
from nnunet_ext.inference.piece_names import parse_piece_name
from nnunet_ext.inference.pieces import AXES, Interval, Piece
from nnunet_ext.inference.split_manifest import SplitCase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnunet_ext.inference.split_manifest import Shape


def cases_by_names(folder: Path) -> list[SplitCase]:
    """Find out how images were cut from the names and headers of their predicted pieces.

    Parameters
    ----------
    folder
        Predicted pieces ``<case>__<axis>__<start>__<stop>_``.

    Returns
    -------
    list of SplitCase
        Cores meet in the middle of what two neighbours share. The length is where the last piece ends: that a piece
        is missing behind it cannot be seen. Geometry is that of the first piece; the origins of the others are not
        relied on.

    Raises
    ------
    MissingInputError
        If there is no such folder, or no file in it is named like a piece.
    BadCasesError
        If the pieces of a case do not follow each other without a gap, or are cut along several axes.
    """
    if not folder.is_dir():
        message = f"{folder}: no such folder of predicted pieces"
        raise MissingInputError(message)
    extents: defaultdict[str, dict[tuple[int, Interval], Path]] = defaultdict(dict)
    for path in _volumes(folder):
        parsed = parse_piece_name(volume_name(path))
        if parsed:
            case, axis, extent = parsed
            extents[case].setdefault((axis, extent), path)
    if not extents:
        message = f"{folder}: no file is named like a piece, expected <case>__<axis>__<start>__<stop>_<ending>"
        raise MissingInputError(message)
    cases, problems = [], []
    for name, found in sorted(extents.items()):
        axes = sorted({axis for axis, _ in found})
        held = sorted((extent for _, extent in found), key=lambda extent: (extent.start, extent.stop))
        wrong = [f"pieces along {' and '.join(AXES[axis] for axis in axes)}"] if len(axes) > 1 else _gaps(held)
        if wrong:
            problems += [f"{folder}: case '{name}': {text}, expected pieces that overlap or touch" for text in wrong]
        else:
            cases.append(_case(name, axes[0], held, found[axes[0], held[0]]))
    if problems:
        raise BadCasesError(problems)
    return cases


def _volumes(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir())
    return [path for path in paths if path.is_file() and is_supported(path) and not path.name.startswith(".")]


def _gaps(held: Sequence[Interval]) -> list[str]:
    """Describe what the pieces leave out between 0 and their end, and which lie in another."""
    gaps = [f"no piece holds {Interval(0, held[0].start)}"] if held[0].start else []
    gaps += [f"nothing between {one} and {other}" for one, other in pairwise(held) if one.stop < other.start]
    gaps += [f"{one} and {other} hold the same" for one, other in pairwise(held) if one.stop >= other.stop]
    return gaps + [f"{one} is empty" for one in held if not len(one)]


def _case(name: str, axis: int, held: Sequence[Interval], first: Path) -> SplitCase:
    with open_with_sidecar(first) as volume:
        sizes, geometry, dtype = volume.shape, volume.geometry, volume.dtype
    shared = [one.stop - other.start for one, other in pairwise(held)]
    borders = [0, *(other.start + width // 2 for other, width in zip(held[1:], shared, strict=True)), held[-1].stop]
    depth, height, width = (held[-1].stop if index == axis else size for index, size in enumerate(sizes))
    shape: Shape = (depth, height, width)
    return SplitCase(
        name=name,
        images=(),
        dtypes=(str(dtype),),
        shape=shape,
        geometry=geometry,
        axis=axis,
        halo=max(shared, default=0) // 2,
        pieces=tuple(
            Piece(Interval(start, stop), extent) for (start, stop), extent in zip(pairwise(borders), held, strict=True)
        ),
        is_placed=False,
    )
