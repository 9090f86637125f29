"""Generated images with two or three label maps that depend on each other, like a calving front and its zones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from nnunet_ext.files import write_json
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FRONT = Task("front", ("background", "front"), deep_supervision=False)
ZONES = Task("zones", ("na", "rock", "glacier", "ocean"))
BOUNDARY = Task("boundary", ("background", "boundary"), deep_supervision=False)
TWO = JointLabels((FRONT, ZONES))
THREE = JointLabels((FRONT, ZONES, BOUNDARY))
BRIGHTNESS = np.array([30, 90, 150, 210])


def coupled_case(
    shape: tuple[int, int, int], seed: int, front_width: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make an image (Z, Y, X) and its label maps front, zones and boundary (3, Z, Y, X).

    The zones lie along x in a wavy way, each with its own brightness; the front is the glacier beside the ocean,
    the boundary is the glacier beside rock.
    """
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[tuple(slice(length) for length in shape)].astype(float)
    phase = rng.uniform(0, 6, 3)
    place = x / shape[2] + 0.06 * np.sin(y / 6 + phase[0]) + 0.04 * np.sin(z / 4 + y / 9 + phase[1])
    edges = np.array([0.15, 0.4, 0.65]) + rng.uniform(-0.06, 0.06, 3)
    zones = np.digitize(place, edges)
    if rng.random() < 0.5:
        zones = zones[..., ::-1]
    near = ndimage.generate_binary_structure(3, 1)
    near[0], near[2] = False, False
    glacier = zones == 2
    front = glacier & ndimage.binary_dilation(zones == 3, near, front_width)
    boundary = glacier & ndimage.binary_dilation(zones == 1, near, 4)
    image = BRIGHTNESS[zones] + rng.normal(0, 12, shape)
    return np.clip(image, 1, 255).astype(np.uint8), np.stack([front, zones, boundary]).astype(np.uint8)


def raw_dataset(
    raw: Path, joint: JointLabels, shape: tuple[int, int, int], cases: int, name: str = "Dataset901_Coupled"
) -> Path:
    """Write a dataset of coupled cases with joint labels into a folder of raw datasets, as NIfTI."""
    import SimpleITK as sitk

    folder = raw / name
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in range(cases):
        image, stack = coupled_case(shape, number)
        label = joint.encode(stack[: len(joint.tasks)].astype(int))
        for array, path in (
            (image, folder / "imagesTr" / f"case{number:02d}_0000.nii.gz"),
            (label, folder / "labelsTr" / f"case{number:02d}.nii.gz"),
        ):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    content: dict[str, Any] = {
        "channel_names": {"0": "SAR"},
        **joint.to_dataset_json(),
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", content)
    return folder
