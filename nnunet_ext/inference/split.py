"""Large images to pieces that stock ``nnUNetv2_predict`` can hold, and a manifest to put the predictions together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError, InputError, NnunetExtError, OutputExistsError
from nnunet_ext.files import refuse_existing, write_json, written_when_complete
from nnunet_ext.imageio import OUTPUT_ENDINGS, create_volume, ending_of
from nnunet_ext.imageio.case_files import spacing_notes
from nnunet_ext.imageio.grid import grid_differences, grid_of
from nnunet_ext.imageio.names import TIFF_ENDINGS
from nnunet_ext.imageio.sidecar import open_with_sidecar, write_sidecar
from nnunet_ext.inference.case_images import find_case_images
from nnunet_ext.inference.output_folder import check_output_folder, made_for_output
from nnunet_ext.inference.piece_files import write_pieces
from nnunet_ext.inference.pieces import AXES, cut
from nnunet_ext.inference.plan_patch import PlanPatch, read_plan_patch
from nnunet_ext.inference.split_manifest import MANIFEST, SplitCase, manifest_content
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Split:
    """What was written.

    Parameters
    ----------
    folder
        Folder of the pieces, the ``-i`` of ``nnUNetv2_predict``.
    cases
        The images and how they were cut.
    notes
        What the user should know.
    """

    folder: Path
    cases: list[SplitCase]
    notes: list[str] = field(default_factory=list)

    @property
    def manifest(self) -> Path:
        """The file that ``merge`` needs."""
        return self.folder / MANIFEST


@dataclass(frozen=True)
class ImageCheck:
    """How an image is to be cut, or what stands in the way; and where its spacing is from if that is not its file."""

    case: SplitCase | None
    problems: list[str] = field(default_factory=list)
    assumed_spacing: str = ""


def split_images(
    images: Path,
    output: Path,
    *,
    model: Path | None = None,
    configuration: str | None = None,
    pieces: int = 8,
    axis: str = "z",
    file_format: str | None = None,
    processes: int = 2,
    overwrite: bool = False,
) -> Split:
    """Cut images along one axis into pieces that overlap by half a patch on either side.

    Images are read once and slab by slab. The pieces appear together when all are complete.

    Parameters
    ----------
    images
        What ``nnUNetv2_predict`` takes: a folder of ``<case>_0000<ending>``; also a folder of slices, or one file.
    output
        Folder for the pieces ``<case>__<axis>__<start>__<stop>__0000<ending>`` and ``split_manifest.json``.
    model
        Folder of the trained model, for patch, voxel size and ending; default: a patch of 224, 224, 48 voxels
        (x, y, z) of the image itself.
    configuration
        Configuration of the model's plans; default: that of the folder's name, else ``3d_fullres``.
    pieces
        Number of pieces of each image.
    axis
        ``z``, ``y`` or ``x``.
    file_format
        Ending of the pieces; default: that of the model's dataset, else that of the images.
    processes
        Number of images that are worked on at the same time.
    overwrite
        Replace a folder that ``split`` wrote.

    Returns
    -------
    Split
        Folder, cases and notes.

    Raises
    ------
    MissingInputError, InputError
        If there is no image, the model has no usable plans, or an argument is not usable.
    BadCasesError
        If images cannot be read or written in this format, or channels differ; names all of them.
    OutputExistsError
        If the output exists and ``overwrite`` is false, or ``split`` did not write it.
    """
    if axis not in AXES:
        message = f"axis '{axis}' given, expected one of {', '.join(AXES)} (-a)"
        raise InputError(message)
    if pieces < 1:
        message = f"{pieces} pieces asked for, expected at least 1 (-s)"
        raise InputError(message)
    patch = PlanPatch() if model is None else read_plan_patch(model, configuration)
    if model is None and configuration is not None:
        message = f"configuration '{configuration}' given without a model (-m) that has it"
        raise InputError(message)
    found = find_case_images(images)
    ending = _ending(found, file_format, patch)
    _check_output(images, output, overwrite=overwrite)

    number = AXES.index(axis)
    checks = run_jobs(
        {case: (case, paths, number, pieces, patch, output / f"{case}_0000{ending}") for case, paths in found.items()},
        check_image,
        processes,
        "Checking",
    )
    problems = [problem for check in checks.values() for problem in check.problems]
    if problems:
        raise BadCasesError(problems)
    cases = [check.case for check in checks.values() if check.case is not None]
    # What is there may go, as has been checked: an empty folder, or pieces of an earlier call.
    with made_for_output(output.absolute().parent), written_when_complete(output.absolute(), overwrite=True) as partial:
        partial.mkdir()
        jobs = {case.name: (case, found[case.name], partial, ending) for case in cases}
        run_jobs(jobs, split_image, processes, "Splitting")
        arguments = {
            "images": str(images.absolute()),
            "model": None if model is None else str(model.absolute()),
            "pieces": pieces,
            "axis": axis,
            "patch_size": list(patch.patch),
            "patch_spacing": list(patch.spacing),
        }
        write_json(partial / MANIFEST, manifest_content(cases, arguments))
    assumed = {name: check.assumed_spacing for name, check in checks.items() if check.assumed_spacing}
    notes = [note for case in cases for note in _piece_notes(case, pieces)]
    return Split(output, cases, [*_normalization_notes(patch), *(spacing_notes(assumed) if model else []), *notes])


def check_image(name: str, paths: Sequence[Path], axis: int, count: int, patch: PlanPatch, target: Path) -> ImageCheck:
    """Read the headers of an image's channels and plan its pieces, which are like ``target`` in format."""
    grids, dtypes, problems = [], [], []
    assumed = ""
    for path in paths:
        try:
            with open_with_sidecar(path, name) as volume:
                # Says at once what the format cannot hold; it writes nothing before its block is entered.
                create_volume(target, volume.shape, volume.dtype, volume.geometry, overwrite=True)
                grids.append(grid_of(volume))
                dtypes.append(volume.dtype.name)
                assumed = assumed if volume.has_spacing else volume.spacing_source
        except NnunetExtError as error:
            text = str(error)
            problems.append(text if str(path) in text else f"{path}: {text}")
    for grid in grids[1:]:
        problems += [f"{grid.path}: {text}, as in {grids[0].path}" for text in grid_differences(grid, grids[0])]
    if problems:
        return ImageCheck(None, problems)
    shape, geometry = grids[0].shape, grids[0].geometry
    halo = patch.halo(axis, geometry)
    case = SplitCase(
        name=name,
        images=tuple(str(path.absolute()) for path in paths),
        dtypes=tuple(dtypes),
        shape=shape,
        geometry=geometry,
        axis=axis,
        halo=halo,
        pieces=tuple(cut(shape[axis], count, halo)),
    )
    return ImageCheck(case, assumed_spacing=assumed)


