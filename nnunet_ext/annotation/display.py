"""Whether there is a napari, and a screen for its window."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

from nnunet_ext.errors import NnunetExtError

_PROBE = "from qtpy.QtWidgets import QApplication; QApplication([])"
_NO_WINDOW = ("offscreen", "minimal")


class NapariMissingError(NnunetExtError, ImportError):
    """The window needs napari, which is not installed."""


class NoDisplayError(NnunetExtError, RuntimeError):
    """There is no screen for a window."""


def require_window() -> None:
    """Raise an error that says what to do unless a napari window can be shown.

    Raises
    ------
    NapariMissingError
        If napari or Qt is not installed.
    NoDisplayError
        If Qt finds no screen. Qt ends the whole process then, so that another one asks for it first.
    """
    missing = [name for name in ("napari", "qtpy") if importlib.util.find_spec(name) is None]
    if missing:
        message = f"the window needs {' and '.join(missing)}: pip install 'nnunet_ext[annotate]'"
        raise NapariMissingError(message)
    advice = (
        "Use a computer with a screen, a remote desktop, 'ssh -Y', or 'xvfb-run'; 'nnunet_ext prelabel' needs no window"
    )
    platform = os.environ.get("QT_QPA_PLATFORM", "")
    if platform in _NO_WINDOW:
        message = f"QT_QPA_PLATFORM={platform} has no OpenGL, which the window needs. {advice}"
        raise NoDisplayError(message)
    named = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    if sys.platform.startswith("linux") and not named:
        message = f"no screen: neither DISPLAY nor WAYLAND_DISPLAY is set. {advice}"
        raise NoDisplayError(message)
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=120)
    if probe.returncode != 0:
        said = " ".join(probe.stderr.split())[-300:] or f"exit status {probe.returncode}"
        message = f"Qt cannot open a window: {said}. {advice}"
        raise NoDisplayError(message)
