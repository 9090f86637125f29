"""The files of one annotation: continued, saved in versions, and found again after a crash.

Beside ``S1.tif`` lies the folder ``versions/S1`` with former states and, while a window is open, ``labels.raw``: the
annotation itself, mapped into memory. What is painted is in this file at once; if it is still there when a sample is
opened, the last window ended without closing, and the work goes on from it.
"""

from __future__ import annotations

import glob
import shutil
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from nnunet_ext.annotation.annotation_file import check_grid, create_annotation, read_annotation
from nnunet_ext.annotation.lock import SampleLock
from nnunet_ext.annotation.versions import FOUND, UNSAVED, is_among, list_versions, new_version, superseded
from nnunet_ext.annotation.working_copy import create_working_copy, open_working_copy
from nnunet_ext.errors import OutputError
from nnunet_ext.files import written_when_complete
from nnunet_ext.imageio import ending_of, volume_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from nnunet_ext.annotation.classes import AnnotationClass
    from nnunet_ext.annotation.sample import Sample
    from nnunet_ext.annotation.working_copy import WorkingCopy
    from nnunet_ext.imageio import Volume

_SLAB_VOXELS = 32 * 2**20
VERSIONS_FOLDER = "versions"
KEPT_VERSIONS = 20


class AnnotationStore:
    """An annotation that is open for painting; ``close`` must be called, or the next window finds unsaved work.

    Parameters
    ----------
    sample
        Image and annotation file.
    image
        The open image.
    classes
        All classes, in the order of their ids.
    begin
        Fills an annotation of zeros, (z, y, x), if there is none yet; None leaves it empty.
    keep
        Number of last versions that are kept.

    Raises
    ------
    InputError
        If the annotation that is there has another shape, place or other ids, or the sample is open elsewhere.
    OutputError
        If the disk is full or cannot be written to.
    """

    def __init__(
        self,
        sample: Sample,
        image: Volume,
        classes: list[AnnotationClass],
        *,
        begin: Callable[[NDArray[np.uint8]], None] | None = None,
        keep: int = KEPT_VERSIONS,
    ) -> None:
        self.sample = sample
        self.notices: list[str] = []
        self._image = image
        self._classes = classes
        self._keep = keep
        self._folder = sample.annotation.parent / VERSIONS_FOLDER / volume_name(sample.annotation)
        self._working = self._folder / "labels.raw"
        if sample.annotation.exists():
            check_grid(sample.annotation, image)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = SampleLock(self._folder / "lock", sample.name)
        except OSError as error:
            message = f"{self._folder}: cannot be written: {error.strerror}"
            raise OutputError(message) from error
        try:
            self._remove_leftovers()
            self.has_unsaved = self._prepare(begin)
            self._labels = open_working_copy(self._working, image.shape)
            self._known = _state(sample.annotation)
        except BaseException:
            self._lock.release()
            raise

    @property
    def labels(self) -> NDArray[np.uint8]:
        """The annotation, (z, y, x); what is written here is in the working copy at once."""
        return self._labels

    def save(self, time: datetime | None = None) -> Path:
        """Write the annotation, and a version of it.

        Parameters
        ----------
        time
            Names the version; default: now.

        Returns
        -------
        Path
            The version that was written.

        Raises
        ------
        OutputError
            If the disk is full or cannot be written to. The working copy still has everything then.
        """
        target, time = self.sample.annotation, time or datetime.now()
        try:
            self._labels.flush()
            version = self._write_version(self._labels, time)
            self._keep_found(time)
            _copy(version, target)
            self._known = _state(target)
            for old in superseded(list_versions(self._folder), self._keep):
                old.path.unlink(missing_ok=True)
        except OSError as error:
            message = f"{target}: not saved: {error.strerror or error}. Your work is still in {self._working}"
            raise OutputError(message) from error
        return version

    def close(self) -> None:
        """Remove the working copy, which must have been saved, and let other windows in."""
        try:
            self._working.unlink(missing_ok=True)
        except OSError:
            # Windows keeps a file that is still mapped somewhere. It holds what was saved, so it does no harm.
            self.notices.append(f"{self._working}: could not be removed")
        self._lock.release()

    def abandon(self) -> None:
        """Let other windows in and leave the working copy, as a crash would."""
        self._labels.flush()
        self._lock.release()

    def _prepare(self, begin: Callable[[NDArray[np.uint8]], None] | None) -> bool:
        """Make the working copy, or find it; return whether it holds what is not in the annotation's file."""
        target, now = self.sample.annotation, datetime.now()
        versions = list_versions(self._folder)
        # A file of which there is no version was written by something else, such as prelabel or another program.
        foreign = target.exists() and not is_among(target, versions)
        if foreign:
            _copy(target, new_version(self._folder, ending_of(target), now, FOUND if versions else ""))
        if foreign and versions:
            self.notices.append(f"{target.name} was changed by another program; it is continued as it is")
        if self._working.exists() and not foreign:
            self.notices.append(
                f"the last window was not closed; all that was painted in '{self.sample.name}' is there"
            )
            return True
        if self._working.exists():
            rescued = self._write_version(open_working_copy(self._working, self._image.shape), now, UNSAVED)
            self.notices.append(f"work of a window that was not closed is kept in {rescued}")
            self._working.unlink()
        read = partial(read_annotation, target, largest_id=self._classes[-1].id)
        create_working_copy(self._working, self._image.shape, read if target.exists() else begin)
        return not target.exists()

    def _write_version(self, labels: WorkingCopy, time: datetime, note: str = "") -> Path:
        path = new_version(self._folder, ending_of(self.sample.annotation), time, note)
        with create_annotation(path, self._image, self._classes) as writer:
            step = max(1, _SLAB_VOXELS // (labels.shape[1] * labels.shape[2]))
            for start in range(0, len(labels), step):
                writer.write(labels[start : start + step])
        return path

    def _keep_found(self, time: datetime) -> None:
        """Keep what something else has put in the place of the annotation since it was last saved."""
        target = self.sample.annotation
        changed = target.exists() and _state(target) != self._known
        if changed and not is_among(target, list_versions(self._folder)):
            kept = new_version(self._folder, ending_of(target), time, FOUND)
            _copy(target, kept)
            self.notices.append(f"{target.name} was changed by another program; that file is kept as {kept}")

    def _remove_leftovers(self) -> None:
        """Remove what a process that was killed left unfinished; the lock is held, so that nobody is at it."""
        name = glob.escape(self.sample.annotation.name)
        beside = self.sample.annotation.parent.glob(f".partial-????????-{name}")
        for leftover in [*self._folder.glob(".partial-*"), *beside]:
            leftover.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    with written_when_complete(target, overwrite=True) as partial_copy:
        shutil.copyfile(source, partial_copy)


def _state(path: Path) -> tuple[int, int] | None:
    """Return what tells whether a file was written to: its size and time of change."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
