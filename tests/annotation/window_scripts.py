"""What the window tests do under Xvfb, each in a process of its own; prints one JSON object of what was seen.

To look at the picture: ``xvfb-run -a python -m tests.annotation.window_scripts annotate FOLDER``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from nnunet_ext.annotation import window as window_module
from nnunet_ext.annotation.versions import list_versions


def annotate_by_hand(folder: Path) -> dict[str, object]:
    """Open the window by its function, select by key, paint, undo, wait for the autosave, take a picture, close."""
    from qtpy.QtCore import Qt, QTimer
    from qtpy.QtTest import QTest

    seen: dict[str, object] = {}
    original = window_module.AnnotationWindow.__init__

    def begin(self, viewer, session):
        original(self, viewer, session)
        QTimer.singleShot(500, lambda: paint(self))

    def paint(window):
        layer = window.labels_layer
        window.viewer.window.resize(1380, 940)
        QTest.keyClick(_canvas(window.viewer), Qt.Key.Key_4)
        seen["selected by key"] = layer.selected_label
        layer.selected_label = 77
        seen["after an unknown id"] = layer.selected_label
        middle = window.session.first_slice
        layer.brush_size = 9
        layer.paint((middle + 3, 20, 20), 3)
        layer.paint((middle + 5, 20, 20), 2)
        layer.undo()
        layer.fill((middle, 0, 0), 5)
        window.tick()
        rows = {row.id: row for row in window.session.table()}
        seen["rocks"] = rows[3].voxels
        seen["undone"] = rows[2].voxels
        seen["filled slices"] = rows[5].slices
        seen["table"] = window.panel.table.item(3, 3).text()
        seen["last slice"] = int(window.viewer.dims.nsteps[0])
        seen["mapped"] = type(window.image_layer.data).__name__
        QTimer.singleShot(2500, lambda: look(window))

    def look(window):
        versions = window.session.store._folder
        seen["saved by itself"] = len(list_versions(versions))
        seen["status"] = window.panel.status.text()
        window.viewer.screenshot(str(folder / "window.png"), canvas_only=False)
        window.labels_layer.paint((1, 5, 5), 1)
        window.viewer.close()

    window_module.AnnotationWindow.__init__ = begin
    done = window_module.annotate(
        folder / "images", folder / "annotations", "S1", folder / "classes.json", autosave=0.5
    )
    seen["written"] = str(done.annotation)
    seen["voxels of 1"] = done.coverage[0].voxels
    return seen


def plugin_form(folder: Path) -> dict[str, object]:
    """Register the manifest, open the form by napari's own way, open a sample with it, paint, remove the layer."""
    import napari
    from npe2 import PluginManager, PluginManifest
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    seen: dict[str, object] = {}
    manifest = Path(window_module.__file__).with_name("napari.yaml")
    plugins = PluginManager.instance()
    if "nnunet_ext" not in plugins:
        plugins.register(PluginManifest.from_file(manifest))
    viewer = napari.Viewer(show=True)
    _, widget = viewer.window.add_plugin_dock_widget("nnunet_ext", "Annotate a sample")
    form = widget.form
    form.open()
    seen["nothing chosen"] = form.message.text()
    form.annotations.setText(str(folder / "annotations"))
    form.classes.setText(str(folder / "classes.json"))
    form.images.setText(str(folder / "images"))
    seen["samples"] = [form.sample.itemText(index) for index in range(form.sample.count())]
    form.open()
    seen["message"] = form.message.text()
    seen["layers"] = [layer.name for layer in viewer.layers]
    form.window.labels_layer.paint((2, 20, 20), 4)
    viewer.window.resize(1380, 940)
    for _ in range(20):  # the docks are laid out bit by bit
        QTest.qWait(50)
    viewer.screenshot(str(folder / "plugin.png"), canvas_only=False)
    viewer.layers.remove(form.window.labels_layer.name)
    seen["closed"] = form.window is None
    QApplication.processEvents()
    seen["layers afterwards"] = len(viewer.layers)
    form.open()
    seen["continued"] = int(np.count_nonzero(np.asarray(form.window.session.labels) == 4))
    viewer.close()
    form.close()
    return seen


def _canvas(viewer):
    return viewer.window._qt_viewer.canvas.native


if __name__ == "__main__":
    print(json.dumps({"annotate": annotate_by_hand, "plugin": plugin_form}[sys.argv[1]](Path(sys.argv[2]))))
