"""``split_manifest.json``: what was cut how, so that predicted pieces can be put together and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext import __version__
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError
from nnunet_ext.files import read_json
from nnunet_ext.imageio import Geometry
from nnunet_ext.inference.piece_names import piece_name
from nnunet_ext.inference.pieces import AXES, Interval, Piece, cover_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

MANIFEST = "split_manifest.json"
KIND = "split"

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class SplitCase:
    """One image and how it was cut.

    Parameters
    ----------
    name
        Case name, as nnU-Net has it.
    images
        The files of its channels.
    dtypes
        Type of the voxels of each channel.
    shape
        Voxels along z, y, x.
    geometry
        Position in space.
    axis
        Axis that was cut: 0, 1, 2 are z, y, x.
    halo
        Voxels of context on either side of a core.
    pieces
        Cores and extents, in order.
    is_placed
        Whether the origins of the pieces are those of the image, shifted by their extent.
    """

    name: str
    images: tuple[str, ...]
    dtypes: tuple[str, ...]
    shape: Shape
    geometry: Geometry
    axis: int
    halo: int
    pieces: tuple[Piece, ...]
    is_placed: bool = True

    @property
    def piece_names(self) -> tuple[str, ...]:
        """Case names of the pieces; see ``nnunet_ext.inference.piece_names``."""
        return tuple(piece_name(self.name, self.axis, piece.extent) for piece in self.pieces)

    def piece_shape(self, piece: Piece) -> Shape:
        """Return how many voxels a piece has along z, y, x."""
        z, y, x = (len(piece.extent) if axis == self.axis else size for axis, size in enumerate(self.shape))
        return z, y, x

    def piece_geometry(self, piece: Piece) -> Geometry:
        """Return where a piece lies in space."""
        z, y, x = (piece.extent.start if axis == self.axis else 0 for axis in range(3))
        return self.geometry.shifted((z, y, x))

    def describe(self, piece: Piece) -> str:
        """Return words for messages: case, core and extent of a piece."""
        return f"case '{self.name}', {AXES[self.axis]} {piece.core} (with halo {piece.extent})"


def manifest_content(cases: Sequence[SplitCase], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return what ``split_manifest.json`` holds."""
    return {
        "tool": "nnunet_ext",
        "version": __version__,
        "kind": KIND,
        "arguments": arguments,
        "cases": {case.name: _to_json(case) for case in cases},
    }


def find_manifest(predictions: Path, manifest: Path | None = None) -> Path:
    """Return the manifest that belongs to predicted pieces.

    Parameters
    ----------
    predictions
        Folder of the predicted pieces.
    manifest
        The manifest or the folder that it lies in; default: the folder of the predicted pieces.

    Raises
    ------
    MissingInputError
        If there is none.
    """
    if not predictions.is_dir():
        message = f"{predictions}: no such folder of predicted pieces"
        raise MissingInputError(message)
    given = predictions if manifest is None else manifest
    path = given / MANIFEST if given.is_dir() else given
    if not path.is_file():
        message = (
            f"{path}: no such manifest. It lies where 'nnunet_ext split' wrote the pieces, and nnUNetv2_predict does "
            f"not copy it to the predictions: give --manifest PIECES/{MANIFEST}. For pieces of another tool: --by-names"
        )
        raise MissingInputError(message)
    return path


def read_split_manifest(path: Path) -> list[SplitCase]:
    """Read a manifest and check that the cores of each case make up its length.

    Raises
    ------
    InputError
        If the file is not a manifest of this kind.
    BadCasesError
        If cores do not make up the length of a case; names all such cases and the intervals.
    """
    content = read_json(path)
    if content.get("kind") != KIND:
        message = f"{path}: kind {content.get('kind')!r} found, expected '{KIND}', as 'nnunet_ext split' writes it"
        raise InputError(message)
    try:
        cases = [_from_json(name, entry) for name, entry in content["cases"].items()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{path}: not as 'nnunet_ext split' wrote it: {type(error).__name__} {error}"
        raise InputError(message) from error
    problems = [
        f"{path}: case '{case.name}', {AXES[case.axis]}: {problem}"
        for case in cases
        for problem in cover_problems(case.pieces, case.shape[case.axis])
    ]
    if problems:
        raise BadCasesError(problems)
    return cases


def _to_json(case: SplitCase) -> dict[str, Any]:
    return {
        "images": list(case.images),
        "dtypes": list(case.dtypes),
        "shape": list(case.shape),
        "spacing": list(case.geometry.spacing),
        "origin": list(case.geometry.origin),
        "direction": [list(row) for row in case.geometry.direction],
        "axis": AXES[case.axis],
        "halo": case.halo,
        "pieces": [
            {
                "name": name,
                "core": [piece.core.start, piece.core.stop],
                "extent": [piece.extent.start, piece.extent.stop],
            }
            for name, piece in zip(case.piece_names, case.pieces, strict=True)
        ],
    }


def _from_json(name: str, entry: dict[str, Any]) -> SplitCase:
    pieces = tuple(Piece(_interval(piece["core"]), _interval(piece["extent"])) for piece in entry["pieces"])
    depth, height, width = (int(size) for size in entry["shape"])
    case = SplitCase(
        name=name,
        images=tuple(entry["images"]),
        dtypes=tuple(entry["dtypes"]),
        shape=(depth, height, width),
        geometry=Geometry(
            _triple(entry["spacing"]),
            _triple(entry["origin"]),
            (_triple(entry["direction"][0]), _triple(entry["direction"][1]), _triple(entry["direction"][2])),
        ),
        axis=AXES.index(entry["axis"]),
        halo=int(entry["halo"]),
        pieces=pieces,
    )
    if Path(name).name != name or name.startswith(".") or "\\" in name:
        message = f"case '{name}' is no file name"
        raise ValueError(message)
    if [piece["name"] for piece in entry["pieces"]] != list(case.piece_names):
        message = f"the pieces of case '{name}' are not named by what they hold: {', '.join(case.piece_names)}"
        raise ValueError(message)
    return case


def _interval(values: Sequence[Any]) -> Interval:
    start, stop = values
    return Interval(int(start), int(stop))


def _triple(values: Sequence[Any]) -> tuple[float, float, float]:
    first, second, third = values
    return float(first), float(second), float(third)
