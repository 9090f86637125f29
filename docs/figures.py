"""Make the figures of the documentation, in less than a minute and without training.

    python docs/figures.py                  # scans and thresholds of the demo
    python docs/figures.py DEMO_FOLDER      # with the network's predictions, of a folder that `nnunet_ext demo` made

``demo.png`` and ``overlay.png`` show the soil column that the demo generates, ``report.png`` its scores (only with a
demo; needs Chromium); those of the documentation were made from a demo. Without one, what smoothing and thresholds make
of it stands where the network's prediction would. ``front.png`` shows a generated glacier whose "prediction" is the
label, moved and bent. Captions have to say what is shown.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from scipy.ndimage import gaussian_filter

from evaluation.front_pictures.overlay import front_overlay
from evaluation.overlay import overlay
from nnunet_ext.demo.phantom import CLASS_FILE
from nnunet_ext.demo.run import make_scans
from nnunet_ext.demo.threshold import ThresholdBaseline
from nnunet_ext.imageio import read_volume, write_volume

FIGURES = Path(__file__).resolve().parent / "figures"
KINDS = ("scans", "annotations")
LARGEST = 150_000
"""Bytes of a figure, so that the project's history stays small."""


def main() -> None:
    """Draw all figures."""
    parser = argparse.ArgumentParser(description="Make the figures of the documentation.")
    parser.add_argument("demo", type=Path, nargs="?", help="folder that nnunet_ext demo made")
    demo = parser.parse_args().demo
    FIGURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if demo is None:
            make_scans(Path(folder))
            add_smoothed_thresholds(Path(folder))
        draw(demo or Path(folder), "smoothed" if demo is None else "exported")
    if demo is not None:
        save(picture_of_report(demo), FIGURES / "report.png", width=900)
    save(Image.fromarray(front_overlay_of_phantom()), FIGURES / "front.png", width=600)


def draw(demo: Path, predictions: str) -> None:
    """Draw the figures of the soil column."""
    title = {"smoothed": "smoothing and thresholds", "exported": "prediction of the network"}[predictions]
    save(picture_of_demo(demo, predictions, title), FIGURES / "demo.png", width=1100)
    save(overlay_of_demo(demo, predictions), FIGURES / "overlay.png", width=600)


def add_smoothed_thresholds(demo: Path) -> None:
    """Write what thresholds make of the smoothed unseen scans: the stand-in for a network."""
    scans, annotations = ([read_volume(path)[0] for path in sorted((demo / kind).iterdir())] for kind in KINDS)
    baseline = ThresholdBaseline.fit(scans, annotations)
    for path in sorted((demo / "unseen").iterdir()):
        image, geometry = read_volume(path)
        smooth = np.rint(gaussian_filter(image.astype(float), 1)).astype(np.uint8)
        write_volume(demo / "smoothed" / path.name, baseline.predict(smooth), geometry)


def picture_of_demo(demo: Path, predictions: str, title: str) -> Image.Image:
    """Return slices of a training scan with its annotation, and of an unseen scan with truth and prediction."""
    scan, marks = (read_volume(demo / kind / "column_0.tif")[0] for kind in ("scans", "annotations"))
    annotated = np.count_nonzero(marks, axis=(1, 2))
    dense = int(annotated.argmax())
    unseen, truth, guess = (
        read_volume(demo / kind / "column_5.tif")[0][dense] for kind in ("unseen", "unseen_truth", predictions)
    )
    panels = [("training scan", scan[dense], False), ("its dense slice", marks[dense], True)]
    panels += [("another slice: marks only", marks[dense + int(annotated[dense + 1 :].argmax()) + 1], True)]
    panels += [("unseen scan", unseen, False), ("truth", truth, True), (title, guess, True)]
    names = {int(key): name for key, name in CLASS_FILE["labels"].items()}
    colours = [tuple(value / 255 for value in CLASS_FILE["colors"][str(key)]) for key in names]
    figure = Figure(figsize=(15, 3.5), layout="constrained")
    for axis, (name, picture, is_label) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        limits = {"vmin": 0, "vmax": len(colours) - 1} if is_label else {"vmin": 0, "vmax": 255}
        axis.imshow(picture, cmap=ListedColormap(colours) if is_label else "gray", interpolation="nearest", **limits)
        axis.set_title(name, fontsize=11)
        axis.set_axis_off()
    legend = [Patch(color=colours[key], label=name if key else "not annotated") for key, name in names.items()]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=13)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=110)
    return Image.open(drawn).convert("RGB")


