"""The demonstration, as a user runs it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from nnunet_ext.demo.run import TEST_SCANS, read_dice
from tests.end_to_end.commands import run_command

pytestmark = pytest.mark.end_to_end


def test_the_demo_trains_a_network_that_is_well_above_a_threshold(tmp_path):
    folder = tmp_path / "my demo"
    printed = run_command(["nnunet_ext", "demo", "-o", folder])

    dice = read_dice(folder)
    assert set(dice) == {"network", "threshold"}
    for name in ("SoilMatrix", "Stone", "Root", "Pore"):
        assert dice["network"][name] > dice["threshold"][name] + 0.02, f"{name}: {dice}"
    assert np.mean(list(dice["network"].values())) > np.mean(list(dice["threshold"].values())) + 0.2
    assert dice["network"]["Root"] > dice["threshold"]["Root"] + 0.2, dice

    exported = sorted((folder / "exported").glob("*.tif"))
    assert len(exported) == TEST_SCANS
    for path in exported:
        ids = tifffile.imread(path)
        assert ids.shape == tifffile.imread(folder / "unseen" / path.name).shape
        assert set(np.unique(ids)) <= {1, 2, 3, 4}
    picture = Image.open(folder / "demo.png").convert("RGB")
    assert len(picture.getcolors(maxcolors=2**20)) > 50
    assert "where everything is" in printed.lower()
    assert "nnUNetv2_train 777 3d_fullres 0" in printed
    assert (folder / "commands.sh").read_text() in printed
    assert "\r" not in (folder / "commands.sh").read_bytes().decode()

    ours = json.loads((folder / "scores" / "summary.json").read_text())
    assert set(ours["models"]) == {"network", "threshold"}
