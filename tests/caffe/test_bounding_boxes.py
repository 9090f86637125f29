"""Bounding boxes of images."""

from __future__ import annotations

import pytest

from nnunet_ext.caffe.bounding_boxes import read_bounding_box
from nnunet_ext.errors import InputError, MissingInputError


def write(path, *corners, header="Bounding Box:"):
    path.write_text("\n".join([header, *corners]) + "\n")
    return path


def test_rows_and_columns_are_half_open(tmp_path):
    path = write(tmp_path / "b.txt", "2, 7", "2, 3", "8, 3", "8, 7")
    assert read_bounding_box(path, (10, 10)) == (slice(3, 7), slice(2, 8))


def test_fractions_are_rounded(tmp_path):
    path = write(tmp_path / "b.txt", "1.6, 7.4", "1.6, 2.7", "8.4, 2.7", "8.4, 7.4")
    assert read_bounding_box(path, (10, 10)) == (slice(3, 7), slice(2, 8))


@pytest.mark.parametrize(("compat", "stop"), [(False, 10), (True, 9)])
def test_a_box_beyond_the_edges_is_clipped(tmp_path, compat, stop):
    path = write(tmp_path / "b.txt", "-4, 70", "-4, -3", "80, -3", "80, 70")
    assert read_bounding_box(path, (10, 10), compat=compat) == (slice(0, stop), slice(0, stop))


def test_a_box_up_to_the_edge_keeps_all(tmp_path):
    path = write(tmp_path / "b.txt", "0, 0", "0, 6", "4, 6", "4, 0")
    assert read_bounding_box(path, (6, 4), compat=True) == (slice(0, 6), slice(0, 4))


@pytest.mark.parametrize("corners", [("1, 2",) * 3, ("1, 2",) * 5, ("1; 2",) * 4, ("1",) * 4, ("nan, 2",) * 4])
def test_other_files_are_named(tmp_path, corners):
    path = write(tmp_path / "b.txt", *corners)
    with pytest.raises(InputError, match=r"b\.txt: expected a header line and 4 lines"):
        read_bounding_box(path, (10, 10))


def test_a_box_outside_the_image(tmp_path):
    path = write(tmp_path / "b.txt", "20, 7", "20, 3", "28, 3", "28, 7")
    with pytest.raises(InputError, match="no pixel in an image of 10 rows"):
        read_bounding_box(path, (10, 10))
    with pytest.raises(MissingInputError):
        read_bounding_box(tmp_path / "none.txt", (10, 10))
