"""Whole folders of plain NIfTI files to compressed ones."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st

from dataset_conversion.gzip_nifti import read_nifti_file
from dataset_conversion.nifti_folder import nii_to_niigz
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import read_json
from tests.dataset_conversion.nifti_folders import image_of, names_in, put

if TYPE_CHECKING:
    from pathlib import Path

AFFINE = np.array([[0, 0.7, 0, 7], [-0.9, 0, 0, -3], [0, 0, 2.5, 11], [0, 0, 0, 1]])


def nifti(path: Path, array: np.ndarray | None = None, kind: type = nibabel.Nifti1Image, **more) -> Path:
    """Write a NIfTI file or pair, (x, y, z, …), with scaling and a description."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = kind(image_of().T if array is None else array, AFFINE, **more)
    image.header["descrip"] = b"from the scanner"
    image.header.set_slope_inter(2, -5)
    nibabel.save(image, path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names_in(folder) if (folder / name).is_file()}


def test_folders_within_are_kept_and_bytes_unchanged(tmp_path):
    folder = tmp_path / "data"
    for name in ("a.nii", "sub/b.nii", "sub/deep/c.NII"):
        nifti(folder / name)
    before = contents(folder)
    done = nii_to_niigz(folder, processes=1)
    assert done.folder == tmp_path / "data_niigz"
    assert (done.compressed, done.copied, done.notes) == (["a.nii.gz", "sub/b.nii.gz", "sub/deep/c.nii.gz"], [], [])
    assert names_in(done.folder) == [
        "a.nii.gz",
        "conversion.json",
        "sub",
        "sub/b.nii.gz",
        "sub/deep",
        "sub/deep/c.nii.gz",
    ]
    assert gzip.decompress((done.folder / "sub" / "b.nii.gz").read_bytes()) == before["sub/b.nii"]
    assert contents(folder) == before
    record = read_json(done.folder / "conversion.json")
    assert record["cases"]["sub/b.nii.gz"] == {"source": str(folder / "sub" / "b.nii")}
    assert record["conversion"]["source"] == "nii_to_niigz"


def test_four_dimensions_are_compressed_like_any_other(tmp_path):
    path = nifti(tmp_path / "data" / "a.nii", np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5))
    done = nii_to_niigz(tmp_path / "data", processes=1)
    assert gzip.decompress((done.folder / "a.nii.gz").read_bytes()) == path.read_bytes()


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_a_pair_changes_its_mark_and_offset_only(tmp_path, kind, endianness):
    header = kind.header_class(endianness=endianness)
    path = nifti(tmp_path / "data" / "a.hdr", image_of().T, kind, header=header)
    before = path.read_bytes()
    done = nii_to_niigz(tmp_path / "data", processes=1)
    assert done.compressed == ["a.nii.gz"]
    after = gzip.decompress((done.folder / "a.nii.gz").read_bytes())
    size = 348 if kind is nibabel.Nifti1Pair else 540
    place, magic, offset = (344, 4, slice(108, 112)) if size == 348 else (4, 8, slice(168, 176))
    changed = {i for i in range(size) if before[i] != after[i]}
    assert changed <= {*range(place, place + magic), *range(offset.start, offset.stop)}
    stored = np.frombuffer(after[offset], f"{endianness}{'f4' if size == 348 else 'i8'}")[0]
    assert stored == (352 if size == 348 else 544)
    assert after[int(stored) :] == path.with_suffix(".img").read_bytes()
    pair, single = nibabel.load(path), nibabel.load(done.folder / "a.nii.gz")
    np.testing.assert_array_equal(pair.get_fdata(), single.get_fdata())
    np.testing.assert_array_equal(pair.affine, single.affine)
    assert single.header.endianness == endianness
    if size == 348:
        read = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(done.folder / "a.nii.gz")))
        np.testing.assert_array_equal(read, pair.get_fdata().T)


def test_extensions_of_a_pair_are_kept(tmp_path):
    image = nibabel.Nifti1Pair(image_of().T, AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"sixteen or more bytes"))
    (tmp_path / "data").mkdir()
    nibabel.save(image, tmp_path / "data" / "a.hdr")
    done = nii_to_niigz(tmp_path / "data", processes=1)
    single = nibabel.load(done.folder / "a.nii.gz")
    assert [extension.get_content().rstrip(b"\0") for extension in single.header.extensions] == [
        b"sixteen or more bytes"
    ]
    np.testing.assert_array_equal(np.asarray(single.dataobj), image_of().T)


@pytest.mark.filterwarnings("ignore:Extension size")
def test_voxels_begin_at_a_multiple_of_16_bytes_behind_an_odd_extension(tmp_path):
    path = nifti(tmp_path / "data" / "a.hdr", kind=nibabel.Nifti1Pair)
    extension = np.array([20, 6], "<i4").tobytes() + b"some comment"
    path.write_bytes(path.read_bytes()[:348] + b"\1\0\0\0" + extension)
    done = nii_to_niigz(tmp_path / "data", processes=1)
    after = gzip.decompress((done.folder / "a.nii.gz").read_bytes())
    assert after[352:372] == extension
    assert np.frombuffer(after[108:112], "<f4")[0] == 384
    assert after[384:] == path.with_suffix(".img").read_bytes()


