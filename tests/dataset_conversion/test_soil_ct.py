"""The soil CT converter: what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from dataset_conversion.pairing import named_volumes
from dataset_conversion.sparse_dataset import convert_soil_ct
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, OutputExistsError
from nnunet_ext.imageio import Geometry, read_volume, write_volume
from tests.builders import ROOT, SHARED_DATA, asymmetric_labels, class_file, soil_folder, write_tif


def convert(folder, images, annotations, classes, **options):
    return convert_soil_ct(images, annotations, classes, output=folder / "raw", processes=1, **options).folder


def read_dataset(folder):
    return json.loads((folder / "dataset.json").read_text())


def read_record(folder):
    return json.loads((folder / "conversion.json").read_text())


def one_scan(folder, image, annotation, name="S1"):
    """Write one scan with its annotation and a class file."""
    write_tif(folder / "images" / f"{name}.tif", image)
    write_tif(folder / "annotations" / f"{name}.tif", annotation)
    return folder / "images", folder / "annotations", class_file(folder / "classes.json")


@pytest.mark.parametrize("file_format", ["nii.gz", "mha", "tif"])
def test_the_dataset_is_one_that_nnunet_reads(tmp_path, file_format):
    folder = convert(tmp_path, *soil_folder(tmp_path), file_format=file_format)
    assert folder.name == "Dataset777_Soil"
    assert read_dataset(folder) | {"conversion": None} == {
        "channel_names": {"0": "noNorm"},
        "labels": {"background": 0, "Stone": 1, "Root": 2, "Pore": 3, "Wall": 4, "ignore": 5},
        "numTraining": 5,
        "file_ending": f".{file_format}",
        "conversion": None,
        **({"overwrite_image_reader_writer": "Tiff3DIO"} if file_format == "tif" else {}),
    }
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    verify_dataset_integrity(str(folder), 1)


def test_labels_are_shifted_and_unannotated_voxels_ignored(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    folder = convert(tmp_path, images, annotations, classes)
    source = tifffile.imread(annotations / "S3.tif")
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labelsTr" / "S3.nii.gz")))
    assert written.dtype == np.uint8
    assert np.array_equal(written, np.where(source == 0, 5, source.astype(int) - 1))


@pytest.mark.parametrize(
    ("annotated", "first", "length"), [([99], 51, 97), ([0], 0, 49), ([199], 151, 49), ([60, 120], 12, 157)]
)
def test_crops_keep_their_annotation_and_their_place(tmp_path, annotated, first, length):
    image = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], (200, 4, 5)).copy()
    marks = np.zeros((200, 4, 5), dtype=np.uint8)
    marks[annotated, 1, 2] = 3
    files = one_scan(tmp_path, image, marks)
    folder = convert(tmp_path, *files, normalization="noNorm", allow_few_cases=True, spacing=(0.5, 0.1, 0.2))
    crop = sitk.ReadImage(str(folder / "imagesTr" / "S1_0000.nii.gz"))
    label = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labelsTr" / "S1.nii.gz")))
    assert np.array_equal(sitk.GetArrayFromImage(crop), image[first : first + length])
    assert np.argwhere(label != 5).tolist() == [[z - first, 1, 2] for z in annotated]
    assert crop.GetSpacing() == pytest.approx((0.2, 0.1, 0.5))
    assert crop.GetOrigin() == pytest.approx((0, 0, 0.5 * first))
    assert read_record(folder)["cases"]["S1"]["z_range"] == [first, first + length]


def test_no_crop_keeps_the_whole_scan(tmp_path):
    image = np.zeros((30, 4, 5), dtype=np.uint8)
    marks = image.copy()
    marks[29, 0, 0] = 1
    folder = convert(tmp_path, *one_scan(tmp_path, image, marks), context=None, allow_few_cases=True)
    assert sitk.ReadImage(str(folder / "imagesTr" / "S1_0000.nii.gz")).GetSize() == (5, 4, 30)


@pytest.mark.parametrize(
    "image",
    [
        np.linspace(0, 65535, 8 * 16 * 16).reshape(8, 16, 16).astype(np.uint16),
        np.linspace(0, 1, 8 * 16 * 16).reshape(8, 16, 16).astype(np.float32),
        np.linspace(-9000, 9000, 8 * 16 * 16).reshape(8, 16, 16).astype(np.int16),
    ],
    ids=lambda image: str(image.dtype),
)
@pytest.mark.parametrize("file_format", ["nii.gz", "mha", "tif"])
def test_no_norm_keeps_grey_values_exactly(tmp_path, image, file_format):
    files = one_scan(tmp_path, image, asymmetric_labels(image.shape))
    folder = convert(tmp_path, *files, normalization="noNorm", allow_few_cases=True, file_format=file_format)
    written, _ = read_volume(folder / "imagesTr" / f"S1_0000.{file_format}")
    assert written.dtype == image.dtype
    assert np.array_equal(written, image)


def test_zscore_is_stored_unquantised_and_computed_over_the_whole_scan(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (120, 8, 8), dtype=np.uint8)
    marks = np.zeros_like(image)
    marks[5] = 2
    folder = convert(tmp_path, *one_scan(tmp_path, image, marks), allow_few_cases=True)
    written, _ = read_volume(folder / "imagesTr" / "S1_0000.nii.gz")
    assert np.abs(written - ((image - image.mean()) / image.std())[:54]).max() < 1e-6


def test_scans_of_similar_names_are_paired_exactly(tmp_path):
    for number, name in enumerate(["S1", "S10", "a__b", "S100", "x-y z"]):
        image = np.full((6, 4, 4), number, dtype=np.uint8)
        files = one_scan(tmp_path, image, image + 1, name)
    folder = convert(tmp_path, *files, normalization="noNorm")
    for number, name in enumerate(["S1", "S10", "a__b", "S100", "x-y z"]):
        image, _ = read_volume(folder / "imagesTr" / f"{name}_0000.nii.gz")
        label, _ = read_volume(folder / "labelsTr" / f"{name}.nii.gz")
        assert (image == number).all()
        assert (label == number).all()


def test_stray_files_and_any_case_of_the_ending_are_no_problem(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    (images / "S0.tif").rename(images / "S0.TIF")
    (images / "S1.tif").rename(images / "S1.tiff")
    (images / "notes.txt").write_text("stray")
    (images / ".S9.tif").write_text("hidden")
    folder = convert(tmp_path, images, annotations, classes)
    assert len(list((folder / "imagesTr").iterdir())) == 5


def test_paths_with_spaces_and_hyphens_work_from_the_command_line(tmp_path):
    images, annotations, classes = soil_folder(tmp_path / "my soil - data")
    words = ["-i", images, "-a", annotations, "-c", classes, "-o", tmp_path / "raw - data", "-np", "1"]
    assert main(["convert", "soil_ct", *map(str, words)]) == 0
    assert (tmp_path / "raw - data" / "Dataset777_Soil" / "dataset.json").is_file()


def test_the_script_has_the_flags_of_the_verb(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    script = [sys.executable, str(ROOT / "dataset_conversion" / "soil_ct.py")]
    words = [
        "-i",
        images,
        "-a",
        annotations,
        "-c",
        classes,
        "-d",
        "5",
        "-n",
        "Other",
        "--normalization",
        "noNorm",
    ]
    environment = os.environ | {"nnUNet_raw": str(tmp_path / "raw")}
    done = subprocess.run([*script, *map(str, words)], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Dataset005_Other: 5 training cases" in done.stdout


def test_suffixes_let_images_and_annotations_share_a_folder(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    both = tmp_path / "both"
    both.mkdir()
    for case in range(5):
        (images / f"S{case}.tif").rename(both / f"S{case}_image.tif")
        (annotations / f"S{case}.tif").rename(both / f"S{case}_label_otsu.tif")
    folder = convert(tmp_path, both, both, classes, image_suffix="_image", annotation_suffix="_label_otsu")
    assert sorted(path.name for path in (folder / "labelsTr").iterdir()) == [f"S{case}.nii.gz" for case in range(5)]


def test_a_scan_as_folder_of_slices_is_one_case(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    scan = tifffile.imread(images / "S2.tif")
    (images / "S2.tif").unlink()
    for z in range(len(scan)):
        write_tif(images / "S2" / f"slice {z}.tif", scan[z])
    folder = convert(tmp_path, images, annotations, classes, normalization="noNorm")
    assert np.array_equal(read_volume(folder / "imagesTr" / "S2_0000.nii.gz")[0], scan)


@pytest.mark.skipif(not (SHARED_DATA / "soil_ct").is_dir(), reason="no shared test data")
def test_the_real_slice_folder_is_read_as_one_volume():
    volumes = named_volumes(SHARED_DATA / "soil_ct" / "slices")
    assert list(volumes) == ["slices"]
    assert read_volume(volumes["slices"])[0].shape == (48, 500, 500)


def test_matrix_as_class_leaves_the_background_unused(tmp_path):
    folder = convert(tmp_path, *soil_folder(tmp_path), matrix_as_class=True)
    labels = read_dataset(folder)["labels"]
    assert labels == {"background": 0, "Matrix": 1, "Stone": 2, "Root": 3, "Pore": 4, "Wall": 5, "ignore": 6}
    written, _ = read_volume(folder / "labelsTr" / "S0.nii.gz")
    assert 0 not in written


def test_geometry_of_the_scan_reaches_image_and_label(tmp_path):
    turned = Geometry((0.4, 0.2, 0.3), (7.0, -3.0, 2.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
    for case in range(5):
        scan = np.zeros((10, 6, 8), dtype=np.uint8)
        marks = scan.copy()
        marks[9, 0, 0] = 1
        write_volume(tmp_path / "images" / f"S{case}.mha", scan, turned)
        write_tif(tmp_path / "annotations" / f"S{case}.tif", marks)
    classes = class_file(tmp_path / "classes.json")
    folder = convert(tmp_path, tmp_path / "images", tmp_path / "annotations", classes, context=2)
    for path in (folder / "imagesTr" / "S0_0000.nii.gz", folder / "labelsTr" / "S0.nii.gz"):
        geometry = read_volume(path)[1]
        assert geometry.spacing == pytest.approx(turned.spacing)
        assert geometry.origin == pytest.approx((7.0 + 7 * 0.4, -3.0, 2.0))
        assert np.allclose(geometry.direction, turned.direction)


def test_split_annotated_gives_cases_that_share_no_slice(tmp_path):
    files = soil_folder(tmp_path, cases=2, shape=(60, 8, 8), annotated=(4, 5, 30, 31, 58))
    folder = convert(tmp_path, *files, split_annotated=3)
    cases = read_record(folder)["cases"]
    assert len(cases) == 6
    ranges = sorted(tuple(case["z_range"]) for case in cases.values() if case["image"].endswith("S0.tif"))
    assert all(left[1] <= right[0] for left, right in pairwise(ranges))
    assert sum(case["annotated_slices"] for case in cases.values()) == 10


def test_fewer_than_five_cases_are_refused_with_the_ways_out(tmp_path):
    with pytest.raises(InputError, match=r"3 training cases.*--split-annotated.*--allow-few-cases"):
        convert(tmp_path, *soil_folder(tmp_path, cases=3))
    assert not (tmp_path / "raw").exists()


def test_a_scan_without_annotation_is_left_out_and_named(tmp_path):
    images, annotations, classes = soil_folder(tmp_path, cases=6)
    write_tif(annotations / "S4.tif", np.zeros((12, 16, 20), dtype=np.uint8))
    converted = convert_soil_ct(images, annotations, classes, output=tmp_path / "raw", processes=1)
    assert "S4" not in converted.cases
    assert any("S4" in note and "left out" in note for note in converted.notes)
    assert read_record(converted.folder)["not_annotated"] == ["S4"]


def test_nothing_annotated_at_all_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no annotation has an annotated voxel"):
        convert(tmp_path, *one_scan(tmp_path, np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)))


def test_every_bad_case_is_named_in_one_go_and_nothing_is_written(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    write_tif(annotations / "S1.tif", np.ones((12, 16, 21), dtype=np.uint8))
    unknown = tifffile.imread(annotations / "S2.tif")
    unknown[0, 0, :3] = 77
    write_tif(annotations / "S2.tif", unknown)
    (annotations / "S3.tif").write_bytes(b"not a tiff")
    with pytest.raises(BadCasesError) as caught:
        convert(tmp_path, images, annotations, classes)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "S1.tif: shape (12, 16, 21) instead of (12, 16, 20) (z, y, x) as in the image" in text
    assert "ids 77 (3 voxels)" in text
    assert "S3.tif" in text
    assert not (tmp_path / "raw").exists()


def test_ids_above_255_do_not_wrap(tmp_path):
    marks = np.ones((4, 5, 6), dtype=np.uint16)
    marks[0, 0, 0] = 257
    with pytest.raises(BadCasesError, match=r"257 \(1 voxels\)"):
        convert(tmp_path, *one_scan(tmp_path, np.zeros((4, 5, 6), np.uint8), marks), allow_few_cases=True)


def test_unknown_ids_can_be_ignored(tmp_path):
    marks = np.ones((4, 5, 6), dtype=np.uint16)
    marks[0, 0, 0] = 257
    files = one_scan(tmp_path, np.zeros((4, 5, 6), np.uint8), marks)
    converted = convert_soil_ct(
        *files, output=tmp_path / "raw", processes=1, allow_few_cases=True, unknown_as_ignore=True
    )
    label, _ = read_volume(converted.folder / "labelsTr" / "S1.nii.gz")
    assert label[0, 0, 0] == 5
    assert any("[257]" in note for note in converted.notes)


def test_a_float_annotation_must_hold_whole_numbers(tmp_path):
    marks = np.ones((4, 5, 6), dtype=np.float32)
    files = one_scan(tmp_path, np.zeros((4, 5, 6), np.uint8), marks)
    assert convert(tmp_path, *files, allow_few_cases=True).is_dir()
    marks[0, 0, 0] = 0.5
    write_tif(tmp_path / "annotations" / "S1.tif", marks)
    with pytest.raises(BadCasesError, match="whole numbers"):
        convert(tmp_path, *files, allow_few_cases=True, overwrite=True)


def test_images_and_annotations_without_partner_are_all_named(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    (images / "S1.tif").rename(images / "S11.tif")
    with pytest.raises(BadCasesError, match=r"(?s)S1\.tif: no image.*S11\.tif: no annotation"):
        convert(tmp_path, images, annotations, classes)


def test_no_pair_at_all_exits_with_an_error(tmp_path, capsys):
    images, annotations, classes = soil_folder(tmp_path)
    for path in annotations.iterdir():
        path.rename(path.with_name(f"mask_{path.name}"))
    words = ["-i", images, "-a", annotations, "-c", classes, "-o", tmp_path / "raw"]
    assert main(["convert", "soil_ct", *map(str, words)]) == 1
    assert "10 problems found, nothing was written" in capsys.readouterr().err


def test_a_case_that_is_there_twice_is_an_error(tmp_path):
    images, annotations, classes = soil_folder(tmp_path)
    write_volume(images / "S1.mha", np.zeros((12, 16, 20), dtype=np.uint8), Geometry())
    with pytest.raises(BadCasesError, match=r"'S1' is there more than once: S1\.mha, S1\.tif|S1\.tif, S1\.mha"):
        convert(tmp_path, images, annotations, classes)


def test_geometry_that_differs_between_image_and_annotation_is_an_error(tmp_path):
    write_volume(tmp_path / "images" / "S1.mha", np.zeros((4, 5, 6), np.uint8), Geometry((1, 1, 1)))
    write_volume(tmp_path / "annotations" / "S1.mha", np.ones((4, 5, 6), np.uint8), Geometry((1, 1, 2)))
    with pytest.raises(BadCasesError, match="spacing"):
        convert(
            tmp_path,
            tmp_path / "images",
            tmp_path / "annotations",
            class_file(tmp_path / "c.json"),
            allow_few_cases=True,
        )


def test_an_existing_dataset_is_kept_without_overwrite_and_replaced_with_it(tmp_path):
    files = soil_folder(tmp_path)
    folder = convert(tmp_path, *files)
    (folder / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="Dataset777_Soil"):
        convert(tmp_path, *files)
    assert (folder / "mine.txt").is_file()
    convert(tmp_path, *files, overwrite=True)
    assert not (folder / "mine.txt").exists()
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["Dataset777_Soil"]


def test_an_id_that_another_dataset_has_is_refused(tmp_path):
    files = soil_folder(tmp_path)
    convert(tmp_path, *files)
    with pytest.raises(OutputExistsError, match="id 777 is taken"):
        convert(tmp_path, *files, name="SomethingElse")


@pytest.mark.parametrize("scheme", ["zscore", "noNorm"])
def test_every_scan_with_unusable_voxels_is_named_before_anything_is_written(tmp_path, scheme):
    images, annotations, classes = soil_folder(tmp_path)
    scan = np.zeros((12, 16, 20), dtype=np.float32)
    scan[11, 3, 3] = np.nan
    for name in ("S2.tif", "S4.tif"):
        write_tif(images / name, scan)
    with pytest.raises(BadCasesError, match=r"(?s)S2\.tif: 1 voxels are NaN.*S4\.tif: 1 voxels are NaN"):
        convert(tmp_path, images, annotations, classes, normalization=scheme)
    assert not (tmp_path / "raw").exists()


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_arguments, **_options):
        message = "disk full"
        raise InputError(message)

    monkeypatch.setattr("dataset_conversion.sparse_dataset.write_dataset_json", fail)
    with pytest.raises(InputError, match="disk full"):
        convert(tmp_path, *soil_folder(tmp_path))
    assert list((tmp_path / "raw").iterdir()) == []


def test_several_processes_give_the_same_dataset(tmp_path):
    files = soil_folder(tmp_path)
    one = convert(tmp_path / "one", *files)
    two = convert_soil_ct(*files, output=tmp_path / "two", processes=2).folder
    for path in sorted(p for p in one.rglob("*") if p.is_file() and p.suffix == ".gz"):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"normalization": "minmax"}, "minmax"),
        ({"file_format": "png"}, "png"),
        ({"context": -1}, "--context"),
        ({"spacing": (1.0, 0.0, 1.0)}, "--spacing"),
        ({"split_annotated": 0}, "--split-annotated"),
        ({"dataset_id": 1000}, "1…999"),
        ({"name": "a b"}, "dataset name"),
    ],
)
def test_bad_options_are_refused(tmp_path, option, message):
    with pytest.raises(InputError, match=message):
        convert(tmp_path, *soil_folder(tmp_path), **option)


def test_the_environment_variable_of_nnunet_is_the_default_output(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "from_env"))
    converted = convert_soil_ct(*soil_folder(tmp_path), processes=1)
    assert converted.folder == Path(tmp_path / "from_env" / "Dataset777_Soil")
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(InputError, match="nnUNet_raw"):
        convert_soil_ct(*soil_folder(tmp_path / "again"), processes=1)
