"""``nnunet_ext stack``: what it writes, and what it refuses."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from dataset_conversion.stack_labels import stack_labels
from dataset_conversion.task_options import free_value, parse_task, read_tasks_file
from nnunet_ext.cli import main
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.imageio import Geometry, read_volume
from nnunet_ext.multitask.joint_labels import from_dataset_json
from tests.dataset_conversion.stack_folders import (
    TURNED,
    glacier_tasks,
    glaciers,
    read_json,
    values_of,
    write,
    write_json,
)

TWO_TASKS = {
    "front": {"labels": {"background": 0, "front": 1}},
    "zones": {"labels": {"na": 0, "rock": 1, "ocean": 2}},
}
RAW = "raw/Dataset007_Glaciers"


def stack(folder, *task, images=None, **options):
    given = {"dataset_id": 7, "name": "Glaciers", "output": folder / "raw", "processes": 1} | options
    return stack_labels(folder / "images" if images is None else images, task=task, **given)


def verify(folder):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    verify_dataset_integrity(str(folder), 1)


def problems_of(folder, *task, **options):
    with pytest.raises(BadCasesError) as caught:
        stack(folder, *task, **options)
    assert not list(folder.glob("raw/*"))
    return caught.value.problems


def decoded(folder, case, ending):
    joint = from_dataset_json(read_json(folder / RAW / "dataset.json"))
    codes, geometry = read_volume(folder / RAW / "labelsTr" / f"{case}{ending}")
    return joint.decode(codes), geometry


def test_grey_pngs_become_a_dataset_that_nnunet_reads(tmp_path):
    maps = glaciers(tmp_path, ("a_001", "b"))
    words = ["stack", "-i", str(tmp_path / "images"), "-d", "7", "-n", "Glaciers", "-o", str(tmp_path / "raw")]
    for task in glacier_tasks(tmp_path):
        words += ["--task", task]
    assert main([*words, "-np", "2"]) == 0
    folder = tmp_path / RAW
    assert read_json(folder / "dataset.json") == {
        "channel_names": {"0": "image"},
        "tasks": {
            "front": {"labels": {"background": 0, "front": 1}},
            "zones": {"labels": {"na": 0, "rock": 1, "glacier": 2, "ocean": 3}},
        },
        "labels": {
            "background": 0,
            "front/front": [4, 5, 6, 7],
            "zones/rock": [1, 5],
            "zones/glacier": [2, 6],
            "zones/ocean": [3, 7],
        },
        "regions_class_order": [1, 2, 3, 4],
        "numTraining": 2,
        "file_ending": ".png",
        "conversion": {
            "source": "stack",
            "tasks": {"front": {"values": [0, 255]}, "zones": {"values": [0, 64, 127, 254]}},
        },
    }
    original = (tmp_path / "images" / "b.png").read_bytes()
    assert (folder / "imagesTr" / "b_0000.png").read_bytes() == original
    stacked, _ = decoded(tmp_path, "a_001", ".png")
    np.testing.assert_array_equal(stacked[0], maps["front/a_001"] == 255)
    np.testing.assert_array_equal(stacked[1], np.searchsorted([0, 64, 127, 254], maps["zones/a_001"]))
    record = read_json(folder / "conversion.json")
    assert record["cases"]["b"]["labels"][1].endswith("b_zones.png")
    assert record["cases"]["b"]["copied"]
    verify(folder)


def test_nifti_keeps_spacing_origin_and_direction(tmp_path):
    glaciers(tmp_path, shape=(3, 6, 5), ending=".nii.gz", geometry=TURNED)
    converted = stack(tmp_path, *glacier_tasks(tmp_path, ".nii.gz"))
    _, geometry = decoded(tmp_path, "a", ".nii.gz")
    np.testing.assert_allclose(geometry.spacing, TURNED.spacing)
    np.testing.assert_allclose(geometry.origin, TURNED.origin)
    np.testing.assert_allclose(geometry.direction, TURNED.direction, atol=1e-6)
    assert any("NIfTI header" in note for note in converted.notes)
    assert any("train with fold 'all'" in note for note in converted.notes)
    verify(converted.folder)


def test_channels_come_by_nnunets_names(tmp_path):
    glaciers(tmp_path, shape=(3, 6, 5), ending=".nii.gz")
    for case in "ab":
        (tmp_path / "images" / f"{case}.nii.gz").rename(tmp_path / "images" / f"{case}_0000.nii.gz")
        write(tmp_path / "images" / f"{case}_0001.nii.gz", values_of([1, 2], (3, 6, 5)).astype(np.float32))
    folder = stack(tmp_path, *glacier_tasks(tmp_path, ".nii.gz"), channels=["CT", "noNorm"]).folder
    assert read_json(folder / "dataset.json")["channel_names"] == {"0": "CT", "1": "noNorm"}
    assert len(list((folder / "imagesTr").iterdir())) == 4
    stack(tmp_path, *glacier_tasks(tmp_path, ".nii.gz"), overwrite=True)
    assert read_json(folder / "dataset.json")["channel_names"] == {"0": "image0", "1": "image1"}


def test_names_that_only_look_like_channels_are_cases(tmp_path):
    glaciers(tmp_path, ("COL_1998", "COL_2004"))
    assert stack(tmp_path, *glacier_tasks(tmp_path)).cases == ["COL_1998", "COL_2004"]


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_images_are_channels_in_one_file(tmp_path, channels):
    glaciers(tmp_path)
    for case in "ab":
        image = np.random.default_rng(0).integers(0, 255, (6, 5, channels), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "images" / f"{case}.png")
    folder = stack(tmp_path, *glacier_tasks(tmp_path)).folder
    assert list(read_json(folder / "dataset.json")["channel_names"]) == [str(number) for number in range(channels)]
    if channels == 3:
        verify(folder)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".tif", ".png"])
def test_images_are_converted_when_asked(tmp_path, ending):
    glaciers(tmp_path, ending=".mha")
    folder = stack(tmp_path, *glacier_tasks(tmp_path, ".mha"), file_format=ending).folder
    image, _ = read_volume(folder / "imagesTr" / f"a_0000{ending}")
    np.testing.assert_array_equal(image, read_volume(tmp_path / "images" / "a.mha")[0])
    assert read_json(folder / "dataset.json")["file_ending"] == ending


@pytest.mark.parametrize(("depth", "reader"), [(1, "NaturalImage2DIO"), (3, "Tiff3DIO")])
def test_tiff_gets_the_reader_that_reads_it(tmp_path, depth, reader):
    glaciers(tmp_path, shape=(depth, 6, 5), ending=".tif", geometry=Geometry((2.0, 0.5, 0.75)))
    folder = stack(tmp_path, *glacier_tasks(tmp_path, ".tif")).folder
    assert read_json(folder / "dataset.json")["overwrite_image_reader_writer"] == reader
    if depth > 1:
        assert read_json(folder / "labelsTr" / "a.json")["spacing"] == pytest.approx([2.0, 0.5, 0.75])
    verify(folder)


def test_the_spacing_of_a_side_car_goes_into_the_dataset(tmp_path):
    glaciers(tmp_path, shape=(3, 6, 5), ending=".tif")
    for case in "ab":
        tifffile.imwrite(
            tmp_path / "images" / f"{case}_0000.tif", np.ones((3, 6, 5), np.uint8), photometric="minisblack"
        )
        (tmp_path / "images" / f"{case}.tif").unlink()
        write_json(tmp_path / "images" / f"{case}.json", {"spacing": [3, 2, 1]})
    for path in [*(tmp_path / "fronts").iterdir(), *(tmp_path / "zoness").iterdir()]:
        tifffile.imwrite(path, tifffile.imread(path), photometric="minisblack")
    folder = stack(tmp_path, *glacier_tasks(tmp_path, ".tif")).folder
    assert read_json(folder / "imagesTr" / "b.json")["spacing"] == [3, 2, 1]


def test_files_of_two_dimensions_stay_so(tmp_path):
    glaciers(tmp_path)
    for case in "ab":
        image = sitk.GetImageFromArray(np.ones((6, 5), np.uint8))
        image.SetSpacing((0.5, 2.0))
        sitk.WriteImage(image, str(tmp_path / "images" / f"{case}.nii.gz"))
        (tmp_path / "images" / f"{case}.png").unlink()
    folder = stack(tmp_path, *glacier_tasks(tmp_path)).folder
    assert sitk.ReadImage(str(folder / "labelsTr" / "a.nii.gz")).GetSize() == (5, 6)
    verify(folder)


def test_values_in_the_files_are_classes_where_none_are_named(tmp_path):
    glaciers(tmp_path)
    converted = stack(tmp_path, f"zones={tmp_path}/zoness/*_zones.png")
    content = read_json(converted.folder / "dataset.json")
    assert content["tasks"]["zones"]["labels"] == {"background": 0, "class64": 1, "class127": 2, "class254": 3}
    assert content["conversion"]["tasks"]["zones"]["values"] == [0, 64, 127, 254]
    assert any("background=0, class64=64" in note for note in converted.notes)


def test_a_task_without_background_voxels_has_one_all_the_same(tmp_path):
    glaciers(tmp_path, ("a",))
    write(tmp_path / "zoness" / "a_zones.png", np.full((1, 6, 5), 3, np.uint8))
    folder = stack(tmp_path, f"zones={tmp_path}/zoness/*_zones.png").folder
    assert read_json(folder / "dataset.json")["tasks"]["zones"]["labels"] == {"background": 0, "class3": 1}


def test_too_many_values_ask_for_names(tmp_path):
    glaciers(tmp_path, shape=(1, 20, 10))
    (problem,) = problems_of(tmp_path, f"zones={tmp_path / 'images'}", images=tmp_path / "images")
    assert "different values" in problem
    assert "Name the classes: --task zones=" in problem


def test_a_task_file_gives_classes_options_and_branching(tmp_path):
    glaciers(tmp_path)
    zones = {"na": 0, "rock": 1, "glacier": 2, "ocean": 3}
    content = {
        "front": {"labels": {"background": 0, "front": 1}, "values": {"background": 0, "front": 255}, "weight": 0.3},
        "zones": {
            "labels": zones,
            "values": dict(zip(zones, (0, 64, 127, 254), strict=True)),
            "deep_supervision": False,
        },
        "branching": {"front": "late"},
    }
    tasks = write_json(tmp_path / "tasks.json", content)
    words = [word.rpartition(":")[0] for word in glacier_tasks(tmp_path)]
    result = read_json(stack(tmp_path, *words, tasks=tasks).folder / "dataset.json")
    assert result["tasks"]["front"]["weight"] == 0.3
    assert result["tasks"]["zones"]["deep_supervision"] is False
    assert result["branching"] == {"front": "late"}
    again = stack(tmp_path, *words, tasks=tmp_path / RAW / "dataset.json", name="Again", output=tmp_path / "other")
    assert read_json(again.folder / "dataset.json") == result


@pytest.mark.parametrize("layout", ["4D", "5D", "float", "mha"])
def test_layers_of_one_file(tmp_path, layout):
    maps = values_of([0, 1], (2, 3, 6, 5)).astype(np.float64 if layout == "float" else np.uint8)
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6, 3), np.float32), affine), tmp_path / "images" / "a.nii.gz")
    if layout == "mha":
        image = sitk.GetImageFromArray(np.moveaxis(maps, 0, -1), isVector=True)
        image.CopyInformation(sitk.ReadImage(str(tmp_path / "images" / "a.nii.gz")))
        sitk.WriteImage(image, str(tmp_path / "labels" / "a.mha"))
    else:
        voxels = maps.T[:, :, :, None] if layout == "5D" else maps.T
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "labels" / "a.nii.gz")
    tasks = write_json(tmp_path / "tasks.json", TWO_TASKS)
    folder = stack(tmp_path, layers=tmp_path / "labels", tasks=tasks).folder
    stacked, geometry = decoded(tmp_path, "a", ".nii.gz")
    np.testing.assert_array_equal(stacked, maps)
    assert geometry.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert list(read_json(folder / "dataset.json")["tasks"]) == ["front", "zones"]


@pytest.mark.parametrize("by_value", [True, False])
def test_slices_as_tasks_with_an_older_dataset_json(tmp_path, by_value):
    names = [["background", "front"], ["na", "rock", "ocean"], ["no", "yes"]]
    labels = {
        f"label{number}": {str(v): n for v, n in enumerate(of_task)}
        if by_value
        else {n: v for v, n in enumerate(of_task)}
        for number, of_task in enumerate(names)
    }
    tasks = write_json(tmp_path / "old.json", {"labels": labels, "file_ending": ".nii.gz"})
    maps = np.stack([values_of(range(len(of_task)), (6, 5)) for of_task in names]).astype(np.uint8)
    write(tmp_path / "images" / "a.nii.gz", np.ones((1, 6, 5), np.float32), TURNED)
    write(tmp_path / "labels" / "a.nii.gz", maps, Geometry((1.0, 0.5, 0.75), TURNED.origin, TURNED.direction))
    folder = stack(tmp_path, layers=tmp_path / "labels", tasks=tasks).folder
    np.testing.assert_array_equal(decoded(tmp_path, "a", ".nii.gz")[0][:, 0], maps)
    assert list(read_json(folder / "dataset.json")["tasks"]) == ["label0", "label1", "label2"]


def slicer(path, maps, segments):
    """Write what 3D Slicer does: layers as the values of a voxel, and a header that says where each segment is."""
    path.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(np.moveaxis(maps, 0, -1), isVector=True)
    for number, keys in enumerate(segments):
        for key, value in keys.items():
            image.SetMetaData(f"Segment{number}_{key}", str(value))
    sitk.WriteImage(image, str(path), useCompression=True)


SEGMENTS = [
    {"Name": "ocean", "Layer": 1, "LabelValue": 7},
    {"Name": "front", "Layer": 0, "LabelValue": 1},
    {"Name": "rock", "Layer": 0, "LabelValue": 2},
]


def test_segments_of_slicer_are_found_by_name(tmp_path):
    write(tmp_path / "images" / "a.nrrd", np.ones((3, 6, 5), np.float32))
    layers = np.stack([values_of([0, 1, 2], (3, 6, 5)), values_of([0, 0, 0], (3, 6, 5))]).astype(np.uint8)
    layers[1, 0][layers[0, 0] != 2] = 7
    slicer(tmp_path / "labels" / "a.seg.nrrd", layers, SEGMENTS)
    tasks = write_json(tmp_path / "tasks.json", TWO_TASKS)
    stack(tmp_path, layers=tmp_path / "labels", tasks=tasks)
    front, zones = decoded(tmp_path, "a", ".nrrd")[0]
    np.testing.assert_array_equal(front, layers[0] == 1)
    np.testing.assert_array_equal(zones, np.where(layers[1] == 7, 2, layers[0] == 2))


def test_segments_of_older_slicers_have_a_layer_each(tmp_path):
    write(tmp_path / "images" / "a.nrrd", np.ones((3, 6, 5), np.float32))
    layers = np.zeros((3, 3, 6, 5), np.uint8)
    layers[0, 0], layers[1, 1], layers[2, 2] = 1, 1, 1
    slicer(tmp_path / "labels" / "a.seg.nrrd", layers, [{"Name": name} for name in ("rock", "ocean", "front")])
    stack(tmp_path, layers=tmp_path / "labels", tasks=write_json(tmp_path / "tasks.json", TWO_TASKS))
    front, zones = decoded(tmp_path, "a", ".nrrd")[0]
    assert front[:, 0, 0].tolist() == [0, 0, 1]
    assert zones[:, 0, 0].tolist() == [1, 2, 0]


def test_segments_that_are_missing_unknown_or_overlap_are_told_together(tmp_path):
    write(tmp_path / "images" / "a.nrrd", np.ones((3, 6, 5), np.float32))
    layers = np.zeros((2, 3, 6, 5), np.uint8)
    layers[:, 0] = np.array([2, 7])[:, None, None]
    slicer(tmp_path / "labels" / "a.seg.nrrd", layers, [SEGMENTS[0], SEGMENTS[2], {"Name": "tree", "LabelValue": 9}])
    found = problems_of(tmp_path, layers=tmp_path / "labels", tasks=write_json(tmp_path / "tasks.json", TWO_TASKS))
    assert "a.seg.nrrd: 30 voxels have two classes of task 'zones'" in found[0]
    assert "no segment for front/front; the file has the segments ocean, rock, tree" in found[1]
    assert "segments tree are no class of any task" in found[2]


def test_one_segment_name_in_two_tasks_is_told_apart_by_the_task(tmp_path):
    write(tmp_path / "images" / "a.nrrd", np.ones((1, 2, 2), np.float32))
    layers = np.array([[[[1, 0], [0, 0]]], [[[0, 0], [0, 1]]]], np.uint8)
    slicer(
        tmp_path / "labels" / "a.seg.nrrd",
        layers,
        [{"Name": f"{name}/yes", "Layer": layer, "LabelValue": 1} for layer, name in enumerate(("p", "q"))],
    )
    entry = {"labels": {"no": 0, "yes": 1}}
    tasks = write_json(tmp_path / "tasks.json", {"p": entry, "q": entry})
    stack(tmp_path, layers=tmp_path / "labels", tasks=tasks)
    np.testing.assert_array_equal(decoded(tmp_path, "a", ".nrrd")[0], layers)


def test_a_wrong_number_of_layers_is_told(tmp_path):
    write(tmp_path / "images" / "a.nii.gz", np.ones((3, 6, 5), np.float32))
    write(tmp_path / "labels" / "a.nii.gz", np.zeros((3, 6, 5), np.uint8))
    tasks = write_json(tmp_path / "tasks.json", TWO_TASKS)
    (problem,) = problems_of(tmp_path, layers=tmp_path / "labels", tasks=tasks)
    assert "a.nii.gz: 1 layers of shape (3, 6, 5) (z, y, x), expected 2 (front, zones)" in problem


def test_missing_label_maps_are_told_or_count_as_not_annotated(tmp_path):
    glaciers(tmp_path, ("a", "b", "c"))
    (tmp_path / "fronts" / "b_front.png").unlink()
    (problem,) = problems_of(tmp_path, *glacier_tasks(tmp_path))
    assert "no file for task 'front' of case 'b'; give --missing-as-ignore" in problem
    converted = stack(tmp_path, *glacier_tasks(tmp_path), missing_as_ignore=True)
    content = read_json(converted.folder / "dataset.json")
    assert content["tasks"]["front"]["labels"] == {"background": 0, "front": 1, "ignore": 2}
    assert "ignore" not in content["tasks"]["zones"]["labels"]
    assert content["conversion"]["tasks"]["front"]["values"] == [0, 255, 254]
    assert (decoded(tmp_path, "b", ".png")[0][0] == 2).all()
    assert (decoded(tmp_path, "a", ".png")[0][0] < 2).all()
    assert any("'front' has no file" in note and "b" in note for note in converted.notes)
    assert read_json(converted.folder / "conversion.json")["cases"]["b"]["missing"] == ["front"]
    verify(converted.folder)


def test_a_case_without_any_label_map_is_refused_always(tmp_path):
    glaciers(tmp_path)
    for name in ("fronts/a_front.png", "zoness/a_zones.png"):
        (tmp_path / name).unlink()
    found = problems_of(tmp_path, *glacier_tasks(tmp_path), missing_as_ignore=True)
    assert ["--missing-as-ignore" in problem for problem in found] == [False, False]


def test_an_ignore_class_of_the_files_is_kept(tmp_path):
    glaciers(tmp_path)
    words = [glacier_tasks(tmp_path)[0], f"zones={tmp_path}/zoness/*_zones.png:na=0,rock=64,glacier=127,ignore=254"]
    folder = stack(tmp_path, *words).folder
    content = read_json(folder / "dataset.json")
    assert content["tasks"]["zones"]["labels"] == {"na": 0, "rock": 1, "glacier": 2, "ignore": 3}
    assert content["conversion"]["tasks"]["zones"]["values"] == [0, 64, 127, 254]
    assert (decoded(tmp_path, "a", ".png")[0][1] == 3).any()


def test_every_problem_of_every_case_is_told_in_one_go(tmp_path):
    glaciers(tmp_path, ("a", "b", "c", "d", "e"), shape=(2, 6, 5), ending=".nii.gz", geometry=TURNED)
    write(tmp_path / "fronts" / "a_front.nii.gz", np.zeros((2, 5, 6), np.uint8), TURNED)
    write(tmp_path / "fronts" / "b_front.nii.gz", np.zeros((2, 6, 5), np.uint8), Geometry((2.5, 0.5, 0.8)))
    write(tmp_path / "zoness" / "c_zones.nii.gz", np.full((2, 6, 5), 65, np.uint8), TURNED)
    write(tmp_path / "zoness" / "d_zones.nii.gz", np.full((2, 6, 5), 0.5, np.float32), TURNED)
    (tmp_path / "images" / "e.nii.gz").write_bytes((tmp_path / "images" / "e.nii.gz").read_bytes()[:-20])
    write(tmp_path / "zoness" / "f_zones.nii.gz", np.zeros((2, 6, 5), np.uint8))
    found = problems_of(tmp_path, *glacier_tasks(tmp_path, ".nii.gz"))
    assert [
        any(word in problem for problem in found)
        for word in (
            "f_zones.nii.gz: no image of case 'f'; images are there for a, b",
            "a_front.nii.gz: shape (2, 5, 6) instead of (2, 6, 5)",
            "b_front.nii.gz: spacing (2.5, 0.5, 0.8) instead of (2.5, 0.5, 0.75), origin",
            "c_zones.nii.gz: values 65 found, expected those of task 'zones': 0 (na), 64 (rock)",
            "d_zones.nii.gz: values [0.5] found, expected whole numbers",
            "e.nii.gz: ",
        )
    ] == [True] * 6
    assert len(found) == 6


def test_whole_numbers_in_floating_point_are_labels(tmp_path):
    maps = glaciers(tmp_path, shape=(2, 6, 5), ending=".mha")
    write(tmp_path / "fronts" / "a_front.mha", maps["front/a"].astype(np.float64))
    stack(tmp_path, *glacier_tasks(tmp_path, ".mha"))
    np.testing.assert_array_equal(decoded(tmp_path, "a", ".mha")[0][0], maps["front/a"] == 255)


def test_too_many_joint_labels_are_told(tmp_path):
    glaciers(tmp_path)
    classes = ",".join(f"c{number}" for number in range(256))
    words = [f"{name}={tmp_path}/zoness/*_zones.png:{classes}" for name in ("p", "q")]
    (problem,) = problems_of(tmp_path, *words)
    assert "65536 joint labels" in problem


def test_more_than_8_bits_of_joint_labels_are_kept(tmp_path):
    maps = glaciers(tmp_path)
    classes = ",".join(f"c{number}" for number in range(255))
    words = [f"many={tmp_path}/zoness/*_zones.png:{classes}", glacier_tasks(tmp_path)[0]]
    folder = stack(tmp_path, *words).folder
    assert read_volume(folder / "labelsTr" / "a.png")[0].dtype == np.uint16
    np.testing.assert_array_equal(decoded(tmp_path, "a", ".png")[0][0], maps["zones/a"])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: Image.fromarray(np.zeros((6, 5, 2), np.uint8)).save(f / "images/a.png"), {}, "2 channels"),
        (lambda f: Image.fromarray(np.zeros((6, 5), np.uint8)).convert("P").save(f / "images/a.png"), {}, "palette"),
        (lambda f: Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(f / "images/a.png"), {}, "expected 3 as in"),
        (lambda f: write(f / "images/a.png", np.ones((1, 6, 5), np.uint8)), {"channels": ["x", "y"]}, "expected 1"),
        (lambda f: (f / "images/a.png").rename(f / "images/a_0000.png"), {}, "no image of case 'a'"),
        (lambda f: (f / "images/a.png").write_bytes(b"x"), {}, "no PNG header"),
    ],
)
def test_images_that_nnunet_would_misread_are_refused(tmp_path, change, options, message):
    glaciers(tmp_path)
    change(tmp_path)
    assert any(message in problem for problem in problems_of(tmp_path, *glacier_tasks(tmp_path), **options))


def test_colour_images_cannot_be_converted(tmp_path):
    glaciers(tmp_path, ("a",))
    Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    (problem,) = problems_of(tmp_path, *glacier_tasks(tmp_path), file_format="nii.gz")
    assert "only PNG holds" in problem


@pytest.mark.parametrize(
    ("ending", "depth", "target", "message"),
    [
        (".nii.gz", 2, "png", "PNG holds one slice"),
        (".nii.gz", 2, "tif", "cannot hold its direction"),
        (".nii", 2, None, "choose --format"),
    ],
)
def test_formats_that_do_not_fit_are_told(tmp_path, ending, depth, target, message):
    geometry = None if target == "png" else TURNED
    glaciers(tmp_path, shape=(depth, 6, 5), ending=ending, geometry=geometry)
    found = problems_of(tmp_path, *glacier_tasks(tmp_path, ending), file_format=target)
    assert all(message in problem for problem in found)


def test_images_of_two_formats_need_a_choice(tmp_path):
    glaciers(tmp_path, shape=(2, 6, 5), ending=".mha")
    (tmp_path / "images" / "a.mha").unlink()
    write(tmp_path / "images" / "a.nrrd", np.ones((2, 6, 5), np.uint8))
    assert "choose --format" in problems_of(tmp_path, *glacier_tasks(tmp_path, ".mha"))[0]
    stack(tmp_path, *glacier_tasks(tmp_path, ".mha"), file_format=".nii.gz")


def test_one_slice_among_tiff_volumes_is_told(tmp_path):
    glaciers(tmp_path, ("a",), shape=(2, 6, 5), ending=".tif")
    glaciers(tmp_path, ("b",), shape=(1, 6, 5), ending=".tif")
    (problem,) = problems_of(tmp_path, *glacier_tasks(tmp_path, ".tif"))
    assert "b.tif: one slice, while other images have several" in problem


def test_2d_tiffs_in_a_folder_are_cases_and_not_slices(tmp_path):
    glaciers(tmp_path, ("a", "b", "c"), ending=".tif")
    assert stack(tmp_path, *glacier_tasks(tmp_path, ".tif")).cases == ["a", "b", "c"]


def test_a_channel_that_is_missing_is_told(tmp_path):
    glaciers(tmp_path, ("a_0000", "a_0001", "b_0000"))
    with pytest.raises(BadCasesError, match=r"case 'b' has the channels \[0\], expected \[0, 1\]"):
        stack(tmp_path, *glacier_tasks(tmp_path))


def test_nothing_is_replaced_unless_told(tmp_path):
    glaciers(tmp_path)
    stack(tmp_path, *glacier_tasks(tmp_path))
    with pytest.raises(OutputExistsError):
        stack(tmp_path, *glacier_tasks(tmp_path))
    stack(tmp_path, *glacier_tasks(tmp_path), overwrite=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": []}, InputError, "give --task"),
        ({"layers": "x"}, InputError, "--tasks TASKS.json"),
        ({"layers": "x", "tasks": "t.json", "task": ["a=b"]}, InputError, "not from --task"),
        ({"task": ["front"]}, InputError, "expected NAME=LABELS"),
        ({"task": ["a/b=x"]}, InputError, "expected a name"),
        ({"task": ["f=nowhere:a,b"]}, MissingInputError, "nowhere"),
        ({"task": ["f=nowhere/*.png:a,b"]}, MissingInputError, "nowhere"),
        ({"task": ["f=*/x*.png:a,b"]}, InputError, r"one '\*' in the last part"),
        ({"task": ["f=x:a=0,b=zero"]}, InputError, "whole number"),
        ({"task": ["f=x:a=1,b=1"]}, InputError, "a value of its own"),
        ({"task": ["f=x:a,ignore,b"]}, InputError, "ignore"),
        ({"task": ["f=x:a"]}, InputError, "at least one class"),
        ({"task": ["f=x:a,b", "f=y:a,b"]}, InputError, "each task once"),
        ({"file_format": "jpg"}, InputError, r"--format jpg: expected one of \.nii\.gz"),
        ({"dataset_id": 0}, InputError, "dataset id"),
    ],
)
def test_arguments_that_cannot_be_used(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    glaciers(tmp_path)
    task = options.pop("task", None)
    with pytest.raises(error, match=message):
        stack(
            tmp_path, *(glacier_tasks(tmp_path) if task is None and "layers" not in options else task or []), **options
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no tasks there"),
        ({"labels": {"background": 0, "x": 1}, "file_ending": ".png"}, "no tasks there"),
        ({"t": {"labels": {"a": 0, "b": 2}}}, "without gap"),
        ({"t": {"labels": {"a": 0, "b": 1}, "values": {"a": 0}}}, "'values' must give each of"),
        ({"t": {"labels": {"a": 0, "b": 1}, "values": {"a": 3, "b": 3}}}, "must be different"),
        ({"t": {"labels": {"a": 0, "b": 1}, "wieght": 3}}, "unknown keys"),
        ({"t": 3}, "expected an object with 'labels'"),
        ({"../t": {"labels": {"a": 0, "b": 1}}}, "expected a name"),
        ({"t": {"labels": {"a": 0, "b": 1}}, "branching": {"u": "late"}}, "unknown tasks"),
        ({"t": {"labels": {"a": 0, "b": 1}}, "branching": "never"}, "never"),
        ({"t": {"labels": {"a": 0, "b": 1}}, "branching": 3}, "'branching' must be"),
        ({"labels": {"label0": {"0": "a", "1": "a"}}}, "each class once"),
        ({"labels": {"label0": {"zero": "a", "1": "b"}}}, "whole number"),
    ],
)
def test_task_files_that_cannot_be_used(tmp_path, content, message):
    path = write_json(tmp_path / "tasks.json", content)
    with pytest.raises(InputError, match=message) as caught:
        read_tasks_file(path)
    assert "tasks.json" in str(caught.value)


def test_weights_that_leave_nothing_are_told(tmp_path):
    glaciers(tmp_path)
    entry = TWO_TASKS["front"] | {"values": {"background": 0, "front": 255}}
    tasks = write_json(tmp_path / "tasks.json", {"front": entry | {"weight": 1.0}, "other": entry})
    words = [f"{name}={tmp_path}/fronts/*_front.png" for name in ("front", "other")]
    (problem,) = problems_of(tmp_path, *words, tasks=tasks)
    assert "leaves nothing of 1 for other" in problem


def test_a_task_that_the_file_lacks_is_told(tmp_path):
    glaciers(tmp_path)
    tasks = write_json(tmp_path / "tasks.json", TWO_TASKS)
    with pytest.raises(InputError, match=r"has no such task and no classes are given; it has front, zones"):
        stack(tmp_path, f"frnt={tmp_path}/fronts", tasks=tasks)
    with pytest.raises(InputError, match="leave out one of them"):
        stack(tmp_path, f"front={tmp_path}/fronts:a,b", tasks=tasks)


def test_classes_come_after_the_last_colon_unless_the_path_exists(tmp_path):
    folder = tmp_path / "odd:name"
    folder.mkdir()
    assert parse_task(f"t={folder}").labels == str(folder)
    assert parse_task(f"t={folder}").task is None
    option = parse_task(f"t={folder}:a=5,b, c")
    assert option.labels == str(folder)
    assert option.values == (5, 1, 2)
    assert option.task.classes == ("a", "b", "c")


@pytest.mark.parametrize(
    ("values", "expected"), [((0, 1), 255), ((0, 255), 254), ((0, 300), 301), (tuple(range(256)), 256)]
)
def test_the_value_of_an_added_ignore_class_is_free(values, expected):
    assert free_value(values) == expected


def test_a_case_without_file_of_layers_is_refused_always(tmp_path):
    for case in "ab":
        write(tmp_path / "images" / f"{case}.nii.gz", np.ones((1, 6, 5), np.float32))
    write(tmp_path / "labels" / "a.nii.gz", np.zeros((2, 6, 5), np.uint8))
    tasks = write_json(tmp_path / "tasks.json", TWO_TASKS)
    (problem,) = problems_of(tmp_path, layers=tmp_path / "labels", tasks=tasks, missing_as_ignore=True)
    assert problem.endswith("b.nii.gz: no file of layers of case 'b'")


def test_the_command_tells_all_problems_and_fails(tmp_path, capsys):
    glaciers(tmp_path)
    for case in "ab":
        (tmp_path / "images" / f"{case}.png").write_bytes(b"x")
    words = ["stack", "-i", str(tmp_path / "images"), "-d", "7", "-n", "Glaciers", "-o", str(tmp_path / "raw")]
    for task in glacier_tasks(tmp_path):
        words += ["--task", task]
    assert main([*words, "-np", "1"]) == 1
    assert "2 problems found, nothing was written" in capsys.readouterr().err