def test_voxels_of_a_pair_may_begin_behind_something(tmp_path):
    path = nifti(tmp_path / "data" / "a.hdr", kind=nibabel.Nifti1Pair)
    header, image = bytearray(path.read_bytes()), path.with_suffix(".img")
    header[108:112] = np.float32(32).tobytes()
    path.write_bytes(header)
    voxels = image.read_bytes()
    image.write_bytes(b"x" * 32 + voxels)
    done = nii_to_niigz(tmp_path / "data", processes=1)
    assert gzip.decompress((done.folder / "a.nii.gz").read_bytes())[352:] == voxels


def test_compressed_files_are_copied_and_others_left_out(tmp_path):
    folder = tmp_path / "data"
    nifti(folder / "a.nii")
    copied = put(folder / "b.nii.gz", image_of())
    (folder / "notes.txt").write_text("x")
    (folder / "._a.nii").write_bytes(b"of another system")
    done = nii_to_niigz(folder, processes=1)
    assert (done.compressed, done.copied) == (["a.nii.gz"], ["b.nii.gz"])
    assert (done.folder / "b.nii.gz").read_bytes() == copied.read_bytes()
    assert done.notes == ["no NIfTI file and left out: notes.txt"]
    assert names_in(done.folder) == ["a.nii.gz", "b.nii.gz", "conversion.json"]


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    folder = tmp_path / "data"
    nifti(folder / "good.nii")
    short = nifti(folder / "short.nii")
    short.write_bytes(short.read_bytes()[:-1])
    (folder / "text.nii").write_text("no volume")
    nifti(folder / "lone.hdr", kind=nibabel.Nifti1Pair)
    (folder / "lone.img").unlink()
    (folder / "alone.img").write_bytes(b"x")
    nifti(folder / "twice.nii")
    put(folder / "twice.nii.gz", image_of())
    put(folder / "cut.nii.gz", image_of())
    (folder / "cut.nii.gz").write_bytes((folder / "cut.nii.gz").read_bytes()[:-9])
    header = nibabel.AnalyzeHeader()
    header.set_data_shape((2, 2, 2))
    (folder / "old.hdr").write_bytes(header.binaryblock)
    (folder / "old.img").write_bytes(bytes(100))
    with pytest.raises(BadCasesError) as caught:
        nii_to_niigz(folder, processes=1)
    assert sorted(tmp_path.iterdir()) == [folder]
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 7
    assert "short.nii: holds 735 bytes, expected 736" in text
    assert "text.nii: expected the header of a NIfTI file" in text
    assert "lone.hdr: no .img file of the same name" in text
    assert "alone.img: no .hdr file of the same name" in text
    assert "twice.nii.gz would be made of" in text
    assert "cut.nii.gz: the gzip stream is truncated" in text
    assert "old.hdr: expected a NIfTI header with the mark b'ni1', found b'\\x00\\x00\\x00': an Analyze file" in text


def test_a_folder_without_nifti_files(tmp_path):
    with pytest.raises(MissingInputError):
        nii_to_niigz(tmp_path / "none")
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match=r"no \.nii file"):
        nii_to_niigz(tmp_path / "data")


def test_the_output_is_a_folder_of_its_own(tmp_path):
    folder = tmp_path / "data"
    nifti(folder / "a.nii")
    for output in (folder, folder / "out", tmp_path):
        with pytest.raises(InputError, match="neither within"):
            nii_to_niigz(folder, output=output, overwrite=True, processes=1)
    assert names_in(tmp_path) == ["data", "data/a.nii"]


def test_an_existing_folder_stays_without_overwrite(tmp_path):
    nifti(tmp_path / "data" / "a.nii")
    nii_to_niigz(tmp_path / "data", output=tmp_path / "out", processes=1)
    with pytest.raises(OutputExistsError):
        nii_to_niigz(tmp_path / "data", output=tmp_path / "out", processes=1)
    nifti(tmp_path / "data" / "b.nii")
    done = nii_to_niigz(tmp_path / "data", output=tmp_path / "out", processes=1, overwrite=True)
    assert names_in(done.folder) == ["a.nii.gz", "b.nii.gz", "conversion.json"]


def test_nothing_is_left_when_a_file_fails(tmp_path, monkeypatch):
    nifti(tmp_path / "data" / "a.nii")
    nifti(tmp_path / "data" / "b.nii")

    def fails(nifti_file, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dataset_conversion.nifti_folder.write_gzip", fails)
    with pytest.raises(OSError, match="No space left"):
        nii_to_niigz(tmp_path / "data", processes=1)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "data"]


def test_the_command_runs_in_parallel(tmp_path, capsys):
    for name in ("a.nii", "b.nii", "c.nii"):
        nifti(tmp_path / "data" / name)
    assert main(["convert", "nii_to_niigz", "-i", str(tmp_path / "data"), "-np", "2"]) == 0
    assert "data_niigz: 3 files compressed, 0 copied" in capsys.readouterr().out


@given(st.binary(max_size=600))
def test_any_bytes_are_no_nifti_file_but_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "a.nii"
    path.write_bytes(content)
    with pytest.raises(InputError, match="NIfTI"):
        read_nifti_file(path)