def overlay_of_demo(demo: Path, predictions: str) -> Image.Image:
    """Return the outlines of label and prediction in the worse of the unseen scans."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"images": demo / "unseen", "classes": demo / "classes.json", "worst": 1}
        model = "network" if predictions == "exported" else predictions
        drawn = overlay({model: demo / predictions}, demo / "unseen_truth", Path(folder) / "out", **options)
        with Image.open(next(path for path in drawn if path.suffix == ".png")) as image:
            return image.convert("RGB")


def picture_of_report(demo: Path) -> Image.Image:
    """Return the top of the demo's report.html, without the place where the demo lay; Chromium draws it."""
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "report.html", Path(folder) / "report.png"
        page.write_text((demo / "scores" / "report.html").read_text().replace(f"{demo.resolve()}/", ""))
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--disable-background-networking"]
        words += ["--hide-scrollbars", "--window-size=1100,1070", f"--user-data-dir={folder}/user"]
        words += [f"--screenshot={picture}", page.as_uri()]
        subprocess.run([shutil.which("chromium") or "chromium", *words], check=True, capture_output=True)
        with Image.open(picture) as image:
            return image.convert("RGB")


def front_overlay_of_phantom() -> np.ndarray:
    """Return a generated glacier with a front, and a stand-in prediction of it, as colours (H, W, 3)."""
    rng = np.random.default_rng(3)
    rows = np.arange(360)
    columns = np.rint(330 + 50 * np.sin(rows / 80) + 12 * np.sin(rows / 17)).astype(int)
    guess = np.rint(columns + 16 * np.sin(rows / 45 + 1) * np.clip((rows - 120) / 60, 0, 1)).astype(int)
    ocean = np.arange(600)[None, :] >= columns[:, None]
    texture = gaussian_filter(rng.standard_normal(ocean.shape), 9)
    speckle = gaussian_filter(rng.gamma(4, 0.25, ocean.shape), 1)
    grey = np.where(ocean, 70 + 300 * texture, 165 + 700 * texture) * speckle
    image = (np.clip(grey, 0, 255) // 12 * 12).astype(np.uint8)  # fewer levels make a smaller file
    box = (slice(15, 345), slice(180, 560))
    return front_overlay(image, line(columns, ocean.shape), line(guess, ocean.shape), box, width=3)


def line(columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask of one column per row, closed between rows."""
    mask = np.zeros(shape, np.uint8)
    for row, (start, stop) in enumerate(zip(columns, [*columns[1:], columns[-1]], strict=True)):
        mask[row, min(start, stop) : max(start, stop) + 1] = 1
    return mask


def save(image: Image.Image, path: Path, width: int) -> None:
    """Write a PNG of a width, with fewer colours where it would be too large."""
    small = image
    if image.width != width:
        small = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    small.save(path, optimize=True)
    if path.stat().st_size < LARGEST:
        return
    # Greys to steps, so that the few colours of lines stay as they are.
    pixels = np.asarray(small).astype(int)
    grey = np.ptp(pixels, axis=2) < 24
    for step in (8, 16, 32):
        stepped = np.where(grey[..., None], pixels.mean(axis=2, keepdims=True) // step * step, pixels // 8 * 8)
        Image.fromarray(stepped.astype(np.uint8)).save(path, optimize=True)
        if path.stat().st_size < LARGEST:
            return


if __name__ == "__main__":
    main()
