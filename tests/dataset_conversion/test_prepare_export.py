"""The inference side: unseen scans in, predictions back in the annotation's ids."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from dataset_conversion.export_labels import export_soil_ct
from dataset_conversion.prepare_scans import prepare_soil_ct
from dataset_conversion.sparse_dataset import convert_soil_ct
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.imageio import Geometry, open_volume, read_volume, write_volume
from tests.builders import asymmetric_labels, class_file, soil_folder, write_tif

SHAPE = (7, 12, 17)


def dataset(folder, **options):
    return convert_soil_ct(*soil_folder(folder), output=folder / "raw", processes=1, **options).folder


def predictions_of(folder, dataset_folder, labels, ending, geometry):
    """Write label maps as stock nnUNetv2_predict leaves them: with dataset.json beside them."""
    folder.mkdir()
    shutil.copy(dataset_folder / "dataset.json", folder)
    (folder / "plans.json").write_text("{}")
    for case, array in labels.items():
        write_volume(folder / f"{case}{ending}", array, geometry)
        if ending == ".tif":
            (folder / f"{case}.json").write_text(json.dumps({"spacing": list(geometry.spacing)}))
    return folder


@pytest.mark.parametrize("file_format", ["nii.gz", "mha", "tif"])
@pytest.mark.parametrize("scheme", ["zscore", "noNorm", "rescale_to_0_1", "rgb_to_0_1"])
def test_a_training_scan_gets_the_grey_values_that_it_had_in_training(tmp_path, file_format, scheme):
    folder = dataset(tmp_path, file_format=file_format, normalization=scheme, context=1)
    prepared = prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder, processes=1)
    assert prepared.cases == [f"S{case}" for case in range(5)]
    for case in prepared.cases:
        training, _ = read_volume(folder / "imagesTr" / f"{case}_0000.{file_format}")
        whole, _ = read_volume(tmp_path / "in" / f"{case}_0000.{file_format}")
        assert len(whole) == 12
        assert np.abs(whole[4:7].astype(float) - training).max() < 1e-6


def test_prepare_reads_the_model_folder_and_its_folds(tmp_path):
    folder = dataset(tmp_path)
    model = tmp_path / "model"
    (model / "fold_0").mkdir(parents=True)
    shutil.copy(folder / "dataset.json", model)
    for number, given in enumerate((model, model / "fold_0")):
        words = ["-i", tmp_path / "images", "-o", tmp_path / f"in{number}", "-m", given, "-np", "1"]
        assert main(["prepare", "soil_ct", *map(str, words)]) == 0
        assert len(list((tmp_path / f"in{number}").glob("*_0000.nii.gz"))) == 5


def test_prepare_uses_the_spacing_given_at_conversion(tmp_path):
    folder = dataset(tmp_path, spacing=(0.019, 0.02, 0.03))
    prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder, processes=1)
    with open_volume(tmp_path / "in" / "S0_0000.nii.gz") as scan:
        assert scan.geometry.spacing == pytest.approx((0.019, 0.02, 0.03))


def test_prepare_records_what_it_did(tmp_path):
    prepare_soil_ct(tmp_path / "images", tmp_path / "in", dataset(tmp_path), processes=1)
    record = json.loads((tmp_path / "in" / "conversion.json").read_text())
    scan = tifffile.imread(tmp_path / "images" / "S1.tif")
    assert record["cases"]["S1"]["normalization"]["offset"] == pytest.approx(scan.mean())


def test_prepare_names_every_scan_that_it_cannot_read_and_writes_nothing(tmp_path):
    folder = dataset(tmp_path)
    for name in ("S1.tif", "S3.tif"):
        (tmp_path / "images" / name).write_bytes(b"no tiff")
    with pytest.raises(BadCasesError, match=r"(?s)2 problems.*S1\.tif.*S3\.tif"):
        prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder, processes=1)
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("scheme", ["zscore", "noNorm"])
def test_prepare_names_every_scan_with_unusable_voxels_and_writes_nothing(tmp_path, scheme):
    folder = dataset(tmp_path, normalization=scheme)
    for name in ("S1.tif", "S3.tif"):
        write_tif(tmp_path / "images" / name, np.full((12, 16, 20), np.nan, dtype=np.float32))
    with pytest.raises(BadCasesError, match=r"(?s)2 problems.*S1\.tif: 3840 voxels are NaN.*S3\.tif"):
        prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder, processes=1)
    assert not (tmp_path / "in").exists()


def test_no_process_at_all_is_refused(tmp_path, capsys):
    folder = dataset(tmp_path)
    words = ["-i", tmp_path / "images", "-o", tmp_path / "in", "--dataset", folder, "-np", "0"]
    assert main(["prepare", "soil_ct", *map(str, words)]) == 1
    assert "expected 1 or more processes (-np), found 0" in capsys.readouterr().err


def test_prepare_overwrites_only_when_told(tmp_path):
    folder = dataset(tmp_path)
    prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder, processes=1)
    with pytest.raises(OutputExistsError, match="S0_0000"):
        prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder, processes=1)
    prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder, processes=1, overwrite=True)


def test_prepare_needs_a_dataset_that_we_made(tmp_path):
    folder = dataset(tmp_path)
    with pytest.raises(MissingInputError, match=r"no dataset\.json"):
        prepare_soil_ct(tmp_path / "images", tmp_path / "in", tmp_path / "images")
    (folder / "dataset.json").write_text('{"file_ending": ".nii.gz"}')
    with pytest.raises(InputError, match="another tool"):
        prepare_soil_ct(tmp_path / "images", tmp_path / "in", folder)


@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".tif"])
@pytest.mark.parametrize("file_format", ["tif", "mha", "nii.gz", "nrrd"])
@pytest.mark.parametrize("matrix_as_class", [False, True])
def test_the_round_trip_of_an_asymmetric_phantom_is_exact_and_unflipped(tmp_path, ending, file_format, matrix_as_class):
    """Annotation → label of the dataset, taken as a perfect prediction → exported ids."""
    truth = asymmetric_labels(SHAPE)
    spacing = (0.4, 0.019, 0.25)
    for case in range(5):
        write_tif(tmp_path / "images" / f"S{case}.tif", truth)
        write_tif(tmp_path / "annotations" / f"S{case}.tif", truth)
    folder = convert_soil_ct(
        tmp_path / "images",
        tmp_path / "annotations",
        class_file(tmp_path / "classes.json"),
        output=tmp_path / "raw",
        file_format=ending[1:],
        spacing=spacing,
        matrix_as_class=matrix_as_class,
        processes=1,
    ).folder
    labels, _ = read_volume(folder / "labelsTr" / f"S2{ending}")
    predictions = predictions_of(tmp_path / "pred", folder, {"S2": labels}, ending, Geometry(spacing))
    (target,) = export_soil_ct(predictions, tmp_path / "out", file_format=file_format, processes=1)
    assert target == tmp_path / "out" / f"S2.{file_format}"
    exported, geometry = read_volume(target)
    assert exported.dtype == np.uint8
    assert np.array_equal(exported, truth)
    assert geometry.spacing == pytest.approx(spacing)


def test_an_exported_tif_carries_the_colours_of_the_annotation(tmp_path):
    folder = dataset(tmp_path)
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[0, 0, :5] = range(5)
    predictions = predictions_of(tmp_path / "pred", folder, {"a": labels}, ".nii.gz", Geometry())
    (target,) = export_soil_ct(predictions, tmp_path / "out", processes=1)
    with tifffile.TiffFile(target) as tif:
        colormap = tif.pages[0].colormap
    assert [tuple(colormap[:, value] >> 8) for value in (0, 1, 5)] == [
        (0, 255, 0),
        (10, 254, 1),
        (50, 250, 5),
    ]
    assert tifffile.imread(target)[0, 0, :5].tolist() == [1, 2, 3, 4, 5]


def test_export_keeps_the_geometry_of_the_scan(tmp_path):
    folder = dataset(tmp_path)
    turned = Geometry((0.4, 0.2, 0.3), (7.0, -3.0, 2.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
    labels = {"a": np.zeros(SHAPE, dtype=np.uint8)}
    predictions = predictions_of(tmp_path / "pred", folder, labels, ".nii.gz", turned)
    with pytest.raises(BadCasesError, match="TIFF cannot hold its direction"):
        export_soil_ct(predictions, tmp_path / "out", processes=1)
    (target,) = export_soil_ct(predictions, tmp_path / "out", file_format="nrrd", processes=1)
    source, exported = (sitk.ReadImage(str(path)) for path in (predictions / "a.nii.gz", target))
    assert exported.GetOrigin() == pytest.approx(source.GetOrigin())
    assert exported.GetSpacing() == pytest.approx(source.GetSpacing())
    assert exported.GetDirection() == pytest.approx(source.GetDirection())


def test_a_scan_that_the_format_of_the_model_cannot_hold_is_refused(tmp_path):
    folder = dataset(tmp_path, file_format="tif")
    turned = Geometry((0.4, 0.2, 0.3), (7.0, -3.0, 2.0), ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)))
    (tmp_path / "scans").mkdir()
    write_volume(tmp_path / "scans" / "a.nii.gz", np.zeros(SHAPE, dtype=np.uint8), turned)
    with pytest.raises(BadCasesError, match=r"axes are rotated or mirrored .* --format nii\.gz"):
        prepare_soil_ct(tmp_path / "scans", tmp_path / "in", folder, processes=1)


def test_labels_that_the_dataset_lacks_are_named_and_nothing_is_written(tmp_path):
    folder = dataset(tmp_path)
    bad = np.full(SHAPE, 17, dtype=np.uint8)
    good = np.zeros(SHAPE, dtype=np.uint8)
    predictions = predictions_of(tmp_path / "pred", folder, {"a": good, "b": bad}, ".nii.gz", Geometry())
    with pytest.raises(BadCasesError, match=rf"b\.nii\.gz: labels 17 \({bad.size} voxels\)"):
        export_soil_ct(predictions, tmp_path / "out", processes=1)
    assert not (tmp_path / "out").exists()


def test_export_finds_dataset_json_beside_the_predictions_or_where_told(tmp_path):
    folder = dataset(tmp_path)
    labels = {"a": np.zeros(SHAPE, dtype=np.uint8)}
    predictions = predictions_of(tmp_path / "pred", folder, labels, ".nii.gz", Geometry())
    (predictions / "dataset.json").unlink()
    with pytest.raises(MissingInputError, match="--dataset"):
        export_soil_ct(predictions, tmp_path / "out")
    words = ["-i", predictions, "-o", tmp_path / "out", "--dataset", folder, "--format", "mha"]
    assert main(["export", "soil_ct", *map(str, words)]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mha"]


def test_export_ignores_what_nnunet_leaves_beside_the_predictions(tmp_path):
    folder = dataset(tmp_path)
    labels = {"a": np.zeros(SHAPE, dtype=np.uint8)}
    predictions = predictions_of(tmp_path / "pred", folder, labels, ".nii.gz", Geometry())
    for name in ("a.npz", "a.pkl", "predict_from_raw_data_args.json", ".b.nii.gz"):
        (predictions / name).write_bytes(b"")
    assert len(export_soil_ct(predictions, tmp_path / "out", processes=1)) == 1


def test_no_prediction_at_all_is_an_error(tmp_path):
    folder = dataset(tmp_path)
    predictions = predictions_of(tmp_path / "pred", folder, {}, ".nii.gz", Geometry())
    with pytest.raises(InputError, match=r"expected predictions ending in \.nii\.gz, found none"):
        export_soil_ct(predictions, tmp_path / "out")


def test_export_never_replaces_the_predictions_themselves(tmp_path):
    folder = dataset(tmp_path)
    labels = {"a": np.zeros(SHAPE, dtype=np.uint8)}
    predictions = predictions_of(tmp_path / "pred", folder, labels, ".nii.gz", Geometry())
    with pytest.raises(InputError, match="folder of the predictions"):
        export_soil_ct(predictions, predictions, file_format="nii.gz", processes=1, overwrite=True)
    assert not read_volume(predictions / "a.nii.gz")[0].any()


def test_export_overwrites_only_when_told(tmp_path):
    folder = dataset(tmp_path)
    labels = {"a": np.zeros(SHAPE, dtype=np.uint8)}
    predictions = predictions_of(tmp_path / "pred", folder, labels, ".nii.gz", Geometry())
    export_soil_ct(predictions, tmp_path / "out", processes=1)
    with pytest.raises(OutputExistsError, match=r"a\.tif"):
        export_soil_ct(predictions, tmp_path / "out", processes=1)
    export_soil_ct(predictions, tmp_path / "out", processes=1, overwrite=True)
