"""The real napari window, under Xvfb."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nnunet_ext.demo.phantom import CLASS_FILE, soil_phantom
from nnunet_ext.imageio import Geometry, read_volume, write_volume
from tests.builders import ROOT

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="needs xvfb-run"),
    pytest.mark.skipif(importlib.util.find_spec("napari") is None, reason="needs napari"),
]


def phantom_folder(folder):
    image = soil_phantom((30, 200, 220), np.random.default_rng(1)).image
    write_volume(folder / "images" / "S1.mha", image, Geometry(spacing=(0.02, 0.02, 0.02)))
    labels = {**CLASS_FILE["labels"], "5": "EarthwormBurrows"}
    (folder / "classes.json").write_text(json.dumps({**CLASS_FILE, "labels": labels}))
    return folder


def run_script(name, folder):
    command = [
        "xvfb-run",
        "-a",
        "-s",
        "-screen 0 1400x1000x24",
        sys.executable,
        "-m",
        "tests.annotation.window_scripts",
    ]
    done = subprocess.run(
        [*command, name, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_painting_in_the_window_is_counted_saved_by_itself_and_written_on_closing(tmp_path):
    seen = run_script("annotate", phantom_folder(tmp_path))
    assert seen["selected by key"] == 4
    assert seen["after an unknown id"] == 4
    assert seen["rocks"] > 40
    assert seen["undone"] == 0
    assert seen["filled slices"] == 1
    assert seen["table"] == f"{seen['rocks']}"
    assert seen["last slice"] == 30
    assert seen["saved by itself"] >= 1
    assert "Everything is saved" in seen["status"]
    labels, geometry = read_volume(tmp_path / "annotations" / "S1.tif")
    assert labels.dtype == np.uint8
    assert (labels == 3).sum() == seen["rocks"]
    assert (labels == 1).sum() == seen["voxels of 1"]
    assert labels[1, 5, 5] == 1  # painted after the last autosave
    assert geometry.spacing == pytest.approx((0.02, 0.02, 0.02))
    assert not list((tmp_path / "annotations").rglob("labels.raw"))
    # The swatches show the colours of the class file.
    pixels = np.asarray(Image.open(tmp_path / "window.png").convert("RGB")).reshape(-1, 3)
    for color in ((115, 0, 102), (255, 255, 0), (204, 0, 0), (0, 122, 153)):
        assert (np.abs(pixels.astype(int) - color).max(axis=1) <= 2).sum() > 50


def test_the_plugin_opens_a_sample_and_saves_when_its_layer_is_removed(tmp_path):
    seen = run_script("plugin", phantom_folder(tmp_path))
    assert seen["nothing chosen"] == "Please choose: images, annotations, class file, sample."
    assert seen["samples"] == ["S1"]
    assert seen["message"] == "S1 is open."
    assert seen["layers"] == ["S1 (image)", "S1 (annotation)"]
    assert seen["closed"]
    assert seen["layers afterwards"] == 0
    labels, _ = read_volume(tmp_path / "annotations" / "S1.tif")
    assert (labels == 4).sum() == seen["continued"] > 0