def split_image(case: SplitCase, paths: Sequence[Path], folder: Path, ending: str) -> None:
    """Write the pieces of all channels of one image."""
    for channel, path in enumerate(paths):
        with open_with_sidecar(path, case.name) as volume:
            write_pieces(volume, case, [folder / f"{piece}_{channel:04d}{ending}" for piece in case.piece_names])
    if ending in TIFF_ENDINGS:
        for name, piece in zip(case.piece_names, case.pieces, strict=True):
            write_sidecar(folder, name, case.piece_geometry(piece))


def _ending(found: dict[str, tuple[Path, ...]], file_format: str | None, patch: PlanPatch) -> str:
    """Return the ending of all pieces: nnU-Net reads one ending per folder."""
    if file_format is not None:
        ending = f".{file_format.removeprefix('.')}".lower()
        if patch.file_ending is not None and ending != patch.file_ending:
            message = f"--format {file_format} given, but the model reads {patch.file_ending} only"
            raise InputError(message)
    elif patch.file_ending is not None:
        ending = patch.file_ending
    else:
        endings = {_writable(ending_of(path)) for paths in found.values() for path in paths}
        if len(endings) > 1:
            message = f"the images end in {', '.join(sorted(endings))}, nnU-Net reads one ending: give -m or --format"
            raise InputError(message)
        ending = endings.pop()
    if ending not in OUTPUT_ENDINGS:
        message = f"pieces cannot be written as '{ending}', expected one of {', '.join(OUTPUT_ENDINGS)}"
        raise InputError(message)
    return ending


def _writable(ending: str) -> str:
    """Return the ending to write in place of one that is only read: headers of their own, folders of slices."""
    return {".mhd": ".mha", "": ".tif"}.get(ending, ending)


def _check_output(images: Path, output: Path, *, overwrite: bool) -> None:
    """Refuse a folder that must not be replaced: nnU-Net would predict whatever else lies beside the pieces."""
    check_output_folder(output)
    inputs = (images if images.is_dir() else images.parent).resolve()
    if output.resolve() in (inputs, *inputs.parents):
        message = f"{output}: holds the images; choose another output (-o), or they would be replaced"
        raise InputError(message)
    if not output.exists() or not any(output.iterdir()):
        return
    refuse_existing([output], overwrite=overwrite)
    if not (output / MANIFEST).is_file():
        message = f"{output}: --overwrite replaces the whole folder, but it holds no {MANIFEST}, so it stays"
        raise OutputExistsError(message)


def _normalization_notes(patch: PlanPatch) -> list[str]:
    return [
        f"nnU-Net normalises each piece by its own grey values ({scheme}), so that pieces may be predicted otherwise "
        "than the whole image"
        for scheme in patch.own_normalization
    ]


def _piece_notes(case: SplitCase, count: int) -> list[str]:
    """Return what is not as asked for, or of no use."""
    made, length = len(case.pieces), case.shape[case.axis]
    notes = []
    reach = f"{case.halo} voxel{'s' if case.halo != 1 else ''}"
    if made < count:
        notes.append(
            f"case '{case.name}': {made} piece{'s' if made > 1 else ''} instead of {count}: {length} voxels along "
            f"{AXES[case.axis]} make no more that differ, since each reaches {reach} into its neighbours"
        )
    whole = [name for name, piece in zip(case.piece_names, case.pieces, strict=True) if len(piece.extent) == length]
    if made > 1 and whole:
        notes.append(
            f"case '{case.name}': {len(whole)} of {made} pieces hold the whole image, {length} voxels along "
            f"{AXES[case.axis]}, since each reaches {reach} into its neighbours: fewer pieces (-s) would do"
        )
    return notes
