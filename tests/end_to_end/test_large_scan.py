"""A scan of 2 GB through the soil workflow within 4 GB of memory, from tif to tif: by hand (``-m slow``), half an hour.

The scan is filled with copies of one column, and windows do not overlap and fit into it: every copy must get the ids
that stock nnU-Net gives the column alone. ``NNUNET_EXT_TEST_SCAN_MB=50`` tries it with a small scan. Needs Linux.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.process_memory import measure
from nnunet_ext.demo.phantom import CLASS_FILE, soil_phantom
from nnunet_ext.demo.run import SPACING, environment, make_scans, workflow
from nnunet_ext.imageio import Geometry, create_volume, open_volume, read_volume, write_volume
from tests.builders import ROOT
from tests.end_to_end.commands import run_command
from tests.inference.trained_model import write_trained_model

SCAN_MB = int(os.environ.get("NNUNET_EXT_TEST_SCAN_MB", "2048"))
LIMIT = 4 * 2**30
COLUMN, PATCH = (64, 128, 128), (32, 64, 64)
GEOMETRY = Geometry(spacing=SPACING)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.end_to_end,
    pytest.mark.skipif(sys.platform != "linux", reason="memory of a process tree is read from /proc"),
]


def test_a_scan_of_2_gb_is_segmented_within_4_gb_of_memory(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    model = write_model(tmp_path, variables)
    column = soil_phantom(COLUMN, np.random.default_rng(1)).image.astype(np.uint16) * 200
    write_volume(tmp_path / "small" / "column.tif", column, GEOMETRY)
    write_copies(tmp_path / "large" / "scan.tif", column)

    options = ["-m", model, "-device", "cpu", "-step_size", 1, "--disable_tta"]
    stock = ["nnUNetv2_predict_from_modelfolder", *options, "-f", 0, "-npp", 1, "-nps", 1]
    for words in steps(tmp_path, "small", model, stock):
        run_command(words, variables)
    ours = ["nnunet_ext", "predict", *options, "--memory", "4G"]
    scripts = Path(sys.executable).parent
    peaks = [
        measure([scripts / words[0], *words[1:]], os.environ | variables, ROOT).peak
        for words in steps(tmp_path, "large", model, ours)
    ]
    print("peaks of prepare, predict, export in GB:", *(f"{peak / 2**30:.2f}" for peak in peaks))
    assert max(peaks) < LIMIT

    expected = read_volume(tmp_path / "small_out" / "column.tif")[0]
    assert len(np.unique(expected)) > 1
    exported = tmp_path / "large_out" / "scan.tif"
    with open_volume(exported) as ids, open_volume(tmp_path / "large" / "scan.tif") as scan:
        assert ids.shape == scan.shape
        assert ids.geometry.spacing == pytest.approx(SPACING)
        copies = (1, ids.shape[1] // COLUMN[1], ids.shape[2] // COLUMN[2])
        for start in range(0, ids.shape[0], COLUMN[0]):
            found = ids.slab(start, start + COLUMN[0])
            assert (found == np.tile(expected, copies)).mean() >= 0.9999, f"slices from {start}"
    with tifffile.TiffFile(exported) as file:
        colors = np.array(file.pages[0].colormap).T >> 8
    assert {key: colors[int(key)].tolist() for key in CLASS_FILE["labels"]} == CLASS_FILE["colors"]


def write_model(folder: Path, variables: dict[str, str]) -> Path:
    """Convert the demonstration's scans, and make a model with random weights for their dataset."""
    make_scans(folder)
    convert = workflow(folder, "cpu", "nnUNetTrainer")[0]
    run_command(convert, variables)
    dataset = json.loads((folder / "nnUNet_raw" / "Dataset777_SoilPhantom" / "dataset.json").read_text())
    return write_trained_model(
        folder / "model",
        patch=PATCH,
        spacing=SPACING,
        channels=tuple(dataset["channel_names"].values()),
        schemes=("NoNormalization",),
        labels=dataset["labels"],
        more={"conversion": dataset["conversion"]},
        file_ending=dataset["file_ending"],
    )


def write_copies(path: Path, column: np.ndarray) -> None:
    """Write a scan of about the size that is asked for, columns side by side and one upon the other."""
    voxels = SCAN_MB * 2**20 / column.itemsize
    across = max(2, round(voxels ** (1 / 3) / COLUMN[1]))
    upwards = max(2, round(voxels / (across * COLUMN[1]) ** 2 / COLUMN[0]))
    shape = (upwards * COLUMN[0], across * COLUMN[1], across * COLUMN[2])
    with create_volume(path, shape, column.dtype, GEOMETRY) as writer:
        for start in range(0, shape[0], 8):
            slices = column[start % COLUMN[0] : start % COLUMN[0] + 8]
            writer.write(np.tile(slices, (1, across, across)))


def steps(folder: Path, name: str, model: Path, predict: list[object]) -> list[list[object]]:
    """Return the commands that take a scan to its exported ids, with one to predict."""
    prepared, predicted = folder / f"{name}_in", folder / f"{name}_predicted"
    return [
        ["nnunet_ext", "prepare", "soil_ct", "-i", folder / name, "-o", prepared, "-m", model],
        [*predict, "-i", prepared, "-o", predicted],
        ["nnunet_ext", "export", "soil_ct", "-i", predicted, "-o", folder / f"{name}_out"],
    ]
