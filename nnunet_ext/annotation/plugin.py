"""The annotation in napari's own menu: a form that opens a sample in the viewer that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_ext.annotation.sample import find_samples
from nnunet_ext.annotation.session import open_session
from nnunet_ext.annotation.window import AnnotationWindow
from nnunet_ext.errors import NnunetExtError

if TYPE_CHECKING:
    from nnunet_ext.annotation.session import AnnotationSession


def annotation_widget() -> Any:
    """Return the form, for napari; it opens samples in the viewer whose menu was used."""
    import napari

    # napari passes its viewer to classes only, and a class derived from Qt's could not be imported without Qt.
    return AnnotationForm(napari.current_viewer()).widget


class AnnotationForm:
    """Asks for images, annotations, class file and sample, and opens them; ``widget`` is what napari docks.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QPushButton, QSizePolicy, QWidget

        self.window: AnnotationWindow | None = None
        self._viewer = viewer
        self.widget: Any = QWidget()
        # Whatever Python keeps of this form lives as long as the widget.
        self.widget.form = self
        self.widget.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        layout = QFormLayout()
        self.widget.setLayout(layout)
        self.images = _path_field(layout, "Images", folder=True)
        self.annotations = _path_field(layout, "Annotations", folder=True)
        self.classes = _path_field(layout, "Class file", folder=False)
        self.sample: Any = QComboBox()
        self.open_button: Any = QPushButton("Open")
        self.message: Any = QLabel()
        self.message.setWordWrap(True)
        layout.addRow("Sample", self.sample)
        layout.addRow(self.open_button)
        layout.addRow(self.message)
        self.images.textChanged.connect(self.list_samples)
        self.open_button.clicked.connect(self.open)

    def list_samples(self, _text: str = "") -> None:
        """Offer the samples of the folder of images."""
        self.sample.clear()
        folder = Path(self.images.text())
        if not self.images.text() or not folder.exists():
            return
        try:
            found = find_samples(folder, Path(self.annotations.text() or folder / "annotations"), None)
        except NnunetExtError as error:
            self.message.setText(str(error))
        else:
            self.message.setText("")
            self.sample.addItems([sample.name for sample in found])

    def open(self) -> None:
        """Open the sample; what is wrong is said in the form."""
        from qtpy.QtWidgets import QApplication

        fields = {"images": self.images, "annotations": self.annotations, "class file": self.classes}
        empty = [name for name, field in fields.items() if not field.text()]
        if empty or not self.sample.currentText():
            self.message.setText(
                f"Please choose: {', '.join([*empty, *([] if self.sample.currentText() else ['sample'])])}."
            )
            return
        self.close()
        try:
            session = open_session(
                Path(self.images.text()),
                Path(self.annotations.text()),
                self.sample.currentText(),
                Path(self.classes.text()),
            )
        except NnunetExtError as error:
            self.message.setText(str(error))
            return
        self.window = AnnotationWindow(self._viewer, session)
        self._viewer.layers.events.removed.connect(self._layer_removed)
        QApplication.instance().aboutToQuit.connect(self.close)
        self.message.setText(f"{session.name} is open.")

    def close(self) -> None:
        """Save and close the sample that is open, and take its layers and panel away."""
        from qtpy.QtCore import QTimer

        if self.window is None:
            return
        window, self.window = self.window, None
        window.stop()
        failure = _close(window.session)
        if failure:
            self.message.setText(failure)
        # napari may be in the middle of removing the layer that brought us here.
        QTimer.singleShot(0, window.remove)

    def _layer_removed(self, event: Any) -> None:
        if self.window is not None and event.value in (self.window.labels_layer, self.window.image_layer):
            self.close()


def _close(session: AnnotationSession) -> str:
    """Close a session; return what went wrong."""
    try:
        session.close()
    except NnunetExtError as error:
        return str(error)
    return ""


def _path_field(layout: Any, name: str, *, folder: bool) -> Any:
    from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QPushButton

    field: Any = QLineEdit()
    button = QPushButton("…")

    def choose() -> None:
        chosen = (
            QFileDialog.getExistingDirectory(None, name)
            if folder
            else QFileDialog.getOpenFileName(None, name, "", "JSON (*.json)")[0]
        )
        if chosen:
            field.setText(chosen)

    button.clicked.connect(choose)
    row = QHBoxLayout()
    row.addWidget(field)
    row.addWidget(button)
    layout.addRow(name, row)
    return field
