"""The demonstration without its training: phantom, threshold, folder, failures."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.cli import main
from nnunet_ext.demo.phantom import MATRIX, PORE, ROOT, STONE, soil_phantom, sparse_annotation
from nnunet_ext.demo.run import CommandFailedError, environment, run_demo, workflow, write_script
from nnunet_ext.demo.threshold import ThresholdBaseline
from nnunet_ext.errors import InputError, OutputExistsError

SHAPE = (24, 48, 48)


def test_the_phantom_has_every_class_and_is_the_same_for_the_same_seed():
    one, two = (soil_phantom(SHAPE, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert set(np.unique(one.truth)) == {MATRIX, STONE, ROOT, PORE}
    means = [one.image[one.truth == value].mean() for value in (PORE, ROOT, MATRIX, STONE)]
    assert means == sorted(means)


def test_an_annotation_is_sparse_true_and_dense_on_one_slice():
    truth = soil_phantom(SHAPE, np.random.default_rng(3)).truth
    annotation = sparse_annotation(truth, np.random.default_rng(4))
    assert np.array_equal(annotation[annotation > 0], truth[annotation > 0])
    dense = (annotation > 0).reshape(len(truth), -1).all(axis=1)
    assert np.flatnonzero(dense).tolist() == [SHAPE[0] // 2 - 1]
    assert (annotation > 0).any(axis=(1, 2)).sum() > 4


def test_the_threshold_takes_the_class_of_the_nearest_grey_value():
    image = np.array([[[10, 20, 200]]], dtype=np.uint8)
    baseline = ThresholdBaseline.fit([image], [np.array([[[1, 0, 2]]], dtype=np.uint8)])
    assert baseline.predict(np.array([0, 104, 106, 255], dtype=np.uint8)).tolist() == [1, 1, 2, 2]


def test_the_script_of_commands_quotes_paths_with_spaces(tmp_path):
    folder = tmp_path / "my demo"
    folder.mkdir()
    write_script(folder / "commands.sh", environment(folder), workflow(folder, "cpu", "nnUNetTrainerX"))
    text = (folder / "commands.sh").read_text()
    assert f"export nnUNet_raw='{folder}/nnUNet_raw'" in text
    assert f"-i '{folder}/scans'" in text


def test_a_folder_that_is_no_demo_is_never_removed(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="thesis"):
        run_demo(tmp_path / "thesis", say=print)
    with pytest.raises(InputError, match="does not look like"):
        run_demo(tmp_path / "thesis", say=print, overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").is_file()


def test_a_command_that_fails_ends_the_demo_with_its_name(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("nnunet_ext.demo.run.workflow", lambda *_: [["false", "argument"]])
    with pytest.raises(CommandFailedError, match="false argument failed with exit status 1"):
        run_demo(tmp_path / "demo", say=print)
    assert main(["demo", "-o", str(tmp_path / "demo"), "--overwrite"]) == 1
    assert "error: false argument failed" in capfd.readouterr().err


def test_the_length_must_be_at_least_one_epoch(tmp_path):
    with pytest.raises(InputError, match="--epochs"):
        run_demo(tmp_path / "demo", say=print, epochs=0)
