"""The napari window in which a sample is annotated."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnunet_ext.annotation.class_panel import ClassPanel
from nnunet_ext.annotation.classes import UNANNOTATED
from nnunet_ext.annotation.display import require_window
from nnunet_ext.annotation.lazy_image import grey_range, image_array
from nnunet_ext.annotation.session import AUTOSAVE_SECONDS, open_session
from nnunet_ext.annotation.store import KEPT_VERSIONS
from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_ext.annotation.coverage import ClassCoverage
    from nnunet_ext.annotation.session import AnnotationSession

_TICK_MILLISECONDS = 250


@dataclass(frozen=True)
class Annotated:
    """What a window left behind.

    Parameters
    ----------
    annotation
        The file.
    coverage
        One row per class.
    notices
        What the user should know.
    """

    annotation: Path
    coverage: list[ClassCoverage]
    notices: list[str] = field(default_factory=list)


def annotate(
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
) -> Annotated:
    """Show the window until it is closed; the annotation is saved every minute and on closing.

    Parameters and exceptions are those of ``session.open_session``, and these:

    Raises
    ------
    NapariMissingError
        If napari is not installed.
    NoDisplayError
        If there is no screen.
    """
    require_window()
    session = open_session(
        images,
        annotations,
        sample,
        classes,
        image_suffix=image_suffix,
        annotation_suffix=annotation_suffix,
        autosave=autosave,
        keep=keep,
        empty=empty,
    )
    try:
        import napari

        viewer = napari.Viewer(title=f"{session.name}: {session.store.sample.annotation}")
        window = AnnotationWindow(viewer, session)
        napari.run()
        window.stop()
    finally:
        session.count_all()
        session.close()
    return Annotated(session.store.sample.annotation, session.table(), session.store.notices)


def relative_spacing(spacing: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return a spacing in units of the distance of slices, so that z in the window is the number of the slice.

    With a spacing such as 0.02 mm, napari's slider loses the last slice to rounding.
    """
    z, y, x = spacing
    return 1.0, y / z, x / z


class AnnotationWindow:
    """A session in a napari viewer: layers, keys, panel and saving.

    Parameters
    ----------
    viewer
        A ``napari.Viewer``.
    session
        The session; whoever opened it closes it, after ``stop``.
    """

    def __init__(self, viewer: Any, session: AnnotationSession) -> None:
        from qtpy.QtCore import QTimer

        self.viewer = viewer
        self.session = session
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="annotation-save")
        self._saving: Future[None] | None = None
        self.image_layer = self._add_image()
        self.labels_layer = self._add_labels()
        self.panel = ClassPanel(session, self.select, self.save)
        self.dock = viewer.window.add_dock_widget(self.panel.widget, name=f"Annotation of {session.name}", area="right")
        self._bind_keys()
        self.labels_layer.events.selected_label.connect(self._label_selected)
        viewer.dims.events.current_step.connect(self._slice_changed)
        viewer.dims.axis_labels = ("z", "y", "x")
        viewer.dims.set_current_step(0, session.first_slice)
        viewer.layers.selection.active = self.labels_layer
        self._timer: Any = QTimer()
        self._timer.timeout.connect(self.tick)
        self._timer.start(_TICK_MILLISECONDS)
        self.select(session.selected.id)
        self.tick()
        # The canvas gets its size when the window is laid out.
        QTimer.singleShot(0, viewer.reset_view)

    def select(self, value: int) -> None:
        """Select a class for painting."""
        self.labels_layer.selected_label = value
        self._label_selected()

    def save(self) -> None:
        """Save in the background, unless that is going on."""
        if self._saving is None:
            self._saving = self._saver.submit(self.session.save)
        self._show_status()

    def tick(self) -> None:
        """Do what is due: count, save, and show both."""
        if self._saving is not None and self._saving.done():
            # What went wrong stands in session.error, and is tried again at the next autosave.
            with suppress(NnunetExtError):
                self._saving.result()
            self._saving = None
        if self.session.count():
            self._slice_changed()
        if self.session.autosave_due:
            self.save()
        self._show_status()

    def stop(self) -> None:
        """End the timer and wait for a save that is going on."""
        self._timer.stop()
        self.viewer.dims.events.current_step.disconnect(self._slice_changed)
        self._saver.shutdown(wait=True)

    def remove(self) -> None:
        """Take layers and panel out of the viewer, unless they are gone."""
        for layer in (self.labels_layer, self.image_layer):
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        if not self.panel.is_gone:
            self.viewer.window.remove_dock_widget(self.panel.widget)

    def _add_image(self) -> Any:
        volume = self.session.image
        return self.viewer.add_image(
            image_array(volume),
            name=f"{self.session.name} (image)",
            colormap="gray",
            contrast_limits=grey_range(volume, self.session.first_slice),
            scale=relative_spacing(volume.geometry.spacing),
            multiscale=False,
        )

    def _add_labels(self) -> Any:
        from napari.utils import DirectLabelColormap

        classes = self.session.classes
        colors: dict[int | None, Any] = {
            one.id: [part / 255 for part in one.color] + [float(one.id != UNANNOTATED)] for one in classes
        }
        # Values that are no class are shown in white, as they must not go unnoticed.
        colors[None] = [1.0, 1.0, 1.0, 1.0]
        return self.viewer.add_labels(
            self.session.labels,
            name=f"{self.session.name} (annotation)",
            colormap=DirectLabelColormap(color_dict=colors),
            features={"index": [one.id for one in classes], "class": [one.name for one in classes]},
            scale=relative_spacing(self.session.image.geometry.spacing),
            opacity=0.5,
            multiscale=False,
        )

    def _bind_keys(self) -> None:
        for one in self.session.classes:
            if one.key:
                for layer in (self.labels_layer, self.image_layer):
                    layer.bind_key(one.key, lambda _layer, value=one.id: self.select(value), overwrite=True)

    def _label_selected(self, _event: object = None) -> None:
        wanted = self.labels_layer.selected_label
        if self.session.select(int(wanted)):
            self.panel.show_selected()
        else:
            self.labels_layer.selected_label = self.session.selected.id
            self.viewer.status = f"{wanted} is no class of the class file"

    def _slice_changed(self, _event: object = None) -> None:
        # Other layers in the viewer can make its range longer than that of the image.
        index = min(int(self.viewer.dims.current_step[0]), self.session.image.shape[0] - 1)
        self.panel.show_coverage(index)

    def _show_status(self) -> None:
        self.panel.show_status(saving=self._saving is not None)
