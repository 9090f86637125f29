"""The demonstration's picture: images, annotations, prediction, truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnunet_ext.demo.phantom import CLASS_FILE
from nnunet_ext.imageio import read_volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def draw_picture(folder: Path) -> Path:
    """Draw ``demo.png``: above a training scan with its sparse annotation, below an unseen scan with its prediction."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colors = [_rgb(CLASS_FILE["colors"][key]) for key in CLASS_FILE["labels"]]
    class_colors = ListedColormap(colors)
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(2, 4)
    for axes, panels in zip(rows, _panels(folder), strict=True):
        for axis, (title, picture, is_label) in zip(axes, panels, strict=True):
            limits = {"vmin": 0, "vmax": len(colors) - 1} if is_label else {"vmin": 0, "vmax": 255}
            axis.imshow(picture, cmap=class_colors if is_label else "gray", interpolation="nearest", **limits)
            axis.set_title(title, fontsize=10)
            axis.set_axis_off()
    legend = [
        Patch(color=color, label="not annotated" if key == "0" else name)
        for color, (key, name) in zip(colors, CLASS_FILE["labels"].items(), strict=True)
    ]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False)
    figure.savefig(folder / "demo.png", dpi=110)
    return folder / "demo.png"


def _rgb(color: list[int]) -> tuple[float, float, float]:
    red, green, blue = color
    return red / 255, green / 255, blue / 255


def _panels(
    folder: Path,
) -> tuple[list[tuple[str, NDArray[np.uint8], bool]], list[tuple[str, NDArray[np.uint8], bool]]]:
    """Return title, slice and whether it holds class ids, for the panels of both rows."""
    scan, marks = (read_volume(folder / kind / "column_0.tif")[0] for kind in ("scans", "annotations"))
    annotated = np.count_nonzero(marks, axis=(1, 2))
    dense = int(annotated.argmax())
    sparse = int(np.where(np.arange(len(marks)) == dense, 0, annotated).argmax())
    training = [
        (f"training scan, slice {dense}", scan[dense], False),
        ("its annotation", marks[dense], True),
        (f"training scan, slice {sparse}", scan[sparse], False),
        ("its annotation: marks only", marks[sparse], True),
    ]
    name = sorted(path.name for path in (folder / "exported").glob("*.tif"))[0]
    kinds = ("unseen", "unseen_truth", "exported", "threshold")
    titles = ("unseen scan", "truth", "prediction of the network", "threshold")
    volumes = [read_volume(folder / kind / name)[0] for kind in kinds]
    middle = len(volumes[0]) // 2
    unseen = [
        (title, volume[middle], kind != "unseen") for title, kind, volume in zip(titles, kinds, volumes, strict=True)
    ]
    return training, unseen
