"""Nothing that was painted is lost: continuing, versions, crashes, two windows, full disks."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime, timedelta

import numpy as np
import pytest

from dataset_conversion.sparse_dataset import convert_soil_ct
from nnunet_ext.annotation import store as store_module
from nnunet_ext.annotation.session import open_session
from nnunet_ext.annotation.versions import list_versions, new_version, superseded
from nnunet_ext.errors import BadCasesError, InputError, OutputError
from nnunet_ext.imageio import Geometry, read_volume, write_volume
from tests.annotation.annotation_folders import SHAPE, SPACING, image_folder, session_in
from tests.builders import ROOT

PAINT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from nnunet_ext import files
from nnunet_ext.annotation import store
from tests.annotation.annotation_folders import session_in

session = session_in(Path(sys.argv[1]))
session.labels[7, :3] = 3
session.save()
session.labels[8, :3] = 4
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "writing the version":
    from nnunet_ext.imageio.writer import VolumeWriter
    VolumeWriter.check_complete = die
elif sys.argv[2] == "replacing the annotation":
    store._copy = die
elif sys.argv[2] == "painting":
    die()
session.save()
"""


def written(folder, name="S1.tif"):
    return read_volume(folder / "annotations" / name)[0]


def versions_of(folder):
    return list_versions(folder / "annotations" / "versions" / "S1")


def test_closing_writes_a_uint8_tiff_with_the_spacing_of_the_image(tmp_path):
    session = session_in(tmp_path)
    session.labels[6, 2, 3] = 5
    session.close()
    labels, geometry = read_volume(tmp_path / "annotations" / "S1.tif")
    assert labels.dtype == np.uint8
    assert labels.shape == SHAPE
    assert labels[6, 2, 3] == 5
    assert labels[4].sum() == 96  # where the threshold began
    assert geometry.spacing == pytest.approx(SPACING)
    assert not list((tmp_path / "annotations" / "versions" / "S1").glob("labels.raw"))


def test_the_converter_takes_what_is_written_and_leaves_the_versions_alone(tmp_path):
    images, annotations, classes = image_folder(tmp_path)
    session = session_in(tmp_path)
    session.labels[6, 2, 3] = 5
    session.save()
    session.labels[6, 2, 4] = 2
    session.close()
    assert len(versions_of(tmp_path)) == 2
    converted = convert_soil_ct(
        images, annotations, classes, output=tmp_path / "raw", context=None, allow_few_cases=True, processes=1
    )
    label, geometry = read_volume(converted.folder / "labelsTr" / "S1.nii.gz")
    assert converted.cases == ["S1"]
    assert label[6, 2, 3:6].tolist() == [4, 1, 5]
    assert geometry.spacing == pytest.approx(SPACING)


def test_an_annotation_is_continued_and_its_first_state_is_kept(tmp_path):
    _, annotations, _ = image_folder(tmp_path)
    before = np.zeros(SHAPE, np.uint16)
    before[1, 2] = 3
    write_volume(annotations / "S1.tif", before, Geometry(spacing=SPACING))
    original = (annotations / "S1.tif").read_bytes()
    session = session_in(tmp_path, keep=1)
    for value in (1, 2, 4):
        session.labels[9, value] = value
        session.save()
    session.close()
    after = written(tmp_path)
    assert (after[1, 2] == 3).all()
    assert [after[9, value, 0] for value in (1, 2, 4)] == [1, 2, 4]
    versions = versions_of(tmp_path)
    assert versions[0].path.read_bytes() == original
    assert len(versions) == 2  # the first, and one more


def test_looking_without_painting_changes_no_annotation(tmp_path):
    session_in(tmp_path).close()
    before = (tmp_path / "annotations" / "S1.tif").stat().st_mtime_ns
    session_in(tmp_path).close()
    assert (tmp_path / "annotations" / "S1.tif").stat().st_mtime_ns == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["painting", "writing the version", "replacing the annotation"])
def test_a_process_that_is_killed_loses_nothing(tmp_path, moment):
    image_folder(tmp_path)
    died = subprocess.run(
        [sys.executable, "-c", PAINT_AND_DIE, str(tmp_path), moment], cwd=ROOT, timeout=120, check=False
    )
    assert died.returncode == -signal.SIGKILL
    former = written(tmp_path)
    assert (former[7, :3] == 3).all()
    assert not former[8].any()

    session = session_in(tmp_path)
    assert any("not closed" in notice for notice in session.store.notices)
    assert (session.labels[8, :3] == 4).all()
    session.close()
    assert (written(tmp_path)[8, :3] == 4).all()
    assert not list((tmp_path / "annotations").rglob(".partial-*"))


