"""Write one case of a dataset of images and label maps: files as they are, or labels made of values and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dataset_conversion.gzip_nifti import keeps_bytes, transfer
from dataset_conversion.merged_masks import open_masks, overlay_slab
from dataset_conversion.nifti_case import label_slab, open_label
from dataset_conversion.scan_writer import write_range
from dataset_conversion.stack_case import slabs_of
from dataset_conversion.task_labels import positions
from nnunet_ext.errors import InputError
from nnunet_ext.imageio import create_volume
from nnunet_ext.imageio.sidecar import open_with_sidecar

if TYPE_CHECKING:
    from pathlib import Path

    from dataset_conversion.nifti_case import CheckedCase
    from dataset_conversion.nifti_classes import Classes


def write_case(folder: Path, checked: CheckedCase, classes: Classes, ending: str, overlap: str) -> dict[str, Any]:
    """Write images and label map of a case; files are copied as they are wherever that will do.

    Parameters
    ----------
    folder
        The dataset's folder, still under its temporary name, with its subfolders.
    checked
        The case, without problems.
    classes
        Of all label maps.
    ending
        Of images and label maps.
    overlap
        As for ``check_case``.

    Returns
    -------
    dict
        What was done, for ``conversion.json``.
    """
    files, split = checked.files, "Ts" if checked.files.is_test else "Tr"
    for channel, path in enumerate(files.images):
        target = folder / f"images{split}" / f"{files.case}_{channel:04d}{ending}"
        if keeps_bytes(path, ending, checked.images.dimension):
            transfer(path, target)
        else:
            with open_with_sidecar(path, files.case) as volume:
                write_range(volume, (0, volume.shape[0]), target, volume.dtype, lambda slab: slab, volume.geometry)
    record: dict[str, Any] = {"split": "test" if files.is_test else "training"}
    record["images"] = [str(path.absolute()) for path in files.images]
    if not files.has_labels:
        return record
    target = folder / f"labels{split}" / f"{files.case}{ending}"
    if files.label is not None and classes.keeps_values and keeps_bytes(files.label, ending, checked.label_dimension):
        transfer(files.label, target)
    else:
        _write_label(target, checked, classes, overlap)
    record["label"] = None if files.label is None else str(files.label.absolute())
    if files.masks:
        record["masks"] = {name: path and str(path.absolute()) for name, path in files.masks.items()}
        record["overlap_voxels"] = checked.overlaps
        record["empty_masks"] = checked.empty
        record["resampled_masks"] = {
            name: {"voxels": total, "lost_voxels": lost} for name, (lost, total) in checked.resampled.items()
        }
    return record


def _write_label(target: Path, checked: CheckedCase, classes: Classes, overlap: str) -> None:
    files, grid = checked.files, checked.images.grid
    if grid is None:
        message = f"case '{files.case}': no image could be read"
        raise InputError(message)
    labels, label_of = classes.labels, classes.label_of_value
    dtype = np.dtype(np.uint8 if max(labels.values()) <= np.iinfo(np.uint8).max else np.uint16)
    table = np.asarray(list(label_of.values()), np.int64)
    mask_labels = [labels[name] for name in files.masks]
    with (
        open_masks(files.masks, grid) as masks,
        open_label(files.label) as label,
        create_volume(target, grid.shape, dtype, grid.geometry) as writer,
    ):
        for start, stop in slabs_of(grid.shape):
            base = table[positions(label_slab(label, start, stop, grid.shape), list(label_of))]
            overlay_slab(base, masks, mask_labels, start, stop, keep=overlap)
            writer.write(base.astype(dtype))
