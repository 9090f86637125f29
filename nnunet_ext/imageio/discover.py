"""Find the volumes in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnunet_ext.errors import MissingInputError
from nnunet_ext.imageio.names import PNG_ENDING, TIFF_ENDINGS, has_ending, is_supported, is_zarr, natural_key

if TYPE_CHECKING:
    from pathlib import Path


def find_volumes(folder: Path) -> list[Path]:
    """Return the volumes in a folder in natural order.

    A volume is a file with a supported ending, a Zarr store (``.zarr``), or a subfolder that directly holds
    slices: TIFF files of one slice each. A folder of nothing but two or more slices is itself one volume. PNG files
    are volumes where there is nothing else; beside other volumes they are pictures of them. Hidden entries and the
    ``.raw`` and ``.zraw`` files of ``.mhd`` headers are skipped. Deeper folders are not searched.

    Parameters
    ----------
    folder
        Folder to look into; a file is its own only volume.

    Returns
    -------
    list of pathlib.Path
        Files and folders for ``open_volume``; empty if there is none.

    Raises
    ------
    MissingInputError
        If there is no such file or folder.
    """
    if folder.is_file():
        return [folder]
    if is_zarr(folder):
        return [folder]
    if not folder.is_dir():
        message = f"{folder}: no such file or folder"
        raise MissingInputError(message)
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    files = [path for path in entries if path.is_file() and is_supported(path)]
    folders = [path for path in entries if path.is_dir() and (is_zarr(path) or holds_slices(path))]
    others = [path for path in files if not has_ending(path, (PNG_ENDING,))]
    if others or folders:
        files = others
    only_slices = all(has_ending(path, TIFF_ENDINGS) for path in files)
    if len(files) > 1 and not folders and only_slices and holds_slices(folder):
        return [folder]
    return sorted([*files, *folders], key=lambda path: natural_key(path.name))


def holds_slices(folder: Path) -> bool:
    """Return whether TIFF files lie directly in ``folder`` and none of them holds more than one slice.

    Unreadable files do not count against it, as opening the folder will name them; but all cannot be so.
    """
    from nnunet_ext.imageio.slices import slice_files
    from nnunet_ext.imageio.tiff import is_single_slice

    one_readable = False
    for path in slice_files(folder):
        single = is_single_slice(path)
        if single is False:
            return False
        one_readable = one_readable or single is True
    return one_readable
