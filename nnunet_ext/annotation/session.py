"""An annotation in the making, without a window: the selected class, the coverage, when to save."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING

from nnunet_ext.annotation.classes import annotation_classes
from nnunet_ext.annotation.coverage import Coverage
from nnunet_ext.annotation.otsu import label_middle_slice, middle_slice
from nnunet_ext.annotation.sample import find_samples
from nnunet_ext.annotation.store import KEPT_VERSIONS, AnnotationStore
from nnunet_ext.annotation.tracked import tracked
from nnunet_ext.class_table import read_class_table
from nnunet_ext.errors import InputError
from nnunet_ext.imageio import open_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from nnunet_ext.annotation.classes import AnnotationClass
    from nnunet_ext.annotation.coverage import ClassCoverage
    from nnunet_ext.imageio import Volume

AUTOSAVE_SECONDS = 60.0
_VOXELS_PER_COUNT = 64 * 2**20


class AnnotationSession:
    """What a window shows and does; ``open_session`` makes one.

    Parameters
    ----------
    image
        The open image.
    store
        The open annotation.
    classes
        All classes, 0 first.
    autosave
        Seconds between two saves while there is something to save.
    clock
        Seconds that pass; for tests.
    """

    def __init__(
        self,
        image: Volume,
        store: AnnotationStore,
        classes: list[AnnotationClass],
        *,
        autosave: float = AUTOSAVE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.image = image
        self.store = store
        self.classes = classes
        self.selected = classes[1]
        self.closed = False
        self.saved_at: datetime | None = None
        self.error = ""
        self.labels = tracked(store.labels, self._painted)
        self.coverage = Coverage(image.shape)
        self.coverage.update(store.labels, range(image.shape[0]))
        self._autosave = autosave
        self._clock = clock
        self._last_save = clock()
        self._dirty = store.has_unsaved
        self._uncounted: set[int] = set()
        self._saving = Lock()

    @property
    def name(self) -> str:
        """Name of the sample."""
        return self.store.sample.name

    @property
    def dirty(self) -> bool:
        """Whether something was painted that is not saved."""
        return self._dirty

    @property
    def autosave_due(self) -> bool:
        """Whether it is time to save."""
        return self._dirty and not self.closed and self._clock() - self._last_save >= self._autosave

    @property
    def first_slice(self) -> int:
        """The slice to begin with: the middle one if it is annotated or nothing is, else the first annotated one."""
        annotated = self.coverage.annotated_slices()
        middle = middle_slice(self.image.shape[0])
        return middle if not annotated or middle in annotated else annotated[0]

    def select(self, value: int) -> bool:
        """Select the class with this id; return whether there is one."""
        found = [one for one in self.classes if one.id == value]
        self.selected = found[0] if found else self.selected
        return bool(found)

    def select_by_key(self, key: str) -> bool:
        """Select the class with this key; return whether there is one."""
        found = [one for one in self.classes if one.key == key]
        self.selected = found[0] if found else self.selected
        return bool(found)

    def count(self) -> bool:
        """Bring the coverage up to date with what was painted; return whether it may have changed.

        In one go at most about 64 million voxels are counted, so that the window does not halt; call again.
        """
        if not self._uncounted:
            return False
        most = max(1, _VOXELS_PER_COUNT // (self.image.shape[1] * self.image.shape[2]))
        now = [self._uncounted.pop() for _ in range(min(most, len(self._uncounted)))]
        self.coverage.update(self.store.labels, now)
        return True

    def count_all(self) -> None:
        """Bring the coverage up to date with everything that was painted."""
        while self.count():
            pass

    def table(self) -> list[ClassCoverage]:
        """Return the coverage of every class."""
        return self.coverage.table(self.classes)

    def save(self) -> None:
        """Write the annotation and a version of it, whether or not anything was painted; from any thread.

        Raises
        ------
        OutputError
            If that fails; ``dirty`` stays true, and ``error`` says why.
        """
        with self._saving:
            # What is painted while the file is written counts as unsaved.
            self._dirty = False
            self._last_save = self._clock()
            try:
                self.store.save()
            except BaseException as error:
                self._dirty = True
                self.error = str(error)
                raise
            self.error = ""
            self.saved_at = datetime.now()

    def close(self) -> None:
        """Save what is not saved, and close all files.

        Raises
        ------
        OutputError
            If it cannot be saved; it is found again when the sample is next opened.
        """
        if self.closed:
            return
        self.closed = True
        try:
            if self._dirty:
                self.save()
        except BaseException:
            self.store.abandon()
            raise
        else:
            self.store.close()
        finally:
            self.image.close()

    def _painted(self, slices: Iterable[int]) -> None:
        self._dirty = True
        self._uncounted.update(slices)


def open_session(
    images: Path,
    annotations: Path,
    sample: str,
    classes: Path,
    *,
    image_suffix: str = "",
    annotation_suffix: str = "",
    autosave: float = AUTOSAVE_SECONDS,
    keep: int = KEPT_VERSIONS,
    empty: bool = False,
) -> AnnotationSession:
    """Open a sample: begin its annotation, or continue it.

    Parameters
    ----------
    images, annotations
        Folders; see ``sample.find_samples``.
    sample
        Name of the sample.
    classes
        JSON file with ids, names and colours, see ``nnunet_ext.class_table.read_class_table``.
    image_suffix, annotation_suffix
        What stands between the name of the sample and the ending.
    autosave
        Seconds between two saves, above 0.
    keep
        Number of last versions that are kept, at least 1.
    empty
        Begin with nothing annotated instead of Otsu's threshold on the middle slice.

    Raises
    ------
    MissingInputError, InputError, BadCasesError
        If image or class file are not there or not usable, the annotation that is there does not fit them, or the
        sample is open in another window.
    OutputError
        If the annotation's folder cannot be written to.
    """
    if autosave <= 0 or keep < 1:
        message = (
            f"--autosave {autosave:g} --keep {keep}: expected more than 0 seconds between saves, 1 or more versions"
        )
        raise InputError(message)
    entries = annotation_classes(read_class_table(classes))
    found = find_samples(images, annotations, [sample], image_suffix=image_suffix, annotation_suffix=annotation_suffix)[
        0
    ]
    with ExitStack() as stack:
        image = stack.enter_context(open_volume(found.image))

        def begin(labels: NDArray[np.uint8]) -> None:
            first = label_middle_slice(image)
            labels[first.index] = first.labels

        store = AnnotationStore(found, image, entries, begin=None if empty else begin, keep=keep)
        stack.callback(store.abandon)
        session = AnnotationSession(image, store, entries, autosave=autosave)
        stack.pop_all()
    return session
