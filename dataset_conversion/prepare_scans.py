"""Unseen scans to the input folder of ``nnUNetv2_predict``, normalised as the training scans were."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dataset_conversion.normalization import IDENTITY, Normalization
from dataset_conversion.pairing import named_volumes
from dataset_conversion.raw_dataset import RECORD, image_name, read_conversion, write_record
from dataset_conversion.scan_writer import scan_normalization, scan_record, write_range
from nnunet_ext.errors import BadCasesError, NnunetExtError
from nnunet_ext.files import refuse_existing
from nnunet_ext.imageio import open_volume
from nnunet_ext.imageio.case_files import spacing_notes
from nnunet_ext.imageio.sidecar import write_sidecar
from nnunet_ext.jobs import run_jobs

if TYPE_CHECKING:
    from pathlib import Path

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Prepared:
    """The images that were written: their folder, case names, and notes for the user."""

    folder: Path
    cases: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ScanCheck:
    """What stands in the way of preparing a scan, if anything does; its normalisation; where its spacing is from."""

    problem: str
    normalization: Normalization = IDENTITY
    spacing_source: str = ""


def prepare_soil_ct(
    scans: Path,
    output: Path,
    dataset: Path,
    *,
    spacing: Spacing | None = None,
    image_suffix: str = "",
    processes: int = 2,
    overwrite: bool = False,
) -> Prepared:
    """Write unseen scans as ``nnUNetv2_predict`` expects them.

    Each scan is normalised with the scheme of the training data, its numbers computed over the whole scan; a scan of
    the training data gets the very numbers that it had there. Volumes are read and written slab by slab.

    Parameters
    ----------
    scans
        A folder of volumes (or of slice folders), a folder of slices, or one file.
    output
        Folder for the images; ``conversion.json`` there says what was done.
    dataset
        Folder of the dataset or of the trained model: its ``dataset.json`` says how to normalise.
    spacing
        Voxel size in mm (z, y, x); default: what was given at conversion, else what the files say.
    image_suffix
        What stands between case name and ending.
    processes
        Number of scans that are worked on at the same time.
    overwrite
        Replace images of the same name.

    Raises
    ------
    MissingInputError, InputError
        If ``dataset`` is no soil CT dataset or model, or there is no scan.
    BadCasesError
        If scans cannot be read; names all of them.
    OutputExistsError
        If an image exists and ``overwrite`` is false.
    """
    content, conversion = read_conversion(dataset, "soil_ct")
    ending = content["file_ending"]
    spacing = spacing or _spacing(conversion.get("spacing"))
    volumes = named_volumes(scans, image_suffix)
    targets = [output / image_name(case, ending) for case in volumes]
    refuse_existing([*targets, output / RECORD], overwrite=overwrite)
    scheme = conversion["normalization"]
    checks = run_jobs(
        {case: (path, spacing, scheme, ending) for case, path in volumes.items()}, check_scan, processes, "Checking"
    )
    problems = [found.problem for found in checks.values() if found.problem]
    if problems:
        raise BadCasesError(problems)

    jobs = {
        case: (case, path, output, checks[case].normalization, spacing, ending, overwrite)
        for case, path in volumes.items()
    }
    records = run_jobs(jobs, prepare_scan, processes, "Preparing")
    arguments = {"scans": str(scans.absolute()), "dataset": str(dataset.absolute())}
    write_record(output, arguments, records, conversion=conversion)
    return Prepared(output, sorted(volumes), spacing_notes({case: c.spacing_source for case, c in checks.items()}))


def check_scan(path: Path, spacing: Spacing | None, scheme: str, ending: str) -> ScanCheck:
    """Read a scan once: compute its normalisation, or say why it cannot be prepared."""
    try:
        with open_volume(path, spacing) as scan:
            if ending == ".tif" and not scan.geometry.is_straight:
                return ScanCheck(
                    f"{path}: its axes are rotated or mirrored (direction), which TIFF, the format of this model, "
                    "cannot hold; save the scan with plain axes, or train on other files (nnunet_ext convert soil_ct "
                    "--format nii.gz)"
                )
            return ScanCheck("", scan_normalization(scan, scheme), scan.spacing_source)
    except NnunetExtError as error:
        return ScanCheck(str(error))


def prepare_scan(
    case: str,
    path: Path,
    output: Path,
    normalization: Normalization,
    spacing: Spacing | None,
    ending: str,
    overwrite: bool,
) -> dict[str, Any]:
    """Write one scan and return what was done, for ``conversion.json``."""
    with open_volume(path, spacing) as scan:
        target = output / image_name(case, ending)
        dtype = normalization.output_dtype(scan.dtype)
        whole = (0, scan.shape[0])
        write_range(scan, whole, target, dtype, normalization.apply, scan.geometry, overwrite=overwrite)
        if ending == ".tif":
            write_sidecar(output, case, scan.geometry)
        return scan_record(scan, normalization)


def _spacing(value: list[float] | None) -> Spacing | None:
    return (value[0], value[1], value[2]) if value else None
