from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from nnunet_ext.errors import InputError, UnsupportedFormatError
from nnunet_ext.imageio import Geometry, open_volume, read_volume, write_volume
from nnunet_ext.imageio.itk import RegionVolume
from nnunet_ext.imageio.raw import RawVolume
from nnunet_ext.imageio.stream import StreamVolume

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NNUNET_EXT_TEST_DATA", ROOT.parent / "shared" / "data"))

ARRAY = np.random.default_rng(0).integers(-1000, 1000, (7, 5, 6)).astype(np.int16)


def itk_image(array: np.ndarray = ARRAY) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.75, 2.5))
    image.SetOrigin((-10, 20, 30.5))
    image.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, -1))
    return image


def assert_reads_like_simpleitk(path: Path) -> None:
    image = SimpleITK.ReadImage(str(path))
    expected = SimpleITK.GetArrayFromImage(image)
    with open_volume(path) as volume:
        assert volume.shape == expected.shape
        assert volume.dtype == expected.dtype
        assert volume.geometry == Geometry.from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        parts = [slab for _, slab in volume.slabs(3)]
        assert all(part.dtype == expected.dtype and part.dtype.isnative for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), expected)
        # Backwards, which a stream has to begin anew for.
        for start in range(len(expected) - 2, -1, -3):
            np.testing.assert_array_equal(volume.slab(start, start + 1), expected[start : start + 1])


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_files_of_simpleitk_are_read_as_it_reads_them(tmp_path, ending, compressed):
    path = tmp_path / f"my scan{ending}"
    SimpleITK.WriteImage(itk_image(), str(path), compressed)
    assert_reads_like_simpleitk(path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_endings_in_capital_letters_are_read_too(tmp_path, ending, compressed):
    path = tmp_path / f"my scan{ending}"
    SimpleITK.WriteImage(itk_image(), str(path), compressed)
    np.testing.assert_array_equal(read_volume(path.rename(path.with_name(path.name.upper())))[0], ARRAY)


@pytest.mark.parametrize(
    ("name", "compressed", "kind"),
    [
        ("a.nii", False, RawVolume),
        ("a.nii.gz", True, StreamVolume),
        ("a.mha", False, RegionVolume),
        ("a.mha", True, StreamVolume),
        ("a.mhd", True, StreamVolume),
        ("a.nrrd", True, StreamVolume),
        ("a.nrrd", False, RawVolume),
    ],
)
def test_no_common_file_is_loaded_whole(tmp_path, name, compressed, kind):
    SimpleITK.WriteImage(itk_image(), str(tmp_path / name), compressed)
    with open_volume(tmp_path / name) as volume:
        assert type(volume) is kind


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("scaling", [(1.7, -3.3), (0, 5), (np.nan, 0), (1, 2), (1, 0)])
def test_scaled_nifti_has_the_values_of_simpleitk(tmp_path, ending, dtype, scaling):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    image = nibabel.Nifti1Image(np.arange(60).reshape(3, 4, 5).astype(dtype), np.diag([2, 3, 4, 1]), header)
    content = bytearray(image.to_bytes())
    content[112:120] = np.array(scaling, "<f4").tobytes()
    path = tmp_path / f"a{ending}"
    path.write_bytes(gzip.compress(content) if ending == ".nii.gz" else content)
    assert_reads_like_simpleitk(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_big_endian_nifti_is_read(tmp_path, ending):
    image = nibabel.Nifti1Image(ARRAY.T, np.diag([-2, 3, 4, 1]), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(image, tmp_path / f"a{ending}")
    assert_reads_like_simpleitk(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}")[0], ARRAY)


def test_nii_gz_beside_a_nii_of_the_same_name_gives_its_own_voxels(tmp_path):
    write_volume(tmp_path / "a.nii.gz", ARRAY, Geometry())
    # SimpleITK takes the voxels of both from this one.
    write_volume(tmp_path / "a.nii", ARRAY + 1, Geometry())
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz")[0], ARRAY)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii")[0], ARRAY + 1)


@pytest.mark.parametrize("big", ["True", "False"])
@pytest.mark.parametrize("compressed", [True, False])
def test_mha_of_either_byte_order_is_read(tmp_path, big, compressed):
    import zlib

    data = ARRAY.astype(">i2" if big == "True" else "<i2").tobytes()
    data = zlib.compress(data) if compressed else data
    header = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {big}\n"
        f"CompressedData = {compressed}\nCompressedDataSize = {len(data)}\nElementSpacing = 1 2 3\n"
        "DimSize = 6 5 7\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(header.encode() + data)
    assert_reads_like_simpleitk(tmp_path / "a.mha")


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("endian", ["big", "little"])
def test_nrrd_of_either_byte_order_is_read(tmp_path, encoding, endian):
    data = ARRAY.astype(">i2" if endian == "big" else "<i2").tobytes()
    header = (
        "NRRD0005\n# a comment: nothing\ntype: int16\ndimension: 3\nsizes: 6 5 7\nspacings: 1 2 3\n"
        f"endian: {endian}\nencoding: {encoding}\nkey:=encoding: raw\n\n"
    )
    content = gzip.compress(data) if encoding == "gzip" else data
    (tmp_path / "a.nrrd").write_bytes(header.encode() + content)
    assert_reads_like_simpleitk(tmp_path / "a.nrrd")


def test_nrrd_with_text_or_a_data_file_is_read_whole(tmp_path):
    header = "NRRD0005\ntype: int16\ndimension: 3\nsizes: 6 5 7\nspacings: 1 2 3\n"
    text = " ".join(str(value) for value in ARRAY.ravel())
    (tmp_path / "a.nrrd").write_text(f"{header}encoding: ascii\n\n{text}\n")
    ARRAY.astype("<i2").tofile(tmp_path / "b.raw")
    (tmp_path / "b.nrrd").write_text(f"{header}endian: little\nencoding: raw\ndata file: b.raw\n\n")
    for name in ("a.nrrd", "b.nrrd"):
        assert_reads_like_simpleitk(tmp_path / name)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_2d_image_is_a_volume_of_one_slice(tmp_path, ending):
    image = SimpleITK.GetImageFromArray(ARRAY[0])
    image.SetSpacing((0.5, 0.25))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{ending}"), True)
    array, geometry = read_volume(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(array, ARRAY[:1])
    assert geometry == Geometry((1.0, 0.25, 0.5))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_fourth_axis_of_length_one_is_dropped_and_a_longer_one_refused(tmp_path, ending):
    nibabel.save(nibabel.Nifti1Image(ARRAY.T[..., None], np.eye(4)), tmp_path / f"a{ending}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}")[0], ARRAY)
    nibabel.save(nibabel.Nifti1Image(np.stack([ARRAY.T] * 2, -1), np.eye(4)), tmp_path / f"b{ending}")
    with pytest.raises(UnsupportedFormatError, match="4 dimensions"):
        open_volume(tmp_path / f"b{ending}")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_colours_and_complex_numbers_are_refused(tmp_path, ending):
    colours = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(colours, str(tmp_path / f"a{ending}"))
    with pytest.raises(UnsupportedFormatError, match=r"a\..*3 values per voxel"):
        open_volume(tmp_path / f"a{ending}")


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kept", [0, 3, 100, 0.6, 0.97])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_truncated_file_is_named(tmp_path, ending, kept, compressed):
    path = tmp_path / f"scan 1{ending}"
    SimpleITK.WriteImage(itk_image(), str(path), compressed)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    with pytest.raises(InputError, match=r"scan 1\."):
        read_volume(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_file_of_something_else_is_named(tmp_path, ending):
    path = tmp_path / f"scan 1{ending}"
    path.write_bytes(b"something else entirely\n" * 100)
    with pytest.raises(InputError, match=r"scan 1\."):
        read_volume(path)


def test_stream_reads_on_after_a_refused_slab(tmp_path):
    write_volume(tmp_path / "a.nii.gz", ARRAY, Geometry())
    with open_volume(tmp_path / "a.nii.gz") as volume:
        volume.slab(0, 2)
        with pytest.raises(InputError):
            volume.slab(6, 9)
        np.testing.assert_array_equal(volume.slab(3, 5), ARRAY[3:5])


def test_mhd_without_its_data_file_is_named(tmp_path):
    SimpleITK.WriteImage(itk_image(), str(tmp_path / "a.mhd"), False)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(InputError, match=r"a\.mhd.*a\.raw"):
        open_volume(tmp_path / "a.mhd")


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data here")
@pytest.mark.parametrize("pattern", ["nrrd_pairs/*.nrrd", "hippocampus/images/*_00[1-4].nii.gz"])
def test_real_files_are_read_as_simpleitk_reads_them(pattern):
    paths = sorted(DATA.glob(pattern))
    assert paths
    for path in paths:
        assert_reads_like_simpleitk(path)