def test_work_of_a_killed_window_is_kept_beside_a_file_that_came_since(tmp_path):
    session = session_in(tmp_path)
    session.save()
    session.labels[0] = 2
    session.store.abandon()
    other = np.full(SHAPE, 4, np.uint8)
    write_volume(tmp_path / "annotations" / "S1.tif", other, Geometry(spacing=SPACING), overwrite=True)
    session = session_in(tmp_path)
    assert (session.labels[:] == 4).all()
    session.close()
    unsaved = [version for version in versions_of(tmp_path) if version.note == "unsaved"]
    assert (read_volume(unsaved[0].path)[0][0] == 2).all()


def test_a_file_that_another_program_puts_in_place_meanwhile_is_kept(tmp_path):
    session = session_in(tmp_path)
    session.save()
    other = np.full(SHAPE, 4, np.uint8)
    write_volume(tmp_path / "annotations" / "S1.tif", other, Geometry(spacing=SPACING), overwrite=True)
    session.labels[0] = 2
    session.close()
    assert (written(tmp_path)[0] == 2).all()
    found = [version for version in versions_of(tmp_path) if version.note == "found"]
    assert (read_volume(found[0].path)[0] == 4).all()


def test_a_second_window_on_the_same_sample_is_refused(tmp_path):
    session = session_in(tmp_path)
    with pytest.raises(InputError, match=r"open in another window \(process"):
        session_in(tmp_path)
    session.close()
    session_in(tmp_path).close()


def test_a_full_disk_is_said_and_the_work_is_there_afterwards(tmp_path, monkeypatch):
    session = session_in(tmp_path)
    session.labels[0, 0, 0] = 2

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_copy", full)
        with pytest.raises(OutputError, match="No space left"):
            session.save()
        assert session.dirty
        assert "No space left" in session.error
        with pytest.raises(OutputError):
            session.close()
    session = session_in(tmp_path)
    assert session.labels[0, 0, 0] == 2
    session.close()
    assert written(tmp_path)[0, 0, 0] == 2


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros((3, 12, 16), np.uint8), "shape"),
        (np.full(SHAPE, 9, np.uint8), r"ids 9 \(1920 voxels\)"),
        (np.full(SHAPE, 0.5, np.float32), r"ids 0.5"),
    ],
)
def test_an_annotation_that_does_not_fit_is_refused_and_left_alone(tmp_path, labels, said):
    _, annotations, _ = image_folder(tmp_path)
    write_volume(annotations / "S1.tif", labels, Geometry(spacing=SPACING))
    before = (annotations / "S1.tif").read_bytes()
    with pytest.raises(InputError, match=said):
        session_in(tmp_path)
    assert (annotations / "S1.tif").read_bytes() == before


def test_an_annotation_in_another_format_is_continued_in_it(tmp_path):
    images, annotations, classes = image_folder(tmp_path, ending=".mha")
    write_volume(annotations / "S1.mha", np.zeros(SHAPE, np.uint8), Geometry(spacing=SPACING))
    session = open_session(images, annotations, "S1", classes)
    session.labels[2] = 3
    session.close()
    assert (written(tmp_path, "S1.mha")[2] == 3).all()
    assert not (annotations / "S1.tif").exists()


def test_an_annotation_that_is_there_twice_is_named(tmp_path):
    images, annotations, classes = image_folder(tmp_path)
    for ending in (".mha", ".tif"):
        write_volume(annotations / f"S1{ending}", np.zeros(SHAPE, np.uint8), Geometry(spacing=SPACING))
    with pytest.raises(BadCasesError, match="more than once"):
        open_session(images, annotations, "S1", classes)


def test_the_first_version_the_last_ones_and_the_last_of_each_day_are_kept(tmp_path):
    start = datetime(2026, 1, 1, 22, 0)
    for hour in range(0, 60, 2):
        new_version(tmp_path, ".tif", start + timedelta(hours=hour)).touch()
    versions = list_versions(tmp_path)
    gone = {version.time for version in superseded(versions, 3)}
    kept = [version.time for version in versions if version.time not in gone]
    assert kept == [
        start,
        datetime(2026, 1, 2, 22, 0),
        datetime(2026, 1, 3, 22, 0),
        datetime(2026, 1, 4, 4, 0),
        datetime(2026, 1, 4, 6, 0),
        datetime(2026, 1, 4, 8, 0),
    ]


def test_versions_of_one_second_do_not_replace_each_other(tmp_path):
    now = datetime(2026, 1, 1)
    for _ in range(12):
        new_version(tmp_path, ".nii.gz", now).touch()
    assert [version.number for version in list_versions(tmp_path)] == [0, *range(1, 12)]
