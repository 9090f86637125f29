"""The logic of the window, without a window; images that are read where they are looked at; no screen, no napari."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.annotation.display import NapariMissingError, NoDisplayError, require_window
from nnunet_ext.annotation.lazy_image import LazyImage, grey_range, image_array
from nnunet_ext.cli import main
from nnunet_ext.errors import InputError
from nnunet_ext.imageio import Geometry, open_volume, write_volume
from tests.annotation.annotation_folders import image_folder, session_in
from tests.builders import write_tif


def test_a_session_saves_when_something_was_painted_and_time_has_passed(tmp_path):
    now = [0.0]
    session = session_in(tmp_path)
    session._clock = lambda: now[0]
    session.save()
    assert not session.autosave_due
    now[0] = 100
    assert not session.autosave_due
    session.labels[0, 0, 0] = 1
    assert session.autosave_due
    session.save()
    assert not session.autosave_due
    session.labels[0, 0, 0] = 2
    now[0] = 159
    assert not session.autosave_due
    now[0] = 160
    assert session.autosave_due
    session.close()


def test_coverage_follows_painting_and_starts_from_what_is_there(tmp_path):
    session = session_in(tmp_path)
    assert session.table()[0].voxels == 96
    assert session.first_slice == 4
    assert not session.count()
    session.labels[4, :, 8:] = 2
    assert session.count()
    assert [row.voxels for row in session.table()[:2]] == [0, 96]
    session.close()


def test_classes_are_selected_by_id_and_key_and_unknown_ones_are_not(tmp_path):
    session = session_in(tmp_path, empty=True)
    assert session.selected.id == 1
    assert session.select(3)
    assert session.select_by_key("5")
    assert session.selected.id == 5
    assert not session.select(6)
    assert not session.select_by_key("x")
    assert session.selected.id == 5
    assert not session.coverage.voxels_of_id()
    session.close()


def test_useless_intervals_are_refused(tmp_path):
    with pytest.raises(InputError, match="--autosave 0 --keep 20: expected"):
        session_in(tmp_path, autosave=0)


def test_an_uncompressed_tiff_is_mapped_and_others_are_read_by_slice(tmp_path):
    grey = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    plain = write_tif(tmp_path / "plain.tif", grey)
    swapped = write_tif(tmp_path / "swapped.tif", grey, byteorder=">")
    packed = write_tif(tmp_path / "packed.tif", grey, compression="zlib")
    for path, kind in ((plain, np.memmap), (swapped, LazyImage), (packed, LazyImage)):
        with open_volume(path) as volume:
            found = image_array(volume)
            assert type(found) is kind
            np.testing.assert_array_equal(np.asarray(found[2]), grey[2])
            np.testing.assert_array_equal(np.asarray(found), grey)


index = st.integers(-3, 2)
ranges = st.builds(slice, st.none() | index, st.none() | index)


@given(key=st.one_of(index, ranges, st.tuples(index, ranges), st.tuples(ranges, index, ranges), st.just((..., 1))))
def test_a_lazy_image_is_indexed_like_an_array(tmp_path_factory, key):
    grey = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    path = tmp_path_factory.getbasetemp() / "lazy.mha"
    if not path.exists():
        write_volume(path, grey, Geometry())
    with open_volume(path) as volume:
        np.testing.assert_array_equal(LazyImage(volume)[key], grey[key])


def test_the_grey_range_of_a_slice_of_one_value_is_not_empty(tmp_path):
    with open_volume(write_tif(tmp_path / "flat.tif", np.full((2, 3, 4), 9, np.uint8))) as volume:
        assert grey_range(volume, 0) == (9, 10)


def test_without_napari_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    images, annotations, classes = image_folder(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "napari" else found(name))
    with pytest.raises(NapariMissingError):
        require_window()
    arguments = ["-i", str(images), "-o", str(annotations), "-c", str(classes), "-id", "S1"]
    assert main(["annotate", *arguments]) == 1
    assert "pip install 'nnunet_ext[annotate]'" in capsys.readouterr().err
    assert not annotations.exists()


@pytest.mark.parametrize("display", [None, ":4321"])
def test_without_a_screen_there_is_an_error_and_no_abort(display, monkeypatch):
    pytest.importorskip("napari")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(NoDisplayError, match="no screen" if display is None else "Qt cannot open a window"):
        require_window()
