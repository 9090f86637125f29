"""The images of a folder as ``nnUNetv2_predict`` takes them: the channels of every case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nnunet_ext.errors import BadCasesError
from nnunet_ext.imageio import find_volumes, volume_name
from nnunet_ext.imageio.case_files import find_images
from nnunet_ext.imageio.slices import slice_files

if TYPE_CHECKING:
    from pathlib import Path

_CHANNEL = re.compile(r"(.+)_(\d{4})")


def find_case_images(images: Path) -> dict[str, tuple[Path, ...]]:
    """Return the channels of every case, in order.

    Parameters
    ----------
    images
        A folder of images named ``<case>_0000<ending>``, with a number per channel, or of one image per case without
        numbers; a folder of slices, which is one image; or one file.

    Raises
    ------
    MissingInputError, InputError
        If there is no image.
    BadCasesError
        If some names have channel numbers and others not, a channel is missing, or a case is there twice.
    """
    volumes = find_volumes(images)
    if images.is_dir() and volumes == [images] and not _are_cases_of_one_slice(images):
        return {volume_name(images.absolute()): (images,)}
    found = find_images(images)
    names = [volume_name(path) for channels in found.values() for path in channels]
    numbered = any(name.endswith("_0000") for name in names)
    strays = [name for name in names if numbered and not _CHANNEL.fullmatch(name)]
    if strays:
        raise BadCasesError(
            [f"{images}: '{name}' has no channel number, as nnU-Net's other images have (_0000)" for name in strays]
        )
    return found


def _are_cases_of_one_slice(folder: Path) -> bool:
    """Return whether single slices in a folder are named as 2D cases of nnU-Net, and not as the slices of a scan."""
    matches = [_CHANNEL.fullmatch(volume_name(path)) for path in slice_files(folder)]
    cases = {match[1] for match in matches if match}
    first_channels = {match[1] for match in matches if match and match[2] == "0000"}
    return all(matches) and cases == first_channels and len(cases) > 1
