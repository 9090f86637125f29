from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.errors import MissingInputError
from nnunet_ext.imageio import (
    ending_of,
    find_volumes,
    is_supported,
    natural_key,
    volume_name,
)


def write_tiff(path: Path, slices: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros((slices, 4, 5), np.uint8), photometric="minisblack")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_natural_order_counts_instead_of_spelling():
    shuffled = ["slice10", "Slice2", "slice1", "a", "10", "9"]
    assert sorted(shuffled, key=natural_key) == ["9", "10", "a", "slice1", "Slice2", "slice10"]


@given(st.lists(st.integers(0, 10**12)))
def test_natural_order_of_numbered_names_is_that_of_the_numbers(numbers):
    ordered = sorted((f"scan {number} b" for number in numbers), key=natural_key)
    assert [int(name.split()[1]) for name in ordered] == sorted(numbers)


@given(st.lists(st.text(max_size=5), max_size=5))
def test_natural_order_exists_for_any_names(texts):
    assert sorted(sorted(texts, key=natural_key)) == sorted(texts)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.nii.gz", "a.b"),
        ("S1.TIF", "S1"),
        ("x.seg.nrrd", "x.seg"),
        ("a.nii", "a"),
        ("a.PNG", "a"),
        ("a.jpg", "a.jpg"),
    ],
)
def test_volume_name_drops_the_whole_ending(name, expected):
    assert volume_name(Path(name)) == expected


def test_volume_name_of_a_folder_is_its_full_name(tmp_path):
    folder = tmp_path / "column 3.tif"
    folder.mkdir()
    assert volume_name(folder) == "column 3.tif"


def test_endings_are_recognised_whatever_their_case():
    assert ending_of(Path("A.Nii.GZ")) == ".nii.gz"
    assert is_supported(Path("a.TIFF"))
    assert not is_supported(Path("a.raw"))
    assert not is_supported(Path("a.gz"))


def test_find_volumes_gives_files_and_slice_folders_in_natural_order(tmp_path):
    write_tiff(tmp_path / "s10.TIF", slices=3)
    write_tiff(tmp_path / "s2" / "slice 1.tif")
    write_tiff(tmp_path / "stacks" / "a.tif", slices=2)
    (tmp_path / "empty").mkdir()
    for name in ("s1.nii.gz", "s3.mhd", "s3.zraw", "notes.txt", ".hidden.tif"):
        (tmp_path / name).write_bytes(b"x")
    assert names(find_volumes(tmp_path)) == ["s1.nii.gz", "s2", "s3.mhd", "s10.TIF"]


def test_a_folder_of_slices_is_one_volume(tmp_path):
    for index in range(3):
        write_tiff(tmp_path / f"slice {index}.tif")
    (tmp_path / "log.txt").write_text("x")
    assert find_volumes(tmp_path) == [tmp_path]


def test_a_folder_with_one_stack_among_the_slices_is_no_volume(tmp_path):
    write_tiff(tmp_path / "a.tif")
    write_tiff(tmp_path / "b.tif", slices=2)
    assert names(find_volumes(tmp_path)) == ["a.tif", "b.tif"]


def test_a_single_slice_alone_is_a_file_and_not_a_folder(tmp_path):
    write_tiff(tmp_path / "a.tif")
    assert names(find_volumes(tmp_path)) == ["a.tif"]


def test_a_damaged_slice_does_not_hide_its_folder(tmp_path):
    write_tiff(tmp_path / "scan" / "1.tif")
    (tmp_path / "scan" / "2.tif").write_bytes(b"damaged")
    assert names(find_volumes(tmp_path)) == ["scan"]


def test_single_page_imagej_stacks_are_not_slices(tmp_path):
    for name in "ab":
        stack = np.zeros((3, 4, 5), np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", stack, imagej=True, truncate=True)
    assert names(find_volumes(tmp_path)) == ["a.tif", "b.tif"]


def test_find_volumes_of_a_file_is_the_file(tmp_path):
    write_tiff(tmp_path / "a.tif")
    assert find_volumes(tmp_path / "a.tif") == [tmp_path / "a.tif"]


def test_find_volumes_names_a_missing_folder(tmp_path):
    with pytest.raises(MissingInputError, match="nowhere"):
        find_volumes(tmp_path / "nowhere")
